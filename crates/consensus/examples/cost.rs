//! What consensus itself costs: a proposal's whole cycle on a node of one, and many idle groups on three nodes.
//! Run with `cargo run --release -p consensus --example cost`.

use bytes::Bytes;
use consensus::{Config, Group, Message, Restored, decode, encode};
use model::{Payload, ShardId};
use std::time::{Duration, Instant};

const CYCLES: u32 = 500_000;
const GROUPS: u32 = 256;
const IDLE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(50);

fn settle(group: &mut Group) -> usize {
    let mut committed = 0;
    while let Some(ready) = group.ready() {
        committed += ready.committed.len();
        if ready.needs_persist() {
            group.on_persisted(ready.number);
        }
    }
    committed
}

fn cycle(batch: u32) {
    let mut group =
        Group::new(Config::new(ShardId(1), 1, vec![1]), Restored::default()).expect("a fresh disk");
    settle(&mut group);
    let (descriptor, payload) = (Bytes::from(vec![1; 32]), Bytes::from(vec![2; 1024]));
    let (start, mut committed) = (Instant::now(), 0);
    for _ in 0..CYCLES / batch {
        for _ in 0..batch {
            group.propose(descriptor.clone(), Payload::from(payload.clone())).expect("it leads");
        }
        committed += settle(&mut group);
    }
    assert_eq!(committed as u32, CYCLES / batch * batch);
    let each = start.elapsed().as_nanos() / u128::from(CYCLES);
    println!(
        "node of one, {batch} proposals a round: {each} ns per proposal (propose, ready, on_persisted, ready)"
    );
}

fn idle() {
    let group = |shard, node| {
        let config = Config { seed: 1, ..Config::new(ShardId(shard), node, vec![1, 2, 3]) };
        Group::new(config, Restored::default()).expect("a fresh disk")
    };
    let mut nodes: Vec<Vec<Group>> =
        (1..=3).map(|node| (0..GROUPS).map(|shard| group(shard, node)).collect()).collect();
    for shard in 0..GROUPS as usize {
        nodes[shard % 3][shard].campaign();
    }
    let mut frames = 0u64;
    exchange(&mut nodes, &mut frames);
    assert!((0..GROUPS as usize).all(|shard| nodes[shard % 3][shard].is_settled_leader()));
    frames = 0;
    let ticks = (IDLE.as_millis() / TICK.as_millis()) as u32;
    let start = Instant::now();
    for _ in 0..ticks {
        nodes.iter_mut().flatten().for_each(Group::tick);
        exchange(&mut nodes, &mut frames);
    }
    let share = start.elapsed().as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    println!(
        "{GROUPS} idle groups, three nodes, ticks of 50 ms: {share:.2} % of a core for all three, {:.2} % per node, {} frames a second",
        share / 3.0,
        frames / IDLE.as_secs()
    );
}

/// Every message is encoded, decoded and taken, until none is left.
fn exchange(nodes: &mut [Vec<Group>], frames: &mut u64) {
    loop {
        let mut sent: Vec<Message> = Vec::new();
        for group in nodes.iter_mut().flatten() {
            while let Some(ready) = group.ready() {
                if ready.needs_persist() {
                    group.on_persisted(ready.number);
                }
                sent.extend(ready.send);
            }
        }
        if sent.is_empty() {
            return;
        }
        for message in sent {
            *frames += 1;
            let message = decode(encode(&message).concat().into()).expect("read back");
            let (node, shard) = (message.to as usize - 1, message.shard.0 as usize);
            nodes[node][shard].step(message).expect("understood");
        }
    }
}

fn main() {
    cycle(1);
    cycle(64);
    idle();
}
