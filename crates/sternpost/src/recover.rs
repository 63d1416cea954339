//! `recover`: the explicit way back for one damaged node. Shows what may be missing; changes something only when the loss
//! is accepted in so many words.

use crate::inspect::existing;
use crate::output::Output;
use std::sync::Arc;
use storage::recover::{Plan, apply, plan};

/// Bring a damaged node back: shows what may be missing, cuts the log only with --accept-loss
#[derive(clap::Args, Debug)]
pub struct Recover {
    /// The data directory
    #[arg(long, default_value = "sternpost-data")]
    data_dir: String,
    /// Cut the log where it is damaged and go on without what was behind; the cut files go to quarantine/
    #[arg(long)]
    accept_loss: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Shows the plan, and carries it out when accepted.
///
/// # Errors
/// One sentence: no such directory, in use, or damaged in another way than the plan says.
pub fn run(word: &Recover) -> Result<(), String> {
    let disk = Arc::new(existing(&word.data_dir)?);
    let fail = |error| format!("{}: {error}", word.data_dir);
    let Some(plan) = plan(&*disk).map_err(fail)? else {
        match word.output {
            Output::Json => println!("{{\"damage\":null}}"),
            Output::Text => println!("The log in {} is whole: there is nothing to recover.", word.data_dir),
        }
        return Ok(());
    };
    match word.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&plan).expect("plain data")),
        Output::Text => show(&plan),
    }
    if !word.accept_loss {
        eprintln!("Nothing was changed. To go on without what may be missing: add --accept-loss");
        return Ok(());
    }
    apply(&disk, &plan).map_err(fail)?;
    eprintln!("Done. The loss is recorded in the data directory; every later start reports it.");
    Ok(())
}

fn show(plan: &Plan) {
    println!("damaged: {}", plan.damage);
    for shard in &plan.shards {
        println!(
            "shard {}: log entries up to {} are kept; it had at least {} (what may be missing: {} entries, or more)",
            shard.shard,
            shard.kept_upto,
            shard.was_at_least,
            shard.was_at_least.saturating_sub(shard.kept_upto)
        );
    }
    for file in &plan.quarantined {
        println!("to quarantine/: {file}");
    }
}
