//! The store itself: what its parts share, how it is opened and closed, and what can be asked without reading rows.
//!
//! Promises: opening removes what an interrupted copy or installation left, and finds the state of the last flush.
//! Does not decide when to flush; it only says that it should.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::model::evaluate::{Birth, ShardState};
use crate::model::id::ShardId;
use crate::model::key::{Key, KeyRange};
use crate::model::repeat::{RepeatSize, RepeatTable};
use crate::model::row::Version;
use crate::model::time::Timestamp;
use crate::model::verify::Word;
use crate::model::wire;
use crate::net::exec::Exec;
use crate::net::trouble::{Bug, planted};
use crate::node::disk::Disk;

use super::approach::Approach;
use super::backend::Rot;
use super::budget::{Held, MemoryBudget};
use super::engine::{BoxError, Engine, EngineError, Frozen, Picture};
use super::error::{FailedEarlier, StoreError};
use super::file::{ShardFile, UNFINISHED};
use super::memtable::Memtable;
use super::record::{BadRecord, Head};

/// The shard's file in its directory.
pub const FILE_NAME: &str = "shard.redb";
/// What the names of private copies in the replica's directory end in; opening the store removes them.
pub const COPY_SUFFIX: &str = ".copy";
/// What the names of files being received into the replica's directory end in; opening the store removes them.
pub const RECEIVED_SUFFIX: &str = ".received";

/// Bytes of a shard's file that are kept in memory, usually.
const CACHE_BYTES: usize = 32 << 20;

/// Bounds of a store's memory.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// For what is not flushed yet, together with other stores.
    pub memory: Arc<MemoryBudget>,
    /// Bytes of the file kept in memory.
    pub cache_bytes: usize,
    /// Told when a shard is split, of all stores that share it.
    pub births: Arc<Notify>,
}

impl StoreOptions {
    /// With the usual cache.
    pub fn new(memory: Arc<MemoryBudget>) -> StoreOptions {
        StoreOptions { memory, cache_bytes: CACHE_BYTES, births: Arc::default() }
    }
}

/// What a shard's file durably holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Basis {
    /// The last log entry whose effect it holds.
    pub applied: Option<wire::LogId>,
    pub membership: wire::Membership,
    /// Without the repeat table, which stays in the file.
    pub state: ShardState,
}

/// Numbers about a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Estimate: keys present.
    pub keys: u64,
    /// Estimate: bytes of keys and newest values.
    pub live_bytes: u64,
    /// Keys in the file, deleted ones included.
    pub file_rows: u64,
    /// History tables in the file.
    pub history_runs: u64,
    /// Replaced versions in them.
    pub history_rows: u64,
    /// Bytes of their keys and values.
    pub history_bytes: u64,
    /// Keys in memory.
    pub memtable_rows: u64,
    /// Memory these take, overhead included.
    pub memtable_bytes: u64,
}

/// The storage of one replica of a shard. Clones share it.
#[derive(Clone)]
pub struct Store {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub exec: Exec,
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub shard: ShardId,
    pub options: StoreOptions,
    /// Locked for whole batches, by whoever applies; before `seen` where both are.
    pub applier: Mutex<Applier>,
    /// What readers see; locked briefly.
    pub seen: RwLock<Seen>,
    /// Held by whoever writes the file or needs it not to be written; before the others.
    pub place: Arc<tokio::sync::Mutex<Place>>,
    pub failed: AtomicBool,
    /// The file does not hold what was written.
    pub rot: Rot,
    pub closed: AtomicBool,
    /// Held by whoever makes a copy for a split; before the others.
    pub preparing: tokio::sync::Mutex<()>,
    /// How near the copy for a split is that is in the writer's place.
    pub approach: Approach,
    /// The answer to the last entry that asked for a digest; after the others where more are locked.
    pub word: Mutex<Word>,
}

/// The full replicated state, at the end of the last batch.
pub(super) struct Applier {
    pub state: ShardState,
    pub applied: Option<wire::LogId>,
    pub membership: wire::Membership,
    pub uniform: Option<wire::Membership>,
    /// The birth that was told last; 0: none.
    pub told_birth: u64,
}

/// What readers see: changes only as a whole.
pub(super) struct Seen {
    pub active: Memtable,
    pub frozen: Option<Arc<Memtable>>,
    /// The memory of both.
    pub held: Held,
    pub picture: Arc<dyn Picture>,
    /// Without the repeat table.
    pub state: ShardState,
    pub applied: Option<wire::LogId>,
    pub membership: wire::Membership,
    pub repeats: RepeatSize,
}

/// The writer's place.
pub(super) struct Place {
    /// `None`: closed.
    pub engine: Option<Box<dyn Engine>>,
    /// What a flush that did not come to its end was to write.
    pub frozen: Option<Frozen>,
    pub sweep_from: Option<Key>,
    /// What is to be split off: what flushes write of that is written to it as well.
    pub prepared: Option<Prepared>,
    /// What flushes have written since one began to be made; `None`: none is, or it was too much.
    pub missed: Option<Vec<Missed>>,
}

/// What a flush has written, and the highest stamp then.
pub(super) type Missed = (Arc<Memtable>, Timestamp);

/// A shard's file that was read and checked whole.
pub struct OpenFile {
    pub(super) file: ShardFile,
    /// Set when something of it turns out not to be what was written.
    pub(super) rot: Rot,
}

/// A file with the rows of some of the shard's keys, open and durable.
pub(super) struct Prepared {
    pub copy: OpenFile,
    /// All their versions up to this one are in it. Zero: of those in memory there may be none, and what a merge has brought
    /// there is stamped as it was.
    pub since: Timestamp,
    /// The shard's epoch when it was begun: a split or a merge since then has made it useless.
    pub epoch: u64,
    /// The keys: those that are to be split off.
    pub range: KeyRange,
    pub path: PathBuf,
}

impl Store {
    /// Opens the store of a replica in its directory, both made if absent. Blocks.
    ///
    /// # Errors
    /// `Damaged` if the file cannot be what this store has written; `Failed` if the disk refuses.
    pub fn create_or_open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        shard: ShardId,
        exec: Exec,
        options: StoreOptions,
    ) -> Result<Store, StoreError> {
        let path = dir.join(FILE_NAME);
        let rot = Rot::default();
        let opened = prepare(&*disk, dir, shard)
            .and_then(|()| ShardFile::open(&*disk, &path, options.cache_bytes, &rot));
        let file = opened.map_err(|error| sort(&path, error))?;
        Store::with(OpenFile { file, rot }, disk, dir, shard, exec, options)
    }

    /// The store of a replica whose file is open already.
    ///
    /// # Errors
    /// As of [`Store::create_or_open`].
    pub fn with(
        OpenFile { file, rot }: OpenFile,
        disk: Arc<dyn Disk>,
        dir: &Path,
        shard: ShardId,
        exec: Exec,
        options: StoreOptions,
    ) -> Result<Store, StoreError> {
        let applier = checked(&file, shard).map_err(|error| sort(&dir.join(FILE_NAME), error))?;
        let seen = Seen::of(file.picture(), &applier, Held::new(options.memory.clone()));
        let place = Place {
            engine: Some(Box::new(file)),
            frozen: None,
            sweep_from: None,
            prepared: None,
            missed: None,
        };
        let shared = Shared {
            exec,
            disk,
            dir: dir.to_owned(),
            shard,
            options,
            applier: Mutex::new(applier),
            seen: RwLock::new(seen),
            place: Arc::new(tokio::sync::Mutex::new(place)),
            failed: AtomicBool::new(false),
            rot,
            closed: AtomicBool::new(false),
            preparing: tokio::sync::Mutex::default(),
            approach: Approach::new(),
            word: Mutex::default(),
        };
        Ok(Store { shared: Arc::new(shared) })
    }

    /// True once anything was read from the file that is not what was written: the replica must be replaced.
    pub fn is_damaged(&self) -> bool {
        self.shared.rot.is_set()
    }

    /// Removes all that a replica stored, durably. Its store must be closed.
    pub fn destroy(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
        let removed = disk.remove_dir(dir).and_then(|()| disk.sync_dir(parent(dir)));
        removed.map_err(|error| StoreError::Failed(error.into()))
    }

    /// The replica's directory, for copies and files received.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// The disk it is on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.shared.disk
    }

    /// Where its blocking work is done.
    pub fn exec(&self) -> &Exec {
        &self.shared.exec
    }

    /// What the file durably holds.
    pub fn base(&self) -> Basis {
        let seen = self.shared.seen.read();
        if planted(Bug::PurgePastDurable) {
            let (membership, state) = (seen.membership.clone(), seen.state.clone());
            return Basis { applied: seen.applied, membership, state };
        }
        let picture = seen.picture.clone();
        drop(seen);
        basis_of(&*picture)
    }

    /// The last log entry whose effect the file durably holds: a part of [`Store::base`] that costs nothing.
    pub fn flushed(&self) -> Option<wire::LogId> {
        self.shared.seen.read().picture.head().applied
    }

    /// The newest applied entry and the membership then, as readers see them.
    pub fn applied(&self) -> (Option<wire::LogId>, wire::Membership) {
        let seen = self.shared.seen.read();
        (seen.applied, seen.membership.clone())
    }

    /// Reads the replicated state as readers see it. Its repeat table is left out and appears empty. `read` runs under
    /// a lock that applying waits for, so it must be quick, and must not call the store.
    pub fn state<R>(&self, read: impl FnOnce(&ShardState) -> R) -> R {
        read(&self.shared.seen.read().state)
    }

    /// For what is not flushed yet, together with other stores.
    pub fn budget(&self) -> &MemoryBudget {
        &self.shared.options.memory
    }

    /// Memory that the memtables take, in bytes.
    pub fn memtable_bytes(&self) -> usize {
        self.shared.seen.read().memory_bytes()
    }

    /// Keys in the memtables.
    pub fn memtable_rows(&self) -> usize {
        self.shared.seen.read().memory_rows()
    }

    /// Keys in the file, deleted ones included.
    pub fn flushed_rows(&self) -> u64 {
        self.stats().file_rows
    }

    /// Numbers about this store; cheap.
    pub fn stats(&self) -> StoreStats {
        let seen = self.shared.seen.read();
        let head = seen.picture.head();
        let tally = head.tally.unwrap_or_default();
        let memory_live =
            seen.active.live_bytes() + seen.frozen.as_ref().map_or(0, |table| table.live_bytes());
        // Whether a key in memory is new to the file is not known; it is taken to be as likely as in the last flush.
        let new = |n: u64| if tally.rows == 0 { n } else { n * tally.new_permille / 1000 };
        StoreStats {
            keys: tally.rows - tally.tombstones + new(seen.memory_rows() as u64),
            live_bytes: tally.bytes + new(memory_live),
            file_rows: tally.rows,
            history_runs: head.runs.len() as u64,
            history_rows: head.runs.iter().map(|run| run.rows).sum(),
            history_bytes: head.runs.iter().map(|run| run.bytes).sum(),
            memtable_rows: seen.memory_rows() as u64,
            memtable_bytes: seen.memory_bytes() as u64,
        }
    }

    /// How much the shard's repeat table holds.
    pub fn repeats(&self) -> RepeatSize {
        self.shared.seen.read().repeats
    }

    /// Returns once the stores that share this one's budget are within the wall, or the store has failed or was closed
    /// (which the next call says). Somebody must flush meanwhile. The meta shard never waits: it is small, and all
    /// others need it.
    pub async fn wait_for_room(&self) {
        let Shared { options, shard, .. } = &*self.shared;
        loop {
            let mut changed = std::pin::pin!(options.memory.changed());
            changed.as_mut().enable();
            if *shard == ShardId::META || !options.memory.is_full() || self.shared.check_usable().is_err() {
                return;
            }
            changed.await;
        }
    }

    /// Closes the file, once whoever writes it is done. What is in memory is forgotten; the log has it.
    pub async fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.options.memory.wake();
        let mut place = self.shared.place.clone().lock_owned().await;
        place.frozen = None;
        if let Some(prepared) = self.shared.unprepare(&mut place) {
            self.shared.exec.blocking(move || drop(prepared)).await;
        }
        if let Some(engine) = place.engine.take() {
            self.shared.exec.blocking(move || drop(engine)).await;
        }
    }
}

impl Shared {
    /// # Errors
    /// `Closed`; `Failed` if a write has failed before.
    pub fn check_usable(&self) -> Result<(), StoreError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(self.stopped(FailedEarlier.into()));
        }
        match self.closed.load(Ordering::Acquire) {
            true => Err(StoreError::Closed),
            false => Ok(()),
        }
    }

    /// After a failed write nothing may be believed of the file.
    pub fn fail(&self, error: impl Into<BoxError>) -> StoreError {
        self.failed.store(true, Ordering::Release);
        self.options.memory.wake();
        self.stopped(error.into())
    }

    /// Why nothing goes on: damage if there is any, for after it nothing else that fails means anything.
    fn stopped(&self, source: BoxError) -> StoreError {
        match self.rot.is_set() {
            true => StoreError::Damaged { path: self.path(), source },
            false => StoreError::Failed(source),
        }
    }

    /// What a failed read of the file means.
    pub fn sort(&self, error: EngineError) -> StoreError {
        if matches!(error, EngineError::Damaged(_)) {
            self.rot.set();
        }
        match self.rot.is_set() {
            true => StoreError::Damaged { path: self.path(), source: error.into() },
            false => sort(&self.path(), error),
        }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.join(FILE_NAME)
    }
}

impl Applier {
    /// The state that a file holds.
    pub fn of(picture: &dyn Picture) -> Result<Applier, EngineError> {
        let head = picture.head();
        basis(head)?;
        Ok(Applier {
            state: picture.state()?,
            applied: head.applied,
            membership: head.membership.clone().unwrap_or_default(),
            uniform: head.uniform.clone(),
            told_birth: 0,
        })
    }
}

impl Seen {
    /// Just what the file holds.
    pub fn of(picture: Arc<dyn Picture>, applier: &Applier, held: Held) -> Seen {
        Seen {
            active: Memtable::default(),
            frozen: None,
            held,
            picture,
            state: summary(&applier.state),
            applied: applier.applied,
            membership: applier.membership.clone(),
            repeats: applier.state.repeats.size(),
        }
    }

    /// To be called when rows came or went.
    pub fn count_memory(&mut self) {
        self.held.set(self.memory_bytes());
    }

    pub fn memory_bytes(&self) -> usize {
        self.active.bytes() + self.frozen.as_ref().map_or(0, |table| table.bytes())
    }

    pub fn memory_rows(&self) -> usize {
        self.active.rows() + self.frozen.as_ref().map_or(0, |table| table.rows())
    }

    /// The newest version of `key` in memory, or the newest stamped at or below `at`.
    pub fn in_memory(&self, key: &Key, at: Option<Timestamp>) -> Option<&Version> {
        let tables = [Some(&self.active), self.frozen.as_deref()];
        tables.into_iter().flatten().find_map(|table| table.get(key)?.pick(at))
    }

    /// The part of `range` that is the shard's.
    pub fn own(&self, range: &KeyRange) -> Option<KeyRange> {
        self.state.range.as_ref().map(|own| own.intersection(range))
    }

    /// # Errors
    /// `Forgotten` if a read at `at` could not be answered right.
    pub fn check_remembered(&self, at: Option<Timestamp>) -> Result<(), StoreError> {
        match at {
            Some(at) if !self.state.remembers(at) => {
                Err(StoreError::Forgotten { watermark: self.state.watermark })
            }
            _ => Ok(()),
        }
    }
}

/// The state without its repeat table, which is large.
pub(super) fn summary(state: &ShardState) -> ShardState {
    ShardState {
        shard: state.shard,
        range: state.range.clone(),
        epoch: state.epoch,
        highest_stamp: state.highest_stamp,
        ceiling: state.ceiling,
        watermark: state.watermark,
        repeats: RepeatTable::default(),
        birth: state.birth.as_ref().map(|birth| {
            Box::new(Birth { child: summary(&birth.child), membership: birth.membership.clone() })
        }),
        frozen_by: state.frozen_by,
        attempts_over: state.attempts_over,
        taking: state.taking.clone(),
    }
}

/// What a file with this head holds.
pub(super) fn basis(head: &Head) -> Result<Basis, BadRecord> {
    let membership = head.membership.clone().unwrap_or_default();
    Ok(Basis { applied: head.applied, membership, state: head.summary()? })
}

/// What an open file holds.
pub(super) fn basis_of(picture: &dyn Picture) -> Basis {
    basis(picture.head()).expect("a head is checked when its file is opened, and of our making after that")
}

/// Opens a file and checks that it is this shard's.
pub(super) fn open_checked(
    disk: &dyn Disk,
    path: &Path,
    shard: ShardId,
    cache_bytes: usize,
    rot: &Rot,
) -> Result<(ShardFile, Applier), EngineError> {
    let file = ShardFile::open(disk, path, cache_bytes, rot)?;
    let applier = checked(&file, shard)?;
    Ok((file, applier))
}

fn checked(file: &ShardFile, shard: ShardId) -> Result<Applier, EngineError> {
    let applier = Applier::of(&*file.picture())?;
    if applier.state.shard != shard {
        return Err(EngineError::Damaged(format!("it is of shard {}, not {shard}", applier.state.shard)));
    }
    Ok(applier)
}

/// The directory a name is in.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

pub(super) fn sort(path: &Path, error: EngineError) -> StoreError {
    match error {
        EngineError::Damaged(_) => StoreError::Damaged { path: path.to_owned(), source: error.into() },
        EngineError::Disk(source) => StoreError::Failed(source),
    }
}

/// Leaves nothing in the directory but what was finished, and makes the file if there is none.
fn prepare(disk: &dyn Disk, dir: &Path, shard: ShardId) -> Result<(), EngineError> {
    disk.create_dir(dir)?;
    disk.sync_dir(parent(dir))?;
    for name in disk.list(dir)? {
        if [UNFINISHED, COPY_SUFFIX, RECEIVED_SUFFIX].iter().any(|suffix| name.ends_with(suffix)) {
            disk.remove(&dir.join(name))?;
        }
    }
    match disk.exists(&dir.join(FILE_NAME))? {
        // A process that was killed leaves writes and a name that no sync has followed. What is read from here on may be
        // relied upon (the log below it may go), so it must be on the disk.
        true => {
            disk.open(&dir.join(FILE_NAME), false)?.sync_data()?;
            Ok(disk.sync_dir(dir)?)
        }
        false => ShardFile::create(disk, dir, FILE_NAME, shard),
    }
}
