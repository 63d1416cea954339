//! Disks that are lost, replaced and put back.

use super::*;
use crate::peer::raft_id;
use consensus::Members;

impl Cluster {
    /// Three empty disks with ids.
    fn of_new_disks(seed: u64) -> Cluster {
        let mut c = Cluster::with(seed, 3000);
        for at in 0..NODES {
            c.kill(at);
            c.lose_disk(at, None);
        }
        (0..NODES).for_each(|at| c.start(at));
        c
    }

    /// An empty disk in the place of a node's, which does not run.
    pub(super) fn lose_disk(&mut self, at: usize, replaces: Option<DiskId>) {
        let disk = (u128::from(self.random.next_u64()) << 64 | 1).to_be_bytes();
        let place = &mut self.places[at];
        place.disk = MemoryDisk::default();
        place.owner = Owner {
            disk: Some(DiskId(disk)),
            replica: place.owner.replica,
            waits: Some(Waits { replaces }),
            founders: BTreeMap::new(),
        };
    }

    fn fill(&mut self, from: i64, to: i64) {
        for mark in from..to {
            assert_eq!(self.write("a", 0, (9, mark as i32), mark), mark);
        }
    }

    fn remove_voter(&mut self, at: usize, node: NodeId, disk: Option<DiskId>) -> Refusal {
        let request = RemoveRaftVoter { cluster_id: Some("test".into()), node, disk };
        match self.call(at, Request::RemoveRaftVoter(request)) {
            Some(Response::RemoveRaftVoter(response)) => response.refusal,
            other => panic!("{other:?}"),
        }
    }

    fn quorum(&mut self, at: usize) -> DescribeQuorumResponse {
        match self.call(at, Request::DescribeQuorum(DescribeQuorum {})) {
            Some(Response::DescribeQuorum(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    /// A person's word, at any node that is ready and knows the disk that waits.
    fn replace(&mut self, at: usize) {
        let disk = self.places[at].owner.disk;
        let node = NodeId(at as i32 + 1);
        let asked = (0..NODES).find(|at| is_ready(self, *at)).expect("somebody is ready");
        self.until("the disk is seen to wait", |c| {
            c.quorum(asked).observers.iter().any(|it| (it.node, it.disk) == (node, disk))
        });
        let before = self.quorum(asked).voters.iter().find(|it| it.node == node).expect("a voter").disk;
        assert_eq!(self.remove_voter(asked, node, before), Refusal::OK);
    }

    fn all_named(&mut self) {
        let names = |node: &Node| (1..=3).all(|id| node.catalog.disks().named(NodeId(id)).is_some());
        self.until("all are named", |c| c.places.iter().all(|place| place.node.as_ref().is_some_and(names)));
    }

    /// Waits until every shard has these voters and nobody else, at every node.
    fn all_have_members(&mut self, replicas: [u32; NODES]) {
        let ids = (1..).zip(replicas).map(|(node, replica)| raft_id(NodeId(node), replica)).collect();
        let members = Members::of_voters(ids);
        let have = |place: &Place| {
            let node = place.node.as_ref();
            node.is_some_and(|node| node.shards.iter().all(|shard| shard.group.members() == members))
        };
        self.until("all shards have the members", |c| c.places.iter().all(have));
    }
}

fn says(refusal: &Refusal, words: &str) -> bool {
    refusal.message.as_ref().is_some_and(|message| message.contains(words))
}

fn conditions(c: &Cluster, at: usize) -> String {
    c.places[at].node.as_ref().map(|node| node.status().conditions.join("; ")).unwrap_or_default()
}

fn is_ready(c: &Cluster, at: usize) -> bool {
    c.places[at].node.as_ref().is_some_and(|node| node.status().ready)
}

#[test]
fn a_new_cluster_begins_when_all_wait() {
    for seed in 0..5 {
        let mut c = Cluster::of_new_disks(seed);
        c.all_ready();
        c.all_named();
        assert_eq!(c.create(0, "a", 1), Some(ErrorCode::None));
        c.fill(0, 5);
        // Who comes back with its disk waits for nobody.
        c.kill(1);
        c.start(1);
        c.all_ready();
        c.fill(5, 6);
    }
}

/// One that is stopped when the others begin takes part when it is back, for they had heard of it.
#[test]
fn a_founder_may_come_late() {
    for seed in 0..5 {
        let mut c = Cluster::of_new_disks(seed);
        let waits = |c: &Cluster, at: usize| c.places[at].owner.waits.is_some();
        c.until("somebody begins", |c| (0..NODES).any(|at| !waits(c, at)));
        if let Some(late) = (0..NODES).find(|at| waits(&c, *at)) {
            c.kill(late);
            c.run_for(Duration::from_secs(2));
            c.start(late);
        }
        c.all_ready();
    }
}

/// The others die when one has begun, and before they have: that one alone is no majority, and knows whom it began with. (`sim --world
/// three --seed 8390` once.)
#[test]
fn a_founder_that_begins_alone_takes_the_others_along() {
    let mut seen = 0;
    for seed in 0..5 {
        let mut c = Cluster::of_new_disks(seed);
        let waiting = |c: &Cluster| (0..NODES).filter(|at| c.places[*at].owner.waits.is_some()).collect();
        c.until("somebody begins", |c| Vec::len(&waiting(c)) < NODES);
        let late: Vec<usize> = waiting(&c);
        seen += usize::from(late.len() + 1 == NODES);
        late.iter().for_each(|at| c.kill(*at));
        c.run_for(Duration::from_secs(2));
        late.iter().for_each(|at| c.start(*at));
        c.all_ready();
    }
    assert!(seen > 0);
}

/// Two of three empty disks do not make a cluster: the third may have been lost.
#[test]
fn a_new_cluster_does_not_begin_without_all() {
    let mut c = Cluster::of_new_disks(1);
    c.kill(2);
    c.run_for(Duration::from_secs(5));
    assert!((0..2).all(|at| !is_ready(&c, at) && conditions(&c, at).contains("begins when node 3 is up")));
    assert!(c.logged.keys().any(|line| line.contains("a new cluster begins when node")), "{:?}", c.logged);
    c.start(2);
    c.all_ready();
}

#[test]
fn an_empty_disk_takes_no_part_before_it_is_named() {
    for seed in 0..5 {
        let mut c = Cluster::of_new_disks(seed);
        c.all_ready();
        assert_eq!(c.create(0, "a", 1), Some(ErrorCode::None));
        c.fill(0, 30);
        c.kill(2);
        c.lose_disk(2, None);
        c.start(2);
        c.fill(30, 40);
        c.run_for(Duration::from_secs(4));
        assert!(!is_ready(&c, 2));
        assert!(conditions(&c, 2).contains("`sternpost cluster replace-node 3` gives its place"));
        assert!(conditions(&c, 0).contains("node 3 waits: its disk takes no part"));
        // With another one gone it does not help to a majority.
        c.kill(1);
        c.run_for(Duration::from_secs(4));
        assert!(!is_ready(&c, 2));
        let refused = c.try_write(0, "a", 0, (9, 40), 40).expect("it lives");
        assert!(!refused.topics[0].partitions[0].refusal.is_ok());
        c.start(1);
        c.until("it leads again", |c| is_ready(c, 1));
        assert!(c.try_write(2, "a", 0, (9, 40), 40).is_none(), "its clients are sent away");
        c.replace(2);
        c.all_have_members([0, 0, 1]);
        c.all_ready();
        // Now it is one of a majority, and has all.
        c.kill(0);
        c.fill(40, 50);
        c.start(0);
        c.all_ready();
        let marks: Vec<i64> = c.read("a", 0).iter().map(|batch| batch.header().base_timestamp).collect();
        assert_eq!(marks, (0..50).collect::<Vec<i64>>(), "seed {seed}");
        // The same node once more, and then another one.
        for (at, replicas) in [(2, [0, 0, 2]), (0, [1, 0, 2])] {
            c.kill(at);
            c.lose_disk(at, None);
            c.start(at);
            c.run_for(Duration::from_secs(1));
            c.replace(at);
            c.all_have_members(replicas);
            c.all_ready();
        }
        c.fill(50, 55);
    }
}

/// What was damaged and emptied itself needs no person.
#[test]
fn a_disk_that_gave_itself_up_comes_back_as_the_next_replica() {
    let mut c = Cluster::of_new_disks(4);
    c.all_ready();
    assert_eq!(c.create(0, "a", 1), Some(ErrorCode::None));
    c.fill(0, 20);
    c.kill(1);
    let before = c.places[1].owner.disk;
    c.lose_disk(1, before);
    c.start(1);
    c.all_have_members([0, 1, 0]);
    c.all_ready();
    c.kill(0);
    c.fill(20, 25);
}

/// A disk whose place another one has is sent away before it counts for anything.
#[test]
fn a_disk_that_was_replaced_is_sent_away() {
    let mut c = Cluster::of_new_disks(6);
    c.all_ready();
    assert_eq!(c.create(0, "a", 1), Some(ErrorCode::None));
    c.fill(0, 20);
    c.kill(2);
    let (old, owner) = (std::mem::take(&mut c.places[2].disk), c.places[2].owner.clone());
    c.lose_disk(2, None);
    c.start(2);
    c.run_for(Duration::from_secs(1));
    c.replace(2);
    c.all_have_members([0, 0, 1]);
    c.fill(20, 30);
    c.kill(2);
    (c.places[2].disk, c.places[2].owner) = (old, owner);
    c.start(2);
    c.until("it waits", |c| c.places[2].owner.waits.is_some());
    assert!(c.logged.keys().any(|line| line.contains("another disk has taken this one's place")));
    c.run_for(Duration::from_secs(2));
    assert!(!is_ready(&c, 2));
    c.replace(2);
    c.all_have_members([0, 0, 2]);
    c.fill(30, 35);
}

#[test]
fn a_word_that_cannot_be_followed_says_why() {
    let mut c = Cluster::of_new_disks(8);
    c.all_ready();
    c.all_named();
    let quorum = c.quorum(0);
    let before = quorum.voters[2].disk;
    assert_eq!((before, quorum.observers.len()), (c.places[2].owner.disk, 0));
    for at in 0..NODES {
        let refused = c.remove_voter(at, NodeId(3), before);
        assert_eq!(refused.code, ErrorCode::InvalidRequest);
        assert!(says(&refused, "start that node on an empty data directory"), "{refused:?}");
    }
    c.kill(2);
    c.lose_disk(2, None);
    c.start(2);
    let fresh = c.places[2].owner.disk;
    c.until("it is seen to wait", |c| c.quorum(0).observers.iter().any(|it| it.disk == fresh));
    for (node, disk, why) in [
        (NodeId(7), before, "there is no node 7; this cluster's are 1, 2, 3"),
        (NodeId(3), fresh, "takes part for node 3"),
        (NodeId(3), None, "takes part for node 3"),
    ] {
        let refused = c.remove_voter(0, node, disk);
        assert!(refused.code == ErrorCode::VoterNotFound && says(&refused, why), "{refused:?}");
    }
    let cluster_id = Some("another".into());
    let request = RemoveRaftVoter { cluster_id, node: NodeId(3), disk: before };
    let Some(Response::RemoveRaftVoter(refused)) = c.call(1, Request::RemoveRaftVoter(request)) else {
        panic!("no answer")
    };
    assert_eq!(refused.refusal.code, ErrorCode::InconsistentClusterId);
    assert_eq!(c.remove_voter(1, NodeId(3), before), Refusal::OK);
    c.all_have_members([0, 0, 1]);
    let quorum = c.quorum(1);
    assert_eq!((quorum.voters[2].disk, quorum.observers.len()), (fresh, 0));
    assert_eq!(c.remove_voter(0, NodeId(3), before).code, ErrorCode::VoterNotFound, "once is enough");
}

#[test]
fn disks_are_not_replaced_before_every_node_knows_how() {
    let mut c = Cluster::new(3);
    (0..NODES).for_each(|at| c.places[at].level = 2);
    (0..NODES).for_each(|at| c.kill(at));
    (0..NODES).for_each(|at| c.start(at));
    c.all_ready();
    let refused = c.remove_voter(1, NodeId(3), None);
    assert_eq!(refused.code, ErrorCode::UnsupportedVersion);
    assert!(says(&refused, "upgrade every node"), "{refused:?}");
}
