//! `completions`: what a shell needs to complete our command line, on stdout.

use clap::CommandFactory;
use clap_complete::Shell;

/// Print completions for a shell
#[derive(clap::Args, Debug)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the completions.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(word: &Completions) -> Result<(), String> {
    let mut script = Vec::new();
    clap_complete::generate(word.shell, &mut crate::Command::command(), "sternpost", &mut script);
    let script = String::from_utf8(script).map_err(|error| format!("completions are no text: {error}"))?;
    crate::cluster::print(script.trim_end());
    Ok(())
}
