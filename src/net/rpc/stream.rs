//! Streams of payloads: scans, snapshots, whatever does not fit one frame.
//!
//! Promises: payloads arrive in order, and the end is the end the writer meant ([`FrameStream::finish`]), not a break. Holds
//! back a writer whose reader is slow. Does not time out.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::frame::{END, Next, PayloadReader, STREAM};
use super::{FRAME_MAX_BYTES, INLINE_MAX_BYTES};
use crate::net::transport::Connection;

/// One stream of payloads in both directions. Dropping it breaks both that were not finished.
pub struct FrameStream {
    input: PayloadReader,
    ended: bool,
    writer: Box<dyn AsyncWrite + Send + Unpin>,
}

/// Opens a stream; the other side's [`super::Service::stream`] gets kind and head (up to [`INLINE_MAX_BYTES`]).
pub async fn open_stream(
    connection: &Arc<dyn Connection>,
    kind: u16,
    head: Bytes,
) -> io::Result<FrameStream> {
    check(head.len(), INLINE_MAX_BYTES)?;
    let pipe = connection.open().await?;
    let mut start = BytesMut::with_capacity(1 + 4 + 2 + head.len());
    start.put_u8(STREAM);
    start.put_u32_le(2 + head.len() as u32);
    start.put_u16_le(kind);
    start.put_slice(&head);
    let mut stream = FrameStream::new(PayloadReader::new(pipe.reader), pipe.writer, FRAME_MAX_BYTES);
    stream.write(&start).await?;
    Ok(stream)
}

impl FrameStream {
    pub(super) fn new(
        mut input: PayloadReader,
        writer: Box<dyn AsyncWrite + Send + Unpin>,
        max_bytes: usize,
    ) -> FrameStream {
        input.limit(max_bytes);
        FrameStream { input, ended: false, writer }
    }

    /// Sends one payload, up to [`FRAME_MAX_BYTES`]; waits while the other side does not read. If this future is dropped
    /// the stream is useless.
    pub async fn send(&mut self, payload: Bytes) -> io::Result<()> {
        check(payload.len(), FRAME_MAX_BYTES)?;
        self.writer.write_all(&(payload.len() as u32).to_le_bytes()).await?;
        self.write(&payload).await
    }

    /// The next payload; `None` once the other side has finished. A stream that ends otherwise is an error.
    pub async fn recv(&mut self) -> io::Result<Option<Bytes>> {
        if self.ended {
            return Ok(None);
        }
        match self.input.next().await? {
            Next::Payload(payload) => Ok(Some(payload)),
            Next::End => {
                self.ended = true;
                Ok(None)
            }
            Next::Eof => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Says that no more payloads come. Receiving goes on.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.write(&END.to_le_bytes()).await?;
        self.writer.shutdown().await
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes).await?;
        self.writer.flush().await
    }
}

/// Kind and head out of the first payload.
pub(super) fn split_head(mut payload: Bytes) -> Option<(u16, Bytes)> {
    (payload.len() >= 2).then(|| (payload.get_u16_le(), payload))
}

fn check(bytes: usize, max_bytes: usize) -> io::Result<()> {
    if bytes <= max_bytes {
        return Ok(());
    }
    let reason = format!("{bytes} bytes are above the limit of {max_bytes}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
}
