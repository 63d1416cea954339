//! Cuts what a peer sends into frames. Small ones share a buffer; a large one gets a buffer of its own size, so that its
//! payload is read from the socket to where it stays. Only for peers that said who they are: room for a large frame is
//! promised (not touched) before its bytes come, at most one of the largest size for each connection.

use broker::peer::wire::{SIZE_BYTES, frame_size};
use bytes::{Bytes, BytesMut};
use model::{Buffer, Buffers};
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;

/// Room for small frames, bytes.
const READ_BYTES: usize = 64 << 10;
/// With less room than this left the next read gets a fresh buffer.
const READ_BYTES_MIN: usize = 8 << 10;
/// Frames from here on have a buffer of their own.
const LARGE_FRAME_BYTES: usize = 64 << 10;

/// Reads frames from a socket.
#[derive(Debug)]
pub struct Frames {
    buffer: BytesMut,
    large: Option<Large>,
    buffers: Arc<Buffers>,
}

/// A large frame under way.
#[derive(Debug)]
struct Large {
    memory: Buffer,
    came: usize,
    size: usize,
}

impl Frames {
    /// Large frames go into these buffers.
    pub fn new(buffers: Arc<Buffers>) -> Frames {
        Frames { buffer: BytesMut::new(), large: None, buffers }
    }

    /// Reads what the socket has, at most as much as there is room for. 0: the peer closed the connection.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` when nothing is there.
    pub fn read(&mut self, stream: &TcpStream) -> io::Result<usize> {
        if let Some(large) = &mut self.large {
            let count = stream.try_read(&mut large.memory.as_mut()[large.came..large.size])?;
            large.came += count;
            return Ok(count);
        }
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES_MIN {
            self.buffer.reserve(READ_BYTES);
        }
        stream.try_read_buf(&mut self.buffer)
    }

    /// The next whole frame; `None` until more is read.
    ///
    /// # Errors
    /// When no frame can be so large or small: where the next one begins is unknown.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, String> {
        if let Some(large) = self.large.take_if(|large| large.came == large.size) {
            return Ok(Some(Bytes::from_owner(large.memory).slice(..large.size)));
        }
        if self.large.is_some() {
            return Ok(None);
        }
        let Some(prefix) = self.buffer.first_chunk::<SIZE_BYTES>() else { return Ok(None) };
        let size = frame_size(*prefix, usize::MAX).map_err(|error| error.to_string())?;
        let came = self.buffer.len();
        if came >= size {
            return Ok(Some(self.buffer.split_to(size).freeze()));
        }
        if size >= LARGE_FRAME_BYTES {
            let mut memory = self.buffers.take(size);
            memory.as_mut()[..came].copy_from_slice(&self.buffer);
            self.buffer = BytesMut::new();
            self.large = Some(Large { memory, came, size });
        } else {
            self.buffer.reserve(size - came);
        }
        Ok(None)
    }

    /// Whether a frame is under way.
    pub fn is_amid_frame(&self) -> bool {
        self.large.is_some() || !self.buffer.is_empty()
    }
}
