//! `cargo xtask fuzz`: every fuzz harness for its share of the time, each on mutations of its kept inputs from a random seed.
//! The harnesses live beside what they try (crates/*/tests/fuzz*.rs), their driver and kept inputs in tests/fuzz.

use std::process::Command;

/// Seconds for all harnesses together.
const SECONDS_DEFAULT: u64 = 60;
const CORPUS: &str = "tests/fuzz/corpus";

/// Runs all harnesses; the error names the first that failed.
pub fn run(args: &[String]) -> Result<(), String> {
    let seconds = match args {
        [] => SECONDS_DEFAULT,
        [flag, number] if flag == "--seconds" => {
            number.parse().map_err(|_| format!("--seconds takes a whole number, not {number:?}"))?
        }
        _ => return Err("fuzz takes nothing, or --seconds N".into()),
    };
    // One file of kept inputs for each harness.
    let files = std::fs::read_dir(CORPUS).map_err(|error| format!("read {CORPUS}: {error}"))?;
    let harnesses =
        files.flatten().filter(|file| file.path().extension().is_some_and(|it| it == "txt")).count();
    let each_ms = seconds * 1000 / (harnesses.max(1) as u64);
    // The workspace as in the other steps: one package alone has other features, and everything would be built anew.
    let output = Command::new("cargo")
        .args(["test", "--workspace", "--release", "--locked", "--test", "fuzz", "--test", "fuzz_session"])
        .args(["--", "--ignored", "--exact", "--nocapture", "smoke"])
        .env("FUZZ_MILLISECONDS", each_ms.to_string())
        // With one thread libtest writes the test's name in front of its first line.
        .env("RUST_TEST_THREADS", "2")
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("fuzz: ")).collect();
    for line in &lines {
        println!("{line}");
    }
    if !output.status.success() {
        return Err(format!("a harness failed:\n{text}"));
    }
    let seen = lines.len();
    if seen != harnesses {
        return Err(format!("{seen} harnesses ran, {CORPUS} has kept inputs of {harnesses}"));
    }
    println!("fuzz: {seen} passed, 0 failed");
    Ok(())
}
