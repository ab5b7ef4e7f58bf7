//! A shard's file: the engine over redb.
//!
//! Promises: each flush and each sweep is durable when it returns, wholly, and before it the file holds what it held; a
//! file made here appears under its name only when it can be opened. Does not coordinate its users: one at a time.
//! Tables: see `picture`.
//!
//! A flush changes more pages than the cache holds. In one transaction each page would be written when it falls out of the
//! cache, and read, checked and written again when the transaction ends: twice the bytes. So all but the last part of a
//! flush goes into transactions that are not durable, each small enough for the cache; the last one is, and all of them
//! with it. A crash before it takes them all back. So must an error: closing the file would make them durable, so after
//! one nothing more is written to it ([`Backend`]). Readers go on with the picture before, which knows nothing of them.
//! When that has been let go, an empty transaction follows: it frees the pages that only the picture before needed, one
//! flush earlier than redb would, and without it redb 4.4 looks, in each part of the next flush, through the pages of
//! all parts before (a fifth of the time of a flush in 400 parts).

use std::cell::Cell;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use prost::Message;
use redb::{Builder, Database, Durability, TableDefinition, WriteTransaction};

use crate::model::evaluate::ShardState;
use crate::model::id::ShardId;
use crate::model::key::{Key, KeyRange};
use crate::model::row::Version;
use crate::model::time::Timestamp;
use crate::model::wire;
use crate::net::trouble::{Bug, planted};
use crate::node::disk::Disk;

use super::backend::{BLOCK, Backend, Ended, Rot, Sums};
use super::engine::{Engine, EngineError, Frozen, Picture, Swept};
use super::extract;
use super::picture::{FilePicture, HEAD, LATEST, META, RunKey, STATE, run_name};
use super::record::{self, Head, RunHead, Tally};
use super::versions::Versions;

/// Rows that one sweep looks at.
pub const SWEEP_ROWS_MAX: usize = 8192;
/// The part of the cache that one transaction of a flush may fill with pages it changed: redb writes out what is more
/// than half, and upper pages come on top.
const PART_SHARE: usize = 4;
/// Cache of a file that is only made or checked, in bytes.
const BRIEF_CACHE_BYTES: usize = 4 << 20;

/// An open file. Dropping it closes it.
pub struct ShardFile {
    database: Database,
    picture: Arc<FilePicture>,
    sums: Sums,
    ended: Ended,
    /// Of pages that one transaction may change, estimated.
    part_bytes: usize,
}

/// Keys that a sweep may remove, with their newest versions, and where to go on.
type VoidKeys = (Vec<(Key, Version)>, Option<Key>);

impl ShardFile {
    /// Makes the file of a shard nothing was applied to, durable when this returns. `dir` must exist.
    pub fn create(disk: &dyn Disk, dir: &Path, name: &str, shard: ShardId) -> Result<(), EngineError> {
        let unfinished = dir.join(format!("{name}{UNFINISHED}"));
        if disk.exists(&unfinished)? {
            disk.remove(&unfinished)?;
        }
        let file = disk.open(&unfinished, true)?;
        let database = builder(BRIEF_CACHE_BYTES).create_with_backend(Backend::new(
            file.clone(),
            Sums::default(),
            Rot::default(),
            Ended::default(),
        ))?;
        let transaction = begin(&database)?;
        transaction.open_table(LATEST)?;
        let state = ShardState::new(shard).to_wire();
        put_state(&transaction, &state)?;
        put_head(&transaction, &Head::new(&state))?;
        transaction.commit()?;
        drop(database);
        file.sync_data()?;
        disk.rename(&unfinished, &dir.join(name))?;
        Ok(disk.sync_dir(dir)?)
    }

    /// Opens the file, and reads and checks every page of it; a panic of the library below is taken for damage. What is
    /// found later not to be what was written sets `rot`.
    pub fn open(
        disk: &dyn Disk,
        path: &Path,
        cache_bytes: usize,
        rot: &Rot,
    ) -> Result<ShardFile, EngineError> {
        guarded(|| {
            let file = disk.open(path, false)?;
            if file.is_empty()? {
                return Err(EngineError::Damaged("the file is empty".into()));
            }
            let sums = Sums::default();
            let ended = Ended::default();
            let backend = Backend::new(file, sums.clone(), rot.clone(), ended.clone());
            let mut database = builder(cache_bytes).create_with_backend(backend)?;
            if !database.check_integrity()? {
                return Err(EngineError::Damaged("its checksums do not match".into()));
            }
            let picture = FilePicture::take(&database)?;
            let part_bytes = cache_bytes / PART_SHARE;
            Ok(ShardFile { database, picture, sums, ended, part_bytes })
        })
    }

    /// Reads and checks every page of a file that came from elsewhere, then closes it, durable. Its head.
    pub fn check(disk: &dyn Disk, path: &Path) -> Result<Head, EngineError> {
        let head = guarded(|| {
            let file = ShardFile::open(disk, path, BRIEF_CACHE_BYTES, &Rot::default())?;
            file.picture.state()?;
            Ok(file.picture.head().clone())
        })?;
        disk.open(path, false)?.sync_data()?;
        Ok(head)
    }

    /// A new file at `path`, which is replaced, that holds the rows of `picture` in these bounds, with their history: that of a
    /// shard in this state, which has the same bounds. Durable when this returns, but for its name.
    pub fn extract(
        (disk, path): (&dyn Disk, &Path),
        (cache_bytes, rot): (usize, &Rot),
        picture: &dyn Picture,
        range: &KeyRange,
        state: &wire::ShardState,
    ) -> Result<ShardFile, EngineError> {
        guarded(|| {
            if disk.exists(path)? {
                disk.remove(path)?;
            }
            let file = disk.open(path, true)?;
            let (sums, ended) = (Sums::default(), Ended::default());
            let backend = Backend::new(file, sums.clone(), rot.clone(), ended.clone());
            let database = builder(cache_bytes).create_with_backend(backend)?;
            let part_bytes = cache_bytes / PART_SHARE;
            let head = extract::write(&database, part_bytes, picture, range)?;
            let transaction = begin(&database)?;
            put_state(&transaction, state)?;
            put_head(&transaction, &Head { state: Some(record::without_clients(state)), ..head })?;
            transaction.commit()?;
            let picture = FilePicture::take(&database)?;
            Ok(ShardFile { database, picture, sums, ended, part_bytes })
        })
    }

    fn commit(
        &mut self,
        transaction: WriteTransaction,
        head: &Head,
    ) -> Result<Arc<dyn Picture>, EngineError> {
        put_head(&transaction, head)?;
        transaction.commit()?;
        self.picture = FilePicture::take(&self.database)?;
        Ok(self.picture.clone())
    }

    /// Some of the keys out of these bounds, with their newest versions: all of them if they are fewer than one sweep removes.
    fn foreign_keys(&self, own: &KeyRange) -> Result<Vec<(Key, Version)>, EngineError> {
        let below = KeyRange::new(Key::FIRST, Some(own.start.clone()));
        let above = own.end.clone().map(|end| KeyRange::new(end, None));
        let mut foreign = Vec::new();
        for range in [Some(below), above].into_iter().flatten() {
            for row in self.picture.scan(&range, false)?.take(SWEEP_ROWS_MAX - foreign.len()) {
                foreign.push(row?);
            }
        }
        Ok(foreign)
    }

    /// The keys, beginning at `from`, whose newest version a sweep may remove, and where to go on.
    fn void_keys(&self, from: Option<&Key>) -> Result<VoidKeys, EngineError> {
        let watermark = self.picture.head().watermark();
        let start = from.cloned().unwrap_or(Key::FIRST);
        let mut void = Vec::new();
        for (n, row) in self.picture.scan(&KeyRange::new(start, None), false)?.enumerate() {
            let (key, version) = row?;
            if n == SWEEP_ROWS_MAX {
                return Ok((void, Some(key)));
            }
            if record::is_void(&version, watermark) {
                void.push((key, version));
            }
        }
        Ok((void, None))
    }
}

impl Engine for ShardFile {
    fn picture(&self) -> Arc<dyn Picture> {
        self.picture.clone()
    }

    fn sums(&self) -> Vec<u32> {
        self.sums.copy()
    }

    fn flush(&mut self, frozen: &Frozen) -> Result<Arc<dyn Picture>, EngineError> {
        let mut head = self.picture.head().clone();
        if head.state.as_ref().is_some_and(|before| before.exists && bounds(before) != bounds(&frozen.state))
        {
            head.has_foreign = true;
        }
        head.state = Some(record::without_clients(&frozen.state));
        head.applied = Some(frozen.applied);
        head.membership = Some(frozen.membership.clone());
        head.uniform = frozen.uniform.clone();
        if planted(Bug::AppliedApart) {
            self.commit(
                begin(&self.database)?,
                &Head { applied: head.applied, ..self.picture.head().clone() },
            )?;
        }
        let half_done = self.ended.unless_done();
        let mut rows = Rows::new(frozen, &head)?;
        let transaction = loop {
            let mut transaction = self.database.begin_write()?;
            if rows.write_part(&transaction, self.part_bytes)? {
                make_durable(&mut transaction)?;
                break transaction;
            }
            transaction.set_durability(Durability::None)?;
            transaction.commit()?;
        };
        rows.finish(&transaction, &mut head)?;
        put_state(&transaction, &frozen.state)?;
        drop_runs(&transaction, &mut head)?;
        let picture = self.commit(transaction, &head)?;
        half_done.done();
        Ok(picture)
    }

    fn settle(&mut self) -> Result<(), EngineError> {
        Ok(begin(&self.database)?.commit()?)
    }

    fn sweep(&mut self, from: Option<&Key>) -> Result<Swept, EngineError> {
        let mut head = self.picture.head().clone();
        let watermark = head.watermark();
        let mortal = head.tally.unwrap_or_default().mortal;
        let own = head.own_bounds()?;
        let (void, next) = match &own {
            Some(own) => (self.foreign_keys(own)?, from.cloned()),
            None if mortal == 0 => Default::default(),
            None => self.void_keys(from)?,
        };
        let trimmed = own.is_some() && void.len() < SWEEP_ROWS_MAX;
        let stale = head.runs.iter().any(|run| Timestamp(run.replaced_max) <= watermark);
        if void.is_empty() && !stale && !trimmed {
            return Ok(Swept { picture: None, next });
        }
        head.has_foreign &= !trimmed;
        let transaction = begin(&self.database)?;
        drop_runs(&transaction, &mut head)?;
        {
            let mut latest = transaction.open_table(LATEST)?;
            let tally = head.tally.get_or_insert_default();
            for (key, version) in &void {
                latest.remove(key.as_bytes())?;
                tally.remove(key.as_bytes().len(), version);
            }
        }
        Ok(Swept { picture: Some(self.commit(transaction, &head)?), next })
    }
}

fn bounds(state: &wire::ShardState) -> (&[u8], &[u8]) {
    (&state.start, &state.end)
}

/// What a name ends in while its file is being made.
pub const UNFINISHED: &str = ".new";

fn builder(cache_bytes: usize) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes);
    builder
}

fn begin(database: &Database) -> Result<WriteTransaction, EngineError> {
    let mut transaction = database.begin_write()?;
    make_durable(&mut transaction)?;
    Ok(transaction)
}

fn make_durable(transaction: &mut WriteTransaction) -> Result<(), EngineError> {
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_quick_repair(true);
    Ok(())
}

fn put_head(transaction: &WriteTransaction, head: &Head) -> Result<(), EngineError> {
    transaction.open_table(META)?.insert(HEAD, head.encode_to_vec().as_slice())?;
    Ok(())
}

fn put_state(transaction: &WriteTransaction, state: &wire::ShardState) -> Result<(), EngineError> {
    transaction.open_table(META)?.insert(STATE, state.encode_to_vec().as_slice())?;
    Ok(())
}

/// Drops the runs that no read at or above the head's watermark needs.
fn drop_runs(transaction: &WriteTransaction, head: &mut Head) -> Result<(), EngineError> {
    let own = Timestamp(head.state.as_ref().map_or(0, |state| state.highest_stamp));
    let watermark = if planted(Bug::OwnGarbage) { own } else { head.watermark() };
    let (gone, kept): (Vec<_>, Vec<_>) =
        std::mem::take(&mut head.runs).into_iter().partition(|run| Timestamp(run.replaced_max) <= watermark);
    head.runs = kept;
    for run in gone {
        let name = run_name(run.id);
        let table: TableDefinition<RunKey, &[u8]> = TableDefinition::new(&name);
        if !transaction.delete_table(table)? {
            return Err(EngineError::Damaged(format!("the table {name} is missing")));
        }
    }
    Ok(())
}

/// The rows of a flush on their way into the file: the newest versions into their table, what they replace into a run of
/// its own.
struct Rows<'a> {
    left: Box<dyn Iterator<Item = (&'a Key, &'a Versions)> + 'a>,
    count: u64,
    since: Timestamp,
    watermark: Timestamp,
    run: RunHead,
    tally: Tally,
    new_keys: u64,
    /// The shard's bounds, and whether a key was out of them.
    own: Option<KeyRange>,
    has_foreign: bool,
}

impl<'a> Rows<'a> {
    fn new(frozen: &'a Frozen, head: &Head) -> Result<Rows<'a>, EngineError> {
        Ok(Rows {
            left: match &frozen.only {
                None => Box::new(frozen.table.iter()),
                Some(only) => Box::new(frozen.table.range(only)),
            },
            count: 0,
            since: frozen.since,
            watermark: Timestamp(frozen.state.watermark),
            run: RunHead { id: head.next_run, ..RunHead::default() },
            tally: head.tally.unwrap_or_default(),
            new_keys: 0,
            own: head.summary()?.range,
            has_foreign: head.has_foreign,
        })
    }

    /// Writes as many as change about so many bytes of pages; true if none are left.
    fn write_part(&mut self, transaction: &WriteTransaction, max_bytes: usize) -> Result<bool, EngineError> {
        let Rows { left, count, since, watermark, run, tally, new_keys, own, has_foreign } = self;
        let (since, watermark) = (*since, *watermark);
        let name = run_name(run.id);
        let mut latest = transaction.open_table(LATEST)?;
        let mut table = transaction.open_table(TableDefinition::<RunKey, &[u8]>::new(&name))?;
        // Ascending at the end of the table, through a cursor, costs a tenth of inserting.
        let mut cursor = table.upper_bound_mut(Bound::<(&[u8], u64)>::Unbounded)?;
        let mut stored = Vec::new();
        let mut bytes = 0;
        while bytes < max_bytes {
            let Some((key, versions)) = left.next() else {
                cursor.close()?;
                return Ok(true);
            };
            if versions.newest().stamp <= since {
                continue;
            }
            *has_foreign |= own.as_ref().is_some_and(|own| !own.contains(key));
            let old = replace(&mut latest, key, versions, watermark, tally, &mut stored)?;
            // Keys are far apart: each changes a page.
            bytes += BLOCK + stored.len();
            *count += 1;
            *new_keys += u64::from(old.is_none());
            let mut until = versions.newest().stamp;
            let newer = versions.iter().take_while(|version| version.stamp > since);
            for version in newer.skip(1).chain(old.as_ref()) {
                assert!(version.stamp < until, "versions of a key are older in the file than in memory");
                if until <= watermark {
                    break;
                }
                stored.clear();
                record::encode_replaced(version, until, &mut stored);
                bytes += stored.len();
                cursor.insert_before((key.as_bytes(), !version.stamp.0), stored.as_slice())?;
                run.rows += 1;
                run.bytes += record::row_bytes(key.as_bytes().len(), version);
                run.replaced_max = run.replaced_max.max(until.0);
                until = version.stamp;
            }
        }
        cursor.close()?;
        Ok(false)
    }

    /// Notes in the head what was written.
    fn finish(self, transaction: &WriteTransaction, head: &mut Head) -> Result<(), EngineError> {
        let Rows { count, run, mut tally, new_keys, has_foreign, .. } = self;
        head.has_foreign = has_foreign;
        tally.new_permille = (new_keys * 1000).checked_div(count).unwrap_or(tally.new_permille);
        let name = run_name(run.id);
        match run.rows {
            0 => _ = transaction.delete_table(TableDefinition::<RunKey, &[u8]>::new(&name))?,
            _ => {
                head.runs.push(run);
                head.next_run += 1;
            }
        }
        head.tally = Some(tally);
        Ok(())
    }
}

/// Makes the newest of `versions` the file's; returns what was there.
fn replace(
    latest: &mut redb::Table<'_, &'static [u8], &'static [u8]>,
    key: &Key,
    versions: &Versions,
    watermark: Timestamp,
    tally: &mut Tally,
    stored: &mut Vec<u8>,
) -> Result<Option<Version>, EngineError> {
    let (newest, key) = (versions.newest(), key.as_bytes());
    stored.clear();
    record::encode(newest, stored);
    let void = record::is_void(newest, watermark);
    let old = match void {
        true => latest.remove(key)?,
        false => latest.insert(key, stored.as_slice())?,
    };
    let old = old.map(|old| record::decode(old.value())).transpose()?;
    if let Some(old) = &old {
        tally.remove(key.len(), old);
    }
    if !void {
        tally.add(key.len(), newest);
    }
    Ok(old)
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// True while this thread works on a file that may be anything: the library below gives up on some with a panic, which is
/// caught and taken for damage. Whoever ends the process on a panic must not do so then.
pub fn catches_panics() -> bool {
    GUARDED.get()
}

/// Runs work on a file that may be anything; a panic below is taken for damage.
pub fn guarded<R>(work: impl FnOnce() -> Result<R, EngineError>) -> Result<R, EngineError> {
    let outer = GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    done.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(EngineError::Damaged(format!("reading it failed with a panic: {text}")))
    })
}
