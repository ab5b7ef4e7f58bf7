//! A stand-in for calls over a connection: the interface the client is written against, thin, for its tests only.
//!
//! One stream a connection; frames of call id, kind, length and body. No bounds beyond a frame's length.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use crate::net::exec::Exec;
use crate::net::transport::{Class, Connection};

/// Body of a frame, at most.
pub const FRAME_MAX_BYTES: usize = 20 * 1024 * 1024;
const QUEUE_MAX: usize = 8 * 1024;

/// What a call is.
pub mod kind {
    /// An encoded `Request` of a client; the answer is an encoded `Reply`.
    pub const CLIENT_REQUEST: u16 = 1;
}

/// How a call came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The other side never saw it and never will.
    #[error("the call was not sent")]
    NotSent(#[source] Arc<io::Error>),
    /// It was sent and the connection broke: perhaps it was done.
    #[error("the connection broke before the answer came")]
    Lost(#[source] Arc<io::Error>),
    /// Not sent; it never can be.
    #[error("a call of {bytes} bytes is above the limit of {FRAME_MAX_BYTES}")]
    TooLarge { bytes: usize },
    /// Not sent: too much is waiting for this connection.
    #[error("too many calls are waiting for this connection")]
    Busy,
}

/// Not part of the stand-in.
pub struct FrameStream(());

/// What answers at the other side.
pub trait Service: Send + Sync + 'static {
    fn call(&self, from: &Arc<dyn Connection>, kind: u16, body: Bytes) -> BoxFuture<'static, Bytes>;
    fn stream(
        &self,
        from: &Arc<dyn Connection>,
        kind: u16,
        head: Bytes,
        frames: FrameStream,
    ) -> BoxFuture<'static, ()>;
}

/// Not part of the stand-in.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits(());

impl ServeLimits {
    pub fn for_class(_: Class) -> ServeLimits {
        ServeLimits(())
    }
}

type Frame = (u64, u16, Bytes);
type Waiting = Mutex<BTreeMap<u64, oneshot::Sender<Bytes>>>;

struct Shared {
    _connection: Arc<dyn Connection>,
    queue: mpsc::Sender<Frame>,
    waiting: Waiting,
    next: AtomicU64,
    closed: AtomicBool,
}

/// The calling side.
#[derive(Clone)]
pub struct Caller(Arc<Shared>);

impl Caller {
    pub async fn open(connection: Arc<dyn Connection>, exec: Exec) -> io::Result<Caller> {
        let pipe = connection.open().await?;
        let (queue, mut queued) = mpsc::channel(QUEUE_MAX);
        let waiting = Mutex::default();
        let (next, closed) = (AtomicU64::new(0), AtomicBool::new(false));
        let shared = Arc::new(Shared { _connection: connection, queue, waiting, next, closed });
        let weak = Arc::downgrade(&shared);
        let (mut reader, mut writer) = (pipe.reader, pipe.writer);
        exec.spawn(async move {
            while let Some(frame) = queued.recv().await {
                if write_frame(&mut *writer, frame).await.is_err() {
                    return;
                }
            }
        });
        exec.spawn(async move {
            while let Ok((id, _, body)) = read_frame(&mut *reader).await {
                let Some(shared) = weak.upgrade() else { return };
                if let Some(answer) = shared.waiting.lock().remove(&id) {
                    let _ = answer.send(body);
                }
            }
            if let Some(shared) = weak.upgrade() {
                shared.closed.store(true, Ordering::SeqCst);
                shared.waiting.lock().clear();
            }
        });
        Ok(Caller(shared))
    }

    pub async fn call(&self, kind: u16, body: Bytes) -> Result<Bytes, CallError> {
        if body.len() > FRAME_MAX_BYTES {
            return Err(CallError::TooLarge { bytes: body.len() });
        }
        let broken = || Arc::new(io::Error::from(io::ErrorKind::ConnectionReset));
        if self.is_closed() {
            return Err(CallError::NotSent(broken()));
        }
        let id = self.0.next.fetch_add(1, Ordering::SeqCst);
        let (answer, answered) = oneshot::channel();
        self.0.waiting.lock().insert(id, answer);
        match self.0.queue.try_send((id, kind, body)) {
            Ok(()) => answered.await.map_err(|_| CallError::Lost(broken())),
            Err(mpsc::error::TrySendError::Full(_)) => Err(CallError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(CallError::NotSent(broken())),
        }
    }

    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::SeqCst)
    }
}

/// Answers the calls of a connection until it ends.
pub async fn serve(connection: Arc<dyn Connection>, service: Arc<dyn Service>, exec: Exec, _: ServeLimits) {
    while let Ok(pipe) = connection.accept().await {
        let (answers, mut answered) = mpsc::channel::<Frame>(QUEUE_MAX);
        let (connection, service) = (Arc::clone(&connection), Arc::clone(&service));
        let (mut reader, mut writer) = (pipe.reader, pipe.writer);
        exec.spawn(async move {
            while let Some(frame) = answered.recv().await {
                if write_frame(&mut *writer, frame).await.is_err() {
                    return;
                }
            }
        });
        exec.spawn(async move {
            while let Ok((id, kind, body)) = read_frame(&mut *reader).await {
                let (answer, answers) = (service.call(&connection, kind, body), answers.clone());
                exec.spawn(async move {
                    let _ = answers.send((id, kind, answer.await)).await;
                });
            }
        });
    }
}

async fn read_frame(reader: &mut (dyn AsyncRead + Send + Unpin)) -> io::Result<Frame> {
    let id = reader.read_u64().await?;
    let kind = reader.read_u16().await?;
    let bytes = reader.read_u32().await? as usize;
    if bytes > FRAME_MAX_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; bytes];
    reader.read_exact(&mut body).await?;
    Ok((id, kind, body.into()))
}

async fn write_frame(
    writer: &mut (dyn AsyncWrite + Send + Unpin),
    (id, kind, body): Frame,
) -> io::Result<()> {
    writer.write_u64(id).await?;
    writer.write_u16(kind).await?;
    writer.write_u32(body.len() as u32).await?;
    writer.write_all(&body).await?;
    writer.flush().await
}
