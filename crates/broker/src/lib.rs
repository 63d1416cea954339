//! What a node decides: shards, partitions, topics, groups. A pure state machine.
