//! Quorum replication of one shard log. Wraps a sans-IO Raft core behind our own types. Pure.
