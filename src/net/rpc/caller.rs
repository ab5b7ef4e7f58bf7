//! The calling side.
//!
//! One task a [`Caller`] writes the calls that gathered and hands out the answers that came. A call is *sent* from the
//! moment that task takes it to write it: broken before, it is `NotSent`; broken after, `Lost`.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::frame::{CALLS, FRAME_HEAD_BYTES, Gather, ONE_CALL, PayloadReader};
use super::{
    CALLS_IN_FLIGHT_MAX, CALLS_QUEUED_MAX_BYTES, CallError, FRAME_MAX_BYTES, INLINE_MAX_BYTES,
    LARGE_CALLS_MAX,
};
use crate::net::exec::Exec;
use crate::net::transport::Connection;

/// Calls taken from the queue at once, at most.
const BATCH_MAX: usize = 256;

/// Makes calls over one connection. Clones share it; when the last goes, its stream is closed.
#[derive(Clone)]
pub struct Caller(Arc<Shared>);

struct Shared {
    connection: Arc<dyn Connection>,
    queue: mpsc::Sender<Queued>,
    calls: Arc<Mutex<Calls>>,
    large: Semaphore,
}

struct Queued {
    id: u64,
    kind: u16,
    body: Bytes,
}

#[derive(Default)]
struct Calls {
    /// Why no more calls are possible.
    ended: Option<Arc<io::Error>>,
    last_id: u64,
    /// Ordered, so that calls fail in the order in which they were made.
    waiting: BTreeMap<u64, Waiting>,
    /// Bodies in the queue and of large calls.
    bytes: usize,
}

struct Waiting {
    answer: Option<oneshot::Sender<Result<Bytes, CallError>>>,
    sent: bool,
}

/// A place among the calls in flight; given up when the call's future ends or is dropped.
struct Place {
    calls: Arc<Mutex<Calls>>,
    id: u64,
    large_bytes: usize,
}

impl Caller {
    /// Opens the stream for calls.
    pub async fn open(connection: Arc<dyn Connection>, exec: Exec) -> io::Result<Caller> {
        let mut pipe = connection.open().await?;
        pipe.writer.write_all(&[CALLS]).await?;
        pipe.writer.flush().await?;
        let (queue, queued) = mpsc::channel(CALLS_IN_FLIGHT_MAX);
        let calls = Arc::new(Mutex::new(Calls::default()));
        let input = PayloadReader::new(pipe.reader);
        exec.spawn(run(Arc::clone(&connection), input, pipe.writer, queued, Arc::clone(&calls)));
        Ok(Caller(Arc::new(Shared { connection, queue, calls, large: Semaphore::new(LARGE_CALLS_MAX) })))
    }

    /// Makes a call. Dropping the future gives the answer up, not the call.
    pub async fn call(&self, kind: u16, body: Bytes) -> Result<Bytes, CallError> {
        if body.len() > FRAME_MAX_BYTES {
            return Err(CallError::TooLarge { bytes: body.len() });
        }
        if body.len() > INLINE_MAX_BYTES {
            return self.call_large(kind, body).await;
        }
        let (answer, answered) = oneshot::channel();
        let place = self.enter(body.len(), Some(answer))?;
        match self.0.queue.try_send(Queued { id: place.id, kind, body }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(queued)) => {
                self.0.calls.lock().bytes -= queued.body.len();
                return Err(CallError::Busy);
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                return Err(CallError::NotSent(Arc::new(io::ErrorKind::NotConnected.into())));
            }
        }
        // The task vanishes without an answer only when the whole runtime goes.
        answered.await.unwrap_or_else(|_| Err(CallError::Lost(Arc::new(io::ErrorKind::NotConnected.into()))))
    }

    pub fn connection(&self) -> &Arc<dyn Connection> {
        &self.0.connection
    }

    /// Whether every further call would fail.
    pub fn is_closed(&self) -> bool {
        self.0.queue.is_closed() || self.0.calls.lock().ended.is_some()
    }

    async fn call_large(&self, kind: u16, body: Bytes) -> Result<Bytes, CallError> {
        let _place = self.enter(body.len(), None)?;
        let _turn = self.0.large.acquire().await.expect("this semaphore is never closed");
        let not_sent = |error: io::Error| CallError::NotSent(Arc::new(error));
        let lost = |error: io::Error| CallError::Lost(Arc::new(error));
        let mut pipe = self.0.connection.open().await.map_err(not_sent)?;
        pipe.writer.write_all(&[ONE_CALL]).await.map_err(not_sent)?;
        let mut frame = Gather::default();
        frame.add(0, kind, body);
        // A write that failed left at least a byte out, and half a frame does nothing.
        frame.write(&mut *pipe.writer).await.map_err(not_sent)?;
        pipe.writer.shutdown().await.map_err(lost)?;
        let mut input = PayloadReader::new(pipe.reader);
        input.limit(FRAME_HEAD_BYTES + FRAME_MAX_BYTES);
        let reply = input.frame().await.map_err(|error| lost(error.into()))?;
        let reply = reply.ok_or_else(|| lost(io::ErrorKind::UnexpectedEof.into()))?;
        Ok(reply.body)
    }

    fn enter(
        &self,
        bytes: usize,
        answer: Option<oneshot::Sender<Result<Bytes, CallError>>>,
    ) -> Result<Place, CallError> {
        let mut calls = self.0.calls.lock();
        if let Some(error) = &calls.ended {
            return Err(CallError::NotSent(Arc::clone(error)));
        }
        if calls.waiting.len() >= CALLS_IN_FLIGHT_MAX || calls.bytes + bytes > CALLS_QUEUED_MAX_BYTES {
            return Err(CallError::Busy);
        }
        calls.last_id += 1;
        calls.bytes += bytes;
        let id = calls.last_id;
        let large_bytes = if answer.is_none() { bytes } else { 0 };
        calls.waiting.insert(id, Waiting { answer, sent: false });
        Ok(Place { calls: Arc::clone(&self.0.calls), id, large_bytes })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut calls = self.calls.lock();
        calls.waiting.remove(&self.id);
        calls.bytes -= self.large_bytes;
    }
}

/// Writes and reads until no [`Caller`] is left or the stream breaks.
async fn run(
    connection: Arc<dyn Connection>,
    mut input: PayloadReader,
    mut writer: Box<dyn AsyncWrite + Send + Unpin>,
    mut queued: mpsc::Receiver<Queued>,
    calls: Arc<Mutex<Calls>>,
) {
    let end = tokio::select! {
        biased;
        error = read(&mut input, &calls) => Err(error),
        end = write(&mut *writer, &mut queued, &calls) => end,
    };
    let Err(error) = end else {
        let _ = writer.shutdown().await;
        return;
    };
    tracing::debug!(peer = %connection.peer(), %error, "the stream for calls ended");
    let error = Arc::new(error);
    let waiting = {
        let mut calls = calls.lock();
        calls.ended = Some(Arc::clone(&error));
        std::mem::take(&mut calls.waiting)
    };
    for (_, call) in waiting {
        let failure = if call.sent { CallError::Lost } else { CallError::NotSent };
        if let Some(answer) = call.answer {
            let _ = answer.send(Err(failure(Arc::clone(&error))));
        }
    }
    connection.close(&error.to_string());
}

/// Hands out answers until the stream ends, which it should not.
async fn read(input: &mut PayloadReader, calls: &Mutex<Calls>) -> io::Error {
    input.limit(FRAME_HEAD_BYTES + FRAME_MAX_BYTES);
    loop {
        let reply = match input.frame().await {
            Ok(Some(reply)) => reply,
            Ok(None) => return io::ErrorKind::UnexpectedEof.into(),
            Err(error) => return error.into(),
        };
        let mut calls = calls.lock();
        if reply.id > calls.last_id {
            return io::Error::new(io::ErrorKind::InvalidData, "an answer to a call that was never made");
        }
        // Absent: its caller no longer waits.
        if let Some(Waiting { answer: Some(answer), .. }) = calls.waiting.remove(&reply.id) {
            drop(calls);
            let _ = answer.send(Ok(reply.body));
        }
    }
}

/// Writes calls until no [`Caller`] is left.
async fn write(
    writer: &mut (dyn AsyncWrite + Send + Unpin),
    queued: &mut mpsc::Receiver<Queued>,
    calls: &Mutex<Calls>,
) -> io::Result<()> {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut frames = Gather::default();
    while queued.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let mut rest = batch.drain(..).peekable();
        while rest.peek().is_some() {
            {
                let mut calls = calls.lock();
                for call in &mut rest {
                    calls.bytes -= call.body.len();
                    // Absent: given up before it was sent, so it never is.
                    let Some(waiting) = calls.waiting.get_mut(&call.id) else { continue };
                    waiting.sent = true;
                    if frames.add(call.id, call.kind, call.body) {
                        break;
                    }
                }
            }
            frames.write(writer).await?;
        }
    }
    Ok(())
}
