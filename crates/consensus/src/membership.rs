//! Changes of who takes part, in an own bounded form: raft's protobuf is never read from disk or network. A change takes effect
//! when its entry is applied, in `Group::ready`.
//!
//! Form: version 2, then the codes of the members that there shall be (`Members::codes`), eight bytes each, big endian. None: the
//! new one of two sets of voters decides alone from now on.

use crate::{MEMBERS_MAX, Members};
use bytes::Bytes;
use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2};

/// One step of who takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// These vote and these learn. When more than one voter comes or goes, both sets of voters decide until `Leave`.
    Become(Members),
    /// The new set of voters decides alone.
    Leave,
}

/// A change that is not in the form above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unreadable change of members")]
pub struct ChangeError;

const VERSION: u8 = 2;
const ID: usize = size_of::<u64>();

impl Change {
    /// The descriptor of its log entry.
    pub fn encode(&self) -> Bytes {
        let codes = match self {
            Change::Become(members) => members.codes(),
            Change::Leave => Vec::new(),
        };
        let mut form = vec![VERSION];
        codes.iter().for_each(|code| form.extend_from_slice(&code.to_be_bytes()));
        form.into()
    }

    /// Reads a descriptor that came from disk or network.
    pub fn parse(form: &[u8]) -> Result<Change, ChangeError> {
        let Some((&VERSION, codes)) = form.split_first() else { return Err(ChangeError) };
        let (codes, rest) = codes.as_chunks::<ID>();
        if codes.len() > MEMBERS_MAX || !rest.is_empty() {
            return Err(ChangeError);
        }
        let codes: Vec<u64> = codes.iter().map(|code| u64::from_be_bytes(*code)).collect();
        if codes.is_empty() {
            return Ok(Change::Leave);
        }
        let members = Members::from_codes(&codes).filter(|members| !members.is_joint()).ok_or(ChangeError)?;
        Ok(Change::Become(members))
    }

    /// The steps that lead there, each as raft takes it; none when it does not fit or changes nothing, which is so at every replica alike.
    ///
    /// Learners come and go one by one, and so does a single voter; several voters at once need both sets to decide. A voter never
    /// becomes a learner: what it acknowledged counts.
    pub(crate) fn steps(&self, now: &Members) -> Vec<ConfChangeV2> {
        let target = match self {
            Change::Leave if now.is_joint() => return vec![ConfChangeV2::default()],
            Change::Become(target) if !now.is_joint() => target,
            _ => return Vec::new(),
        };
        if target.learners.iter().any(|id| now.voters.contains(id)) {
            return Vec::new();
        }
        let only_in = |these: &[u64], those: &[u64]| -> Vec<u64> {
            these.iter().copied().filter(|id| !those.contains(id)).collect()
        };
        let come = only_in(&target.voters, &now.voters);
        let go = only_in(&now.voters, &target.voters);
        let forgotten = only_in(&only_in(&now.learners, &target.learners), &target.voters);
        let learn = only_in(&target.learners, &now.learners);
        let single = |id: &u64, kind| {
            let mut single = ConfChangeSingle::default();
            single.set_change_type(kind);
            single.node_id = *id;
            single
        };
        let removed = forgotten.iter().map(|id| single(id, ConfChangeType::RemoveNode));
        let learners = removed.chain(learn.iter().map(|id| single(id, ConfChangeType::AddLearnerNode)));
        let mut steps: Vec<ConfChangeV2> = learners.map(|single| change(vec![single])).collect();
        let voters = come.iter().map(|id| single(id, ConfChangeType::AddNode));
        let voters = voters.chain(go.iter().map(|id| single(id, ConfChangeType::RemoveNode)));
        let voters: Vec<ConfChangeSingle> = voters.collect();
        if !voters.is_empty() {
            let is_joint = voters.len() > 1;
            let mut step = change(voters);
            if is_joint {
                step.set_transition(ConfChangeTransition::Explicit);
            }
            steps.push(step);
        }
        steps
    }
}

fn change(changes: Vec<ConfChangeSingle>) -> ConfChangeV2 {
    ConfChangeV2 { changes: changes.into(), ..ConfChangeV2::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_wrote_and_nothing_else() {
        let mut members = Members::of_voters(vec![1, 2, u64::from(u32::MAX) << 8]);
        members.learners = vec![5];
        for change in [Change::Become(members.clone()), Change::Leave] {
            let form = change.encode();
            assert_eq!(Change::parse(&form), Ok(change));
            let long = [&form[..], &[0]].concat();
            assert_eq!(Change::parse(&long), Err(ChangeError));
        }
        members.leaving = vec![1, 3];
        let joint = Change::Become(members).encode();
        let many = [&[VERSION][..], &[0; (MEMBERS_MAX + 1) * ID]].concat();
        for form in [&[][..], &[1], &[1, 1, 0, 0, 0, 0, 0, 0, 0, 9], &[VERSION, 9], &joint, &many] {
            assert_eq!(Change::parse(form), Err(ChangeError), "{form:?}");
        }
    }

    #[test]
    fn one_voter_or_several_with_both_sets() {
        let now = Members { voters: vec![1, 2, 3], leaving: vec![], learners: vec![4, 5] };
        let steps = |voters: &[u64], learners: &[u64]| {
            let target = Members { voters: voters.to_vec(), leaving: vec![], learners: learners.to_vec() };
            let steps = Change::Become(target).steps(&now);
            let joint =
                steps.last().is_some_and(|step| step.get_transition() == ConfChangeTransition::Explicit);
            (steps.len(), joint)
        };
        assert_eq!(steps(&[1, 2, 3], &[4, 5]), (0, false), "nothing changes");
        assert_eq!(steps(&[1, 2, 3], &[5, 6]), (2, false), "learners");
        assert_eq!(steps(&[1, 2, 3, 4], &[5]), (1, false), "one comes");
        assert_eq!(steps(&[1, 2], &[4, 5]), (1, false), "one goes");
        assert_eq!(steps(&[1, 2, 4], &[5]), (1, true), "one in the place of another");
        assert_eq!(steps(&[4, 5], &[]), (1, true));
        assert_eq!(steps(&[1, 2], &[3, 4, 5]), (0, false), "a voter does not become a learner");
        assert!(Change::Leave.steps(&now).is_empty());
        let joint = Members { leaving: vec![1], ..now };
        assert_eq!(Change::Leave.steps(&joint).len(), 1);
        assert!(Change::Become(Members::of_voters(vec![1])).steps(&joint).is_empty());
    }
}
