//! `controller.quorum.voters`: all nodes of a cluster with the addresses at which they reach each other, and what follows from
//! the list: where this node listens for the others, and which cluster a new data directory belongs to.

use super::node::{ListenerAddress, Reader, host_port};
use super::setting::split_list;
use model::{NodeId, TopicId};

/// Numbers of nodes that a cluster may have: odd ones, since an even one survives no more failures than the one below.
const COUNTS: [usize; 3] = [1, 3, 5];

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Its id.
    pub node: NodeId,
    /// Where other nodes reach it.
    pub address: ListenerAddress,
}

/// The nodes, sorted by id; empty for a node of one.
pub fn voters(read: &Reader<'_>, node: NodeId) -> Result<Vec<Voter>, String> {
    const NAME: &str = "controller.quorum.voters";
    let text = read.text(NAME).unwrap_or_default();
    let mut voters = Vec::new();
    for word in split_list(text) {
        voters.push(voter(word).ok_or_else(|| {
            format!("invalid value {word:?} in {NAME}: each entry must be node.id@host:port, as in 1@localhost:9192")
        })?);
    }
    if voters.is_empty() {
        return Ok(voters);
    }
    voters.sort_by_key(|voter| voter.node);
    if let Some(pair) = voters.windows(2).find(|pair| pair[0].node == pair[1].node) {
        return Err(format!("{NAME} names node {} twice", pair[0].node.0));
    }
    for (at, voter) in voters.iter().enumerate() {
        if let Some(other) = voters[..at].iter().find(|other| other.address == voter.address) {
            return Err(format!("{NAME} gives nodes {} and {} the same address", other.node.0, voter.node.0));
        }
    }
    if !COUNTS.contains(&voters.len()) {
        return Err(format!("{NAME} must name 1, 3 or 5 nodes, not {}", voters.len()));
    }
    if voters.len() > 1 && !read.is_set("node.id") && !read.is_set("broker.id") {
        return Err(format!(
            "{NAME} names {} nodes, and node.id must say which of them this one is",
            voters.len()
        ));
    }
    if !voters.iter().any(|voter| voter.node == node) {
        return Err(format!("node.id {} is not among the nodes of {NAME}: {text:?}", node.0));
    }
    // Kafka's form for a controller alone: there is nobody to talk to.
    if voters.len() == 1 {
        voters.clear();
    }
    Ok(voters)
}

fn voter(word: &str) -> Option<Voter> {
    let (node, address) = word.split_once('@')?;
    let node = node.parse::<i32>().ok().filter(|node| *node >= 0)?;
    let address = host_port(address).filter(|address| !address.host.is_empty() && address.port != 0)?;
    Some(Voter { node: NodeId(node), address })
}

/// Where this node listens for the others; `None` for a node of one.
pub fn peer_listener(
    read: &Reader<'_>,
    voters: &[Voter],
    node: NodeId,
) -> Result<Option<ListenerAddress>, String> {
    const NAME: &str = "sternpost.peer.listener";
    let Some(own) = voters.iter().find(|voter| voter.node == node) else { return Ok(None) };
    match read.text(NAME) {
        None => Ok(Some(own.address.clone())),
        Some(text) => host_port(text)
            .map(Some)
            .ok_or_else(|| format!("invalid value {text:?} for {NAME}: it must be host:port")),
    }
}

/// `sternpost.cluster.id`, when it is set.
pub fn cluster_id(read: &Reader<'_>) -> Result<Option<[u8; 16]>, String> {
    const NAME: &str = "sternpost.cluster.id";
    let Some(text) = read.text(NAME) else { return Ok(None) };
    match TopicId::from_base64(text) {
        Some(TopicId(id)) => Ok(Some(id)),
        None => Err(format!(
            "invalid value {text:?} for {NAME}: it must be 22 characters of base64, as `sternpost serve` prints them"
        )),
    }
}

/// The cluster that new data directories of these nodes belong to: the same for each of them.
pub fn cluster_of(voters: &[Voter]) -> [u8; 16] {
    // FNV-1a. It need not resist anybody: it keeps apart clusters of different addresses.
    const START: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const FACTOR: u128 = (1 << 88) | 0x13b;
    let text: Vec<String> = voters
        .iter()
        .map(|voter| format!("{}@{}:{}", voter.node.0, voter.address.host, voter.address.port))
        .collect();
    let hash =
        text.join(",").bytes().fold(START, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(FACTOR));
    let mut id = hash.to_be_bytes();
    // Its text begins with a letter: a leading '-' would look like a flag.
    id[0] &= 0x7f;
    id
}
