//! Reading the log back at start.
//!
//! Segments are read in order of their numbers. In each, batch follows batch. Where no batch stands:
//! - in a segment that another one follows, the follower's header says where this one ended: if that is here, all is well;
//!   if it is further on, something that was synced is gone, and that is damage;
//! - in the last segment, this is the end of the log, unless a whole batch of this life stands further on: there is only
//!   ever one batch that is not synced, so what stands before a later one had been synced, and that is damage.
//!
//! Damage is never skipped: it would drop a later vote or entry silently.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use prost::Message;

use crate::model::wire::Vote;
use crate::node::disk::Disk;

use super::frame::{Found, Frame, Kind, SECTOR, parse_point, read_batch};
use super::groups::{Groups, Place};
use super::segment::{self, Segment};
use super::{GroupId, LogPoint, WalError};

/// A log read back.
pub struct Recovered {
    pub groups: Groups,
    /// In order; the last one is being written.
    pub segments: Vec<Segment>,
    /// Where the last segment goes on.
    pub end: u64,
    /// Names of files that are free to be used.
    pub spares: Vec<std::path::PathBuf>,
    /// The highest number a segment or spare has had.
    pub highest: u64,
}

/// Reads everything below `dir`.
pub fn recover(disk: &dyn Disk, dir: &Path) -> Result<Recovered, WalError> {
    let mut found = Vec::new();
    let (mut spares, mut highest) = (Vec::new(), 0);
    for name in disk.list(dir)? {
        match segment::parse(&name) {
            Some(number) => {
                highest = highest.max(number);
                match segment::open(disk, dir, number)? {
                    Some(open) => found.push(open),
                    None => spares.push(segment::path(dir, number)),
                }
            }
            // A spare may be half made; it is cheaper to make another than to find out.
            None if name.starts_with("spare-") => disk.remove(&dir.join(name))?,
            None => {}
        }
    }
    found.sort_by_key(|segment: &Segment| segment.header.number);
    check_sequence(&found)?;
    let mut groups = Groups::default();
    let mut end = SECTOR;
    for (n, segment) in found.iter().enumerate() {
        let stated_end = found.get(n + 1).map(|next| next.header.previous_end);
        // One at a time: all together may be more than there is memory.
        let content = segment.content()?;
        let last_begin;
        (last_begin, end) = replay_segment(segment, &content, stated_end, &mut groups)?;
        if stated_end.is_none() {
            make_durable(segment, &content, last_begin, end)?;
        }
    }
    // The newest segment's name may not be on the disk yet either.
    disk.sync_dir(dir)?;
    check_contiguous(&groups)?;
    Ok(Recovered { groups, segments: found, end, spares, highest })
}

/// What was read may be only in the system's memory: the process may have died before (or because) it could not be
/// synced. Only the last batch can be such. It is written again, because after a failed sync the system may take for
/// clean what never reached the disk. From here on it counts as acknowledged, so it must be there.
fn make_durable(segment: &Segment, content: &Bytes, last_begin: u64, end: u64) -> Result<(), WalError> {
    let end = end.min(content.len() as u64);
    segment.file.write_at(last_begin, &content[last_begin as usize..end as usize])?;
    Ok(segment.file.sync_data()?)
}

/// A segment missing in the middle is damage too.
fn check_sequence(found: &[Segment]) -> Result<(), WalError> {
    for pair in found.windows(2) {
        let (before, after) = (pair[0].header.number, pair[1].header.number);
        if after != before + 1 {
            return Err(WalError::Damaged { segment: before + 1, offset: 0, groups: Vec::new() });
        }
    }
    Ok(())
}

/// Where the last batch begins and ends.
fn replay_segment(
    segment: &Segment,
    content: &Bytes,
    stated_end: Option<u64>,
    groups: &mut Groups,
) -> Result<(u64, u64), WalError> {
    let seed = segment.header.seed;
    let mut touched = BTreeSet::new();
    let (mut last_begin, mut at) = (SECTOR, SECTOR);
    while let Found::Batch { end, frames, .. } = read_batch(content, at, seed) {
        for frame in frames {
            touched.insert(frame.group);
            replay(segment, frame, groups).ok_or_else(|| damaged(segment, at, &touched, content))?;
        }
        (last_begin, at) = (at, end);
    }
    let later = match stated_end {
        Some(stated) => at != stated,
        None => has_batch_after(content, at, seed),
    };
    match later {
        true => Err(damaged(segment, at, &touched, content)),
        false => Ok((last_begin, at)),
    }
}

fn has_batch_after(content: &Bytes, at: u64, seed: u32) -> bool {
    let mut next = at + SECTOR;
    while next < content.len() as u64 {
        if read_batch(content, next, seed) != Found::Nothing {
            return true;
        }
        next += SECTOR;
    }
    false
}

/// Who may be hit: everybody with data in this segment, before the damage or behind it.
fn damaged(segment: &Segment, at: u64, touched: &BTreeSet<u64>, content: &Bytes) -> WalError {
    let mut suspect = touched.clone();
    let mut next = at + SECTOR;
    while next < content.len() as u64 {
        match read_batch(content, next, segment.header.seed) {
            Found::Batch { end, frames, .. } => {
                suspect.extend(frames.iter().map(|frame| frame.group));
                next = end;
            }
            Found::Nothing => next += SECTOR,
        }
    }
    let groups = suspect.into_iter().map(GroupId).collect();
    WalError::Damaged { segment: segment.header.number, offset: at, groups }
}

/// Does to `groups` what the frame did when it was written; `None` if it makes no sense.
fn replay(segment: &Segment, frame: Frame, groups: &mut Groups) -> Option<()> {
    let id = frame.group;
    let place = |rest: &Bytes| Place {
        segment: segment.header.number,
        offset: frame.offset + (frame.payload.len() - rest.len()) as u64,
        file: segment.file.clone(),
    };
    match frame.kind {
        Kind::Entry => {
            let (term, index, rest) = parse_point(&frame.payload)?;
            groups.truncate(id, index);
            // A checkpoint may tell of a purge that stands further on.
            if groups.group(id).purged.is_none_or(|purged| index > purged.index) {
                let len = rest.len() as u32;
                groups.insert(id, LogPoint { term, index }, len, Some(place(&rest)), None);
            }
        }
        Kind::Rewritten => {
            let (term, index, rest) = parse_point(&frame.payload)?;
            let gone = groups.group(id).purged.is_some_and(|purged| index <= purged.index);
            if !gone {
                let len = rest.len() as u32;
                groups.insert(id, LogPoint { term, index }, len, Some(place(&rest)), None);
            }
        }
        Kind::Vote => groups.group(id).vote = Some(Vote::decode(frame.payload).ok()?),
        Kind::Truncate => {
            let (_, index, _) = parse_point(&frame.payload)?;
            groups.truncate(id, index);
        }
        Kind::Purge => {
            let (term, index, _) = parse_point(&frame.payload)?;
            groups.purge(id, LogPoint { term, index });
        }
        Kind::Destroy => {
            groups.destroy(id);
            groups.groups.remove(&id);
        }
    }
    Some(())
}

/// Front segments go first and what they held is rewritten before, so nothing may be missing between two entries.
fn check_contiguous(groups: &Groups) -> Result<(), WalError> {
    for (id, group) in &groups.groups {
        let mut expected = group.purged.map(|purged| purged.index + 1);
        for (index, slot) in &group.slots {
            if expected.is_some_and(|expected| expected != *index) {
                let place = slot.place.as_ref().expect("a recovered entry is on disk");
                let (segment, offset) = (place.segment, place.offset);
                return Err(WalError::Damaged { segment, offset, groups: vec![GroupId(*id)] });
            }
            expected = Some(index + 1);
        }
    }
    Ok(())
}
