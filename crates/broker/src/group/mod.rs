//! The group coordinator of one shard (classic protocol).
