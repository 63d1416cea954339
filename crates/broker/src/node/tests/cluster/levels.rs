//! Nodes of different versions: what they say to each other, and when the cluster's protocol level rises.

use super::{Cluster, NODES};
use crate::level::{NEWEST, OLDEST};
use std::time::Duration;

fn levels(cluster: &Cluster) -> Vec<u16> {
    cluster.places.iter().filter_map(|place| Some(place.node.as_ref()?.level())).collect()
}

/// One node after the other is stopped and started with a newer version, while the cluster serves. The level rises when the last
/// one is there, and from then on an older version is refused.
#[test]
fn a_rolling_upgrade_ends_at_the_new_level() {
    let mut c = Cluster::new(7);
    for at in 0..NODES {
        c.kill(at);
        c.places[at].level = OLDEST;
        c.start(at);
    }
    c.all_ready();
    assert!(c.create(0, "a", 3).is_some());
    for at in 0..NODES {
        c.run_for(Duration::from_secs(2));
        assert_eq!(levels(&c), [OLDEST; NODES], "not every node knows more");
        c.kill(at);
        c.places[at].level = NEWEST;
        c.start(at);
        c.all_ready();
    }
    c.until("the level rises on all nodes", |c| levels(c) == [NEWEST; NODES]);
    c.run_for(Duration::from_secs(1));
    c.kill(2);
    c.places[2].level = OLDEST;
    c.may_stop = Some(2);
    c.start(2);
    c.until("the older version stops", |c| c.stopped.is_some());
    let why = c.stopped.clone().unwrap_or_default();
    assert!(why.contains("newer version of Sternpost"), "{why}");
}

/// A node that is away may come back with an older version: nothing rises without it.
#[test]
fn the_level_waits_for_nodes_that_are_away() {
    let mut c = Cluster::new(8);
    for at in 0..NODES {
        c.kill(at);
        c.places[at].level = if at == 2 { OLDEST } else { NEWEST };
        c.start(at);
    }
    c.all_ready();
    c.kill(2);
    c.run_for(Duration::from_secs(3));
    assert_eq!(levels(&c), [OLDEST; NODES - 1]);
}
