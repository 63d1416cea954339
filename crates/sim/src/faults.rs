//! The fault matrix for a command line: its rows by number, what a run of them gave, and how that looks.

use crate::cluster::Mutant;
use crate::cluster::matrix::{self, Figures, Row, elsewhere};
use crate::counters::Counters;
use crate::outcome::Failure;
use crate::run::{Plan, run_seeds};
use serde_json::{Value, json};
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// With fewer seeds it is chance whether all that a row is about came up.
const SEEDS_TO_DEMAND: u64 = 2;

/// Which rows are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// All that are simulated.
    All,
    /// None: they are only named.
    List,
    /// One.
    Number(u32),
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(word: &str) -> Result<Fault, String> {
        match word {
            "all" => Ok(Fault::All),
            "list" => Ok(Fault::List),
            word => {
                let number = word.parse().ok().filter(|number| matrix::demanded().any(|row| row == *number));
                number.map(Fault::Number).ok_or_else(|| {
                    format!("the fault matrix shows no row '{word}'; rows are numbers, and `--fault list` names them")
                })
            }
        }
    }
}

/// What a row's seeds gave.
#[derive(Clone, Debug)]
struct Ran {
    seeds: u64,
    failure: Option<(u64, Failure)>,
    missing: Vec<&'static str>,
    figures: Figures,
    elapsed: Duration,
    /// How long takeovers took is a figure of the row.
    awaits_takeover: bool,
    /// What the nodes of one seed logged.
    log: Vec<String>,
}

/// One row, as it is shown.
#[derive(Clone, Debug)]
pub struct RowResult {
    number: u32,
    title: &'static str,
    verdict: &'static str,
    /// What of the row does not hold, or is shown elsewhere and where.
    remark: String,
    /// None: nothing was run.
    ran: Option<Ran>,
}

impl RowResult {
    /// What went wrong, in one sentence.
    pub fn failure(&self) -> Option<String> {
        let ran = self.ran.as_ref()?;
        let replay = |seed| format!("sternpost sim --fault {} --seeds 1 --seed {seed}", self.number);
        match (&ran.failure, ran.missing.as_slice()) {
            (Some((seed, failure)), _) => Some(format!(
                "row {}, seed {seed} broke \"{}\": {}; again: {}",
                self.number,
                failure.property,
                failure.detail,
                replay(*seed)
            )),
            (None, []) => None,
            (None, missing) => Some(format!("row {}: never came up: {}", self.number, missing.join(", "))),
        }
    }

    /// The property that did not hold, if one did not.
    pub fn broken(&self) -> Option<&str> {
        let (_, failure) = self.ran.as_ref()?.failure.as_ref()?;
        Some(&failure.property)
    }

    /// Whether it was simulated.
    pub fn is_simulated(&self) -> bool {
        self.ran.is_some()
    }

    /// What the nodes logged, of a run of one seed.
    pub fn log(&self) -> &[String] {
        self.ran.as_ref().map_or(&[], |ran| &ran.log)
    }

    /// The result for a program.
    pub fn to_json(&self) -> Value {
        let ran = self.ran.as_ref().map(|ran| {
            json!({
                "seeds": ran.seeds,
                "longest_gap_ms": ran.figures.gap.as_millis() as u64,
                "longest_takeover_ms": ran.figures.takeover.as_millis() as u64,
                "takeovers": ran.figures.takeovers,
                "term_rises": ran.figures.rises,
                "acknowledged": ran.figures.acks,
                "again_ms": ran.figures.again.as_millis() as u64,
                "whole_ms": ran.figures.whole.as_millis() as u64,
                "seconds": ran.elapsed.as_secs_f64(),
            })
        });
        json!({
            "row": self.number,
            "title": self.title,
            "verdict": self.verdict,
            "remark": self.remark,
            "simulated": ran,
            "failure": self.failure(),
        })
    }
}

impl fmt::Display for RowResult {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:>3}  {:<64} ", self.number, self.title)?;
        if let Some(ran) = &self.ran {
            let Figures { gap, takeover, takeovers, rises, again, whole, .. } = ran.figures;
            let result = if self.failure().is_some() { "FAILED" } else { self.verdict };
            write!(out, "{result:<20} {:>3} seeds, gap {:>5} ms, ", ran.seeds, gap.as_millis())?;
            if takeovers > 0 && ran.awaits_takeover {
                write!(out, "takeover {} ms, ", takeover.as_millis())?;
            }
            let (again, whole) = (again.as_millis(), whole.as_millis());
            write!(out, "{rises} elections, served {again} ms and whole {whole} ms after")?;
        }
        let sentence =
            self.failure().into_iter().chain((!self.remark.is_empty()).then(|| self.remark.clone()));
        let sentences: Vec<String> = sentence.collect();
        match (&self.ran, sentences.is_empty()) {
            (Some(_), false) => write!(out, "; {}", sentences.join("; ")),
            (None, false) => write!(out, "{}", sentences.join("; ")),
            (_, true) => Ok(()),
        }
    }
}

/// Runs the rows that are meant; what no simulation shows is named. `heard` gets each of them in the order of numbers.
pub fn run(
    fault: Fault,
    plan: Plan,
    mutant: Option<Mutant>,
    heard: &mut dyn FnMut(&RowResult),
) -> Vec<RowResult> {
    let meant = |number: u32| !matches!(fault, Fault::Number(one) if one != number);
    let mut results = Vec::new();
    for number in matrix::demanded().filter(|number| meant(*number)) {
        let simulated = matrix::rows().find(|row| row.number == number);
        let result = match (simulated, elsewhere::ROWS.iter().find(|row| row.number == number)) {
            (Some(row), _) if fault == Fault::List => named(row),
            (Some(row), _) => run_row(row, plan, mutant),
            (None, Some(row)) => shown_elsewhere(row),
            (None, None) => continue,
        };
        heard(&result);
        results.push(result);
    }
    results
}

fn named(row: &'static Row) -> RowResult {
    let remark =
        row.not_met.map_or_else(|| "simulated".to_owned(), |what| format!("simulated; not met: {what}"));
    RowResult { number: row.number, title: row.title, verdict: row.verdict, remark, ran: None }
}

fn shown_elsewhere(row: &elsewhere::Elsewhere) -> RowResult {
    let shown = match row.tests {
        "" => "not shown yet".to_owned(),
        tests => format!("shown by {tests}"),
    };
    let remark = format!("{shown} ({})", row.remark);
    RowResult { number: row.number, title: row.title, verdict: "", remark, ran: None }
}

fn run_row(row: &'static Row, plan: Plan, mutant: Option<Mutant>) -> RowResult {
    let kept = Mutex::new((Figures::default(), Vec::new()));
    let world = |seed: u64| {
        let (outcome, of_seed) = matrix::run(row, seed, mutant);
        let (figures, log) = &mut *kept.lock().unwrap_or_else(PoisonError::into_inner);
        *figures = figures.or_larger(of_seed);
        if plan.seeds == 1 {
            log.clone_from(&outcome.log);
        }
        outcome
    };
    // One seed runs twice, as in every world.
    let again = (plan.seeds == 1).then(|| run_seeds("fault", &[], plan, &world, &|_, _| {}));
    let summary = run_seeds("fault", &[], plan, &world, &|_, _| {});
    let mut failure = summary.failures.first().cloned();
    if again.is_some_and(|again| again.trace_hash != summary.trace_hash) {
        let detail = "the same seed gave two different worlds".to_owned();
        failure.get_or_insert((plan.first, Failure::new("the world is deterministic", detail)));
    }
    let demands = plan.seeds >= SEEDS_TO_DEMAND && failure.is_none();
    let counters: &Counters = &summary.counters;
    let (figures, log) = kept.into_inner().unwrap_or_else(PoisonError::into_inner);
    let ran = Ran {
        seeds: summary.seeds,
        failure,
        missing: if demands { row.missing(counters) } else { Vec::new() },
        figures,
        elapsed: summary.elapsed,
        awaits_takeover: row.awaits_takeover(),
        log,
    };
    let remark = row.not_met.map_or_else(String::new, |what| format!("not met: {what}"));
    RowResult { number: row.number, title: row.title, verdict: row.verdict, remark, ran: Some(ran) }
}

/// The mutants of several nodes that a name means.
///
/// # Errors
/// One sentence when there is none of that name.
pub fn mutant(name: &str) -> Result<Mutant, String> {
    let is_meant = |mutant: &Mutant| mutant.name() == name || mutant.name().rsplit("::").next() == Some(name);
    let mut all = Mutant::of_several().into_iter();
    all.find(is_meant).ok_or_else(|| format!("several nodes have no mutant '{name}'"))
}
