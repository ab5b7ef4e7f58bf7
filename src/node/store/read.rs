//! Reading rows: one key, or a page of a range.
//!
//! Promises: an answer is of one moment: memtables and file are looked at as of one instant, and a timestamp below the
//! watermark is refused, not answered wrongly. A page costs bounded work even where nothing in it is alive. Does not judge whether the
//! caller may read now (leases, ceilings); of one key it does not judge expiry either.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::sync::Arc;

use crate::model::key::{Key, KeyRange};
use crate::model::row::Version;
use crate::model::time::Timestamp;

use super::engine::{Picture, Scan};
use super::error::StoreError;
use super::handle::{Seen, Shared, Store};
use super::memtable::Memtable;
use super::record::row_bytes;
use super::versions::Versions;

/// Keys that one page looks at, dead ones included.
pub const WALK_ROWS_MAX: usize = 4096;
/// Bytes of keys and values that one page looks at, dead ones included, beside those it returns.
pub const WALK_BYTES_MAX: u64 = 32 << 20;
/// Keys of the memtables that even a page of few rows looks at.
const MEMORY_KEYS_MIN: usize = 64;

/// What a page of a range read asks for.
#[derive(Clone, Copy, Debug)]
pub struct PageBounds {
    /// Read as of this timestamp; `None`: the newest.
    pub at: Option<Timestamp>,
    /// Rows that expire at or below this are not there.
    pub live_at: Timestamp,
    /// Most rows; at least 1 is meant.
    pub limit: usize,
    /// Most bytes of keys and values; a first row may exceed it.
    pub max_bytes: usize,
    /// From the end of the range backwards.
    pub reverse: bool,
}

/// Part of a range.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Live rows, in the order asked for.
    pub rows: Vec<(Key, Version)>,
    /// Set if there may be more: the start of the range that is left or, in reverse, its (exclusive) end.
    pub next: Option<Key>,
}

/// What was written after some stamp.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// The newest version of each key, deleted and expired ones included, in no order.
    pub rows: Vec<(Key, Version)>,
    /// Everything up to here is known now.
    pub highest_stamp: Timestamp,
}

/// The part of a page that came from memory.
struct Gathered {
    rows: std::vec::IntoIter<(Key, Option<Version>)>,
    /// The first key that was not gathered.
    beyond: Option<Key>,
    picture: Arc<dyn Picture>,
}

impl Store {
    /// The newest version of `key`, or the newest stamped at or below `at`; deleted and expired ones included, unless
    /// they were swept. A key of another shard has none.
    ///
    /// # Errors
    /// `Forgotten` for a timestamp below the watermark; `Damaged` or `Failed` if the file cannot be read.
    pub fn get(&self, key: &Key, at: Option<Timestamp>) -> Result<Option<Version>, StoreError> {
        let picture = {
            let seen = self.shared.seen.read();
            seen.check_remembered(at)?;
            if !seen.state.range.as_ref().is_some_and(|own| own.contains(key)) {
                return Ok(None);
            }
            if let Some(version) = seen.in_memory(key, at) {
                return Ok(Some(version.clone()));
            }
            seen.picture.clone()
        };
        picture.get(key, at).map_err(|error| self.shared.sort(error))
    }

    /// The rows stamped above `since`, if all of them are in memory; `None` if some may be in the file only. Costs a look at
    /// every key in memory, so it is for shards that are written seldom.
    pub fn changes_since(&self, since: Timestamp) -> Option<Changes> {
        let seen = self.shared.seen.read();
        let flushed = seen.picture.head().state.as_ref().map_or(0, |state| state.highest_stamp);
        if since < Timestamp(flushed) {
            return None;
        }
        let changed = |(_, versions): &(&Key, &Versions)| versions.newest().stamp > since;
        let owned = |(key, versions): (&Key, &Versions)| (key.clone(), versions.newest().clone());
        let mut rows: Vec<_> = seen.active.iter().filter(changed).map(owned).collect();
        let older = seen.frozen.iter().flat_map(|frozen| frozen.iter()).filter(changed);
        rows.extend(older.filter(|(key, _)| seen.active.get(key).is_none()).map(owned));
        Some(Changes { rows, highest_stamp: seen.state.highest_stamp })
    }

    /// A page of the live rows in `range`, as far as it is this shard's. May be empty and yet have a `next`.
    ///
    /// # Errors
    /// Those of [`Store::get`].
    pub fn range(&self, range: &KeyRange, bounds: &PageBounds) -> Result<Page, StoreError> {
        let (range, gathered) = {
            let seen = self.shared.seen.read();
            seen.check_remembered(bounds.at)?;
            let Some(range) = seen.own(range).filter(|range| !range.is_empty()) else {
                return Ok(Page::default());
            };
            let gathered = gather(&seen, &range, bounds);
            (range, gathered)
        };
        let Gathered { rows, beyond, picture } = gathered;
        let scan = picture.scan(&range, bounds.reverse).map_err(|error| self.shared.sort(error))?;
        let walk = Walk {
            shared: &self.shared,
            picture: &*picture,
            memory: rows.peekable(),
            file: scan.peekable(),
            beyond,
            bounds,
        };
        walk.page()
    }
}

/// Takes from the memtables what a page may need.
fn gather(seen: &Seen, range: &KeyRange, bounds: &PageBounds) -> Gathered {
    let most = bounds.limit.clamp(MEMORY_KEYS_MIN, WALK_ROWS_MAX);
    let none = Memtable::default();
    let (young, old) = (seen.active.range(range), seen.frozen.as_deref().unwrap_or(&none).range(range));
    let (rows, beyond) = match bounds.reverse {
        false => gather_from(young, old, most, bounds),
        true => gather_from(young.rev(), old.rev(), most, bounds),
    };
    Gathered { rows: rows.into_iter(), beyond, picture: seen.picture.clone() }
}

/// Merges two memtables in the order given; each key with its version as of the time asked for, if that is in memory.
fn gather_from<'a>(
    young: impl Iterator<Item = (&'a Key, &'a Versions)>,
    old: impl Iterator<Item = (&'a Key, &'a Versions)>,
    most: usize,
    bounds: &PageBounds,
) -> (Vec<(Key, Option<Version>)>, Option<Key>) {
    let (mut young, mut old) = (young.peekable(), old.peekable());
    let mut rows = Vec::new();
    loop {
        let order = match (young.peek(), old.peek()) {
            (None, None) => return (rows, None),
            (young, old) => first(young.map(|row| row.0), old.map(|row| row.0), bounds.reverse),
        };
        let young = if order.is_le() { young.next() } else { None };
        let old = if order.is_ge() { old.next() } else { None };
        let key = young.or(old).expect("one of the two is first").0;
        if rows.len() == most {
            return (rows, Some(key.clone()));
        }
        let version = [young, old].into_iter().flatten().find_map(|row| row.1.pick(bounds.at));
        rows.push((key.clone(), version.cloned()));
    }
}

/// Which of two keys comes first; a missing one comes last.
fn first(a: Option<&Key>, b: Option<&Key>, reverse: bool) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) if reverse => b.cmp(a),
        (Some(a), Some(b)) => a.cmp(b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

/// The merge of memory and file into a page.
struct Walk<'a> {
    shared: &'a Shared,
    picture: &'a dyn Picture,
    memory: Peekable<std::vec::IntoIter<(Key, Option<Version>)>>,
    file: Peekable<Scan<'a>>,
    beyond: Option<Key>,
    bounds: &'a PageBounds,
}

impl Walk<'_> {
    fn page(mut self) -> Result<Page, StoreError> {
        let mut page = Page::default();
        let (mut walked, mut walked_bytes, mut page_bytes) = (0, 0, 0);
        let mut last: Option<Key> = None;
        let limit = self.bounds.limit.max(1);
        while let Some((key, version)) = self.step()? {
            let bytes = version.as_ref().map_or(0, |version| row_bytes(key.as_bytes().len(), version));
            let live = version.filter(|version| version.live_at(self.bounds.live_at).is_some());
            let full = page.rows.len() == limit || walked == WALK_ROWS_MAX || walked_bytes > WALK_BYTES_MAX;
            let over =
                live.is_some() && !page.rows.is_empty() && page_bytes + bytes > self.bounds.max_bytes as u64;
            if full || over || self.is_beyond(&key) {
                page.next = if self.bounds.reverse { last } else { Some(key) };
                return Ok(page);
            }
            walked += 1;
            match live {
                Some(version) => {
                    page_bytes += bytes;
                    page.rows.push((key.clone(), version));
                }
                None => walked_bytes += bytes,
            }
            last = Some(key);
        }
        // The file is at its end; memory may not be.
        page.next = if self.bounds.reverse { self.beyond.and(last) } else { self.beyond };
        Ok(page)
    }

    /// The next key and its version as of the time asked for.
    fn step(&mut self) -> Result<Option<(Key, Option<Version>)>, StoreError> {
        if let Some(Err(error)) = self.file.next_if(Result::is_err) {
            return Err(self.shared.sort(error));
        }
        let stored = self.file.peek().and_then(|row| row.as_ref().ok()).map(|row| &row.0);
        let held = self.memory.peek().map(|row| &row.0);
        if stored.is_none() && held.is_none() {
            return Ok(None);
        }
        let order = first(held, stored, self.bounds.reverse);
        let held = if order.is_le() { self.memory.next() } else { None };
        let stored = match order.is_ge() {
            true => self.file.next().transpose().map_err(|error| self.shared.sort(error))?,
            false => None,
        };
        match (held, stored) {
            (Some((key, Some(version))), _) => Ok(Some((key, Some(version)))),
            (_, Some((key, newest))) => {
                let version = match self.bounds.at {
                    Some(at) if newest.stamp > at => {
                        self.picture.replaced(&key, at).map_err(|error| self.shared.sort(error))?
                    }
                    _ => Some(newest),
                };
                Ok(Some((key, version)))
            }
            (held, None) => Ok(held),
        }
    }

    fn is_beyond(&self, key: &Key) -> bool {
        self.beyond.as_ref().is_some_and(|beyond| first(Some(key), Some(beyond), self.bounds.reverse).is_ge())
    }
}
