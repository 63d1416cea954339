//! Known-bad variants of this room, chosen at run time by the simulator's mutation run and by nothing else: each
//! breaks one rule of the on-disk format at the place where the rule stands, so that a checker can be shown to notice.

/// One broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// Rule 1: an append is acknowledged without its fsync.
    AckBeforeFsync,
    /// Rule 1: a commit that only holds votes and terms is not fsynced.
    VoteNotSynced,
    /// Rule 2: what recovery reads from the page cache is taken for durable.
    PageCacheTrusted,
    /// Rule 2: a checkpoint found in the page cache is taken for durable.
    CheckpointCacheTrusted,
    /// Rule 2: names of WAL files that only the page cache has are built on before they are durable.
    NameCacheTrusted,
    /// Rule 3: a failed fsync is tried again and the second answer believed.
    FsyncErrorRetried,
    /// Rule 4: a commit is not padded, the next one begins in its last sector.
    CommitNotPadded,
    /// Rule 5: the file epoch and the hash of the previous commit are not checked, so that recycled bytes count.
    RecycledBytesTrusted,
    /// Rule 6: no directory is synced after a WAL file or segment is made.
    DirectoryNotSynced,
    /// Rule 6: segments are referred to before they are synced.
    SegmentNotSynced,
    /// Rule 6: trimmed and dropped segments are deleted before the checkpoint that stops referring to them.
    DeleteBeforeCheckpoint,
    /// Rule 6: WAL files are let go on behalf of a checkpoint that is not durable.
    CheckpointNotSynced,
    /// Rule 7: a bad commit is always taken for a torn tail.
    DamageTakenForTornTail,
    /// Rule 7: the checksums of the WAL are not checked.
    WalChecksumIgnored,
    /// Rule 8: WAL files start without the shards' votes and terms.
    HardStateNotCarried,
    /// Rule 8: the checkpoint's votes and terms win over the WAL's.
    CheckpointVoteWins,
    /// Rule 9: block checksums are not verified when reading.
    BlockChecksumIgnored,
    /// Rule 10: new batches go behind whatever bytes a segment holds, not behind what the checkpoint knows.
    SegmentTailTrusted,
    /// Rule 12: always the same checkpoint slot.
    CheckpointOneSlot,
    /// Rule 12: a slot with a bad checksum is believed.
    CheckpointChecksumIgnored,
    /// Truncation: an entry at an index that the shard wrote before does not replace what follows.
    SuffixNotReplaced,
    /// Recovery hands out entries that the checkpoint's state already contains.
    AppliedEntriesReplayed,
    /// Rule 13: a commit that does not fit is written behind the end of the preallocated file.
    WritesBehindPreallocation,
    /// A checkpoint that only lets segments go takes the shards' new state, without the batches that it stands on.
    ReleaseTakesNewState,
    /// A segment that is written anew gets the damaged one's blocks as they are.
    MendTrustsBlocks,
}

impl Mutant {
    /// All of them, for the run that must kill each.
    pub const ALL: [Mutant; 25] = [
        Mutant::AckBeforeFsync,
        Mutant::VoteNotSynced,
        Mutant::PageCacheTrusted,
        Mutant::CheckpointCacheTrusted,
        Mutant::NameCacheTrusted,
        Mutant::FsyncErrorRetried,
        Mutant::CommitNotPadded,
        Mutant::RecycledBytesTrusted,
        Mutant::DirectoryNotSynced,
        Mutant::SegmentNotSynced,
        Mutant::DeleteBeforeCheckpoint,
        Mutant::CheckpointNotSynced,
        Mutant::DamageTakenForTornTail,
        Mutant::WalChecksumIgnored,
        Mutant::HardStateNotCarried,
        Mutant::CheckpointVoteWins,
        Mutant::BlockChecksumIgnored,
        Mutant::SegmentTailTrusted,
        Mutant::CheckpointOneSlot,
        Mutant::CheckpointChecksumIgnored,
        Mutant::SuffixNotReplaced,
        Mutant::AppliedEntriesReplayed,
        Mutant::WritesBehindPreallocation,
        Mutant::ReleaseTakesNewState,
        Mutant::MendTrustsBlocks,
    ];
}
