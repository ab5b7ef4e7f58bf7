//! Payloads and frames on a stream of bytes.
//!
//! Promises: reads at most what the bound allows, and takes memory only as bytes come. Does not know what they mean.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::INLINE_MAX_BYTES;

/// The first byte of a stream.
pub(super) const CALLS: u8 = 1;
pub(super) const ONE_CALL: u8 = 2;
pub(super) const STREAM: u8 = 3;

/// The length that says that no more payloads come.
pub(super) const END: u32 = u32::MAX;
/// Call id and kind, bytes.
pub(super) const FRAME_HEAD_BYTES: usize = 8 + 2;

const LENGTH_BYTES: usize = 4;
/// Memory is taken in steps as bytes come: this first, so that a thousand idle streams cost little, then more.
const READ_FIRST_BYTES: usize = 4 * 1024;
const READ_STEP_BYTES: usize = 64 * 1024;
/// Bodies above this are written from where they are instead of being gathered with others.
const GATHER_MAX_BYTES: usize = 64 * 1024;

pub(super) struct Frame {
    pub(super) id: u64,
    pub(super) kind: u16,
    pub(super) body: Bytes,
}

/// What comes next.
pub(super) enum Next {
    Payload(Bytes),
    /// The writer said that this is all.
    End,
    /// The stream ended between payloads.
    Eof,
}

pub(super) enum FrameError {
    /// The stream broke, also in the middle of a payload.
    Io(io::Error),
    /// The other side does not keep to the rules.
    Malformed(String),
}

pub(super) struct PayloadReader {
    reader: Box<dyn AsyncRead + Send + Unpin>,
    buffer: BytesMut,
    max_bytes: usize,
    step_bytes: usize,
}

impl PayloadReader {
    pub(super) fn new(reader: Box<dyn AsyncRead + Send + Unpin>) -> PayloadReader {
        PayloadReader { reader, buffer: BytesMut::new(), max_bytes: 0, step_bytes: READ_FIRST_BYTES }
    }

    /// Sets the bound of a payload.
    pub(super) fn limit(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
    }

    /// The next byte.
    pub(super) async fn byte(&mut self) -> Result<u8, FrameError> {
        while self.buffer.is_empty() {
            if !self.fill().await? {
                return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(self.buffer.get_u8())
    }

    /// The next payload. Nothing is lost if this future is dropped.
    pub(super) async fn next(&mut self) -> Result<Next, FrameError> {
        loop {
            if let Some(next) = self.take()? {
                return Ok(next);
            }
            if !self.fill().await? {
                return match self.buffer.is_empty() {
                    true => Ok(Next::Eof),
                    false => Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into())),
                };
            }
        }
    }

    /// The next frame; `None` at the end.
    pub(super) async fn frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let mut payload = match self.next().await? {
            Next::Payload(payload) => payload,
            Next::End => return Err(FrameError::Malformed("an end mark among calls".to_owned())),
            Next::Eof => return Ok(None),
        };
        if payload.len() < FRAME_HEAD_BYTES {
            return Err(FrameError::Malformed(format!("a frame of {} bytes", payload.len())));
        }
        let id = payload.get_u64_le();
        let kind = payload.get_u16_le();
        Ok(Some(Frame { id, kind, body: payload }))
    }

    /// What is whole in the buffer.
    fn take(&mut self) -> Result<Option<Next>, FrameError> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length);
        if length == END {
            self.buffer.advance(LENGTH_BYTES);
            return Ok(Some(Next::End));
        }
        let length = length as usize;
        if length > self.max_bytes {
            let reason =
                format!("a payload of {length} bytes was announced; the limit is {}", self.max_bytes);
            return Err(FrameError::Malformed(reason));
        }
        if self.buffer.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        Ok(Some(Next::Payload(self.buffer.split_to(length).freeze())))
    }

    async fn fill(&mut self) -> Result<bool, FrameError> {
        // Not `reserve(length)`: a length is only somebody's word. Doubling happens by what is there.
        if self.buffer.capacity() - self.buffer.len() < self.step_bytes / 8 {
            self.buffer.reserve(self.step_bytes);
            self.step_bytes = (4 * self.step_bytes).min(READ_STEP_BYTES);
        }
        Ok(self.reader.read_buf(&mut self.buffer).await.map_err(FrameError::Io)? > 0)
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.buffer.capacity()
    }
}

/// Frames gathered to be written at once.
#[derive(Default)]
pub(super) struct Gather {
    gathered: BytesMut,
    /// Written after what is gathered.
    large: Bytes,
}

impl Gather {
    /// Adds a frame. After `true`, [`Gather::pieces`] must be written before the next.
    pub(super) fn add(&mut self, id: u64, kind: u16, body: Bytes) -> bool {
        debug_assert!(self.large.is_empty(), "a large body is the last piece");
        self.gathered.put_u32_le((FRAME_HEAD_BYTES + body.len()) as u32);
        self.gathered.put_u64_le(id);
        self.gathered.put_u16_le(kind);
        if body.len() > GATHER_MAX_BYTES {
            self.large = body;
            return true;
        }
        self.gathered.put_slice(&body);
        self.gathered.len() >= INLINE_MAX_BYTES
    }

    /// What there is to write, in order.
    pub(super) fn pieces(&self) -> [&[u8]; 2] {
        [&self.gathered, &self.large]
    }

    pub(super) fn clear(&mut self) {
        self.gathered.clear();
        self.large = Bytes::new();
    }

    /// Writes everything and starts again.
    pub(super) async fn write(&mut self, writer: &mut (dyn AsyncWrite + Send + Unpin)) -> io::Result<()> {
        for piece in self.pieces() {
            writer.write_all(piece).await?;
        }
        self.clear();
        writer.flush().await
    }
}

impl From<FrameError> for io::Error {
    fn from(error: FrameError) -> io::Error {
        match error {
            FrameError::Io(error) => error,
            FrameError::Malformed(reason) => io::Error::new(io::ErrorKind::InvalidData, reason),
        }
    }
}
