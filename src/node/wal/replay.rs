//! The log's frames, followed one after the other while it is read back, and what damage on the way means for whom.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;

use crate::model::wire::Vote;
use crate::net::trouble::{Bug, planted};

use super::checkpoint::State;
use super::frame::{Concerned, Frame, Head, Kind, parse_point};
use super::groups::{Groups, Place, Slot};
use super::segment::Segment;
use super::terms::Terms;
use super::{DAMAGE_MAX, Damage, GroupId, LogPoint};

/// A group as far as it was read.
#[derive(Default)]
struct Group {
    vote: Option<Vote>,
    purged: Option<LogPoint>,
    /// Which entries it must have.
    terms: Terms,
    /// Those that were found; some may be no longer in the log.
    slots: BTreeMap<u64, Slot>,
    /// Something of it may be gone.
    in_doubt: bool,
    damaged: bool,
    /// Where it was, or is, in doubt.
    suspect: Option<usize>,
}

/// Everything as far as it was read.
#[derive(Default)]
pub struct Replay {
    groups: BTreeMap<u64, Group>,
    damage: Vec<Damage>,
    /// Anybody may have lost something, those included of whom nothing was read.
    all_in_doubt: Option<usize>,
    /// A checkpoint was read, so that what stands behind it has something to stand on.
    has_base: bool,
}

impl Replay {
    /// Notes a damaged place; which one it is.
    pub fn damage(&mut self, segment: u64, offset: u64, what: &'static str) -> usize {
        if self.damage.len() < DAMAGE_MAX {
            self.damage.push(Damage { segment, offset, what, groups: Vec::new() });
        }
        self.damage.len() - 1
    }

    /// Damage that may concern anybody.
    pub fn doubt_everybody(&mut self, segment: u64, offset: u64, what: &'static str) {
        let at = self.damage(segment, offset, what);
        self.all_in_doubt = Some(at);
        self.groups.values_mut().for_each(|group| group.doubt(at));
    }

    /// Damage to a batch with frames of these groups.
    pub fn doubt(&mut self, segment: u64, offset: u64, what: &'static str, concerned: &Concerned) {
        let at = self.damage(segment, offset, what);
        // A checkpoint that is gone takes nothing with it that was not read before, if all of that was.
        for id in &concerned.groups {
            self.groups.entry(*id).or_default().doubt(at);
        }
    }

    /// Follows a batch.
    pub fn batch(&mut self, segment: &Segment, head: &Head, frames: Vec<Frame>) {
        let number = segment.header.number;
        if head.own.checkpoint {
            match frames.iter().map(stated).collect::<Option<BTreeMap<u64, (State, Terms)>>>() {
                Some(states) => self.checkpoint(states),
                None => self.doubt_everybody(number, head.begin, "a checkpoint makes no sense"),
            }
            return;
        }
        if !self.has_base && self.all_in_doubt.is_none() {
            self.doubt_everybody(number, head.begin, "the checkpoint before this place is missing");
        }
        for frame in frames {
            let id = frame.group;
            if self.frame(segment, frame).is_none() {
                let at = self.damage(number, head.begin, "a record makes no sense");
                self.group(id).doubt(at);
            }
        }
    }

    /// All that is known of everybody but the entries themselves.
    fn checkpoint(&mut self, states: BTreeMap<u64, (State, Terms)>) {
        self.has_base = true;
        self.all_in_doubt = None;
        self.groups.retain(|id, _| states.contains_key(id));
        for (id, (state, terms)) in states {
            let group = self.groups.entry(id).or_default();
            group.in_doubt = false;
            (group.vote, group.purged, group.damaged) = (state.vote, state.purged(), state.damaged);
            group.terms = terms;
            group.cut();
        }
    }

    fn group(&mut self, id: u64) -> &mut Group {
        let group = self.groups.entry(id).or_default();
        if let Some(at) = self.all_in_doubt {
            group.doubt(at);
        }
        group
    }

    /// Does what the frame did when it was written; `None` if it makes no sense.
    fn frame(&mut self, segment: &Segment, frame: Frame) -> Option<()> {
        if frame.kind == Kind::Destroy {
            self.groups.remove(&frame.group);
            return Some(());
        }
        let suspect = self.damage.len().checked_sub(1);
        let group = self.group(frame.group);
        match frame.kind {
            Kind::Entry => {
                let (term, index, bytes) = parse_point(&frame.payload)?;
                // A checkpoint may tell of a purge that stands further on.
                if group.purged.is_none_or(|purged| index > purged.index) {
                    let starts =
                        group.terms.first().is_some() || group.purged.is_none_or(|p| p.index + 1 == index);
                    if !group.terms.put(index, term) || !starts {
                        group.in_doubt = true;
                        group.suspect = group.suspect.or(suspect);
                    }
                    group.slots.split_off(&index);
                    group.slots.insert(index, slot(segment, &frame, term, &bytes));
                }
            }
            // At its place in the log the entry was live, or was no longer wanted.
            Kind::Rewritten => {
                let (term, index, bytes) = parse_point(&frame.payload)?;
                if group.in_doubt || group.terms.get(index) == Some(term) {
                    group.slots.insert(index, slot(segment, &frame, term, &bytes));
                }
            }
            Kind::Vote => group.vote = Some(Vote::decode(frame.payload).ok()?),
            Kind::Truncate => {
                let (_, index, _) = parse_point(&frame.payload)?;
                group.terms.cut(index);
                group.slots.split_off(&index);
            }
            Kind::Purge => {
                let (term, index, _) = parse_point(&frame.payload)?;
                if group.purged.is_none_or(|purged| purged.index <= index) {
                    group.purged = Some(LogPoint { term, index });
                    group.cut();
                }
            }
            Kind::Destroy | Kind::State => return None,
        }
        Some(())
    }

    /// The groups as they are, and the damage with whoever was given up for it.
    pub fn settle(mut self, known: &[GroupId]) -> (Groups, Vec<Damage>) {
        let mut groups = Groups::default();
        if let Some(at) = self.all_in_doubt {
            known.iter().for_each(|id| self.groups.entry(id.0).or_default().doubt(at));
        }
        let mut lost: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
        for (id, mut group) in std::mem::take(&mut self.groups) {
            group.cut();
            if group.damaged {
                groups.give_up(id);
            } else if group.in_doubt || !group.is_whole() {
                let at = match group.suspect.or(self.damage.len().checked_sub(1)) {
                    Some(at) => at,
                    None => self.damage(0, 0, "entries are missing"),
                };
                lost.entry(at).or_default().insert(id);
                if !planted(Bug::DamagedVotes) {
                    groups.give_up(id);
                }
            } else {
                groups.recovered(id, group.vote, group.purged, group.slots);
            }
        }
        for (at, ids) in lost {
            self.damage[at].groups = ids.into_iter().map(GroupId).collect();
        }
        (groups, self.damage)
    }
}

impl Group {
    fn doubt(&mut self, at: usize) {
        self.in_doubt = true;
        self.suspect = Some(at);
    }

    /// Drops the entries that are not in the log any more.
    fn cut(&mut self) {
        if let Some(purged) = self.purged {
            self.terms.drop_below(purged.index + 1);
        }
        match self.terms.first() {
            None if self.in_doubt => {}
            None => self.slots.clear(),
            Some(first) => {
                self.slots = self.slots.split_off(&first);
                self.slots.split_off(&self.terms.end());
            }
        }
    }

    /// True if every entry that it must have was found.
    fn is_whole(&self) -> bool {
        let named = self.slots.iter().all(|(index, slot)| self.terms.get(*index) == Some(slot.term));
        named && self.slots.len() as u64 == self.terms.len()
    }
}

fn stated(frame: &Frame) -> Option<(u64, (State, Terms))> {
    let state = State::decode(frame.payload.clone()).ok().filter(|_| frame.kind == Kind::State)?;
    let terms = state.terms()?;
    Some((frame.group, (state, terms)))
}

fn slot(segment: &Segment, frame: &Frame, term: u64, bytes: &Bytes) -> Slot {
    let offset = frame.offset + (frame.payload.len() - bytes.len()) as u64;
    let (file, crc) = (segment.file.clone(), crc32c::crc32c(bytes));
    let place = Place { segment: segment.header.number, offset, file, crc };
    Slot { term, len: bytes.len() as u32, place: Some(place), bytes: None }
}
