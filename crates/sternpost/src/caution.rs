//! Words that destroy something: they say what will be lost, ask on a terminal, and can be tried without effect.

use std::io::IsTerminal;

/// How careful a word is that destroys something
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Caution {
    /// Only say what would be deleted
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Caution {
    /// Whether to go on: not on a dry run. Asks on a terminal, and takes silence elsewhere for yes.
    ///
    /// # Errors
    /// When the answer is no.
    pub fn consent(self, question: &str) -> Result<bool, String> {
        if self.dry_run || self.yes || !std::io::stdin().is_terminal() {
            return Ok(!self.dry_run);
        }
        eprint!("{question} [y/N] ");
        let mut answer = String::new();
        std::io::stdin()
            .read_line(&mut answer)
            .map_err(|error| format!("cannot read the answer: {error}"))?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(true),
            _ => Err("nothing was changed: the answer was no".to_string()),
        }
    }

    /// What has become of a thing.
    pub fn verb(self) -> &'static str {
        if self.dry_run { "would delete" } else { "deleted" }
    }
}
