//! The answering side.
//!
//! Promises: calls of one stream enter the service in order; what a connection makes us hold is bounded by its
//! [`ServeLimits`]; whoever sends garbage, does not take its answers, or makes a handler panic, loses the connection (a
//! call without an answer must not look alive). Does not cancel handlers when the connection goes: what they do may be
//! half done.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::counts::ServeCounts;
use super::frame::{
    CALLS, FRAME_HEAD_BYTES, Frame, FrameError, Gather, Next, ONE_CALL, PayloadReader, STREAM,
};
use super::output::{Output, Share};
use super::stream::{FrameStream, split_head};
use super::{INLINE_MAX_BYTES, ServeLimits, Service};
use crate::net::exec::Exec;
use crate::net::transport::{Class, Connection, Pipe};

/// Batches of answers taken at once, at most.
const BATCHES_MAX: usize = 64;
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
    counts: Arc<ServeCounts>,
}

/// A connection among those that are open.
struct Open(Arc<ServeCounts>, Class);

impl Open {
    fn new(counts: Arc<ServeCounts>, class: Class) -> Open {
        counts.open(class).inc();
        Open(counts, class)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open(self.1).dec();
    }
}

/// An answer on its way out, and what it holds until it is.
struct Answer {
    frame: Frame,
    _share: Share,
    _place: OwnedSemaphorePermit,
}

/// `None`: it panicked.
type Handler = Pin<Box<dyn Future<Output = Option<(Frame, OwnedSemaphorePermit)>> + Send>>;

/// Polls the handlers that were woken; what those answered that have come to their end.
fn all_ready(
    handlers: &mut FuturesUnordered<Handler>,
    cx: &mut Context<'_>,
) -> Poll<Vec<(Frame, OwnedSemaphorePermit)>> {
    let mut ready = Vec::new();
    // Without `unconstrained` a task that has used up its turn would leave a new call outside while the next is read.
    let mut handlers = tokio::task::unconstrained(poll_fn(|cx| {
        while let Poll::Ready(Some(answer)) = handlers.poll_next_unpin(cx) {
            ready.extend(answer);
        }
        Poll::<()>::Pending
    }));
    let _ = Pin::new(&mut handlers).poll(cx);
    match ready.is_empty() {
        true => Poll::Pending,
        false => Poll::Ready(ready),
    }
}

/// Answers everything that comes over a connection, until it ends.
pub async fn serve(
    connection: Arc<dyn Connection>,
    service: Arc<dyn Service>,
    exec: Exec,
    limits: ServeLimits,
    counts: Arc<ServeCounts>,
) {
    let _open = Open::new(Arc::clone(&counts), connection.class());
    let streams = Arc::new(Semaphore::new(limits.streams));
    let serving = Arc::new(Serving {
        connection: Arc::clone(&connection),
        service,
        exec,
        limits,
        calls: Arc::new(Semaphore::new(limits.calls_in_flight)),
        large: Semaphore::new(limits.large_calls),
        output: Arc::default(),
        counts,
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
            Err(FrameError::Malformed(reason)) => self.cut_off(&self.counts.malformed, &reason),
        }
    }

    /// Reads calls and drives their handlers, all in this one task: a wake-up serves everything that has become ready, and
    /// its answers leave together.
    async fn calls(
        self: &Arc<Self>,
        mut input: PayloadReader,
        writer: Box<dyn AsyncWrite + Send + Unpin>,
    ) -> Result<(), FrameError> {
        input.limit(FRAME_HEAD_BYTES + INLINE_MAX_BYTES.min(self.limits.frame_max_bytes));
        // Each answer in it has a place, so it is never full.
        let (answers, queue) = mpsc::channel(self.limits.calls_in_flight);
        self.exec.spawn(Arc::clone(self).write(writer, queue));
        let mut handlers = FuturesUnordered::new();
        let mut next = None;
        let end = loop {
            // First what is under way, the newest call included: it has entered before the next one is read.
            tokio::select! {
                biased;
                ready = poll_fn(|cx| all_ready(&mut handlers, cx)) => self.answer(&answers, ready),
                frame = input.frame(), if next.is_none() => match frame {
                    Ok(Some(frame)) => next = Some(frame),
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                },
                place = self.place(), if next.is_some() => {
                    if answers.is_closed() {
                        break Ok(());
                    }
                    let call = next.take().expect("there is a call that waits for its place");
                    handlers.push(self.handler(call, place));
                }
            }
        };
        if !handlers.is_empty() {
            // Run to their ends: what they do may be half done. Whoever still takes answers gets them.
            let serving = Arc::clone(self);
            self.exec.spawn(async move {
                while let Some(answer) = handlers.next().await {
                    serving.answer(&answers, answer.into_iter().collect());
                }
            });
        }
        end
    }

    /// Waits until one more call may be begun.
    async fn place(&self) -> OwnedSemaphorePermit {
        self.output.below(self.limits.output_pause_bytes).await;
        Arc::clone(&self.calls).acquire_owned().await.expect("this semaphore is never closed")
    }

    async fn one_call(
        self: &Arc<Self>,
        mut input: PayloadReader,
        mut writer: Box<dyn AsyncWrite + Send + Unpin>,
    ) -> Result<(), FrameError> {
        input.limit(FRAME_HEAD_BYTES + self.limits.frame_max_bytes);
        let _turn = self.large.acquire().await.expect("this semaphore is never closed");
        let Some(Frame { id, kind, body }) = input.frame().await? else { return Ok(()) };
        let Some(body) = self.answer_to(kind, body).await else { return Ok(()) };
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
            self.cut_off(&self.counts.panics, "a handler panicked");
        }
        Ok(())
    }

    /// Answers one call, which holds its place meanwhile.
    fn handler(self: &Arc<Self>, call: Frame, place: OwnedSemaphorePermit) -> Handler {
        let serving = Arc::clone(self);
        Box::pin(async move {
            let Frame { id, kind, body } = call;
            Some((Frame { id, kind, body: serving.answer_to(kind, body).await? }, place))
        })
    }

    /// The service's answer; `None`: it panicked and the connection is closed.
    async fn answer_to(&self, kind: u16, body: Bytes) -> Option<Bytes> {
        // Made inside, so that a panic in making it is one of the call too.
        let call = async { self.service.call(&self.connection, kind, body).await };
        let answer = AssertUnwindSafe(call).catch_unwind().await.ok();
        if answer.is_none() {
            self.cut_off(&self.counts.panics, "a handler panicked");
        }
        answer
    }

    fn answer(&self, answers: &mpsc::Sender<Vec<Answer>>, ready: Vec<(Frame, OwnedSemaphorePermit)>) {
        let mut batch = Vec::with_capacity(ready.len());
        for (frame, place) in ready {
            let (share, unread_bytes) = self.output.add(FRAME_HEAD_BYTES + frame.body.len());
            if unread_bytes > self.limits.output_max_bytes {
                return self.cut_off(&self.counts.not_taken, "too many answers are not taken");
            }
            batch.push(Answer { frame, _share: share, _place: place });
        }
        // Fails only if the other side no longer takes answers.
        let _ = answers.try_send(batch);
    }

    async fn write(
        self: Arc<Self>,
        mut writer: Box<dyn AsyncWrite + Send + Unpin>,
        mut queue: mpsc::Receiver<Vec<Answer>>,
    ) {
        let mut batches = Vec::with_capacity(BATCHES_MAX);
        let mut frames = Gather::default();
        while queue.recv_many(&mut batches, BATCHES_MAX).await > 0 {
            let mut answers = batches.drain(..).flatten().peekable();
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
                    self.cut_off(&self.counts.not_taken, "answers are not taken");
                    return Err(elapsed.into());
                }
            }
        }
        writer.flush().await
    }

    fn cut_off(&self, count: &Counter, reason: &str) {
        count.inc();
        let (peer, from) = (self.connection.peer(), self.connection.remote_addr());
        tracing::warn!(%peer, %from, reason, "closed a connection");
        self.connection.close(reason);
    }
}
