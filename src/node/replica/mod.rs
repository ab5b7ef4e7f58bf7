//! # A replica: one shard's data on this node, and its seat in the shard's group
//!
//! Puts together the store, the log, the group, the way in for writes and the read rounds.
//!
//! ## Opening
//!
//! 1. The store recovers the last flush. 2. The log was recovered by the write-ahead log. 3. If the flush lies beyond the
//!    end of the log (a crash between the installation of a snapshot and the purge of the log), the log is purged up to
//!    it. 4. openraft starts, and replays what is committed beyond the flush.
//!
//! ## Invariants and what guards each
//!
//! - A replica whose file or log was lost never opens under its id: guarded by
//!   `tests::what_lost_its_file_or_its_log_is_refused`.
//! - A file that is ahead of its log takes its place: guarded by `tests::a_log_behind_its_file_goes_on_behind_it`.
//!
//! Relies on [`crate::node::store`], [`crate::node::wal`], [`crate::node::raft`]. Does not decide whether it should exist.

mod asked;
mod counts;
mod pause;
mod proposer;
mod placement;
mod reads;
mod rounds;
mod sole;
mod birth;
mod tidy;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::model::config::Settings;
use crate::model::id::{NodeId, ReplicaId, ShardId};
use crate::model::key::Key;
use crate::model::wire::{self as log_wire, Outcome, Write};
use crate::net::exec::Exec;
use crate::net::kind;
use crate::net::peers::Peers;
use crate::net::transport::Class;
use crate::net::trouble::{Bug, planted};
use crate::net::wire;

use super::clock::Clock;
use super::disk::Disk;
use super::raft::counts::RaftCounts;
use super::raft::group::{Group, GroupStatus, ProposeError, Roused};
use super::raft::log::Log;
use super::raft::machine::{Applied, Machine, SnapshotMeta, SnapshotSource};
use super::raft::network::Network;
use super::raft::pace::Pace;
use super::raft::sending::Sending;
use super::raft::types::Vote;
use super::store::{OpenFile, Store, StoreError, StoreOptions};
use super::wal::{GroupId, GroupLog, LogPoint, Wal, WalError};

use asked::Asked;
pub(in crate::node) use birth::Born;
pub use birth::is_unborn;
pub use counts::{ReplicaCounts, ShardCounts};
use pause::Pause;
pub use placement::HAND_OVER;
pub use proposer::QUEUE_MAX;
pub use proposer::{Proposer, Rejected};
pub use reads::{PageWish, ReadError, ReadWish};
pub use rounds::{READERS_MAX, ReadRounds};
use sole::Sole;
pub use sole::{is_sole, listed as listed_sole};
use tidy::Tidiness;

/// Requests that wait until it is known who leads; what comes then is refused at once.
const WAITING_MAX: usize = 256;
/// How long a replica waits for its leader to name a read index.
const READ_INDEX_TIMEOUT: Duration = Duration::from_secs(2);

/// What every replica of a node is made with.
#[derive(Clone)]
pub struct ReplicaParts {
    pub node: NodeId,
    pub disk: Arc<dyn Disk>,
    pub wal: Wal,
    pub peers: Peers,
    pub clock: Clock,
    pub exec: Exec,
    pub store: StoreOptions,
    pub settings: watch::Receiver<Settings>,
    pub pace: Pace,
    pub roused: Arc<Roused>,
    pub raft_counts: Arc<RaftCounts>,
    pub counts: Arc<ReplicaCounts>,
}

/// One replica, running.
pub struct Replica {
    pub shard: ShardId,
    pub id: ReplicaId,
    pub group: Group,
    pub store: Store,
    pub proposer: Proposer,
    pub rounds: ReadRounds,
    pub counts: ShardCounts,
    asked: Asked,
    /// Held while a snapshot is being received: one at a time.
    pub receiving: tokio::sync::Mutex<()>,
    /// How far files are that are sent to others.
    sending: Sending,
    pause: Pause,
    /// Places for those who wait until somebody leads.
    waiting: Semaphore,
    /// A copy is being made for a split.
    preparing: Arc<AtomicBool>,
    tidiness: Arc<Tidiness>,
    /// The term for which the clock has been moved past the ceiling of earlier leaders.
    read_term: AtomicU64,
    clock: Clock,
    log: GroupLog,
    peers: Peers,
    sole: Sole,
}

/// Why a replica cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Wal(#[from] WalError),
    #[error(transparent)]
    Raft(#[from] ProposeError),
    /// It must not vote or acknowledge again under its id.
    #[error("the replica's part of the write-ahead log is gone")]
    LogLost,
    /// What its log no longer has is not in its file.
    #[error("the replica's file is older than its part of the write-ahead log")]
    FileOld,
    /// What it has lost nobody else has.
    #[error("shard {shard} has no other voter than {replica}, which is damaged")]
    Sole {
        shard: ShardId,
        replica: ReplicaId,
        #[source]
        source: Box<ReplicaError>,
    },
}

/// Why a shard did not begin here. Repeating it is harmless.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    #[error(transparent)]
    Rejected(#[from] Rejected),
    #[error("that this replica is the shard's only voter cannot be noted")]
    Disk(#[from] io::Error),
}

impl ReplicaError {
    /// True if the replica's own data is not what it was: another one can take its place.
    pub fn is_damage(&self) -> bool {
        use ReplicaError::*;
        matches!(self, Store(StoreError::Damaged { .. }) | Wal(WalError::Damaged { .. }) | LogLost | FileOld)
    }
}

/// The directory of a replica, below the node's.
pub fn directory(shard: ShardId, replica: ReplicaId) -> PathBuf {
    Path::new("replicas").join(format!("{shard}-{replica}"))
}

/// What a directory below `replicas/` is called, read back.
pub fn parse_directory(name: &str) -> Option<(ShardId, ReplicaId)> {
    let (shard, replica) = name.split_once('-')?;
    Some((shard.parse().ok()?, replica.parse().ok()?))
}

impl Replica {
    /// Opens a replica, making it empty if it is not there.
    pub async fn open(
        parts: &ReplicaParts,
        shard: ShardId,
        id: ReplicaId,
    ) -> Result<Arc<Replica>, ReplicaError> {
        let dir = directory(shard, id);
        parts.disk.create_dir(&dir).map_err(WalError::from)?;
        let store = Store::create_or_open(parts.disk.clone(), &dir, shard, parts.exec, parts.store.clone())?;
        Replica::with(parts, shard, id, store).await
    }

    /// The same, where its file is open already.
    pub async fn open_made(
        parts: &ReplicaParts,
        shard: ShardId,
        id: ReplicaId,
        file: OpenFile,
    ) -> Result<Arc<Replica>, ReplicaError> {
        let (dir, options) = (directory(shard, id), parts.store.clone());
        let store = Store::with(file, parts.disk.clone(), &dir, shard, parts.exec, options)?;
        Replica::with(parts, shard, id, store).await
    }

    async fn with(
        parts: &ReplicaParts,
        shard: ShardId,
        id: ReplicaId,
        store: Store,
    ) -> Result<Arc<Replica>, ReplicaError> {
        let log = parts.wal.group(GroupId(id.0));
        align(&log, &store).await?;
        let sole = Sole::open(parts.disk.clone(), shard, id, parts.exec).map_err(WalError::from)?;
        parts.clock.advance(store.state(|state| state.highest_stamp));

        let (sender, applied) = watch::channel(Applied::default());
        let machine = Machine::new(store.clone(), parts.clock.clone(), sender);
        let sending = Sending::default();
        let network = Network {
            shard,
            peers: parts.peers.clone(),
            clock: parts.clock.clone(),
            store: store.clone(),
            counts: parts.raft_counts.clone(),
            silence: Arc::default(),
            sending: sending.clone(),
            pace: parts.pace.clone(),
        };
        let raft_log = Log::new(log.clone(), parts.raft_counts.clone());
        let group = Group::start(shard, id, network, raft_log, machine, applied, parts.roused.clone()).await;
        let group = group.map_err(|error| match log.is_damaged() {
            true => WalError::Damaged { group: GroupId(id.0) }.into(),
            false => ReplicaError::from(error),
        })?;
        let proposer = Proposer::start(
            group.clone(),
            store.clone(),
            parts.clock.clone(),
            parts.exec,
            parts.settings.clone(),
            parts.counts.clone(),
        );
        let rounds = ReadRounds::new(group.clone(), parts.exec, parts.counts.clone());
        let (clock, peers) = (parts.clock.clone(), parts.peers.clone());
        Ok(Arc::new(Replica {
            shard,
            id,
            group,
            store,
            proposer,
            rounds,
            counts: ShardCounts::default(),
            asked: Asked::default(),
            receiving: tokio::sync::Mutex::new(()),
            sending,
            pause: Pause::default(),
            waiting: Semaphore::new(WAITING_MAX),
            preparing: Arc::default(),
            tidiness: Arc::default(),
            read_term: AtomicU64::new(0),
            clock,
            log,
            peers,
            sole,
        }))
    }

    /// Removes what a replica has on this node, for good.
    pub async fn destroy(parts: &ReplicaParts, shard: ShardId, id: ReplicaId) -> Result<(), ReplicaError> {
        sole::forget(&*parts.disk, shard, id).map_err(WalError::from)?;
        // The log first: its record of the end is durable, so a crash in between leaves a directory that the next look at
        // the list of retired replicas removes.
        parts.wal.group(GroupId(id.0)).destroy().await?;
        Store::destroy(&*parts.disk, &directory(shard, id))?;
        Ok(())
    }

    /// Begins the shard: this replica becomes its first voter and owns `range`. Harmless if begun.
    pub async fn begin(&self, node: NodeId, start: &Key, end: Option<&Key>) -> Result<(), BeginError> {
        if !self.group.is_begun().await.map_err(Rejected::from)? {
            self.sole.begin().await?;
            self.group.initialize(node).await.map_err(Rejected::from)?;
        }
        let begun = || self.store.state(|state| state.range.is_some());
        let mut applied = self.applied();
        tokio::select! {
            biased;
            () = self.group.wait_until(|| self.group.leadership().here) => {}
            _ = applied.wait_for(|_| begun()) => {}
        }
        if begun() {
            return Ok(());
        }
        let end = end.map(Key::to_bytes).unwrap_or_default();
        let genesis = log_wire::Genesis { start: start.to_bytes(), end, stamp: self.clock.take(1).0 };
        Ok(self.proposer.genesis(genesis).await?)
    }

    /// Has a write evaluated.
    pub async fn write(&self, write: Write) -> Result<Outcome, Rejected> {
        let begin = Instant::now();
        self.asked.note(write.operations.len(), |n| &write.operations[n].key);
        self.counts.add_keys(write.operations.len());
        let outcome = self.proposer.write(write).await;
        self.counts.write_seconds.observe_time(begin.elapsed());
        self.pause.waited(begin);
        outcome
    }

    /// Who leads, where somebody was refused because this replica does not, and nobody, or the next one, is about to. `None`
    /// at once if nothing of the kind is under way.
    pub async fn next_leader(&self, limit: Duration) -> Option<NodeId> {
        if !self.group.is_changing_hands() {
            return None;
        }
        // The others look by themselves: one shard that nobody leads must not hold up all that a client asks of this node.
        let _place = self.waiting.try_acquire().ok()?;
        let begin = Instant::now();
        let leader = self.group.next_leader(limit).await;
        self.pause.waited(begin);
        leader
    }

    /// Watches how far this replica has applied.
    pub fn applied(&self) -> watch::Receiver<Applied> {
        self.group.applied()
    }

    /// The bytes this replica's log holds.
    pub fn log_bytes(&self) -> u64 {
        self.log.live_bytes()
    }

    /// Takes a received snapshot in; returns this replica's vote, once all up to the snapshot is on disk.
    ///
    /// # Errors
    ///
    /// If it was not taken in, or nobody can say; the text says why.
    pub async fn install(
        &self,
        vote: Vote,
        meta: SnapshotMeta,
        source: SnapshotSource,
    ) -> Result<Vote, String> {
        let vote = self.group.install(vote, meta, source).await?;
        // It may not have been needed, since the log has caught up meanwhile: then openraft answers at once. But the answer says
        // that all up to there is kept, and what came by the log is on its way to the disk.
        if !planted(Bug::SnapshotAnsweredEarly) {
            self.log.synced().await.map_err(|error| error.to_string())?;
        }
        Ok(vote)
    }

    /// Flushes what is in memory.
    pub async fn flush(&self) -> Result<(), StoreError> {
        flush(&self.store, &self.log, &self.group).await
    }

    /// Forgets the log that the file holds, if it holds any. Replicas that lag behind that get the file.
    pub async fn forget_log(&self) {
        if let Some(applied) = self.store.base().applied {
            self.group.flushed(Some(applied.index)).await;
        }
    }

    /// True once something of it turned out not to be what was written.
    pub fn is_damaged(&self) -> bool {
        self.store.is_damaged() || self.log.is_damaged()
    }

    /// What the node says about this replica.
    pub fn status(&self) -> (GroupStatus, wire::ReplicaStatus) {
        let group = self.group.status();
        let stats = self.store.stats();
        let flushed_index = self.store.flushed().map_or(0, |id| id.index);
        let (range, epoch, highest_stamp, watermark) = self
            .store
            .state(|state| (state.range.clone(), state.epoch, state.highest_stamp, state.watermark));
        let (birth, birth_replicas) = self.store.state(|state| (state.birth_id(), state.birth_replicas()));
        let end = range.as_ref().and_then(|range| range.end.as_ref());
        let word = self.store.word();
        let status = wire::ReplicaStatus {
            shard: self.shard.0,
            replica: self.id.0,
            state: group.state.to_owned(),
            term: group.leadership.term,
            leader_replica: group.leadership.replica.map_or(0, |id| id.0),
            applied_index: group.applied.index,
            last_index: group.last_index,
            flushed_index,
            keys: stats.keys,
            bytes: stats.live_bytes,
            epoch,
            membership: Some(group.membership.clone()),
            start: range.as_ref().map(|range| range.start.to_bytes()).unwrap_or_default(),
            end: end.map(Key::to_bytes).unwrap_or_default(),
            highest_stamp: highest_stamp.0,
            watermark: watermark.0,
            asked_index: word.asked_index,
            digest: word.digest.map(|digest| Bytes::copy_from_slice(&digest)).unwrap_or_default(),
            operations: self.counts.operations(),
            birth,
            birth_replicas,
            has_foreign: self.store.holds_foreign(),
        };
        (group, status)
    }

    /// Asks the shard's leader which index a read here must wait for; `None` if it cannot be asked.
    async fn ask_leader(&self) -> Option<u64> {
        let leader = self.group.leadership();
        let (node, replica) = (leader.node?, leader.replica?);
        let question = wire::ReadIndex { shard: self.shard.0, replica: replica.0 };
        let answer = tokio::time::timeout(READ_INDEX_TIMEOUT, async {
            let caller = self.peers.caller(node, Class::Control).await.ok()?;
            caller.call(kind::READ_INDEX, question.encode_to_vec().into()).await.ok()
        });
        let reply = wire::ReadIndexReply::decode(answer.await.ok()??).ok()?;
        reply.failure.is_none().then_some(reply.index)
    }

    /// Flushes if there is room for that, leaves the group and closes the file.
    pub async fn close(&self, flush: bool) {
        if flush && let Err(error) = self.flush().await {
            tracing::warn!(shard = %self.shard, %error, "the last flush failed; the log has everything");
        }
        self.group.shutdown().await;
        self.store.close().await;
    }
}

async fn flush(store: &Store, log: &GroupLog, group: &Group) -> Result<(), StoreError> {
    let log = log.clone();
    let synced = async move || match planted(Bug::FlushOvertakesLog) {
        true => Ok(()),
        false => log.synced().await,
    };
    let base = store.flush(synced).await?;
    if base.applied.is_some() {
        group.flushed(None).await;
    }
    Ok(())
}

/// Step 3 of opening.
async fn align(log: &GroupLog, store: &Store) -> Result<(), ReplicaError> {
    if log.is_damaged() {
        return Err(WalError::Damaged { group: log.id() }.into());
    }
    let state = log.state();
    let base = store.base().applied.map(|id| LogPoint { term: id.term, index: id.index });
    if state.purged.map(|purged| purged.index) > base.map(|base| base.index) {
        return Err(ReplicaError::FileOld);
    }
    if state.purged.is_none() && state.last.is_some() && log.read(0..1, 1)?.is_empty() {
        return Err(ReplicaError::LogLost);
    }
    let Some(applied) = base else { return Ok(()) };
    if state.vote.is_none() && state.last.is_none() {
        // It has applied entries, so it has voted or been led: its log is gone, and with it what it has promised.
        return Err(ReplicaError::LogLost);
    }
    let purged = state.purged.is_some_and(|purged| purged.index >= applied.index);
    let agrees = purged
        || log.read(applied.index..applied.index + 1, 1)?.first().is_some_and(|at| at.point == applied);
    if !agrees {
        // Behind the file, or a tail that a snapshot has overruled: the file holds all of it that counts.
        log.truncate_after(None).await?;
        log.purge(applied).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
