//! Reading the log back at start.
//!
//! Segments are read in order of their numbers. In each, batch follows batch. Where no batch stands:
//! - in a segment that another one follows, the follower says where this one ended: if that is here, all is well; if it is
//!   further on, something that was synced is gone, and that is damage;
//! - in the last segment, this is the end of the log, unless a batch of this life stands further on: there is only ever one
//!   batch that is not synced, so what stands before a later one had been synced, and that is damage.
//!
//! Damage is never skipped in silence. Whoever may have had something there is *in doubt*: those that the damaged batch or
//! the one behind it names, or else everybody. The next checkpoint ends all doubt: it states everything but the entries
//! themselves, and which entries there are; who has all of them at the end has lost nothing. Who has not, and who is in
//! doubt at the end, is given up.

use std::collections::VecDeque;
use std::path::Path;

use bytes::Bytes;

use crate::net::trouble::{Bug, planted};
use crate::node::disk::Disk;

use super::frame::{Concerned, Found, Head, SECTOR, read_batch};
use super::groups::Groups;
use super::newest::{self, Newest};
use super::replay::Replay;
use super::segment::{self, Opened, Segment};
use super::spares::Spare;
use super::{Damage, GroupId, WalError};

/// A log read back.
pub struct Recovered {
    pub groups: Groups,
    /// In order; the last one is being written.
    pub segments: Vec<Segment>,
    /// Where the last segment goes on.
    pub end: u64,
    /// The last batch: where it begins, and whom it concerns.
    pub last: (u64, Concerned),
    /// Files that are free to be used, oldest first.
    pub spares: VecDeque<Spare>,
    /// The highest number a segment or spare has had.
    pub highest: u64,
    pub damage: Vec<Damage>,
}

/// The files of a log.
struct Files {
    /// In order of number, with whether the header could be read.
    segments: Vec<(Segment, bool)>,
    spares: VecDeque<Spare>,
    highest: u64,
}

/// Where reading a segment came to an end.
struct Walked {
    /// The last batch read; nothing if there was none.
    last: Option<Head>,
    end: u64,
}

/// Reads everything below `dir`. `known` are groups that may not be in it only if nothing is lost.
pub fn recover(disk: &dyn Disk, dir: &Path, known: &[GroupId]) -> Result<Recovered, WalError> {
    let mut files = files(disk, dir)?;
    let mut replay = Replay::default();
    let newest = match newest::read(disk, dir)? {
        Newest::Reaches(number, end) => (number, end),
        Newest::Absent => (0, 0),
        Newest::Damaged => {
            replay.damage(0, 0, "the record of the newest segment cannot be read");
            (0, 0)
        }
    };
    files.highest = files.highest.max(newest.0);
    let (mut end, mut last) = (SECTOR, (0, Concerned::default()));
    let mut next_content = None;
    for n in 0..files.segments.len() {
        let (segment, whole_header) = &files.segments[n];
        let number = segment.header.number;
        if n > 0 && files.segments[n - 1].0.header.number + 1 != number {
            replay.doubt_everybody(number - 1, 0, "a segment is missing");
        }
        if !whole_header {
            replay.damage(number, 0, "the segment's header cannot be read");
        }
        // Two at a time: all together may be more than there is memory.
        let content = match next_content.take() {
            Some(content) => content,
            None => segment.content()?,
        };
        let follower = files.segments.get(n + 1);
        let mut limit = Limit::Last { synced: if newest.0 == number { newest.1 } else { 0 } };
        if let Some((follower, whole_header)) = follower {
            let next = follower.content()?;
            limit = Limit::Followed(stated_end(number, follower, *whole_header, &next));
            next_content = Some(next);
        }
        let walked = walk(segment, &content, limit, &mut replay);
        end = walked.end;
        if let Some(head) = &walked.last {
            last = (head.begin, head.own.clone());
        }
        if follower.is_none() {
            let begin = walked.last.map_or(SECTOR, |head| head.begin);
            make_durable(segment, &content, begin, end)?;
        }
    }
    let found = files.segments.last().map_or(0, |(segment, _)| segment.header.number);
    if newest.0 > found {
        replay.doubt_everybody(newest.0, 0, "the newest segment is missing");
    } else if found == 0 && !known.is_empty() {
        replay.doubt_everybody(0, 0, "there is no segment");
    }
    // The newest segment's name may not be on the disk yet either.
    disk.sync_dir(dir)?;
    let (groups, damage) = replay.settle(known);
    let segments = files.segments.into_iter().map(|(segment, _)| segment).collect();
    Ok(Recovered { groups, segments, end, last, spares: files.spares, highest: files.highest, damage })
}

fn files(disk: &dyn Disk, dir: &Path) -> Result<Files, WalError> {
    let mut files = Files { segments: Vec::new(), spares: VecDeque::new(), highest: 0 };
    for name in disk.list(dir)? {
        match segment::parse(&name) {
            Some(number) => {
                files.highest = files.highest.max(number);
                match segment::open(disk, dir, number)? {
                    Opened::Segment(segment) => files.segments.push((segment, true)),
                    Opened::Headless(segment) => files.segments.push((segment, false)),
                    Opened::Spare(spare) => files.spares.push_back(spare),
                }
            }
            // A spare may be half made; it is cheaper to make another than to find out.
            None if name.starts_with("spare-") => disk.remove(&dir.join(name))?,
            None => {}
        }
    }
    files.segments.sort_by_key(|(segment, _)| segment.header.number);
    Ok(files)
}

/// What was read may be only in the system's memory: the process may have died before (or because) it could not be
/// synced. Only the last batch can be such. It is written again, because after a failed sync the system may take for
/// clean what never reached the disk. From here on it counts as acknowledged, so it must be there.
fn make_durable(segment: &Segment, content: &Bytes, last_begin: u64, end: u64) -> Result<(), WalError> {
    let end = end.min(content.len() as u64);
    if last_begin < end {
        segment.file.write_at(last_begin, &content[last_begin as usize..end as usize])?;
    }
    Ok(segment.file.sync_data()?)
}

/// Where the segment before `follower` ended, which its header says and its first batch too.
fn stated_end(number: u64, follower: &Segment, whole_header: bool, content: &Bytes) -> Option<u64> {
    let header = follower.header;
    if header.number != number + 1 {
        return None;
    }
    if whole_header {
        return Some(header.previous_end);
    }
    match read_batch(content, SECTOR, header.seed) {
        Found::Batch { head, .. } | Found::Broken(head) => Some(head.previous),
        Found::Nothing => None,
    }
}

/// What is known of a segment's end.
#[derive(Clone, Copy)]
enum Limit {
    /// It is the last one, and had been synced up to here at least.
    Last { synced: u64 },
    /// Another one follows; it ended here, if that can be told.
    Followed(Option<u64>),
}

fn walk(segment: &Segment, content: &Bytes, limit: Limit, replay: &mut Replay) -> Walked {
    let (number, seed) = (segment.header.number, segment.header.seed);
    let mut walked = Walked { last: None, end: SECTOR };
    loop {
        let at = walked.end;
        if let Limit::Followed(Some(stated)) = limit
            && at >= stated
        {
            return walked;
        }
        let broken = match read_batch(content, at, seed) {
            Found::Batch { head, frames } => {
                replay.batch(segment, &head, frames);
                walked.end = head.end;
                walked.last = Some(head);
                continue;
            }
            Found::Broken(head) => Some(head),
            Found::Nothing => None,
        };
        let from = broken.as_ref().map_or(at + SECTOR, |head| head.end);
        let next = next_head(content, from, seed).filter(|_| !planted(Bug::EndAtBadRecord));
        match (next, limit) {
            (Some(next), _) => {
                let what = "a batch is not what was written";
                let concerned = match &broken {
                    Some(head) => Some(&head.own),
                    // What stood between the two was one batch, or nobody knows.
                    None => Some(&next.before).filter(|_| next.previous == at),
                };
                match concerned {
                    Some(concerned) => replay.doubt(number, at, what, concerned),
                    None => replay.doubt_everybody(number, at, what),
                }
                walked.end = broken.map_or(next.begin, |head| head.end);
            }
            (None, Limit::Followed(_)) => {
                replay.doubt_everybody(number, at, "the segment's end is missing");
                return walked;
            }
            (None, Limit::Last { synced }) => {
                if at < synced {
                    replay.doubt_everybody(number, at, "the end of the log is missing");
                }
                return walked; // the torn tail, or nothing
            }
        }
    }
}

/// The first batch at or behind `from` whose head can be read.
fn next_head(content: &Bytes, from: u64, seed: u32) -> Option<Head> {
    let mut at = from;
    while at < content.len() as u64 {
        match read_batch(content, at, seed) {
            Found::Batch { head, .. } | Found::Broken(head) => return Some(head),
            Found::Nothing => at += SECTOR,
        }
    }
    None
}
