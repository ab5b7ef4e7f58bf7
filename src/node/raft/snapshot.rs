//! Sending a shard's file to a replica that fell behind the log, and receiving one.
//!
//! ```text
//! sender                                   receiver
//! copy the file (writer's place held)
//! SnapshotOffer {last, membership, digest} -->  is the replica here? room on the disk?
//! SnapshotChunk {offset, crc, lz4} ...     -->  each checked, written to `incoming.received`
//!   (paced; an empty one now and then while it is held)
//! end of stream                            -->  length and digest of the whole, sync
//!                                               openraft: is the vote current? then install, unless the log has caught up
//!                                               everything before this on disk
//!                                          <--  SnapshotReply {vote}
//! ```
//!
//! The copy is what the last flush left; its log id travels in the offer, so it may be newer than what openraft asked for,
//! which is harmless: it lies below the leader's commit index. A transfer that breaks leaves `incoming.received`, which the next
//! one overwrites and the next start removes. Nothing of the replica changes before `install`, which is atomic.
//!
//! ## Invariants and what guards each
//!
//! - A file counts as received only if it is the whole of what was offered, and on disk: guarded by
//!   `tests::a_file_arrives_whole_and_durable`, `tests::anything_but_the_file_offered_is_refused`.
//! - Nothing is received that is larger than allowed or that there is no room for: guarded by
//!   `tests::anything_but_the_file_offered_is_refused`.
//! - What is answered is on disk, also where openraft does not need the file any more and says so at once: guarded by
//!   `sim_disk::a_snapshot_that_is_not_needed_is_answered_when_the_log_is_on_disk`.
//! - What was installed is the whole shard: guarded by `sim_cluster::a_node_that_missed_the_log_gets_a_snapshot`,
//!   `node::store::tests::copies::a_damaged_file_is_not_installed`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::model::id::{NodeId, ShardId};
use crate::net::exec::Exec;
use crate::net::kind;
use crate::net::peers::Peers;
use crate::net::rpc::{FrameStream, open_stream};
use crate::net::transport::Class;
use crate::net::wire;
use crate::node::disk::{Disk, DiskFile};
use crate::node::store::{COPY_SUFFIX, FileCopy, RECEIVED_SUFFIX, Store};

use super::counts::TransferCounts;
use super::pace::{Bucket, Pace};
use super::sending::{Sending, Sent};
use super::types::{Vote, vote_from_wire, vote_to_wire};

/// Uncompressed bytes of one chunk.
const CHUNK_BYTES: usize = 256 << 10;
/// Largest file accepted.
const FILE_MAX_BYTES: u64 = 64 << 30;
/// Room that must stay on the receiver's disk.
const RESERVE_BYTES: u64 = 256 << 20;
/// A file is synced whenever so much more of it has come: all of it at the end would hold up the log of this node, and of every
/// other one on the same device.
const SYNC_EVERY_BYTES: u64 = 4 << 20;
/// How often a transfer that is held looks whether it still is.
const HELD_LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(500);
/// How long either side waits for the other to do anything.
const STALL: std::time::Duration = std::time::Duration::from_secs(30);

/// For whom a snapshot is.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub shard: ShardId,
    pub replica: u64,
    pub node: NodeId,
}

/// Why a transfer did not come about. The receiver is as it was.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error("copying the shard's file failed")]
    Copy(#[source] crate::node::store::StoreError),
    #[error("the transfer broke off")]
    Stream(#[from] io::Error),
    #[error(transparent)]
    Connect(#[from] crate::net::transport::ConnectError),
    #[error("the other side said nothing for {STALL:?}")]
    Stalled,
    #[error("the other side refused: {0}")]
    Refused(String),
    #[error("the other side sent something else than a snapshot: {0}")]
    Malformed(&'static str),
}

/// Sends the shard's file; returns the receiver's vote.
pub async fn send(
    peers: &Peers,
    store: &Store,
    counts: &TransferCounts,
    (sending, pace): (&Sending, &Pace),
    to: Target,
    vote: &Vote,
) -> Result<Vote, TransferError> {
    let begin = Instant::now();
    let path = store.dir().join(format!("outgoing-{}{COPY_SUFFIX}", to.replica));
    let copy = store.copy_file(&path).await.map_err(TransferError::Copy)?;
    let sent = send_copy(peers, store, (sending, pace), to, vote, &path, &copy).await;
    counts.ended(sent.is_ok(), copy.bytes, begin.elapsed());
    // Best effort: what is left over goes at the next start.
    let _ = store.disk().remove(&path);
    sent
}

async fn send_copy(
    peers: &Peers,
    store: &Store,
    (sending, pace): (&Sending, &Pace),
    to: Target,
    vote: &Vote,
    path: &Path,
    copy: &FileCopy,
) -> Result<Vote, TransferError> {
    let offer = wire::SnapshotOffer {
        shard: to.shard.0,
        replica: to.replica,
        vote: Some(vote_to_wire(vote)),
        last: copy.base.applied,
        membership: Some(copy.base.membership.clone()),
        bytes: copy.bytes,
        digest: Bytes::copy_from_slice(&copy.digest),
    };
    let connection = peers.connection(to.node, Class::Bulk).await?;
    let mut stream = open_stream(&connection, kind::SNAPSHOT, offer.encode_to_vec().into()).await?;
    let file = store.disk().open(path, false)?;
    let bucket = Bucket::default();
    let mut offset = 0;
    loop {
        sending.note(to.replica, Sent { bytes: offset, of_bytes: copy.bytes });
        if offset >= copy.bytes {
            break;
        }
        while sending.is_held(to.replica) {
            // The receiver must not think that nobody is there.
            within(stream.send(chunk_of(offset, &[]).encode_to_vec().into())).await??;
            tokio::time::sleep(HELD_LOOK_EVERY).await;
        }
        let file = file.clone();
        let bytes = (copy.bytes - offset).min(CHUNK_BYTES as u64) as usize;
        pace.admit(bytes as u64).await;
        bucket.admit(bytes as u64, || sending.rate(to.replica).unwrap_or(0)).await;
        let chunk = store.exec().blocking(move || read_chunk(&*file, offset, bytes)).await?;
        within(stream.send(chunk.encode_to_vec().into())).await??;
        offset += bytes as u64;
    }
    within(stream.finish()).await??;
    let answer = within(stream.recv()).await??.ok_or(TransferError::Malformed("no answer"))?;
    let reply =
        wire::SnapshotReply::decode(answer).map_err(|_| TransferError::Malformed("an unreadable answer"))?;
    match (reply.failure, reply.vote) {
        (Some(failure), _) => Err(TransferError::Refused(failure.message)),
        (None, Some(vote)) => Ok(vote_from_wire(&vote)),
        (None, None) => Err(TransferError::Malformed("an answer without a vote")),
    }
}

fn read_chunk(file: &dyn DiskFile, offset: u64, bytes: usize) -> io::Result<wire::SnapshotChunk> {
    let mut buffer = vec![0; bytes];
    file.read_at(offset, &mut buffer)?;
    Ok(chunk_of(offset, &buffer))
}

fn chunk_of(offset: u64, bytes: &[u8]) -> wire::SnapshotChunk {
    let lz4 = lz4_flex::block::compress(bytes).into();
    wire::SnapshotChunk { offset, crc: crc32c::crc32c(bytes), bytes: bytes.len() as u32, lz4 }
}

async fn within<T>(work: impl Future<Output = T>) -> Result<T, TransferError> {
    tokio::time::timeout(STALL, work).await.map_err(|_| TransferError::Stalled)
}

/// Receives an offered file into `dir`; returns where it is, synced and checked against the offer.
pub async fn receive(
    disk: &Arc<dyn Disk>,
    exec: &Exec,
    dir: &Path,
    offer: &wire::SnapshotOffer,
    stream: &mut FrameStream,
) -> Result<PathBuf, TransferError> {
    if offer.bytes > FILE_MAX_BYTES {
        return Err(TransferError::Malformed("a file too large"));
    }
    if disk.free_bytes()? < offer.bytes + RESERVE_BYTES {
        return Err(TransferError::Stream(io::Error::from(io::ErrorKind::StorageFull)));
    }
    let path = dir.join(format!("incoming{RECEIVED_SUFFIX}"));
    let file = disk.open(&path, true)?;
    file.set_len(0)?;
    let mut hasher = blake3::Hasher::new();
    let (mut received, mut synced) = (0, 0);
    let mut syncing = None;
    while let Some(frame) = within(stream.recv()).await?? {
        let chunk = wire::SnapshotChunk::decode(frame)
            .map_err(|_| TransferError::Malformed("an unreadable chunk"))?;
        if chunk.offset != received {
            return Err(TransferError::Malformed("a chunk out of order"));
        }
        let to = file.clone();
        let mut running = std::mem::take(&mut hasher);
        let written = exec.blocking(move || -> Result<_, TransferError> {
            let bytes = write_chunk(&*to, &chunk)?;
            running.update(&bytes);
            Ok((bytes.len() as u64, running))
        });
        let (bytes, running) = written.await?;
        hasher = running;
        received += bytes;
        if received - synced >= SYNC_EVERY_BYTES {
            // While it goes on the next ones come, but not more than one sync's.
            ended(syncing.take()).await?;
            synced = received;
            syncing = Some(sync_behind(exec, &file));
        }
        if received > offer.bytes {
            return Err(TransferError::Malformed("more bytes than were offered"));
        }
    }
    if received != offer.bytes || hasher.finalize().as_bytes()[..] != offer.digest[..] {
        return Err(TransferError::Malformed("bytes other than were offered"));
    }
    ended(syncing).await?;
    let dir = dir.to_owned();
    let disk = disk.clone();
    exec.blocking(move || file.sync_data().and_then(|()| disk.sync_dir(&dir))).await?;
    Ok(path)
}

/// Begins to sync what has been written.
fn sync_behind(exec: &Exec, file: &Arc<dyn DiskFile>) -> JoinHandle<io::Result<()>> {
    let (exec, file) = (*exec, file.clone());
    let sync = async move { exec.blocking(move || file.sync_data()).await };
    exec.spawn(sync)
}

async fn ended(syncing: Option<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    match syncing {
        Some(syncing) => syncing.await.map_err(io::Error::other)?,
        None => Ok(()),
    }
}

fn write_chunk(file: &dyn DiskFile, chunk: &wire::SnapshotChunk) -> Result<Vec<u8>, TransferError> {
    if chunk.bytes as usize > CHUNK_BYTES {
        return Err(TransferError::Malformed("a chunk too large"));
    }
    let bytes = lz4_flex::block::decompress(&chunk.lz4, chunk.bytes as usize)
        .map_err(|_| TransferError::Malformed("a chunk that cannot be unpacked"))?;
    if crc32c::crc32c(&bytes) != chunk.crc {
        return Err(TransferError::Malformed("a chunk with a wrong checksum"));
    }
    file.write_at(chunk.offset, &bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
