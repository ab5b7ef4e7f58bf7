//! A connection that is nothing but the bytes somebody sends.
//!
//! Promises: the real reading sides run over it to their ends. Does not wait for anything.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::sync::watch;

use crate::model::id::NodeId;
use crate::net::exec::Exec;
use crate::net::kind;
use crate::net::rpc::{Caller, FrameStream, ServeLimits, Service, serve};
use crate::net::transport::{Class, Connection, Peer, Pipe};
use crate::net::wire;
use crate::node::disk::Disk;
use crate::node::disk::sim::SimDisk;
use crate::node::raft::snapshot;

const EXEC: Exec = Exec::Inline { delay: Duration::ZERO, gate: None };
/// Far beyond what any input takes.
const LIMIT: Duration = Duration::from_secs(60);

/// Its one stream carries these bytes, then ends.
struct Said {
    peer: Peer,
    bytes: Mutex<Option<Vec<u8>>>,
    /// True once it was closed, or nobody answers any more.
    over: watch::Sender<bool>,
}

/// Takes everything; says so when it goes.
struct Sink(watch::Sender<bool>);

impl Said {
    fn new(bytes: &[u8]) -> Arc<Said> {
        let (over, _) = watch::channel(false);
        Arc::new(Said { peer: Peer::Node(NodeId(1)), bytes: Mutex::new(Some(bytes.to_vec())), over })
    }

    fn pipe(&self) -> Option<Pipe> {
        let bytes = self.bytes.lock().take()?;
        // In two pieces, the border anywhere.
        let border = bytes.iter().map(|byte| usize::from(*byte)).sum::<usize>() % (bytes.len() + 1);
        let (first, second) = bytes.split_at(border);
        let reader = io::Cursor::new(first.to_vec()).chain(io::Cursor::new(second.to_vec()));
        Some(Pipe { reader: Box::new(reader), writer: Box::new(Sink(self.over.clone())) })
    }

    async fn over(&self) {
        // The sender is here, so this cannot fail.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }
}

impl Connection for Said {
    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn class(&self) -> Class {
        Class::Bulk
    }

    fn remote_addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }

    fn open(&self) -> BoxFuture<'_, io::Result<Pipe>> {
        Box::pin(async { self.pipe().ok_or_else(|| io::ErrorKind::NotConnected.into()) })
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Pipe>> {
        Box::pin(async {
            match self.pipe() {
                Some(pipe) => Ok(pipe),
                None => std::future::pending().await,
            }
        })
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.over())
    }

    fn close(&self, _: &str) {
        self.over.send_replace(true);
    }
}

impl AsyncWrite for Sink {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

/// Answers calls with their bodies, and takes snapshots.
struct Taker;

impl Service for Taker {
    fn call(&self, _: &Arc<dyn Connection>, _: u16, body: Bytes) -> BoxFuture<'static, Bytes> {
        Box::pin(async move { body })
    }

    fn stream(
        &self,
        _: &Arc<dyn Connection>,
        _: u16,
        head: Bytes,
        mut frames: FrameStream,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Ok(offer) = wire::SnapshotOffer::decode(head) else { return };
            let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
            _ = snapshot::receive(&disk, &EXEC, Path::new(""), &offer, &mut frames).await;
        })
    }
}

fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without threads needs nothing");
    let timed = async { tokio::time::timeout(LIMIT, work).await };
    let ended = tokio::task::LocalSet::new().block_on(&runtime, timed);
    assert!(ended.is_ok(), "it hangs");
}

/// A stream that the other side opened.
pub(super) fn served(bytes: &[u8]) {
    run(serve(Said::new(bytes), Arc::new(Taker), EXEC, ServeLimits::for_class(Class::Bulk), Arc::default()));
}

/// The stream on which the other side answers our calls.
pub(super) fn answers(bytes: &[u8]) {
    run(async {
        let connection = Said::new(bytes);
        let caller = Caller::open(connection.clone(), EXEC).await.expect("it opens");
        // Whatever comes, the call comes to an end, because the stream does.
        let (first, second) = (caller.call(1, Bytes::new()), caller.call(2, Bytes::from_static(b"x")));
        _ = futures_util::future::join(first, second).await;
    });
}

fn frame(id: u64, kind: u16, body: &[u8]) -> Vec<u8> {
    let length = (10 + body.len()) as u32;
    [&length.to_le_bytes()[..], &id.to_le_bytes(), &kind.to_le_bytes(), body].concat()
}

fn payload(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat()
}

pub(super) fn served_samples() -> Vec<Vec<u8>> {
    let content = vec![5; 3000];
    let chunk = wire::SnapshotChunk {
        offset: 0,
        crc: crc32c::crc32c(&content),
        bytes: content.len() as u32,
        lz4: lz4_flex::block::compress(&content).into(),
    };
    let digest = Bytes::copy_from_slice(blake3::hash(&content).as_bytes());
    let offer = wire::SnapshotOffer { bytes: content.len() as u64, digest, ..Default::default() };
    let head = [&kind::SNAPSHOT.to_le_bytes()[..], &offer.encode_to_vec()].concat();
    let snapshot = [&[3][..], &payload(&head), &payload(&chunk.encode_to_vec()), &[0xff; 4]].concat();
    let calls = [&[1][..], &frame(0, 1, b"abc"), &frame(1, 20, b"")].concat();
    vec![calls, [&[2][..], &frame(0, 1, &[7; 500])].concat(), snapshot]
}

pub(super) fn answers_samples() -> Vec<Vec<u8>> {
    vec![[frame(1, 2, b"x"), frame(0, 1, b"")].concat(), frame(0, 1, b"late")]
}
