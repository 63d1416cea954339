//! Who takes part in a shard's log: voters, learners, and between two sets of voters both (joint consensus, Raft thesis 4.3).
//!
//! Checkpoints and frames keep it as one list of numbers: a raft id, and above its bits what its replica is. A replica
//! that just votes is its id alone, so that a list of voters is what it always was.

use raft::eraftpb::ConfState;

/// Most replicas that a group may name.
pub const MEMBERS_MAX: usize = 64;
/// Raft ids lie below.
pub const RAFT_ID_END: u64 = 1 << 61;

const LEARNS: u64 = 1 << 63;
const LEAVES: u64 = 1 << 62;
const COMES: u64 = 1 << 61;

/// The replicas of a group by their raft ids, each list in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// They vote. While two sets of voters decide, the new one.
    pub voters: Vec<u64>,
    /// While two sets of voters decide, the old one: of both a majority is needed. Else empty.
    pub leaving: Vec<u64>,
    /// They get the log and have no vote.
    pub learners: Vec<u64>,
}

impl Members {
    /// These vote; nobody learns.
    pub fn of_voters(voters: Vec<u64>) -> Members {
        Members::new(voters, Vec::new())
    }

    /// These vote, and those learn.
    pub fn new(voters: Vec<u64>, learners: Vec<u64>) -> Members {
        Members { voters, leaving: Vec::new(), learners }.in_order()
    }

    fn in_order(mut self) -> Members {
        for list in [&mut self.voters, &mut self.leaving, &mut self.learners] {
            list.sort_unstable();
        }
        self
    }

    /// Two sets of voters decide.
    pub fn is_joint(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Everyone who gets the log, in order.
    pub fn all(&self) -> Vec<u64> {
        let mut all = [&self.voters[..], &self.leaving, &self.learners].concat();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The form in checkpoints and frames, in the order of the ids.
    pub fn codes(&self) -> Vec<u64> {
        let code = |id: u64| {
            let (votes, leaves) = (self.voters.contains(&id), self.leaving.contains(&id));
            match (votes, leaves) {
                (true, false) if self.is_joint() => id | COMES,
                (true, _) => id,
                (false, true) => id | LEAVES,
                (false, false) => id | LEARNS,
            }
        };
        self.all().into_iter().map(code).collect()
    }

    /// Reads that form; `None` for what is none: nobody votes, an id is named twice, is 0 or too large, or too many are named.
    pub fn from_codes(codes: &[u64]) -> Option<Members> {
        if codes.len() > MEMBERS_MAX {
            return None;
        }
        let is_joint = codes.iter().any(|code| code & (LEAVES | COMES) != 0);
        let mut members = Members::default();
        for code in codes {
            let id = code & (RAFT_ID_END - 1);
            match code - id {
                0 => {
                    members.voters.push(id);
                    members.leaving.extend(is_joint.then_some(id));
                }
                COMES => members.voters.push(id),
                LEAVES => members.leaving.push(id),
                LEARNS => members.learners.push(id),
                _ => return None,
            }
        }
        let members = members.in_order();
        let all = members.all();
        let is_whole = all.len() == codes.len() && !all.contains(&0) && !members.voters.is_empty();
        (is_whole && is_joint != members.leaving.is_empty()).then_some(members)
    }

    pub(crate) fn to_raft(&self) -> ConfState {
        ConfState {
            voters: self.voters.clone(),
            voters_outgoing: self.leaving.clone(),
            learners: self.learners.clone(),
            ..ConfState::default()
        }
    }

    pub(crate) fn from_raft(state: &ConfState) -> Members {
        let ConfState { voters, voters_outgoing, learners, .. } = state.clone();
        Members { voters, leaving: voters_outgoing, learners }.in_order()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(voters: &[u64], leaving: &[u64], learners: &[u64]) -> Members {
        Members { voters: voters.to_vec(), leaving: leaving.to_vec(), learners: learners.to_vec() }
    }

    #[test]
    fn a_list_of_voters_is_what_it_always_was() {
        assert_eq!(members(&[1, 2, 3], &[], &[]).codes(), [1, 2, 3]);
        assert_eq!(Members::from_codes(&[3, 1, 2]), Some(Members::of_voters(vec![1, 2, 3])));
    }

    #[test]
    fn everything_reads_back() {
        let far = RAFT_ID_END - 1;
        for members in [
            members(&[1], &[], &[]),
            members(&[1, 2, 3], &[], &[4, far]),
            members(&[1, 2, 4], &[1, 2, 3], &[]),
            members(&[1, 2, 3, 4], &[1, 2, 3], &[9]),
            members(&[1, 2], &[1, 2, 3], &[]),
            members(&[4], &[3], &[]),
        ] {
            assert_eq!(Members::from_codes(&members.codes()), Some(members));
        }
    }

    #[test]
    fn what_is_no_group_is_refused() {
        for codes in [
            &[][..],
            &[0],
            &[1, 1],
            &[1, 1 | LEARNS],
            &[1 | LEARNS],
            &[1 | LEAVES],
            &[1, 2 | LEARNS | LEAVES],
            &[1, LEARNS],
            &[1 | COMES],
        ] {
            assert_eq!(Members::from_codes(codes), None, "{codes:x?}");
        }
        let many: Vec<u64> = (1..=MEMBERS_MAX as u64 + 1).collect();
        assert_eq!(Members::from_codes(&many), None);
    }
}
