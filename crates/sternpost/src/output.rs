//! `--output`: text for people, JSON for programs, on every word that prints data.

/// How a word prints its data.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}
