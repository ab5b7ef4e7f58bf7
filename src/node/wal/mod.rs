//! # The write-ahead log
//!
//! One log a node, shared by all its replicas: what makes a vote or an entry durable, for many groups with one sync.
//!
//! ## Invariants and what guards each
//!
//! - An append's callback says `Ok` only when its entries are on disk; a vote is on disk when `save_vote` returns:
//!   guarded by `tests::what_was_acknowledged_survives_a_power_cut`.
//! - Operations reach the disk in the order in which they were submitted: guarded by
//!   `tests::the_log_does_what_a_simple_one_does`.
//! - After a crash everything that was on disk is there, in that order; what was not synced is there as a beginning of
//!   what was submitted, or not at all. Whoever has lost anything else is given up for good ([`WalError::Damaged`]) and
//!   nobody else; nothing is ever dropped in silence. What is read is what was written: guarded by
//!   `tests::a_torn_tail_is_cut_and_nothing_else`, `tests::damage::whoever_is_not_given_up_has_lost_nothing`,
//!   `tests::damage::a_newest_segment_that_is_gone_is_missed`.
//! - After a failed write or sync nothing is acknowledged any more, and nothing is tried again: the node stops: guarded
//!   by `tests::after_a_failed_sync_nothing_is_acknowledged`,
//!   `sim_node::a_disk_that_fails_stops_its_node_and_loses_nothing`.
//! - What was found at a start is on disk before anybody relies on it: guarded by
//!   `tests::what_was_read_back_outlives_the_next_power_cut`.
//! - What an earlier life of a segment left never counts: guarded by `frame::tests::what_was_built_is_read`.
//! - Votes, purge points and live entries outlive the segments they stood in: guarded by
//!   `tests::one_group_does_not_hold_everybodys_segments`.
//! - What was taken back leaves no hole in what stays: guarded by `tests::a_truncation_under_way_is_no_damage`.
//! - What a disk that hangs leaves waiting is bounded, and one sees for how long it waits: guarded by
//!   `backlog::tests::what_waits_is_counted_in_time_and_bytes`,
//!   `tests::a_log_that_hangs_holds_a_bounded_backlog_and_goes_on`.
//! - Nobody who writes waits until a whole segment was made: guarded by
//!   `tests::spares::segments_are_made_ahead_and_nobody_waits_for_a_large_one`,
//!   `tests::spares::what_is_not_ready_is_not_waited_for`.
//! - Where nobody else has what is lost nothing is begun: guarded by
//!   `tests::damage::damage_is_refused_where_it_concerns_a_sole_group`.
//! - A start on a full disk takes no more room each time: guarded by
//!   `full_disk::a_full_node_alone_reads_deletes_and_restarts`.
//! - Entries that find no room are refused before anybody relies on them, and do not stop the log: guarded by
//!   `tests::ballast::what_is_admitted_finds_room`, `sim_disk::a_full_follower_holds_up_nobody_and_goes_on`.
//! - A start needs no room on the disk while there is ballast: guarded by
//!   `tests::ballast::a_log_opens_without_a_byte_free`, `full_disk::a_node_starts_without_a_byte_free`.
//! - A log that is wholly gone is no empty log: guarded by `sim_node::a_node_whose_data_is_gone_does_not_start`.
//! - Every write that is let in fits a segment: guarded by
//!   `node::serve::clients::tests::the_largest_write_fits_the_log_and_the_wire`, and a larger one is refused in
//!   `group_log::append`.
//!
//! ## How
//!
//! Operations wait in one queue. The committer takes all that waits, writes it as one batch into a zero-filled segment
//! (overwriting costs half of what growing a file does), syncs once and answers. The format is in [`frame`]; where the next
//! segment's file comes from, in `spares`; where a start on a full disk gets one, in `ballast`; what may still come there,
//! in `headroom`.
//!
//! | step | durable before it |
//! |---|---|
//! | a segment is written to | its header and its name |
//! | an older segment is used again | every group's vote and purge point at the start of the newest segment, and copies of what the old one still held |
//! | a batch is begun | the batch before it (so at most one batch can be torn) |
//!
//! Segments go only from the front. So whatever a record takes back (a truncation, a purge, the end of a group) goes before
//! or together with the record that takes it back, and reading the rest from the front gives the same state. Copies
//! ([`frame::Kind::Rewritten`]) drop nothing when read back: at their place in the log the entry was live.
//!
//! ## Why each crash is safe
//!
//! - While a batch is written: it is the last one; it is there whole, or it is the torn tail. What is found whole is written
//!   and synced again before anybody relies on it: a process that is killed leaves writes that no sync has followed.
//! - While a segment is made from an old file: until name and header agree the file is a spare.
//! - After copies are synced, before the old segment is used again: both are read; the copy only moves the place.
//!
//! ## Damage
//!
//! - Each batch has a head that can be read without its frames; it says whose frames these are, and whose those of the
//!   batch before. A checkpoint begins each segment; it says which entries each group has (by index and term), so whoever
//!   has them all has lost nothing before it. So damage concerns those whose entries are hit, or whose frames behind the
//!   last checkpoint; only where nobody can be named it concerns everybody (see `recover`).
//! - Whoever is concerned is given up, and every checkpoint says so until the group is destroyed.
//! - The file `newest` says how far the log reaches at least: a newest segment that is gone is missed.
//! - The checksum of each entry is in memory; what is read or copied is checked.
//! - Not told from a torn tail: damage to the last batches before a crash, when nothing stands behind them.
//!
//! Relies on: a sync means what it says; sectors of 512 bytes are written whole or not at all. Does not: know what an
//! entry is; keep anything a group has purged.

pub mod frame;
mod backlog;
mod counts;
mod terms;
mod checkpoint;
mod groups;
mod newest;
mod options;
mod zeros;
mod ballast;
mod headroom;
mod spares;
mod segment;
mod replay;
mod recover;
mod committer;
mod group_log;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::model::wire::Vote;
use crate::net::exec::{Exec, Queue};
use crate::node::disk::Disk;

pub use backlog::BACKLOG_MAX_BYTES;
use backlog::Backlog;
use ballast::Ballast;
pub use ballast::{PIECES as BALLAST_PIECES, STARTS_WITHOUT_ROOM};
use committer::{Committer, Job};
pub use counts::WalCounts;
use groups::Groups;
use headroom::Headroom;
pub use headroom::{Admitted, NoHeadroom};
pub use options::{FailureHook, SEGMENT_BYTES, WalOptions};
use spares::Spares;

/// Operations waiting for the committer.
const QUEUE_MAX: usize = 8192;

/// Places of damage that are told apart.
const DAMAGE_MAX: usize = 64;

/// A group of the log: a replica's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u64);

/// A place in a group's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPoint {
    pub term: u64,
    pub index: u64,
}

/// One entry; its bytes are opaque here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub point: LogPoint,
    pub bytes: Bytes,
}

/// What a group's log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GroupState {
    pub purged: Option<LogPoint>,
    /// The last entry; `purged` if there is none behind it.
    pub last: Option<LogPoint>,
    pub vote: Option<Vote>,
}

/// How much there is of a log.
#[derive(Clone, Copy, Debug, Default)]
pub struct WalStats {
    pub segments: u64,
    pub bytes: u64,
    /// Jobs that wait for the committer.
    pub waiting: usize,
}

/// A place where the log is not what was written, and who has lost something by it: perhaps nobody, if a later record
/// says that all there is to know is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub segment: u64,
    /// In bytes; 0 for a segment that is missing or has lost its header.
    pub offset: u64,
    pub what: &'static str,
    /// In order of id. They are given up: see [`WalError::Damaged`].
    pub groups: Vec<GroupId>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { segment, offset, what, groups } = self;
        write!(f, "segment {segment} at byte {offset}: {what}; ")?;
        match groups.as_slice() {
            [] => f.write_str("no replica has lost anything by it"),
            groups => {
                let names: Vec<String> = groups.iter().map(|group| format!("r{}", group.0)).collect();
                write!(f, "lost by {}", names.join(", "))
            }
        }
    }
}

/// Why the log did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The group has lost something that was on disk: it must never vote or acknowledge again under its id, and can only
    /// be destroyed.
    #[error("replica r{0}'s part of the write-ahead log is damaged", group.0)]
    Damaged { group: GroupId },
    /// See [`WalOptions::sole`].
    #[error("the write-ahead log is damaged ({0}) and nobody else has what is lost")]
    Lost(Damage),
    /// A write or a sync failed earlier, or the log was closed: nothing is written any more.
    #[error("the write-ahead log has stopped")]
    Failed,
    #[error("an entry of {bytes} bytes; a segment takes at most {max_bytes}")]
    TooLarge { bytes: usize, max_bytes: usize },
    #[error("entry {index} is not in the log")]
    NoSuchEntry { index: u64 },
    #[error("the write-ahead log's files")]
    Disk(#[from] io::Error),
}

/// What there is in a log that nobody has open.
#[derive(Clone, Debug)]
pub struct WalReport {
    pub segments: u64,
    pub damage: Vec<Damage>,
    /// Each group, and `None` for one that was given up.
    pub groups: Vec<(GroupId, Option<GroupState>)>,
}

/// The name of a segment's file in the log's directory.
pub fn segment_name(number: u64) -> String {
    segment::path(Path::new(""), number).display().to_string()
}

/// Reads the log in `dir` and checks all of it, as [`Wal::open`] does, and begins nothing.
pub fn inspect(disk: &dyn Disk, dir: &Path, known: &[GroupId]) -> Result<WalReport, WalError> {
    let found = recover::recover(disk, dir, known)?;
    let state = |group: &groups::Group| (!group.damaged).then(|| group.state());
    let groups = found.groups.groups.iter().map(|(id, group)| (GroupId(*id), state(group)));
    Ok(WalReport { segments: found.segments.len() as u64, groups: groups.collect(), damage: found.damage })
}

pub(crate) struct Shared {
    /// What was found, at start and since.
    damage: Mutex<Vec<Damage>>,
    ballast: Arc<Ballast>,
    headroom: Headroom,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    spare_segments: usize,
    groups: Mutex<Groups>,
    failed: AtomicBool,
    on_failure: Option<FailureHook>,
    backlog: Backlog,
    counts: WalCounts,
}

impl Shared {
    /// An entry is not what was written: its group has come to its end.
    fn give_up(&self, group: u64, segment: u64, offset: u64) {
        self.groups.lock().give_up(group);
        let what = "an entry is not what was written";
        let found = Damage { segment, offset, what, groups: vec![GroupId(group)] };
        tracing::error!(replica = group, segment, offset, what, "the write-ahead log is damaged");
        let mut damage = self.damage.lock();
        if damage.len() < DAMAGE_MAX {
            damage.push(found);
        }
    }

    /// Nothing is taken any more.
    fn stop(&self) {
        self.failed.store(true, Ordering::Release);
        self.backlog.close();
    }

    fn fail(&self, error: &io::Error) {
        self.stop();
        if let Some(hook) = &self.on_failure {
            hook(error);
        }
    }
}

/// The log. Shared; cheap to clone.
#[derive(Clone)]
pub struct Wal {
    shared: Arc<Shared>,
    queue: Queue<Job>,
}

/// One group's view of it. Shared; cheap to clone.
#[derive(Clone)]
pub struct GroupLog {
    id: u64,
    wal: Wal,
}

impl Wal {
    /// Opens the log in `dir` and reads it back. Damage is no error, see [`Wal::damage`], unless [`WalOptions::sole`] says so.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, exec: Exec, options: WalOptions) -> Result<Wal, WalError> {
        let mut recovered = recover::recover(&*disk, dir, &options.known)?;
        for damage in &recovered.damage {
            tracing::error!(%damage, "the write-ahead log is damaged");
        }
        let is_lost = |damage: &&Damage| damage.groups.iter().any(|group| options.sole.contains(group));
        if let Some(damage) = recovered.damage.iter().find(is_lost) {
            return Err(WalError::Lost(damage.clone()));
        }
        recovered.groups.cache_max_bytes = options.cache_bytes;
        let ballast = Arc::new(Ballast::open(disk.clone(), dir, options.segment_bytes)?);
        let headroom = Headroom::new(options.segment_bytes, ballast.piece_bytes(), disk.free_bytes()?);
        let shared = Arc::new(Shared {
            damage: Mutex::new(recovered.damage),
            ballast: ballast.clone(),
            headroom,
            disk,
            dir: dir.to_owned(),
            segment_bytes: options.segment_bytes,
            spare_segments: options.spare_segments,
            groups: Mutex::new(recovered.groups),
            failed: AtomicBool::new(false),
            on_failure: options.on_failure,
            backlog: Backlog::new(),
            counts: WalCounts::default(),
        });
        let old = recovered.spares;
        let spares =
            Spares::new(shared.disk.clone(), dir.to_owned(), options.segment_bytes, old, ballast, exec);
        let mut committer = Committer {
            shared: shared.clone(),
            segments: recovered.segments.into(),
            end: recovered.end,
            last: recovered.last,
            spares,
            highest: recovered.highest,
            ahead_at: 0,
            memory: Default::default(),
        };
        // What is torn at the end stays behind in a segment whose end the next one states.
        committer.roll(0)?;
        committer.spares.opened();
        shared.ballast.make_way()?;
        let (queue, _ended) = exec.consumer("wal", QUEUE_MAX, move |jobs| committer.commit(jobs));
        Ok(Wal { shared, queue })
    }

    /// True if `dir` holds a log, sound or not.
    pub fn is_in(disk: &dyn Disk, dir: &Path) -> Result<bool, WalError> {
        Ok(disk.list(dir)?.iter().any(|name| segment::parse(name).is_some()))
    }

    /// The groups that have anything in the log.
    pub fn groups(&self) -> Vec<GroupId> {
        let groups = self.shared.groups.lock();
        let sound = groups.groups.iter().filter(|(_, group)| !group.destroyed && !group.damaged);
        sound.map(|(id, _)| GroupId(*id)).collect()
    }

    /// What was found to be damaged, at start and since.
    pub fn damage(&self) -> Vec<Damage> {
        self.shared.damage.lock().clone()
    }

    /// The groups that were given up, now or in an earlier life, and are not destroyed yet.
    pub fn damaged_groups(&self) -> Vec<GroupId> {
        let groups = self.shared.groups.lock();
        groups.groups.iter().filter(|(_, group)| group.damaged).map(|(id, _)| GroupId(*id)).collect()
    }

    /// A group's view; the group comes into being with its first record.
    pub fn group(&self, id: GroupId) -> GroupLog {
        GroupLog { id: id.0, wal: self.clone() }
    }

    /// Waits until everything submitted is on disk, and takes nothing more. Harmless twice.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.submit(Job::Close { done }).await.is_ok() {
            // An error says that the log has failed before.
            let _ = closed.await;
        }
    }

    /// How long nothing has come to its end although something waits: a disk that hangs, if it is long.
    pub fn waiting(&self) -> Duration {
        match self.shared.failed.load(Ordering::Acquire) {
            true => Duration::ZERO,
            false => self.shared.backlog.waiting(),
        }
    }

    pub fn stats(&self) -> WalStats {
        let counts = &self.shared.counts;
        WalStats {
            segments: counts.segments.load(Ordering::Relaxed),
            bytes: counts.segment_bytes.load(Ordering::Relaxed),
            waiting: self.queue.waiting(),
        }
    }

    /// What it has counted since the start.
    pub fn counts(&self) -> &WalCounts {
        &self.shared.counts
    }

    async fn submit(&self, job: Job) -> Result<(), WalError> {
        if self.shared.failed.load(Ordering::Acquire) {
            return Err(WalError::Failed);
        }
        let place = self.shared.backlog.enter(job.bytes()).await.ok_or(WalError::Failed)?;
        self.queue.push(job).await.map_err(|_| WalError::Failed)?;
        place.hand_over();
        Ok(())
    }

    async fn barrier(&self) -> Result<(), WalError> {
        let (done, on_disk) = oneshot::channel();
        self.submit(Job::Barrier { done }).await?;
        on_disk.await.map_err(|_| WalError::Failed)
    }
}

#[cfg(test)]
mod tests;
