//! `cargo xtask test`: everything that must hold before a change lands, in the order in which it fails fastest. One profile
//! (release) builds the tests and the binary, so that nothing is compiled twice. `cargo xtask test STEP …` runs some steps.

use std::process::Command;
use std::time::Instant;

/// A step: its name, what it shows, and its commands.
struct Step {
    name: &'static str,
    shows: &'static str,
    commands: &'static [&'static str],
}

const STEPS: &[Step] = &[
    Step { name: "format", shows: "rustfmt has nothing to say", commands: &["cargo fmt --all --check"] },
    Step { name: "tidy", shows: "the rules of the house hold", commands: &["cargo xtask tidy"] },
    Step {
        name: "generated",
        shows: "generated code is current",
        commands: &["cargo xtask generate --check"],
    },
    Step {
        name: "clippy",
        shows: "no warnings",
        commands: &["cargo clippy --workspace --all-targets --release --locked -- -D warnings"],
    },
    Step {
        name: "unit",
        shows: "unit, property and process tests, hostile inputs, kept fuzz inputs",
        commands: &[
            "cargo test --workspace --release --locked",
            "cargo build --release --locked -p sternpost",
        ],
    },
    Step {
        name: "fuzz",
        shows: "a minute of fuzzing finds nothing",
        commands: &["cargo xtask fuzz --seconds 60"],
    },
    Step {
        name: "sim",
        shows: "simulated worlds with faults find nothing, and every mutant is killed",
        commands: &["bash tests/sim.sh"],
    },
    Step {
        name: "clients",
        shows: "stock clients against the real server, killed while they write",
        commands: &["bash tests/clients/install.sh", "bash tests/clients/ci.sh"],
    },
    Step {
        name: "docs",
        shows: "every example in README and docs runs",
        commands: &["python3 tests/docs.py"],
    },
];

/// Runs the named steps, or all of them; stops at the first that fails.
pub fn run(args: &[String]) -> Result<(), String> {
    if let Some(unknown) = args.iter().find(|arg| !STEPS.iter().any(|step| step.name == arg.as_str())) {
        let known: Vec<String> =
            STEPS.iter().map(|step| format!("  {:<10} {}", step.name, step.shows)).collect();
        return Err(format!("unknown step {unknown:?}; known:\n{}", known.join("\n")));
    }
    let chosen = STEPS.iter().filter(|step| args.is_empty() || args.iter().any(|arg| arg == step.name));
    let mut passed = Vec::new();
    for step in chosen {
        println!("== {}: {}", step.name, step.shows);
        let began = Instant::now();
        for command in step.commands {
            run_command(command).map_err(|why| format!("step {} failed: {why}", step.name))?;
        }
        passed.push((step.name, began.elapsed().as_secs()));
        println!("== {} done in {} s", step.name, began.elapsed().as_secs());
    }
    for (name, seconds) in &passed {
        println!("{name:<10} {seconds:>5} s");
    }
    println!("steps: {} passed, 0 failed", passed.len());
    Ok(())
}

fn run_command(command: &str) -> Result<(), String> {
    println!("$ {command}");
    let status =
        Command::new("bash").args(["-c", command]).status().map_err(|error| format!("{command}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command}: {status}")) }
}
