//! Limits that more than one room must agree on. A limit of one room stands in that room.

/// Largest request frame, bytes (Kafka: `socket.request.max.bytes`).
pub const REQUEST_BYTES_MAX: usize = 100 << 20;

/// Largest record batch by default, bytes (Kafka: `message.max.bytes`: 1 MiB and the batch overhead).
pub const MESSAGE_BYTES_MAX_DEFAULT: usize = (1 << 20) + 12;

/// Largest payload of one log entry, bytes. A produce request above it becomes several entries.
pub const ENTRY_PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// Largest descriptor of one log entry, bytes.
pub const ENTRY_DESCRIPTOR_BYTES_MAX: usize = 16 << 20;

/// Size of a disk sector group that a commit is padded to, bytes: no sector with acknowledged data is written twice.
pub const COMMIT_ALIGN_BYTES: usize = 4096;
