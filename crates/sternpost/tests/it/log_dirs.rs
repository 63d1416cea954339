//! What a running node tells of its data directory.

use crate::node::{Client, Node, PATIENCE};
use kafka::message::describe_log_dirs::DescribeLogDirsRequest;
use std::time::Instant;

/// First version that tells the volume's sizes.
const WITH_VOLUME: i16 = 4;

#[test]
fn the_data_directory_and_its_volume() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let node = Node::start(&data, &[]);
    let mut client = Client::new(node.connect());
    client.make_topic("flights");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told = client.ask(&DescribeLogDirsRequest { topics: None }, WITH_VOLUME);
        let dir = &told.results[0];
        assert_eq!((told.error_code, told.results.len(), dir.error_code), (0, 1, 0));
        assert_eq!(&*dir.log_dir, data.to_str().unwrap());
        assert_eq!((&*dir.topics[0].name, dir.topics[0].partitions.len()), ("flights", 1));
        if dir.total_bytes > 0 {
            assert!((0..=dir.total_bytes).contains(&dir.usable_bytes), "{dir:?}");
            break;
        }
        assert_eq!((dir.total_bytes, dir.usable_bytes), (-1, -1), "unknown at first");
        assert!(Instant::now() < deadline, "the volume is never looked at");
    }
}
