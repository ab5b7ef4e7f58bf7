//! The table in memory that applied writes go to before a flush.
//!
//! Promises: the versions of a key in order; a count of the memory held, for budgets. Forgets, as it is written, versions
//! that no read at or above the watermark can see. Does not lock; does not know the file below.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;

use crate::model::key::{Key, KeyRange};
use crate::model::row::Version;
use crate::model::time::Timestamp;

/// Memory that a key takes beside its own bytes and its versions (measured, with a B-tree about two thirds full).
const KEY_OVERHEAD_BYTES: usize = 112;
/// Memory that a version takes beside its value's bytes.
const VERSION_OVERHEAD_BYTES: usize = 80;

/// Keys and their newest versions, in order of key.
#[derive(Clone, Default)]
pub struct Memtable {
    rows: BTreeMap<Key, Versions>,
    bytes: usize,
    live_bytes: u64,
}

/// The versions of one key; never empty.
#[derive(Clone)]
pub struct Versions {
    newest: Version,
    /// Oldest first. Most keys have none, and then a pointer is all it takes.
    #[expect(clippy::box_collection, reason = "24 bytes less for every key")]
    older: Option<Box<VecDeque<Version>>>,
}

impl Versions {
    fn new(newest: Version) -> Versions {
        Versions { newest, older: None }
    }

    /// The newest version.
    pub fn newest(&self) -> &Version {
        &self.newest
    }

    /// The newest version stamped at or below `at`; `None`: at any time.
    pub fn pick(&self, at: Option<Timestamp>) -> Option<&Version> {
        match at {
            Some(at) if self.newest.stamp > at => {
                let older = self.older.as_ref()?;
                let later = older.partition_point(|version| version.stamp <= at);
                older.get(later.checked_sub(1)?)
            }
            _ => Some(&self.newest),
        }
    }

    /// All versions, newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Version> {
        std::iter::once(&self.newest).chain(self.older.iter().flat_map(|older| older.iter().rev()))
    }

    fn push(&mut self, version: Version) {
        let replaced = std::mem::replace(&mut self.newest, version);
        self.older.get_or_insert_default().push_back(replaced);
    }

    /// Drops what was replaced at or below `watermark`; the bytes that this freed.
    fn forget(&mut self, watermark: Timestamp) -> usize {
        let Some(older) = &mut self.older else { return 0 };
        let mut freed = 0;
        while let Some(oldest) = older.front() {
            let replaced_at = older.get(1).unwrap_or(&self.newest).stamp;
            if replaced_at > watermark {
                return freed;
            }
            freed += version_bytes(oldest);
            older.pop_front();
        }
        self.older = None;
        freed
    }
}

impl Memtable {
    /// Adds a version that is newer than all others of its key. `watermark` is the shard's: versions that this one makes
    /// invisible above it go.
    pub fn write(&mut self, key: &Key, version: Version, watermark: Timestamp) {
        // What came in shares memory with the log entry it came in; a small row must not keep a large entry alive.
        let version = Version { value: version.value.map(|value| Bytes::copy_from_slice(&value)), ..version };
        self.bytes += version_bytes(&version);
        self.live_bytes += value_len(&version);
        if let Some(versions) = self.rows.get_mut(key) {
            assert!(versions.newest.stamp < version.stamp, "versions of a key are written in order");
            self.live_bytes -= value_len(&versions.newest);
            versions.push(version);
            self.bytes -= versions.forget(watermark);
            return;
        }
        let own = Key::from_internal(Bytes::copy_from_slice(key.as_bytes())).expect("a copy of a key is one");
        self.bytes += key_bytes(&own);
        self.live_bytes += own.as_bytes().len() as u64;
        self.rows.insert(own, Versions::new(version));
    }

    /// Takes over a table of which every version is older than this one's of the same key.
    pub fn absorb(&mut self, elder: &Memtable) {
        self.bytes += elder.bytes;
        for (key, versions) in &elder.rows {
            match self.rows.entry(key.clone()) {
                Entry::Vacant(vacant) => {
                    let bytes = key.as_bytes().len() as u64;
                    self.live_bytes += bytes + value_len(&versions.newest);
                    vacant.insert(versions.clone());
                }
                Entry::Occupied(occupied) => {
                    self.bytes -= key_bytes(key);
                    let older = occupied.into_mut().older.get_or_insert_default();
                    for version in versions.iter() {
                        older.push_front(version.clone());
                    }
                }
            }
        }
    }

    /// The versions held of `key`.
    pub fn get(&self, key: &Key) -> Option<&Versions> {
        self.rows.get(key)
    }

    /// All keys in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Versions)> {
        self.rows.iter()
    }

    /// The keys within `range`, in order.
    pub fn range(&self, range: &KeyRange) -> impl DoubleEndedIterator<Item = (&Key, &Versions)> {
        // An empty range may be upside down, which a B-tree does not like.
        let bounds = (!range.is_empty()).then(|| {
            (Bound::Included(&range.start), range.end.as_ref().map_or(Bound::Unbounded, Bound::Excluded))
        });
        bounds.into_iter().flat_map(|bounds| self.rows.range::<Key, _>(bounds))
    }

    /// Keys held.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Memory held, in bytes, overhead included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of keys and their newest values.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }
}

fn key_bytes(key: &Key) -> usize {
    KEY_OVERHEAD_BYTES + key.as_bytes().len()
}

fn version_bytes(version: &Version) -> usize {
    VERSION_OVERHEAD_BYTES + version.value.as_ref().map_or(0, Bytes::len)
}

fn value_len(version: &Version) -> u64 {
    version.value.as_ref().map_or(0, Bytes::len) as u64
}
