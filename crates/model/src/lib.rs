//! The nouns of Sternpost: ids, offsets, record batches, error codes, storage jobs and virtual time. Pure.
