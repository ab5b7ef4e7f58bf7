//! What the log holds, by group: where each entry is, and the newest ones themselves.
//!
//! Kept in memory, rebuilt at start. An entry is here from the moment it is submitted, so that it can be read at once; its
//! place on disk is filled in when its batch is synced.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::model::wire::Vote;
use crate::net::trouble::{Bug, planted};
use crate::node::disk::DiskFile;

use super::checkpoint::State;
use super::terms::Terms;
use super::{GroupState, LogPoint};

/// Where an entry's bytes are on disk.
#[derive(Clone)]
pub struct Place {
    pub segment: u64,
    pub offset: u64,
    pub file: Arc<dyn DiskFile>,
    /// CRC-32C of its bytes, checked whenever they are read.
    pub crc: u32,
}

/// One entry.
#[derive(Clone)]
pub struct Slot {
    pub term: u64,
    pub len: u32,
    /// `None` until synced.
    pub place: Option<Place>,
    /// `None` once it has left the cache.
    pub bytes: Option<Bytes>,
}

/// Places in the cache's queue beside those of the entries cached: what was dropped leaves its place behind.
const CACHE_QUEUE_SLACK: usize = 4096;

/// One group's part of the log.
#[derive(Default)]
pub struct Group {
    pub vote: Option<Vote>,
    pub purged: Option<LogPoint>,
    pub slots: BTreeMap<u64, Slot>,
    /// Of the entries in `slots`.
    pub terms: Terms,
    pub live_bytes: u64,
    pub destroyed: bool,
    /// It has lost something that was on disk. Nothing is read or written any more until it is destroyed.
    pub damaged: bool,
}

/// All groups.
#[derive(Default)]
pub struct Groups {
    pub groups: BTreeMap<u64, Group>,
    /// Bytes of live entries, by segment.
    pub live: BTreeMap<u64, u64>,
    cache: VecDeque<(u64, u64)>,
    cached_entries: usize,
    cached_bytes: usize,
    pub cache_max_bytes: usize,
}

impl Group {
    pub fn state(&self) -> GroupState {
        let last =
            self.slots.last_key_value().map(|(index, slot)| LogPoint { term: slot.term, index: *index });
        GroupState { purged: self.purged, last: last.or(self.purged), vote: self.vote }
    }

    /// What a checkpoint says of it: the entries that are on disk and still wanted.
    pub fn on_disk(&self) -> State {
        let mut terms = self.terms.clone();
        terms.cut(self.synced_end());
        let vote = self.vote.filter(|_| !planted(Bug::VoteRecycled));
        State::new(vote, self.purged, &terms, self.damaged)
    }

    /// The index behind the last entry that is on disk and still wanted: those in memory are synced in order.
    fn synced_end(&self) -> u64 {
        let waiting = self.slots.iter().rev().take_while(|(_, slot)| slot.place.is_none());
        match waiting.last() {
            Some((index, _)) => *index,
            None => self.state().last.map_or(0, |last| last.index + 1),
        }
    }
}

impl Groups {
    /// The group, made if it is new.
    pub fn group(&mut self, id: u64) -> &mut Group {
        self.groups.entry(id).or_default()
    }

    /// Puts an entry at its index and drops what is at and above it.
    pub fn append(&mut self, id: u64, point: LogPoint, bytes: Bytes) {
        let overwrites = self.group(id).slots.last_key_value().is_some_and(|(last, _)| *last >= point.index);
        if overwrites {
            self.truncate(id, point.index);
        }
        self.insert(id, point, bytes.len() as u32, None, Some(bytes));
    }

    /// Puts an entry at its index; one of another term there makes those above it go first.
    fn insert(&mut self, id: u64, point: LogPoint, len: u32, place: Option<Place>, bytes: Option<Bytes>) {
        if let Some(bytes) = &bytes {
            self.cached_bytes += bytes.len();
            self.cached_entries += 1;
            self.cache.push_back((id, point.index));
        }
        if let Some(place) = &place {
            *self.live.entry(place.segment).or_default() += u64::from(len);
        }
        let group = self.group(id);
        group.live_bytes += u64::from(len);
        if group.terms.get(point.index) != Some(point.term) {
            group.terms.put(point.index, point.term);
        }
        let slot = Slot { term: point.term, len, place, bytes };
        if let Some(old) = group.slots.insert(point.index, slot) {
            self.forget(id, &old);
        }
    }

    /// Drops the entries at and above `from`.
    pub fn truncate(&mut self, id: u64, from: u64) {
        let group = self.group(id);
        group.terms.cut(from);
        let dropped = group.slots.split_off(&from);
        dropped.values().for_each(|slot| self.forget(id, slot));
    }

    /// Drops the entries up to `up_to`. If that lies beyond the end, nothing is left, and the log goes on behind it.
    pub fn purge(&mut self, id: u64, up_to: LogPoint) {
        let group = self.group(id);
        if group.purged.is_some_and(|purged| purged.index > up_to.index) {
            return;
        }
        group.purged = Some(up_to);
        group.terms.drop_below(up_to.index + 1);
        let kept = group.slots.split_off(&(up_to.index + 1));
        let dropped = std::mem::replace(&mut group.slots, kept);
        dropped.values().for_each(|slot| self.forget(id, slot));
    }

    /// Drops a group for good.
    pub fn destroy(&mut self, id: u64) {
        self.truncate(id, 0);
        *self.group(id) = Group { destroyed: true, ..Group::default() };
    }

    /// Gives up a group that has lost something.
    pub fn give_up(&mut self, id: u64) {
        self.truncate(id, 0);
        *self.group(id) = Group { damaged: true, ..Group::default() };
    }

    /// Takes in a group as read back.
    pub fn recovered(
        &mut self,
        id: u64,
        vote: Option<Vote>,
        purged: Option<LogPoint>,
        slots: BTreeMap<u64, Slot>,
    ) {
        let group = self.group(id);
        (group.vote, group.purged) = (vote, purged);
        for (index, slot) in slots {
            self.insert(id, LogPoint { term: slot.term, index }, slot.len, slot.place, None);
        }
    }

    /// Says where a synced entry is, if it is still the one meant.
    pub fn place(&mut self, id: u64, point: LogPoint, place: Place) {
        let slot = self.groups.get_mut(&id).and_then(|group| group.slots.get_mut(&point.index));
        let Some(slot) = slot.filter(|slot| slot.term == point.term) else { return };
        let len = u64::from(slot.len);
        *self.live.entry(place.segment).or_default() += len;
        if let Some(old) = slot.place.replace(place) {
            reduce(&mut self.live, old.segment, len);
        }
    }

    /// Lets the oldest cached entries go that are on disk, until the cache fits.
    pub fn shrink_cache(&mut self) {
        let mut kept = Vec::new();
        while self.cached_bytes > self.cache_max_bytes {
            let Some((id, index)) = self.cache.pop_front() else { break };
            let slot = self.groups.get_mut(&id).and_then(|group| group.slots.get_mut(&index));
            match slot {
                Some(slot) if slot.place.is_some() => {
                    if let Some(freed) = slot.bytes.take() {
                        self.cached_bytes -= freed.len();
                        self.cached_entries -= 1;
                    }
                }
                // Not on disk yet: it must stay.
                Some(slot) if slot.bytes.is_some() => {
                    kept.push((id, index));
                    break;
                }
                _ => {}
            }
        }
        kept.into_iter().for_each(|entry| self.cache.push_front(entry));
        if self.cache.len() > 2 * self.cached_entries + CACHE_QUEUE_SLACK {
            self.tidy_cache();
        }
    }

    /// Forgets the places of entries that were dropped: where the cache never fills nothing else would.
    fn tidy_cache(&mut self) {
        let groups = &self.groups;
        let mut seen = BTreeSet::new();
        let cached = |id: &u64, index: &u64| groups.get(id)?.slots.get(index)?.bytes.as_ref();
        self.cache.retain(|(id, index)| cached(id, index).is_some() && seen.insert((*id, *index)));
    }

    fn forget(&mut self, id: u64, slot: &Slot) {
        if let Some(bytes) = &slot.bytes {
            self.cached_bytes -= bytes.len();
            self.cached_entries -= 1;
        }
        if let Some(place) = &slot.place {
            reduce(&mut self.live, place.segment, u64::from(slot.len));
        }
        self.group(id).live_bytes -= u64::from(slot.len);
    }
}

fn reduce(live: &mut BTreeMap<u64, u64>, segment: u64, len: u64) {
    let left = live.get_mut(&segment).expect("a placed entry is counted in its segment");
    *left -= len;
    if *left == 0 {
        live.remove(&segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_never_fills_stays_small() {
        let mut groups = Groups { cache_max_bytes: 1 << 20, ..Groups::default() };
        for index in 0..100_000 {
            groups.append(1, LogPoint { term: 1, index }, Bytes::from_static(b"entry"));
            if index > 10 {
                groups.purge(1, LogPoint { term: 1, index: index - 10 });
            }
            groups.shrink_cache();
        }
        assert_eq!(groups.cached_entries, groups.groups[&1].slots.len());
        assert!(
            groups.cache.len() <= 2 * groups.cached_entries + CACHE_QUEUE_SLACK,
            "{}",
            groups.cache.len()
        );
    }
}
