//! Changes of the voter set, one voter at a time, in an own bounded form: raft's protobuf is never read from disk or
//! network. A change takes effect when its entry is applied, in `Group::ready`.
//!
//! Form: version 1, operation (1 add, 2 remove), voter id as eight bytes, big endian.

use bytes::Bytes;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2};

/// One step of the voter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// This Raft id votes from now on.
    AddVoter(u64),
    /// This Raft id does not.
    RemoveVoter(u64),
}

/// A change that is not in the form above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unreadable change of voters")]
pub struct ChangeError;

const VERSION: u8 = 1;
const ADD: u8 = 1;
const REMOVE: u8 = 2;
const SIZE: usize = 10;

impl Change {
    /// The descriptor of its log entry.
    pub fn encode(&self) -> Bytes {
        let (operation, voter) = match self {
            Change::AddVoter(voter) => (ADD, voter),
            Change::RemoveVoter(voter) => (REMOVE, voter),
        };
        let mut form = [VERSION, operation, 0, 0, 0, 0, 0, 0, 0, 0];
        form[2..].copy_from_slice(&voter.to_be_bytes());
        Bytes::copy_from_slice(&form)
    }

    /// Reads a descriptor that came from disk or network.
    pub fn parse(form: &[u8]) -> Result<Change, ChangeError> {
        let form: &[u8; SIZE] = form.try_into().map_err(|_| ChangeError)?;
        let [version, operation, voter @ ..] = form;
        let voter = u64::from_be_bytes(*voter);
        match (*version, *operation) {
            (VERSION, ADD) if voter > 0 => Ok(Change::AddVoter(voter)),
            (VERSION, REMOVE) if voter > 0 => Ok(Change::RemoveVoter(voter)),
            _ => Err(ChangeError),
        }
    }

    pub(crate) fn to_raft(self) -> ConfChangeV2 {
        let mut single = ConfChangeSingle::default();
        match self {
            Change::AddVoter(voter) => {
                single.set_change_type(ConfChangeType::AddNode);
                single.node_id = voter;
            }
            Change::RemoveVoter(voter) => {
                single.set_change_type(ConfChangeType::RemoveNode);
                single.node_id = voter;
            }
        }
        let mut change = ConfChangeV2::default();
        change.mut_changes().push(single);
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_wrote_and_nothing_else() {
        for change in [Change::AddVoter(7), Change::RemoveVoter(u64::MAX)] {
            let form = change.encode();
            assert_eq!(Change::parse(&form), Ok(change));
            assert_eq!(Change::parse(&form[..9]), Err(ChangeError));
        }
        assert_eq!(Change::parse(&[1, 3, 0, 0, 0, 0, 0, 0, 0, 1]), Err(ChangeError));
        assert_eq!(Change::parse(&[2, 1, 0, 0, 0, 0, 0, 0, 0, 1]), Err(ChangeError));
        assert_eq!(Change::parse(&[1, 1, 0, 0, 0, 0, 0, 0, 0, 0]), Err(ChangeError));
    }
}
