//! Disks that wait, take part and give their place away.

use super::history::{entry, options};
use super::memory::{Fault, MemoryDisk};
use crate::{Claimed, Identity, OpenError, Options, Standing, claim, open};
use model::job::WalAppend;
use model::{DiskId, HardState, LogIndex, ShardId, Term};
use std::collections::BTreeMap;
use std::sync::Arc;

const FIRST: DiskId = DiskId([1; 16]);
const SECOND: DiskId = DiskId([2; 16]);

fn claimed(disk: &MemoryDisk, fresh: DiskId) -> Claimed<MemoryDisk> {
    claim(Arc::new(disk.clone()), Options { disk: Some(fresh), ..options(None) }).expect("it can be taken")
}

/// A disk that takes part and has an entry.
fn used() -> MemoryDisk {
    let disk = MemoryDisk::default();
    let mut node = claimed(&disk, FIRST);
    node.take_part(0, &BTreeMap::new()).expect("it is durable");
    let mut node = node.open().expect("it takes part");
    let vote = HardState { term: Term(1), vote: 1, commit: LogIndex(0) };
    let entries = vec![entry(ShardId(1), 1, 1, 7, 900)];
    node.wal.append(WalAppend { entries, hard_states: vec![(ShardId(1), vote)] }).expect("appended");
    disk
}

fn names_of_a_replica(disk: &MemoryDisk) -> Vec<String> {
    let ours = |name: &String| ["wal/", "segments/", "checkpoint."].iter().any(|of| name.starts_with(of));
    disk.files().into_iter().filter(ours).collect()
}

#[test]
fn a_new_disk_waits_under_one_id_until_it_is_named() {
    let disk = MemoryDisk::default();
    let first = *claimed(&disk, FIRST).identity();
    assert_eq!((first.disk, first.standing), (Some(FIRST), Standing::Waits { replaces: None }));
    let disk = disk.after_power_cut(0);
    let mut node = claimed(&disk, SECOND);
    assert_eq!(*node.identity(), first, "another start draws another id in vain");
    let with_id = Options { disk: Some(SECOND), ..options(None) };
    let opened = open(Arc::new(disk.clone()), with_id).expect("there is nothing to open");
    assert_eq!((opened.identity, opened.recovered.entries.len()), (first, 0));
    drop(opened);
    assert!(names_of_a_replica(&disk).is_empty());
    node.take_part(3, &BTreeMap::new()).expect("it is durable");
    let disk = disk.after_power_cut(1);
    let identity = open(Arc::new(disk.clone()), with_id).expect("it takes part").identity;
    let named = Identity { replica: 3, standing: Standing::TakesPart, incarnation: 1, ..first };
    assert_eq!(identity, named);
}

#[test]
fn a_disk_from_before_ids_gets_one_when_nobody_goes_back() {
    let disk = MemoryDisk::default();
    assert_eq!(open(Arc::new(disk.clone()), options(None)).expect("opens").identity.disk, None);
    assert_eq!(disk.bytes("identity").len(), 48, "as the version before reads it");
    let newer = |disk: &MemoryDisk, id| {
        let options = Options { disk: Some(id), ..options(None) };
        open(Arc::new(disk.clone()), options).expect("it takes part, as before").identity
    };
    let identity = newer(&disk, FIRST);
    assert_eq!((identity.disk, identity.replica, identity.incarnation), (Some(FIRST), 0, 2));
    assert_eq!(newer(&disk, SECOND).disk, Some(FIRST));
    assert_eq!(open(Arc::new(disk.clone()), options(None)).expect("opens").identity.disk, Some(FIRST));
}

/// Wherever it dies on the way: what was there takes part as it was, or waits and holds nothing, for good.
#[test]
fn a_disk_gives_its_place_away_in_one_step() {
    for takes_over in [true, false] {
        let mut outcomes = [0, 0];
        for after in 1.. {
            let disk = used();
            let mut node = claimed(&disk, SECOND);
            disk.fail_after(after, Fault::Die);
            let went_through = node.renounce(SECOND, takes_over).is_ok();
            for seed in 0..4 {
                let cut = if seed == 0 { disk.after_process_crash() } else { disk.after_power_cut(seed) };
                let again = claimed(&cut, DiskId([3; 16]));
                let identity = *again.identity();
                match identity.standing {
                    Standing::TakesPart => {
                        assert!(!went_through, "call {after}, seed {seed}");
                        assert_eq!(identity.disk, Some(FIRST));
                        let recovered = again.open().expect("whole").recovered;
                        assert_eq!((recovered.damage, recovered.entries[0].1.len()), (None, 1));
                        outcomes[0] += 1;
                    }
                    Standing::Waits { replaces } => {
                        assert_eq!((identity.disk, replaces), (Some(SECOND), takes_over.then_some(FIRST)));
                        let cut = cut.after_power_cut(seed);
                        assert_eq!(
                            names_of_a_replica(&cut),
                            Vec::<String>::new(),
                            "call {after}, seed {seed}"
                        );
                        let mut again = claimed(&cut, DiskId([4; 16]));
                        again.take_part(1, &BTreeMap::new()).expect("it is durable");
                        let opened = again.open().expect("empty");
                        assert!(
                            opened.recovered.entries.is_empty() && opened.recovered.hard_states.is_empty()
                        );
                        assert!(cut.files().iter().any(|name| name.starts_with("quarantine/")) || seed > 0);
                        outcomes[1] += 1;
                    }
                }
            }
            if went_through {
                break;
            }
        }
        assert!(outcomes.iter().all(|count| *count > 3), "{outcomes:?}");
    }
}

/// An error of the device on the way is told, and the next start goes on.
#[test]
fn a_failed_step_is_told() {
    let disk = used();
    let mut node = claimed(&disk, SECOND);
    disk.fail_after(3, Fault::Io);
    assert!(matches!(node.renounce(SECOND, true), Err(OpenError::Io(_))));
    let disk = MemoryDisk::default();
    let mut node = claimed(&disk, FIRST);
    disk.fail_after(2, Fault::Io);
    assert!(matches!(node.take_part(0, &BTreeMap::new()), Err(OpenError::Io(_))));
    assert_eq!(node.identity().standing, Standing::Waits { replaces: None });
}
