//! The one writer of the log: gathers what waits, writes it as one batch, syncs once, answers everybody.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prost::Message;
use tokio::sync::oneshot;

use crate::model::wire::Vote;

use super::frame::{BATCH_HEADER, BatchBuilder, Header, Kind, SECTOR};
use super::groups::Place;
use super::segment::{self, Segment};
use super::{LogPoint, Record, Shared};

/// Called once the entries are on disk, or never will be.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// What waits to be written.
pub enum Job {
    Append { group: u64, records: Vec<Record>, done: Option<Done> },
    Vote { group: u64, vote: Vote, done: oneshot::Sender<()> },
    Truncate { group: u64, from: u64 },
    Purge { group: u64, up_to: LogPoint },
    Destroy { group: u64, done: oneshot::Sender<()> },
    Barrier { done: oneshot::Sender<()> },
}

/// Segments in use above which the oldest is emptied by rewriting what it still holds.
const SEGMENTS_USUAL: usize = 8;
/// Above this, however much it still holds.
const SEGMENTS_MAX: usize = 16;
/// Bytes of one batch.
const BATCH_MAX_BYTES: usize = 8 << 20;

/// The writer's own state. Only the committer touches it.
pub struct Committer {
    pub shared: Arc<Shared>,
    /// In order of number; the last one is written.
    pub segments: VecDeque<Segment>,
    /// Where the next batch begins.
    pub end: u64,
    /// Oldest first, so that what remains of recycled segments is always a gapless run.
    pub spares: VecDeque<PathBuf>,
    pub highest: u64,
    pub spares_made: u64,
    /// The memory of the batch before.
    pub batch: BatchBuilder,
}

/// What to do when a batch is on disk.
#[derive(Default)]
struct Waiting {
    places: Vec<(u64, LogPoint, u64)>,
    appends: Vec<Done>,
    others: Vec<oneshot::Sender<()>>,
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
        let mut batch = std::mem::take(&mut self.batch);
        batch.restart(self.end);
        let mut waiting = Waiting::default();
        while let Some(job) = jobs.next() {
            if self.shared.failed.load(Ordering::Acquire) {
                reject(job);
                continue;
            }
            let fits = batch.len() + job.bytes() <= BATCH_MAX_BYTES.min(self.room());
            let made_room = match fits {
                true => Ok(()),
                false => self.make_room(&mut batch, &mut waiting, job.bytes()),
            };
            if let Err(error) = made_room {
                reject(job);
                jobs.for_each(reject);
                return Err(error);
            }
            add(&mut batch, &mut waiting, job);
        }
        self.write(&mut batch, &mut waiting)?;
        self.batch = batch;
        Ok(())
    }

    /// Writes what has gathered and, if the segment is full, goes on in the next.
    fn make_room(&mut self, batch: &mut BatchBuilder, waiting: &mut Waiting, bytes: usize) -> io::Result<()> {
        if !batch.is_empty() {
            self.write(batch, waiting)?;
        }
        if batch.len() + bytes > self.room() {
            self.roll()?;
            batch.restart(self.end);
        }
        Ok(())
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
        let waiting = std::mem::take(waiting);
        if batch.is_empty() {
            waiting.answer(Ok(()));
            return Ok(());
        }
        let segment = self.current().clone();
        let bytes = batch.finish(segment.header.seed, self.end);
        let written = segment.file.write_at(self.end, bytes).and_then(|()| segment.file.sync_data());
        if let Err(error) = written {
            // Before anybody is told, so that nobody who hears of it can go on.
            self.shared.failed.store(true, Ordering::Release);
            waiting.answer(Err(&error));
            return Err(error);
        }
        let written_bytes = bytes.len() as u64;
        self.end += written_bytes;
        batch.restart(self.end);
        let counts = &self.shared.counts;
        counts.batches.fetch_add(1, Ordering::Relaxed);
        counts.syncs.fetch_add(1, Ordering::Relaxed);
        counts.synced_bytes.fetch_add(written_bytes, Ordering::Relaxed);
        {
            let mut groups = self.shared.groups.lock();
            for (group, point, offset) in &waiting.places {
                let file = segment.file.clone();
                let place = Place { segment: segment.header.number, offset: *offset, file };
                groups.place(*group, *point, place);
            }
            groups.shrink_cache();
        }
        waiting.answer(Ok(()));
        Ok(())
    }

    /// Goes on in a new segment, which begins with every group's vote and purge point, synced; then old segments may go.
    pub fn roll(&mut self) -> io::Result<()> {
        self.begin_segment()?;
        self.reclaim()?;
        let crowded = self.segments.len() > SEGMENTS_USUAL;
        if crowded && (self.segments.len() > SEGMENTS_MAX || self.oldest_is_sparse()) {
            self.empty_oldest()?;
            self.reclaim()?;
        }
        Ok(())
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let number = self.highest + 1;
        let shared = self.shared.clone();
        let (disk, dir) = (&*shared.disk, &shared.dir);
        let spare = match self.spares.pop_front() {
            Some(spare) => spare,
            None => {
                self.spares_made += 1;
                segment::make_spare(disk, dir, shared.segment_bytes, self.spares_made)?
            }
        };
        let previous_end = if self.segments.is_empty() { 0 } else { self.end };
        // The number is never used twice, so its checksum seeds every life of a file differently.
        let seed = crc32c::crc32c(&number.to_le_bytes());
        let segment = segment::begin(disk, dir, &spare, Header { number, seed, previous_end })?;
        self.highest = number;
        self.end = SECTOR;
        self.segments.push_back(segment);
        self.shared.counts.segments.store(self.segments.len() as u64, Ordering::Relaxed);
        self.write_checkpoint()
    }

    fn write_checkpoint(&mut self) -> io::Result<()> {
        let mut batch = BatchBuilder::new(self.end);
        for (id, group) in self.shared.groups.lock().groups.iter().filter(|(_, group)| !group.destroyed) {
            if let Some(vote) = &group.vote {
                batch.push(*id, Kind::Vote, &vote.encode_to_vec());
            }
            if let Some(purged) = &group.purged {
                batch.push_point(*id, Kind::Purge, *purged, &[]);
            }
            // What was taken back in memory no longer holds its segment, though the record of it may still wait in the
            // queue: without this the rest of it, in later segments, would be found with a hole before it.
            batch.push_point(*id, Kind::Truncate, LogPoint { term: 0, index: group.synced_end() }, &[]);
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
            self.segments.pop_front();
            self.spares.push_back(segment::path(&self.shared.dir, number));
        }
        while self.spares.len() > self.shared.spare_segments {
            let surplus = self.spares.pop_front().expect("there are too many");
            self.shared.disk.remove(&surplus)?;
            // One after the other, so that what a crash leaves of them is still a gapless run.
            self.shared.disk.sync_dir(&self.shared.dir)?;
        }
        self.shared.counts.segments.store(self.segments.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn oldest_is_sparse(&self) -> bool {
        let live = self.shared.groups.lock().live.get(&self.segments[0].header.number).copied();
        live.unwrap_or(0) < self.shared.segment_bytes / 4
    }

    /// Copies what the oldest segment still holds to the end, behind the purge points, so that it can go.
    fn empty_oldest(&mut self) -> io::Result<()> {
        let number = self.segments[0].header.number;
        let file = self.segments[0].file.clone();
        let held: Vec<(u64, LogPoint, u64, u32)> = {
            let groups = self.shared.groups.lock();
            let slots =
                groups.groups.iter().flat_map(|(id, group)| group.slots.iter().map(move |slot| (*id, slot)));
            slots
                .filter_map(|(id, (index, slot))| {
                    let place = slot.place.as_ref().filter(|place| place.segment == number)?;
                    Some((id, LogPoint { term: slot.term, index: *index }, place.offset, slot.len))
                })
                .collect()
        };
        self.write_checkpoint()?;
        let mut batch = BatchBuilder::new(self.end);
        let mut waiting = Waiting::default();
        for (group, point, offset, len) in held {
            let bytes = len as usize + 64;
            if batch.len() + bytes > BATCH_MAX_BYTES.min(self.room()) {
                self.write(&mut batch, &mut waiting)?;
            }
            if batch.len() + bytes > self.room() {
                self.begin_segment()?;
                batch.restart(self.end);
            }
            let mut entry = vec![0; len as usize];
            file.read_at(offset, &mut entry)?;
            let at = batch.push_point(group, Kind::Rewritten, point, &entry);
            waiting.places.push((group, point, at));
        }
        self.write(&mut batch, &mut waiting)
    }
}

fn add(batch: &mut BatchBuilder, waiting: &mut Waiting, job: Job) {
    match job {
        Job::Append { group, records, done } => {
            for record in records {
                let at = batch.push_point(group, Kind::Entry, record.point, &record.bytes);
                waiting.places.push((group, record.point, at));
            }
            waiting.appends.extend(done);
        }
        Job::Vote { group, vote, done } => {
            batch.push(group, Kind::Vote, &vote.encode_to_vec());
            waiting.others.push(done);
        }
        Job::Truncate { group, from } => {
            batch.push_point(group, Kind::Truncate, LogPoint { term: 0, index: from }, &[]);
        }
        Job::Purge { group, up_to } => {
            batch.push_point(group, Kind::Purge, up_to, &[]);
        }
        Job::Destroy { group, done } => {
            batch.push(group, Kind::Destroy, &[]);
            waiting.others.push(done);
        }
        Job::Barrier { done } => waiting.others.push(done),
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
    fn bytes(&self) -> usize {
        let frames = match self {
            Job::Append { records, .. } => records.iter().map(|record| record.bytes.len() + 32).sum(),
            Job::Barrier { .. } => 0,
            _ => 64,
        };
        frames + BATCH_HEADER
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
