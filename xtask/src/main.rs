//! Chores of the repository: `cargo xtask test`, `cargo xtask fuzz`, `cargo xtask generate`, `cargo xtask tidy`.

mod fuzz;
mod generate;
mod hostile;
mod test;
mod tidy;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (word, rest) = match args.split_first() {
        Some((word, rest)) => (word.as_str(), rest),
        None => ("", &[][..]),
    };
    let outcome = match word {
        "fuzz" => fuzz::run(rest),
        "generate" => generate::run(rest),
        "test" => test::run(rest),
        "tidy" => tidy::run(rest),
        _ => Err(format!("unknown word {word:?}; known: fuzz, generate, test, tidy")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}
