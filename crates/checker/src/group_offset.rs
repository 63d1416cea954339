//! Group offset never back: what a group is told is a commit that could still be the newest when it asked. A commit is
//! out of date when another one, sent after it was answered, was itself acknowledged (or read) before the question.
//! Commits without an answer may take effect at any time. Premise: one question after an acknowledged commit.

use crate::history::{Event, Group, History, Op, Partition};
use crate::{Property, Verdict};
use std::collections::HashMap;

/// All commits of one value in one group and partition.
#[derive(Default)]
struct Value {
    first_invoked: Option<usize>,
    last_completed: usize,
    pending: u32,
}

#[derive(Default)]
struct Register {
    values: HashMap<i64, Value>,
    /// Latest call among the commits known to have taken effect: commits answered before it are out of date.
    newest_effect: Option<usize>,
}

pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::new(Property::GroupOffsetNeverBack);
    let mut registers: HashMap<(Group, Partition), Register> = HashMap::new();
    let mut commits: HashMap<Op, ((Group, Partition), i64, usize)> = HashMap::new();
    let mut asked: HashMap<Op, ((Group, Partition), Option<usize>)> = HashMap::new();
    for (at, event) in history.events().iter().enumerate() {
        match event {
            Event::CommitInvoked { op, group, partition, offset } => {
                let key = (*group, *partition);
                commits.insert(*op, (key, *offset, at));
                let value = registers.entry(key).or_default().values.entry(*offset).or_default();
                value.first_invoked.get_or_insert(at);
                value.pending += 1;
            }
            Event::CommitAcked { op } => {
                let (key, offset, invoked) =
                    commits.remove(op).expect("the workload answers only what was asked");
                let register = registers.entry(key).or_default();
                let value = register.values.entry(offset).or_default();
                value.pending -= 1;
                value.last_completed = at;
                register.newest_effect = register.newest_effect.max(Some(invoked));
            }
            Event::CommitFailed { op } => {
                let (key, offset, _) = commits.remove(op).expect("the workload answers only what was asked");
                registers.entry(key).or_default().values.entry(offset).or_default().pending -= 1;
            }
            Event::OffsetFetchInvoked { op, group, partition } => {
                let key = (*group, *partition);
                asked.insert(*op, (key, registers.entry(key).or_default().newest_effect));
            }
            Event::OffsetFetched { op, offset } => {
                let (key, floor) = asked.remove(op).expect("the workload answers only what was asked");
                verdict.premises += u64::from(floor.is_some());
                answer(&mut verdict, registers.entry(key).or_default(), key, floor, *offset);
            }
            _ => {}
        }
    }
    verdict
}

fn answer(
    verdict: &mut Verdict,
    register: &mut Register,
    key: (Group, Partition),
    floor: Option<usize>,
    offset: Option<i64>,
) {
    let Some(offset) = offset else {
        if floor.is_some() {
            verdict
                .violation(|| format!("{key:?} was told nothing is committed, after an acknowledged commit"));
        }
        return;
    };
    let Some(value) = register.values.get(&offset).filter(|v| v.pending > 0 || v.last_completed > 0) else {
        verdict.violation(|| format!("{key:?} was told {offset}, which nobody committed"));
        return;
    };
    if value.pending == 0 && floor.is_some_and(|floor| value.last_completed < floor) {
        verdict.violation(|| format!("{key:?} was told {offset}, which a newer commit had replaced"));
    }
    register.newest_effect = register.newest_effect.max(value.first_invoked);
}
