//! The table in memory that applied writes go to before a flush.
//!
//! Promises: the versions of a key in order; a count of the memory held, for budgets. Forgets, as it is written, versions
//! that no read at or above the watermark can see. Does not lock; does not know the file below.
//!
//! A tree gives the order, a hash table finds a single key: with 100,000 keys, searching the tree took two thirds of the
//! time in which applied rows are made visible (a profile of puts by 256 clients).

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;

use bytes::Bytes;
use hashbrown::HashTable;

use crate::model::key::{Key, KeyRange};
use crate::model::row::Version;
use crate::model::time::Timestamp;

/// Memory that a key takes beside its own bytes and its versions (estimated: its places in tree, hash table and rows).
const KEY_OVERHEAD_BYTES: usize = 184;
/// Memory that a version takes beside its value's bytes.
const VERSION_OVERHEAD_BYTES: usize = 80;

/// Keys and their newest versions, in order of key.
#[derive(Clone, Default)]
pub struct Memtable {
    /// In order of their coming; never removed.
    rows: Vec<(Key, Versions)>,
    /// Where in `rows` a key is, in order of key.
    order: BTreeMap<Key, u32>,
    /// Where in `rows` a key is, by its hash. Keys come from outside: the hash is keyed.
    found: HashTable<Place>,
    hasher: RandomState,
    bytes: usize,
    live_bytes: u64,
}

/// Where a key is, and so much of its hash that another key's row is hardly ever looked at.
#[derive(Clone, Copy)]
struct Place {
    row: u32,
    tag: u32,
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
    /// An empty table that need not grow for so many rows: growing looks at every row there is, and who writes waits.
    pub fn with_room(rows: usize) -> Memtable {
        let (rows, found) = (Vec::with_capacity(rows), HashTable::with_capacity(rows));
        Memtable { rows, found, ..Memtable::default() }
    }

    /// Adds versions in their order, each newer than all others of its key. `watermark` is the shard's: versions that a
    /// new one makes invisible above it go.
    pub fn write(&mut self, written: &mut Vec<(Key, Version)>, watermark: Timestamp) {
        let hashes: Vec<u64> = written.iter().map(|(key, _)| self.hasher.hash_one(key)).collect();
        // One after the other each would wait for memory three times; none of these looks waits for another.
        std::hint::black_box(hashes.iter().fold(0, |sum, hash| sum ^ self.look(*hash)));
        for ((key, version), hash) in written.drain(..).zip(hashes) {
            self.write_one(&key, hash, version, watermark);
        }
    }

    fn write_one(&mut self, key: &Key, hash: u64, version: Version, watermark: Timestamp) {
        // What came in shares memory with the log entry it came in; a small row must not keep a large entry alive.
        let version = Version { value: version.value.map(|value| Bytes::copy_from_slice(&value)), ..version };
        self.bytes += version_bytes(&version);
        self.live_bytes += value_len(&version);
        if let Some(row) = self.find(key, hash) {
            let versions = &mut self.rows[row].1;
            assert!(versions.newest.stamp < version.stamp, "versions of a key are written in order");
            self.live_bytes -= value_len(&versions.newest);
            versions.push(version);
            self.bytes -= versions.forget(watermark);
            return;
        }
        let own = Key::from_internal(Bytes::copy_from_slice(key.as_bytes())).expect("a copy of a key is one");
        self.bytes += key_bytes(&own);
        self.live_bytes += own.as_bytes().len() as u64;
        self.insert(own, hash, Versions::new(version));
    }

    /// Takes over a table of which every version is older than this one's of the same key.
    pub fn absorb(&mut self, elder: &Memtable) {
        self.bytes += elder.bytes;
        for (key, versions) in elder.iter() {
            let hash = self.hasher.hash_one(key);
            let Some(row) = self.find(key, hash) else {
                self.live_bytes += key.as_bytes().len() as u64 + value_len(&versions.newest);
                self.insert(key.clone(), hash, versions.clone());
                continue;
            };
            self.bytes -= key_bytes(key);
            let older = self.rows[row].1.older.get_or_insert_default();
            for version in versions.iter() {
                older.push_front(version.clone());
            }
        }
    }

    /// The versions held of `key`.
    pub fn get(&self, key: &Key) -> Option<&Versions> {
        self.find(key, self.hasher.hash_one(key)).map(|row| &self.rows[row].1)
    }

    fn find(&self, key: &Key, hash: u64) -> Option<usize> {
        let same = |place: &Place| place.tag == tag(hash) && self.rows[place.row as usize].0 == *key;
        self.found.find(hash, same).map(|place| place.row as usize)
    }

    /// Something of the row that a key of this hash would have: what reading it brings near is what counts.
    fn look(&self, hash: u64) -> u64 {
        let place = self.found.find(hash, |place| place.tag == tag(hash));
        let row = place.map(|place| &self.rows[place.row as usize]);
        row.map_or(0, |(key, versions)| {
            versions.newest.stamp.0 ^ key.as_bytes().last().map_or(0, |byte| (*byte).into())
        })
    }

    /// Adds a key that is not there.
    fn insert(&mut self, key: Key, hash: u64, versions: Versions) {
        let row = u32::try_from(self.rows.len()).expect("the memory of a node holds fewer rows");
        let Memtable { rows, found, hasher, .. } = self;
        let place = Place { row, tag: tag(hash) };
        found.insert_unique(hash, place, |place| hasher.hash_one(&rows[place.row as usize].0));
        self.order.insert(key.clone(), row);
        self.rows.push((key, versions));
    }

    /// All keys in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Versions)> {
        self.order.values().map(|row| self.row(*row))
    }

    /// The keys within `range`, in order.
    pub fn range(&self, range: &KeyRange) -> impl DoubleEndedIterator<Item = (&Key, &Versions)> {
        // An empty range may be upside down, which a B-tree does not like.
        let bounds = (!range.is_empty()).then(|| {
            (Bound::Included(&range.start), range.end.as_ref().map_or(Bound::Unbounded, Bound::Excluded))
        });
        let rows = bounds.into_iter().flat_map(|bounds| self.order.range::<Key, _>(bounds));
        rows.map(|(_, row)| self.row(*row))
    }

    fn row(&self, row: u32) -> (&Key, &Versions) {
        let (key, versions) = &self.rows[row as usize];
        (key, versions)
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

/// The upper half: the lower one chooses the place in the table.
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
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
