//! The one writer of the log: gathers what waits, writes it as one batch, syncs once, answers everybody.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use prost::Message;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::model::wire::Vote;
use crate::net::trouble::{Bug, Point, planted, trouble};

use super::backlog::Backlog;
use super::frame::{
    BatchBuilder, Concerned, FRAME_HEADER, GROUP_BYTES, Header, Kind, POINT_BYTES, SECTOR, point_payload,
};
use super::groups::Place;
use super::newest;
use super::options::{HEADS_MAX_BYTES, SMALL_SHARE};
use super::segment::{self, Segment};
use super::spares::{Spare, Spares};
use super::{LogPoint, Record, Shared};

/// Called once the entries are on disk, or never will be.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// What waits to be written.
pub enum Job {
    Append {
        group: u64,
        records: Vec<Record>,
        done: Option<Done>,
    },
    Vote {
        group: u64,
        vote: Vote,
        done: oneshot::Sender<()>,
    },
    Truncate {
        group: u64,
        from: u64,
    },
    Purge {
        group: u64,
        up_to: LogPoint,
    },
    Destroy {
        group: u64,
        done: oneshot::Sender<()>,
    },
    Barrier {
        done: oneshot::Sender<()>,
    },
    /// The last one.
    Close {
        done: oneshot::Sender<()>,
    },
}

/// Bytes of the frame of anything but entries, at most.
const SMALL_FRAME: usize = 64;

/// Segments in use above which, if half of them is empty, the oldest is emptied by rewriting what it still holds.
const SEGMENTS_USUAL: u64 = 8;
/// With less room than for so many segments on the disk the oldest are emptied, too: what they were is used again by the
/// next start, which begins a segment. None is made ahead that would leave less.
const ROOM_SEGMENTS: u64 = 4;
/// With that little room so many free segments are kept.
const SPARES_SHORT: usize = 2;
/// When this part of a segment is full the next one is made ahead.
const AHEAD_SHARE: u64 = 4;
/// More than a group's state takes in a checkpoint, in bytes.
const STATE_MAX_BYTES: usize = 256;
/// Bytes of one batch.
const BATCH_MAX_BYTES: usize = 8 << 20;

/// The writer's own state. Only the committer touches it.
pub struct Committer {
    pub shared: Arc<Shared>,
    /// In order of number; the last one is written.
    pub segments: VecDeque<Segment>,
    /// Where the next batch begins.
    pub end: u64,
    /// Where the last one begins, and whom it concerns.
    pub last: (u64, Concerned),
    pub spares: Spares,
    pub highest: u64,
    /// The number of the segment during which another was last made ahead.
    pub ahead_at: u64,
    /// Of the batch before, to be used again.
    pub memory: BytesMut,
}

/// An entry in a batch.
struct Written {
    group: u64,
    point: LogPoint,
    offset: u64,
    crc: u32,
}

/// What to do when a batch is on disk.
#[derive(Default)]
struct Waiting {
    places: Vec<Written>,
    ended: Vec<u64>,
    appends: Vec<Done>,
    others: Vec<oneshot::Sender<()>>,
    /// What it is in the backlog.
    jobs: usize,
    bytes: usize,
}

impl Committer {
    /// Writes everything in `jobs`. After a failure nothing is written any more and everybody is told.
    pub fn commit(&mut self, jobs: &mut Vec<Job>) {
        if let Err(error) = self.try_commit(jobs) {
            self.shared.fail(&error);
        }
    }

    fn try_commit(&mut self, jobs: &mut Vec<Job>) -> io::Result<()> {
        let mut jobs = jobs.drain(..);
        let mut batch = self.next_batch();
        let mut waiting = Waiting::default();
        while let Some(job) = jobs.next() {
            if self.shared.failed.load(Ordering::Acquire) {
                reject(job);
                continue;
            }
            let fits =
                batch.len() + job.bytes() <= BATCH_MAX_BYTES.min(self.room()) && !trouble(Point::SmallBatch);
            let made_room = match fits {
                true => Ok(()),
                false => self.make_room(&mut batch, &mut waiting, job.bytes()),
            };
            if let Err(error) = made_room {
                reject(job);
                jobs.for_each(reject);
                return Err(error);
            }
            match job {
                Job::Close { done } => {
                    self.write(&mut batch, &mut waiting)?;
                    self.seal(done)?;
                }
                job => add(&mut batch, &mut waiting, job),
            }
        }
        self.write(&mut batch, &mut waiting)
    }

    /// Writes what has gathered and, if the segment is full, goes on in the next.
    fn make_room(&mut self, batch: &mut BatchBuilder, waiting: &mut Waiting, bytes: usize) -> io::Result<()> {
        if !batch.is_empty() {
            self.write(batch, waiting)?;
        }
        if batch.len() + bytes > self.room() || trouble(Point::EarlySegment) {
            self.roll(bytes)?;
            *batch = self.next_batch();
        }
        Ok(())
    }

    /// Takes nothing more, and says how far the log reaches: from now on nothing of it can pass for a torn tail.
    fn seal(&mut self, done: oneshot::Sender<()>) -> io::Result<()> {
        newest::write(&*self.shared.disk, &self.shared.dir, self.highest, self.end)?;
        self.shared.stop();
        // Whoever has stopped waiting does not matter.
        let _ = done.send(());
        Ok(())
    }

    fn next_batch(&mut self) -> BatchBuilder {
        BatchBuilder::new(std::mem::take(&mut self.memory), self.end, self.last.0, self.last.1.clone())
    }

    /// Bytes left in the segment being written.
    fn room(&self) -> usize {
        (self.current().bytes - self.end.min(self.current().bytes)) as usize
    }

    fn current(&self) -> &Segment {
        self.segments.back().expect("there is always a segment being written")
    }

    /// Writes and syncs the batch, then answers; `batch` becomes the next one.
    fn write(&mut self, batch: &mut BatchBuilder, waiting: &mut Waiting) -> io::Result<()> {
        let full = std::mem::take(batch);
        let waiting = std::mem::take(waiting);
        if full.is_empty() {
            *batch = full;
            self.shared.backlog.leave(waiting.jobs, waiting.bytes);
            waiting.answer(Ok(()));
            return Ok(());
        }
        if let Err(error) = self.write_out(full, waiting.jobs as u64) {
            // Before anybody is told, so that nobody who hears of it can go on.
            self.shared.stop();
            waiting.answer(Err(&error));
            return Err(error);
        }
        *batch = self.next_batch();
        {
            let segment = self.current();
            let mut groups = self.shared.groups.lock();
            for Written { group, point, offset, crc } in &waiting.places {
                let (offset, crc, file) = (*offset, *crc, segment.file.clone());
                groups.place(*group, *point, Place { segment: segment.header.number, offset, file, crc });
            }
            for id in &waiting.ended {
                if groups.groups.get(id).is_some_and(|group| group.destroyed) {
                    groups.groups.remove(id);
                }
            }
            groups.shrink_cache();
        }
        self.shared.backlog.leave(waiting.jobs, waiting.bytes);
        waiting.answer(Ok(()));
        Ok(())
    }

    /// Puts a batch on disk, which so many jobs wait for.
    fn write_out(&mut self, batch: BatchBuilder, jobs: u64) -> io::Result<()> {
        let concerned = batch.concerned();
        let bytes = batch.finish(self.current().header.seed);
        let segment = self.current();
        segment.file.write_at(self.end, &bytes)?;
        let begin = Instant::now();
        if !planted(Bug::AckBeforeFsync) {
            segment.file.sync_data()?;
        }
        let took = begin.elapsed();
        self.last = (self.end, concerned);
        self.end += bytes.len() as u64;
        let counts = &self.shared.counts;
        counts.sync_seconds.observe_time(took);
        counts.batch_bytes.observe(bytes.len() as u64);
        counts.batch_jobs.observe(jobs);
        self.memory = bytes;
        self.tell_headroom();
        self.look_ahead()
    }

    /// Goes on in a new segment, which begins with every group's vote and purge point, synced, and has room for `bytes`
    /// behind that; then old segments may go.
    pub fn roll(&mut self, bytes: usize) -> io::Result<()> {
        // What holds nothing any more is the next segment's file: a full disk has no room for another.
        self.reclaim()?;
        self.begin_segment(bytes)?;
        self.reclaim()?;
        let held_bytes: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        let live_bytes: u64 = self.shared.groups.lock().live.values().sum();
        if held_bytes > SEGMENTS_USUAL * self.shared.segment_bytes && held_bytes > 2 * live_bytes {
            self.empty_oldest()?;
            self.reclaim()?;
        }
        while self.segments.len() > 1 && self.is_short_of_room()? && self.oldest_fits(bytes) {
            let oldest = self.segments[0].header.number;
            self.empty_oldest()?;
            self.reclaim()?;
            if self.segments[0].header.number == oldest {
                break;
            }
        }
        Ok(())
    }

    fn is_short_of_room(&self) -> io::Result<bool> {
        let free_bytes = self.shared.disk.free_bytes()?;
        self.shared.headroom.set_free(free_bytes);
        Ok(free_bytes < ROOM_SEGMENTS * self.shared.segment_bytes)
    }

    /// Before anybody is told that something is on disk: until then it counts as coming.
    fn tell_headroom(&self) {
        let ready_bytes = if self.spares.is_ready() { self.shared.segment_bytes } else { 0 };
        self.shared.headroom.set_files(self.room() as u64, ready_bytes);
    }

    fn count_segments(&self) {
        let counts = &self.shared.counts;
        counts.segments.store(self.segments.len() as u64, Ordering::Relaxed);
        let bytes = self.segments.iter().map(|segment| segment.bytes).sum();
        counts.segment_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Size of a segment that is made while somebody waits: no larger than it must be.
    fn small_bytes(&self, bytes: usize) -> u64 {
        let groups = self.shared.groups.lock().groups.len();
        let needed = (HEADS_MAX_BYTES + groups * STATE_MAX_BYTES + bytes) as u64;
        let small = needed.max(self.shared.segment_bytes / SMALL_SHARE).next_multiple_of(SECTOR);
        small.min(self.shared.segment_bytes)
    }

    /// Has the next segment's file made once it is clear that this one will be full, if there is room for it.
    fn look_ahead(&mut self) -> io::Result<()> {
        let is_early = self.end < self.current().bytes / AHEAD_SHARE;
        if is_early || self.ahead_at == self.highest || self.spares.is_ready() {
            return Ok(());
        }
        self.ahead_at = self.highest;
        if self.shared.disk.free_bytes()? >= (ROOM_SEGMENTS + 1) * self.shared.segment_bytes {
            self.spares.make_ahead();
        }
        Ok(())
    }

    fn begin_segment(&mut self, bytes: usize) -> io::Result<()> {
        let number = self.highest + 1;
        let shared = self.shared.clone();
        let (disk, dir) = (&*shared.disk, &shared.dir);
        let spare = self.spares.take(self.small_bytes(bytes))?;
        let previous_end = if self.segments.is_empty() { 0 } else { self.end };
        let segment = segment::begin(disk, dir, &spare, Header::new(number, previous_end))?;
        self.highest = number;
        self.end = SECTOR;
        self.last.0 = previous_end;
        self.segments.push_back(segment);
        self.count_segments();
        self.write_checkpoint()?;
        newest::write(disk, dir, number, self.end)
    }

    /// States every group as it is on disk; what was taken back or purged in memory already counts, because it no longer
    /// holds its segment, though the record of it may still wait in the queue.
    fn write_checkpoint(&mut self) -> io::Result<()> {
        let mut batch = BatchBuilder::checkpoint(self.end, self.last.0, self.last.1.clone());
        for (id, group) in self.shared.groups.lock().groups.iter().filter(|(_, group)| !group.destroyed) {
            batch.push(*id, Kind::State, &[&group.on_disk().encode_to_vec()]);
        }
        self.write(&mut batch, &mut Waiting::default())
    }

    /// Lets the oldest segments go that hold nothing any more. Only from the front: what a later segment takes back or
    /// purges must never outlive the segment that says so.
    fn reclaim(&mut self) -> io::Result<()> {
        while self.segments.len() > 1 {
            let number = self.segments[0].header.number;
            if self.shared.groups.lock().live.contains_key(&number) {
                break;
            }
            let Segment { bytes, .. } = self.segments.pop_front().expect("there are two at least");
            self.spares.add(Spare { path: segment::path(&self.shared.dir, number), bytes });
        }
        let keep = match self.is_short_of_room()? {
            true => self.shared.spare_segments.min(SPARES_SHORT),
            false => self.shared.spare_segments,
        };
        self.spares.shrink(keep)?;
        self.count_segments();
        if !self.segments.is_empty() {
            self.tell_headroom();
        }
        Ok(())
    }

    /// What the oldest segment still holds, heads of frames and all, finds room in the one being written beside `bytes`.
    fn oldest_fits(&self, bytes: usize) -> bool {
        self.oldest_live_bytes() < self.room().saturating_sub(bytes) as u64 / 2
    }

    fn oldest_live_bytes(&self) -> u64 {
        let groups = self.shared.groups.lock();
        groups.live.get(&self.segments[0].header.number).copied().unwrap_or(0)
    }

    /// Copies what the oldest segment still holds to the end, behind the purge points, so that it can go.
    fn empty_oldest(&mut self) -> io::Result<()> {
        let number = self.segments[0].header.number;
        let held: Vec<(u64, LogPoint, Place, u32)> = {
            let groups = self.shared.groups.lock();
            let slots =
                groups.groups.iter().flat_map(|(id, group)| group.slots.iter().map(move |slot| (*id, slot)));
            slots
                .filter_map(|(id, (index, slot))| {
                    let place = slot.place.as_ref().filter(|place| place.segment == number)?;
                    Some((id, LogPoint { term: slot.term, index: *index }, place.clone(), slot.len))
                })
                .collect()
        };
        self.write_checkpoint()?;
        let mut batch = self.next_batch();
        let mut waiting = Waiting::default();
        for (group, point, place, len) in held {
            let bytes = frame_bytes(len as usize) + GROUP_BYTES;
            if batch.len() + bytes > BATCH_MAX_BYTES.min(self.room()) {
                self.write(&mut batch, &mut waiting)?;
            }
            if batch.len() + bytes > self.room() {
                self.begin_segment(bytes)?;
                batch = self.next_batch();
            }
            let mut entry = vec![0; len as usize];
            place.file.read_at(place.offset, &mut entry)?;
            if crc32c::crc32c(&entry) != place.crc {
                // It must not get a checksum that says that all is well.
                self.shared.give_up(group, number, place.offset);
                continue;
            }
            self.shared.counts.rewritten_bytes.inc_by(entry.len() as u64);
            write_entry(&mut batch, &mut waiting, Kind::Rewritten, group, point, &entry);
        }
        self.write(&mut batch, &mut waiting)
    }
}

/// Bytes of an entry's frame.
fn frame_bytes(len: usize) -> usize {
    FRAME_HEADER + POINT_BYTES + len
}

fn write_entry(
    batch: &mut BatchBuilder,
    waiting: &mut Waiting,
    kind: Kind,
    group: u64,
    point: LogPoint,
    bytes: &[u8],
) {
    let at = batch.push(group, kind, &[&point_payload(point.term, point.index), bytes]);
    let offset = at + POINT_BYTES as u64;
    waiting.places.push(Written { group, point, offset, crc: crc32c::crc32c(bytes) });
}

fn add(batch: &mut BatchBuilder, waiting: &mut Waiting, job: Job) {
    waiting.jobs += 1;
    waiting.bytes += Backlog::counted(job.bytes());
    match job {
        Job::Append { group, records, done } => {
            for record in records {
                write_entry(batch, waiting, Kind::Entry, group, record.point, &record.bytes);
            }
            waiting.appends.extend(done);
        }
        Job::Vote { group, vote, done } => {
            batch.push(group, Kind::Vote, &[&vote.encode_to_vec()]);
            waiting.others.push(done);
        }
        Job::Truncate { group, from } => {
            batch.push(group, Kind::Truncate, &[&point_payload(0, from)]);
        }
        Job::Purge { group, up_to } => {
            batch.push(group, Kind::Purge, &[&point_payload(up_to.term, up_to.index)]);
        }
        Job::Destroy { group, done } => {
            batch.push(group, Kind::Destroy, &[]);
            waiting.ended.push(group);
            waiting.others.push(done);
        }
        Job::Barrier { done } | Job::Close { done } => waiting.others.push(done),
    }
}

/// Nobody is answered "done": dropping a sender says that it never will be.
fn reject(job: Job) {
    if let Job::Append { done: Some(done), .. } = job {
        done(Err(failed()));
    }
}

fn failed() -> io::Error {
    io::Error::other("the write-ahead log has failed")
}

impl Job {
    /// Bytes it takes in a batch, at most.
    pub fn bytes(&self) -> usize {
        let frames = match self {
            Job::Append { records, .. } => records.iter().map(|record| frame_bytes(record.bytes.len())).sum(),
            Job::Barrier { .. } | Job::Close { .. } => 0,
            _ => SMALL_FRAME,
        };
        frames + GROUP_BYTES
    }
}

impl Waiting {
    fn answer(self, written: Result<(), &io::Error>) {
        for done in self.appends {
            done(written.map_err(|error| io::Error::new(error.kind(), error.to_string())));
        }
        if written.is_ok() {
            for done in self.others {
                // Whoever has stopped waiting does not matter.
                let _ = done.send(());
            }
        }
    }
}
