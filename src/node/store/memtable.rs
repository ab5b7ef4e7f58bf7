//! The table in memory that applied writes go to before a flush.
//!
//! Promises: the versions of a key in order; a count of the memory held, for budgets. Forgets, as it is written, versions
//! that no read at or above the watermark can see. Does not lock; does not know the file below.
//!
//! A tree gives the order, a hash table finds a single key: with 100,000 keys, searching the tree took two thirds of the
//! time in which applied rows are made visible (a profile of puts by 256 clients).

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;

use bytes::Bytes;

use crate::model::key::{Key, KeyRange};
use crate::model::row::Version;
use crate::model::time::Timestamp;

use super::rows::{Places, Rows};
use super::versions::{Versions, version_bytes};

/// Memory that a key takes beside its own bytes and its versions (estimated: its places in tree, hash table and rows).
const KEY_OVERHEAD_BYTES: usize = 184;

/// Keys and their newest versions, in order of key.
#[derive(Clone, Default)]
pub struct Memtable {
    rows: Rows,
    /// Where in `rows` a key is, in order of key.
    order: BTreeMap<Key, u32>,
    /// The same, by its hash.
    places: Places,
    /// Keys come from outside: the hash is keyed.
    hasher: RandomState,
    bytes: usize,
    live_bytes: u64,
}

impl Memtable {
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
            let versions = &mut self.rows.get_mut(row).1;
            assert!(versions.newest().stamp < version.stamp, "versions of a key are written in order");
            self.live_bytes -= value_len(versions.newest());
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
        self.absorb_some(elder.iter());
    }

    /// The same of these keys only, and of those that have a version newer than `since`.
    pub fn absorb_newer(&mut self, elder: &Memtable, since: Timestamp, range: &KeyRange) {
        self.absorb_some(elder.range(range).filter(|(_, versions)| versions.newest().stamp > since));
    }

    fn absorb_some<'a>(&mut self, elder: impl Iterator<Item = (&'a Key, &'a Versions)>) {
        for (key, versions) in elder {
            self.bytes += versions.iter().map(version_bytes).sum::<usize>();
            let hash = self.hasher.hash_one(key);
            let Some(row) = self.find(key, hash) else {
                self.bytes += key_bytes(key);
                self.live_bytes += key.as_bytes().len() as u64 + value_len(versions.newest());
                self.insert(key.clone(), hash, versions.clone());
                continue;
            };
            self.rows.get_mut(row).1.push_older(versions);
        }
    }

    /// The versions held of `key`.
    pub fn get(&self, key: &Key) -> Option<&Versions> {
        self.find(key, self.hasher.hash_one(key)).map(|row| &self.rows.get(row).1)
    }

    fn find(&self, key: &Key, hash: u64) -> Option<u32> {
        self.places.find(hash, |row| self.rows.get(row).0 == *key)
    }

    /// Something of the row that a key of this hash would have: what reading it brings near is what counts.
    fn look(&self, hash: u64) -> u64 {
        let row = self.places.find(hash, |_| true).map(|row| self.rows.get(row));
        row.map_or(0, |(key, versions)| {
            versions.newest().stamp.0 ^ key.as_bytes().last().map_or(0, |byte| (*byte).into())
        })
    }

    /// Adds a key that is not there.
    fn insert(&mut self, key: Key, hash: u64, versions: Versions) {
        let row = self.rows.push((key.clone(), versions));
        self.order.insert(key, row);
        self.places.insert(hash, row);
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
        let (key, versions) = self.rows.get(row);
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

fn key_bytes(key: &Key) -> usize {
    KEY_OVERHEAD_BYTES + key.as_bytes().len()
}

fn value_len(version: &Version) -> u64 {
    version.value.as_ref().map_or(0, Bytes::len) as u64
}
