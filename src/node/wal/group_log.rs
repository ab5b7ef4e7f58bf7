//! What one group asks of the log: its entries, its vote, its end.
//!
//! Each changes the group in memory first, then the queue; what is on disk when is said at each. Does not write: see
//! [`super::committer`].

use std::io;
use std::ops::Range;

use tokio::sync::oneshot;

use crate::model::wire::Vote;
use crate::net::trouble::{Bug, planted};

use super::committer::{Done, Job};
use super::groups::{self, Groups};
use super::options::JOB_SEGMENT_SHARE;
use super::{GroupId, GroupLog, GroupState, LogPoint, Record, WalError};

/// Times a read is tried whose entries are moved to another segment meanwhile.
const READ_TRIES: usize = 8;

impl GroupLog {
    /// Changes the group in memory.
    fn change<R>(&self, change: impl FnOnce(&mut Groups) -> R) -> Result<R, WalError> {
        let mut groups = self.wal.shared.groups.lock();
        if groups.groups.get(&self.id).is_some_and(|group| group.damaged) {
            return Err(WalError::Damaged { group: GroupId(self.id) });
        }
        Ok(change(&mut groups))
    }

    pub fn id(&self) -> GroupId {
        GroupId(self.id)
    }

    /// True if the group was given up.
    pub fn is_damaged(&self) -> bool {
        self.change(|_| ()).is_err()
    }

    pub fn state(&self) -> GroupState {
        let groups = self.wal.shared.groups.lock();
        groups.groups.get(&self.id).map(groups::Group::state).unwrap_or_default()
    }

    /// The largest entry, in bytes, encoded: a group that is given a larger one fails.
    pub fn entry_max_bytes(&self) -> usize {
        (self.wal.shared.segment_bytes / JOB_SEGMENT_SHARE) as usize
    }

    /// Bytes of entries held.
    pub fn live_bytes(&self) -> u64 {
        self.wal.shared.groups.lock().groups.get(&self.id).map_or(0, |group| group.live_bytes)
    }

    /// Appends entries, replacing what is at and above the first one's index. Readable on return; `done` is called once,
    /// when they are on disk or never will be.
    pub async fn append(&self, records: Vec<Record>, done: Done) -> Result<(), WalError> {
        let max_bytes = self.entry_max_bytes();
        if let Some(large) = records.iter().find(|record| record.bytes.len() > max_bytes) {
            return Err(WalError::TooLarge { bytes: large.bytes.len(), max_bytes });
        }
        self.change(|groups| {
            for record in &records {
                groups.append(self.id, record.point, record.bytes.clone());
            }
        })?;
        let mut jobs = split(records, max_bytes).into_iter().peekable();
        let mut done = Some(done);
        while let Some(records) = jobs.next() {
            let done = if jobs.peek().is_none() { done.take() } else { None };
            self.wal.submit(Job::Append { group: self.id, records, done }).await?;
        }
        match done {
            None => Ok(()),
            // Nothing to write: durable when everything before is.
            Some(done) => {
                let written = self.wal.barrier().await;
                done(written.map_err(io::Error::other));
                Ok(())
            }
        }
    }

    /// Saves a vote; on disk on return.
    pub async fn save_vote(&self, vote: Vote) -> Result<(), WalError> {
        self.change(|groups| groups.group(self.id).vote = Some(vote))?;
        if planted(Bug::VoteNotDurable) {
            return Ok(());
        }
        let (done, on_disk) = oneshot::channel();
        self.wal.submit(Job::Vote { group: self.id, vote, done }).await?;
        on_disk.await.map_err(|_| WalError::Failed)
    }

    /// Drops the entries behind `last` (`None`: all).
    pub async fn truncate_after(&self, last: Option<LogPoint>) -> Result<(), WalError> {
        let from = last.map_or(0, |last| last.index + 1);
        self.change(|groups| groups.truncate(self.id, from))?;
        self.wal.submit(Job::Truncate { group: self.id, from }).await
    }

    /// Forgets the entries up to `up_to`, which may lie beyond the end.
    pub async fn purge(&self, up_to: LogPoint) -> Result<(), WalError> {
        self.change(|groups| groups.purge(self.id, up_to))?;
        self.wal.submit(Job::Purge { group: self.id, up_to }).await
    }

    /// Ends the group for good; on disk on return.
    pub async fn destroy(&self) -> Result<(), WalError> {
        self.wal.shared.groups.lock().destroy(self.id);
        let (done, on_disk) = oneshot::channel();
        self.wal.submit(Job::Destroy { group: self.id, done }).await?;
        on_disk.await.map_err(|_| WalError::Failed)
    }

    /// Returns when everything submitted before, of all groups, is on disk.
    pub async fn synced(&self) -> Result<(), WalError> {
        self.wal.barrier().await
    }

    /// Entries from `indexes.start` on, up to `max_bytes` (one at least), without a gap, each checked to be what was
    /// written.
    pub fn read(&self, indexes: Range<u64>, max_bytes: usize) -> Result<Vec<Record>, WalError> {
        for _ in 0..READ_TRIES {
            let slots = self.slots(&indexes, max_bytes)?;
            let mut wrong = None;
            let mut records = Vec::with_capacity(slots.len());
            for (expected, (index, slot)) in (indexes.start..).zip(&slots) {
                if *index != expected {
                    return Err(WalError::NoSuchEntry { index: expected });
                }
                let bytes = match (&slot.bytes, &slot.place) {
                    (Some(bytes), _) => bytes.clone(),
                    (None, Some(place)) => {
                        let mut bytes = vec![0; slot.len as usize];
                        place.file.read_at(place.offset, &mut bytes)?;
                        if crc32c::crc32c(&bytes) != place.crc {
                            wrong = wrong.or(Some((place.segment, place.offset)));
                        }
                        bytes.into()
                    }
                    (None, None) => unreachable!("an entry is cached until it is on disk"),
                };
                records.push(Record { point: LogPoint { term: slot.term, index: *index }, bytes });
            }
            match (self.are_still_there(&slots), wrong) {
                (true, None) => return Ok(records),
                (true, Some((segment, offset))) => {
                    self.wal.shared.give_up(self.id, segment, offset);
                    return Err(WalError::Damaged { group: GroupId(self.id) });
                }
                (false, _) => {}
            }
        }
        Err(WalError::NoSuchEntry { index: indexes.start })
    }

    fn slots(&self, indexes: &Range<u64>, max_bytes: usize) -> Result<Vec<(u64, groups::Slot)>, WalError> {
        self.change(|groups| groups.groups.get(&self.id).map(|group| wanted(group, indexes, max_bytes)))
            .map(Option::unwrap_or_default)
    }

    /// False if one of them was dropped or moved since: its segment may have been used again while it was read.
    fn are_still_there(&self, slots: &[(u64, groups::Slot)]) -> bool {
        let on_disk = |slot: &groups::Slot| slot.place.as_ref().map(|place| (place.segment, place.offset));
        let groups = self.wal.shared.groups.lock();
        let group = groups.groups.get(&self.id);
        slots.iter().filter(|(_, slot)| slot.bytes.is_none()).all(|(index, slot)| {
            let now = group.and_then(|group| group.slots.get(index));
            now.is_some_and(|now| on_disk(now) == on_disk(slot))
        })
    }
}

fn wanted(group: &groups::Group, indexes: &Range<u64>, max_bytes: usize) -> Vec<(u64, groups::Slot)> {
    let mut bytes = 0;
    let wanted = group.slots.range(indexes.clone()).take_while(|(_, slot)| {
        let first = bytes == 0;
        bytes += slot.len as usize;
        first || bytes <= max_bytes
    });
    wanted.map(|(index, slot)| (*index, slot.clone())).collect()
}

/// Parts of at most `max_bytes`.
fn split(records: Vec<Record>, max_bytes: usize) -> Vec<Vec<Record>> {
    let mut parts: Vec<Vec<Record>> = Vec::new();
    let mut bytes = usize::MAX;
    for record in records {
        let len = record.bytes.len() + 32;
        if bytes.saturating_add(len) > max_bytes {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += len;
        parts.last_mut().expect("a part was just begun").push(record);
    }
    parts
}
