//! What a producer hears of batches that are not taken.

use super::*;

impl Cluster {
    /// How a node answers one batch.
    fn refusal(&mut self, at: usize, producer: (i64, i32)) -> ErrorCode {
        let response = self.try_write(at, "a", 0, producer, 0).expect("the node lives");
        response.topics[0].partitions[0].refusal.code
    }

    fn led_elsewhere(&mut self, old: usize) -> usize {
        let serves = |place: &Place| {
            let mut shards = place.node.iter().flat_map(|node| &node.shards);
            shards.any(|shard| shard.serving && !shard.partitions.is_empty())
        };
        let mut leader = old;
        self.until("another node leads", |c| {
            leader = (0..NODES).find(|at| *at != old && serves(&c.places[*at])).unwrap_or(old);
            leader != old
        });
        leader
    }
}

/// A leader that was stopped for a while lacks what its successor took, and does not know yet that it has one. Were it to say that
/// what the producer sends next is out of order, librdkafka would number anew what others have on disk already.
#[test]
fn a_leader_that_slept_refuses_nothing_by_what_it_remembers() {
    let mut c = Cluster::new(3);
    c.all_ready();
    assert_eq!(c.create(0, "a", 1), Some(ErrorCode::None));
    assert_eq!(c.write("a", 0, (9, 0), 0), 0);
    let old = c.leader("a", 0).expect("it was written to");
    c.paused.insert(old);
    let leader = c.led_elsewhere(old);
    for sequence in 1..4 {
        assert_eq!(c.refusal(leader, (9, sequence)), ErrorCode::None);
    }
    c.paused.clear();
    assert_eq!(c.refusal(old, (9, 4)), ErrorCode::NotLeaderOrFollower);
    assert_eq!(c.refusal(leader, (9, 5)), ErrorCode::OutOfOrderSequenceNumber, "who leads says so");
    assert_eq!(c.refusal(leader, (9, 4)), ErrorCode::None);
}

/// A node begins to lead between two batches on their way to it.
#[test]
fn what_comes_behind_a_batch_that_came_too_early_is_not_out_of_order() {
    let mut c = Cluster::new(5);
    c.all_ready();
    assert_eq!(c.create(0, "a", 1), Some(ErrorCode::None));
    assert_eq!(c.write("a", 0, (9, 0), 0), 0);
    let old = c.leader("a", 0).expect("it was written to");
    for other in (0..NODES).filter(|other| *other != old) {
        assert_eq!(c.refusal(other, (9, 1)), ErrorCode::NotLeaderOrFollower);
    }
    c.kill(old);
    let leader = c.led_elsewhere(old);
    assert_eq!(c.refusal(leader, (9, 2)), ErrorCode::NotLeaderOrFollower, "as the one before it");
    assert_eq!(c.refusal(leader, (8, 2)), ErrorCode::None, "another producer");
    for sequence in 1..3 {
        assert_eq!(c.refusal(leader, (9, sequence)), ErrorCode::None);
    }
    assert_eq!(c.refusal(leader, (9, 9)), ErrorCode::OutOfOrderSequenceNumber);
}
