//! The answering side.
//!
//! Promises: calls of one stream enter the service in order; what a connection makes us hold is bounded by its
//! [`ServeLimits`]; whoever sends garbage, does not take its answers, or makes a handler panic, loses the connection (a
//! call without an answer must not look alive). Does not cancel handlers when the connection goes: what they do may be
//! half done.

use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::frame::{
    CALLS, FRAME_HEAD_BYTES, Frame, FrameError, Gather, Next, ONE_CALL, PayloadReader, STREAM,
};
use super::output::{Output, Share};
use super::stream::{FrameStream, split_head};
use super::{INLINE_MAX_BYTES, ServeLimits, Service};
use crate::net::exec::Exec;
use crate::net::transport::{Connection, Pipe};

/// Answers gathered into one write, at most.
const BATCH_MAX: usize = 256;
/// Each of these must be taken within the stall time, so that slow lines are not called stalled.
const STALL_PIECE_BYTES: usize = 64 * 1024;

/// What the tasks of one connection share.
struct Serving {
    connection: Arc<dyn Connection>,
    service: Arc<dyn Service>,
    exec: Exec,
    limits: ServeLimits,
    calls: Arc<Semaphore>,
    large: Semaphore,
    output: Arc<Output>,
}

/// An answer on its way out, and what it holds until it is.
struct Answer {
    frame: Frame,
    _share: Share,
    _place: OwnedSemaphorePermit,
}

type Handler = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// Answers everything that comes over a connection, until it ends.
pub async fn serve(
    connection: Arc<dyn Connection>,
    service: Arc<dyn Service>,
    exec: Exec,
    limits: ServeLimits,
) {
    let streams = Arc::new(Semaphore::new(limits.streams));
    let serving = Arc::new(Serving {
        connection: Arc::clone(&connection),
        service,
        exec,
        limits,
        calls: Arc::new(Semaphore::new(limits.calls_in_flight)),
        large: Semaphore::new(limits.large_calls),
        output: Arc::default(),
    });
    let accept = async {
        loop {
            let place = Arc::clone(&streams).acquire_owned().await.expect("this semaphore is never closed");
            let Ok(pipe) = connection.accept().await else { return };
            exec.spawn(Arc::clone(&serving).pipe(pipe, place));
        }
    };
    let expired = async {
        match limits.lifetime_ms {
            0 => std::future::pending().await,
            lifetime_ms => sleep(Duration::from_millis(lifetime_ms)).await,
        }
    };
    tokio::select! {
        biased;
        () = connection.closed() => {}
        () = accept => {}
        () = expired => connection.close("out of time"),
    }
}

impl Serving {
    async fn pipe(self: Arc<Self>, pipe: Pipe, _place: OwnedSemaphorePermit) {
        let mut input = PayloadReader::new(pipe.reader);
        let end = match input.byte().await {
            Ok(CALLS) => self.calls(input, pipe.writer).await,
            Ok(ONE_CALL) => self.one_call(input, pipe.writer).await,
            Ok(STREAM) => self.stream(input, pipe.writer).await,
            Ok(other) => Err(FrameError::Malformed(format!("a stream that begins with {other}"))),
            Err(error) => Err(error),
        };
        match end {
            Ok(()) => {}
            // Broken or given up in the middle: nothing of it was done.
            Err(FrameError::Io(error)) => {
                tracing::debug!(peer = %self.connection.peer(), %error, "a stream broke");
            }
            Err(FrameError::Malformed(reason)) => self.cut_off(&reason),
        }
    }

    async fn calls(
        self: &Arc<Self>,
        mut input: PayloadReader,
        writer: Box<dyn AsyncWrite + Send + Unpin>,
    ) -> Result<(), FrameError> {
        input.limit(FRAME_HEAD_BYTES + INLINE_MAX_BYTES.min(self.limits.frame_max_bytes));
        // Each answer in it has a place, so it is never full.
        let (answers, queue) = mpsc::channel(self.limits.calls_in_flight);
        self.exec.spawn(Arc::clone(self).write(writer, queue));
        while let Some(Frame { id, kind, body }) = input.frame().await? {
            self.output.below(self.limits.output_pause_bytes).await;
            let place =
                Arc::clone(&self.calls).acquire_owned().await.expect("this semaphore is never closed");
            if answers.is_closed() {
                break;
            }
            let mut handler = self.handler(kind, body);
            // Polled before the next frame is read, so that requests enter in the order in which they came. This task
            // may have used up its turn: without `unconstrained` the request would then wait outside while the next
            // one enters.
            let first = pin!(tokio::task::unconstrained(handler.as_mut()));
            match first.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(body) => self.answer(&answers, id, kind, body, place),
                Poll::Pending => {
                    let (serving, answers) = (Arc::clone(self), answers.clone());
                    self.exec.spawn(async move {
                        let body = handler.await;
                        serving.answer(&answers, id, kind, body, place);
                    });
                }
            }
        }
        Ok(())
    }

    async fn one_call(
        self: &Arc<Self>,
        mut input: PayloadReader,
        mut writer: Box<dyn AsyncWrite + Send + Unpin>,
    ) -> Result<(), FrameError> {
        input.limit(FRAME_HEAD_BYTES + self.limits.frame_max_bytes);
        let _turn = self.large.acquire().await.expect("this semaphore is never closed");
        let Some(Frame { id, kind, body }) = input.frame().await? else { return Ok(()) };
        let Some(body) = self.handler(kind, body).await else { return Ok(()) };
        let (_share, _) = self.output.add(body.len());
        let mut frame = Gather::default();
        frame.add(id, kind, body);
        self.write_all(&mut *writer, &frame).await.map_err(FrameError::Io)?;
        writer.shutdown().await.map_err(FrameError::Io)
    }

    async fn stream(
        self: &Arc<Self>,
        mut input: PayloadReader,
        writer: Box<dyn AsyncWrite + Send + Unpin>,
    ) -> Result<(), FrameError> {
        input.limit(2 + INLINE_MAX_BYTES.min(self.limits.frame_max_bytes));
        let Next::Payload(head) = input.next().await? else {
            return Err(FrameError::Malformed("a stream without a head".to_owned()));
        };
        let head = split_head(head);
        let (kind, head) = head.ok_or_else(|| FrameError::Malformed("a stream without a kind".to_owned()))?;
        let frames = FrameStream::new(input, writer, self.limits.frame_max_bytes);
        let serving = Arc::clone(self);
        let handler = async move { serving.service.stream(&serving.connection, kind, head, frames).await };
        if AssertUnwindSafe(handler).catch_unwind().await.is_err() {
            self.cut_off("a handler panicked");
        }
        Ok(())
    }

    /// The service's future; `None`: it panicked and the connection is closed.
    fn handler(self: &Arc<Self>, kind: u16, body: Bytes) -> Handler {
        let serving = Arc::clone(self);
        Box::pin(async move {
            let call = async { serving.service.call(&serving.connection, kind, body).await };
            let answer = AssertUnwindSafe(call).catch_unwind().await.ok();
            if answer.is_none() {
                serving.cut_off("a handler panicked");
            }
            answer
        })
    }

    fn answer(
        &self,
        answers: &mpsc::Sender<Answer>,
        id: u64,
        kind: u16,
        body: Option<Bytes>,
        place: OwnedSemaphorePermit,
    ) {
        let Some(body) = body else { return };
        let (share, unread_bytes) = self.output.add(FRAME_HEAD_BYTES + body.len());
        if unread_bytes > self.limits.output_max_bytes {
            return self.cut_off("too many answers are not taken");
        }
        // Fails only if the other side no longer takes answers.
        let _ = answers.try_send(Answer { frame: Frame { id, kind, body }, _share: share, _place: place });
    }

    async fn write(
        self: Arc<Self>,
        mut writer: Box<dyn AsyncWrite + Send + Unpin>,
        mut queue: mpsc::Receiver<Answer>,
    ) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut frames = Gather::default();
        while queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let mut answers = batch.drain(..).peekable();
            while answers.peek().is_some() {
                let mut held = Vec::new();
                for Answer { frame, _share, _place } in &mut answers {
                    held.push((_share, _place));
                    if frames.add(frame.id, frame.kind, frame.body) {
                        break;
                    }
                }
                if self.write_all(&mut *writer, &frames).await.is_err() {
                    return;
                }
                frames.clear();
            }
        }
        let _ = writer.shutdown().await;
    }

    /// Writes frames; closes the connection if nothing of them is taken for too long.
    async fn write_all(
        &self,
        writer: &mut (dyn AsyncWrite + Send + Unpin),
        frames: &Gather,
    ) -> io::Result<()> {
        let stall = Duration::from_millis(self.limits.stall_ms);
        for piece in frames.pieces().iter().flat_map(|piece| piece.chunks(STALL_PIECE_BYTES)) {
            match timeout(stall, writer.write_all(piece)).await {
                Ok(written) => written?,
                Err(elapsed) => {
                    self.cut_off("answers are not taken");
                    return Err(elapsed.into());
                }
            }
        }
        writer.flush().await
    }

    fn cut_off(&self, reason: &str) {
        let (peer, from) = (self.connection.peer(), self.connection.remote_addr());
        tracing::warn!(%peer, %from, reason, "closed a connection");
        self.connection.close(reason);
    }
}
