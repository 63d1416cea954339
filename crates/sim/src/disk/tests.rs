//! The faults do what they are for, and a seed gives the same ones twice.

use super::*;
use std::collections::BTreeSet;

const ROOMY: u64 = 1 << 30;

fn write(file: &SimFile, offset: u64, bytes: &[u8]) -> io::Result<()> {
    file.write_at(offset, &[IoSlice::new(bytes)])
}

fn read(disk: &SimDisk, path: &str) -> Vec<u8> {
    let file = disk.open_read(path).expect("open");
    let mut bytes = vec![0; file.len().expect("length") as usize];
    assert_eq!(file.read_at(0, &mut bytes).expect("read"), bytes.len());
    bytes
}

fn restart_after(disk: &SimDisk, crash: Crash) -> SimDisk {
    disk.crash(crash);
    disk.restart()
}

#[test]
fn a_process_crash_keeps_the_cache_and_kills_the_handles() {
    let disk = SimDisk::new(1, ROOMY);
    let file = disk.create("a").expect("create");
    write(&file, 0, b"unsynced").expect("write");
    let next = restart_after(&disk, Crash::Process);
    assert_eq!(read(&next, "a"), b"unsynced");
    assert_eq!(write(&file, 0, b"x").expect_err("dead").to_string(), CRASHED);
    assert!(disk.exists("a").is_err());
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_any_part_of_the_rest() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..400 {
        let disk = SimDisk::new(seed, ROOMY);
        let file = disk.create("a").expect("create");
        write(&file, 0, &[1; 4096]).expect("write");
        file.sync_data().expect("sync");
        disk.sync_dir("").expect("sync names");
        write(&file, 4096, &[2; 8192]).expect("write");
        let next = restart_after(&disk, Crash::Power);
        let bytes = read(&next, "a");
        assert_eq!(&bytes[..4096], &[1; 4096], "synced bytes stay");
        let new = bytes[4096..].iter().filter(|byte| **byte == 2).count();
        let other = bytes[4096..].iter().any(|byte| !matches!(byte, 0 | 2));
        outcomes.insert(match (new, other) {
            (_, true) => "garbled",
            (0, _) => "all lost",
            (8192, _) => "all kept",
            (new, _) if new % 512 == 0 => "whole sectors",
            _ => "shorn",
        });
    }
    assert_eq!(outcomes.len(), 5, "{outcomes:?}");
}

#[test]
fn names_without_a_directory_sync_are_kept_or_lost_each_for_itself() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..200 {
        let disk = SimDisk::new(seed, ROOMY);
        for name in ["old", "gone"] {
            write(&disk.create(name).expect("create"), 0, name.as_bytes()).expect("write");
        }
        disk.sync_all().expect("sync");
        disk.rename("old", "new").expect("rename");
        disk.unlink("gone").expect("unlink");
        disk.create("made").expect("create").sync_data().expect("sync");
        let next = restart_after(&disk, Crash::Power);
        let there: Vec<bool> =
            ["old", "new", "gone", "made"].iter().map(|name| next.exists(name).expect("look")).collect();
        assert_ne!(there[0], there[1], "a rename is one step");
        outcomes.insert(there);
    }
    assert_eq!(outcomes.len(), 8, "three changes, each kept or lost");

    let disk = SimDisk::new(9, ROOMY);
    disk.create_dir_all("d/e").expect("directories");
    ["", "d"].iter().for_each(|path| disk.sync_dir(path).expect("sync"));
    disk.create("d/e/f").expect("create");
    disk.sync_dir("d/e").expect("sync");
    let next = restart_after(&disk, Crash::Power);
    assert!(next.exists("d/e/f").expect("look"), "a synced directory keeps its names");
}

#[test]
fn after_a_failed_sync_the_next_one_says_yes_and_means_no() {
    let mut lost = 0;
    for seed in 0..50 {
        let disk = SimDisk::new(seed, ROOMY);
        let file = disk.create("a").expect("create");
        disk.sync_dir("").expect("sync names");
        file.allocate(4096).expect("allocate");
        file.sync_data().expect("sync");
        write(&file, 0, &[7; 4096]).expect("write");
        disk.set_faults(DiskFaults { sync_error: 10_000, ..DiskFaults::default() });
        file.sync_data().expect_err("the device fails");
        disk.set_faults(DiskFaults::default());
        file.sync_data().expect("the kernel has nothing to write");
        assert_eq!(read(&disk, "a"), [7; 4096], "readable from the cache");
        let next = restart_after(&disk, Crash::Power);
        lost += u32::from(read(&next, "a") != [7; 4096]);
    }
    assert!(lost > 20, "lost in {lost} of 50");
}

#[test]
fn space_runs_out_except_for_what_was_allocated() {
    let disk = SimDisk::new(3, 10 * PAGE_BYTES);
    let reserved = disk.create("reserved").expect("create");
    reserved.allocate(4 * PAGE_BYTES).expect("allocate");
    let other = disk.create("other").expect("create");
    assert_eq!(disk.free_bytes().expect("free"), 4 * PAGE_BYTES);
    let full = write(&other, 0, &[1; 6 * 4096]).expect_err("no space");
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    assert_eq!(other.allocate(64 * PAGE_BYTES).expect_err("no space").kind(), ErrorKind::StorageFull);
    assert_eq!(disk.create("third").expect_err("no space").kind(), ErrorKind::StorageFull);
    write(&reserved, 0, &[1; 4 * 4096]).expect("its space is its own");
    disk.unlink("other").expect("unlink");
    assert_eq!(disk.free_bytes().expect("free"), 5 * PAGE_BYTES);
}

#[test]
fn a_crash_strikes_at_its_call_and_everything_after_fails() {
    for calls in 1..4 {
        let disk = SimDisk::new(calls, ROOMY);
        disk.crash_at_call(calls, Crash::Process);
        let results = [disk.exists("a").is_ok(), disk.exists("a").is_ok(), disk.create("a").is_ok()];
        let expected: Vec<bool> = (1..=3).map(|call| call < calls).collect();
        assert_eq!(results.to_vec(), expected);
        assert_eq!(disk.crashed(), Some(Crash::Process));
    }
}

#[test]
fn one_process_holds_the_lock_and_a_restart_frees_it() {
    let disk = SimDisk::new(4, ROOMY);
    assert!(disk.lock().expect("lock"));
    assert!(!disk.clone().lock().expect("lock"));
    assert!(restart_after(&disk, Crash::Process).lock().expect("lock"));
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = |seed| {
        let disk = SimDisk::new(seed, ROOMY);
        let file = disk.create("a").expect("create");
        write(&file, 0, &[5; 20_000]).expect("write");
        let next = restart_after(&disk, Crash::Power);
        let bytes = next.exists("a").expect("look").then(|| read(&next, "a"));
        (bytes, next.trace_hash(), next.take_elapsed())
    };
    assert_eq!(run(11), run(11));
    assert!((0..20).map(run).collect::<Vec<_>>().windows(2).any(|pair| pair[0] != pair[1]));
}
