//! Tests of the store as a whole, over a disk in memory. This file: how a test makes entries and applies a log.

mod births;
mod copies;
mod crash;
mod damage;
mod flushing;
mod merges;
mod ram;
mod versions;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::*;
use crate::model::evaluate::RULES;
use crate::model::id::ShardId;
use crate::model::key::{Key, KeyRange};
use crate::model::time::Timestamp;
use crate::model::wire::{self, Operation, operation};
use crate::net::exec::Exec;
use ram::RamDisk;

const SHARD: ShardId = ShardId(7);
/// Of memory for what is not flushed.
const BUDGET_BYTES: usize = 64 << 10;
/// Beyond it nothing is applied.
const WALL_BYTES: usize = 2 * BUDGET_BYTES;

fn options() -> StoreOptions {
    StoreOptions {
        memory: MemoryBudget::new(BUDGET_BYTES as u64),
        cache_bytes: 1 << 20,
        births: Arc::default(),
    }
}

/// A log that grows, as a leader would make it.
#[derive(Clone, Default)]
struct Log {
    entries: Vec<Committed>,
    stamp: Timestamp,
}

impl Log {
    /// A log that begins with the members and the bounds of a shard.
    fn new() -> Log {
        Log::between(Key::FIRST_USER.to_bytes(), Bytes::new())
    }

    fn between(start: Bytes, end: Bytes) -> Log {
        let mut log = Log { entries: Vec::new(), stamp: Timestamp::from_ms(1_000) };
        log.members(&[1, 2, 3]);
        let genesis = wire::Genesis { start, end, stamp: log.stamp.0 };
        log.entry(wire::entry::Kind::Genesis(genesis));
        log
    }

    fn push(&mut self, payload: Payload) {
        let log_id = wire::LogId { term: 1, index: self.entries.len() as u64 };
        self.entries.push(Committed { log_id, payload });
    }

    fn entry(&mut self, kind: wire::entry::Kind) {
        let entry = wire::Entry { rules: RULES, kind: Some(kind) };
        self.push(Payload::Normal(entry.encode_to_vec().into()));
    }

    fn members(&mut self, voters: &[u64]) {
        let members = voters.iter().map(|&n| wire::Member { replica: n, node: n }).collect();
        let configs = vec![wire::VoterSet { replicas: voters.to_vec() }];
        self.push(Payload::Membership(wire::Membership { log_id: None, configs, members }));
    }

    /// One write at the next stamp; the stamp.
    fn write(&mut self, operations: Vec<Operation>) -> Timestamp {
        self.batch(vec![operations], Timestamp::ZERO)
    }

    /// Writes that travel together; the stamp of the last.
    fn batch(&mut self, writes: Vec<Vec<Operation>>, watermark: Timestamp) -> Timestamp {
        let first = self.stamp.plus(1);
        self.stamp = first.plus(writes.len().saturating_sub(1) as u64);
        let write = |(n, operations)| {
            let stamp = first.plus(n as u64);
            let identity = wire::Identity {
                client: stamp.0 % 5,
                sequence: stamp.0,
                first_seen: stamp.0 - 1,
                lowest_awaited: stamp.0.saturating_sub(20),
            };
            wire::Write { identity: Some(identity), epoch: 0, operations }
        };
        let writes = writes.into_iter().enumerate().map(write).collect();
        let batch = wire::Batch { stamp: first.0, ceiling: self.stamp.0, watermark: watermark.0, writes };
        self.entry(wire::entry::Kind::Batch(batch));
        self.stamp
    }

    /// Moves the watermark and nothing else.
    fn watermark(&mut self, to: Timestamp) {
        self.batch(Vec::new(), to);
    }

    /// Applies what `store` has not applied yet.
    fn replay(&self, store: &Store) {
        self.replay_until(store, self.entries.len());
    }

    fn replay_until(&self, store: &Store, end: usize) {
        let from = store.applied().0.map_or(0, |id| id.index as usize + 1);
        if from < end {
            store.apply(self.entries[from..end].to_vec()).unwrap();
        }
    }

    /// The digest of a replica that never flushed.
    async fn digest(&self) -> Digest {
        let store = open(&RamDisk::default(), "reference");
        self.replay(&store);
        store.digest().await.unwrap()
    }
}

fn open(disk: &RamDisk, dir: &str) -> Store {
    try_open(disk, dir).unwrap()
}

fn try_open(disk: &RamDisk, dir: &str) -> Result<Store, StoreError> {
    Store::create_or_open(Arc::new(disk.clone()), Path::new(dir), SHARD, Exec::Threads, options())
}

fn key(name: impl AsRef<[u8]>) -> Key {
    Key::from_name(name.as_ref()).unwrap()
}

fn operation(name: impl AsRef<[u8]>, change: operation::Change) -> Operation {
    Operation { key: key(name).to_bytes(), condition: None, change: Some(change) }
}

fn put(name: impl AsRef<[u8]>, value: &str, ttl_ms: u64) -> Operation {
    let value = Bytes::copy_from_slice(value.as_bytes());
    operation(name, operation::Change::Put(wire::Put { value, ttl_ms }))
}

fn delete(name: impl AsRef<[u8]>) -> Operation {
    operation(name, operation::Change::Delete(wire::Delete {}))
}

fn increment(name: impl AsRef<[u8]>) -> Operation {
    operation(name, operation::Change::Increment(wire::Increment { by: 1 }))
}

/// The newest live value of a key.
fn value(store: &Store, name: &str) -> Option<Bytes> {
    let version = store.get(&key(name), None).unwrap()?;
    version.live_at(store.state(|state| state.highest_stamp)).cloned()
}

async fn flush(store: &Store) -> Result<Basis, StoreError> {
    store.flush(|| async { Ok::<(), std::io::Error>(()) }).await
}

fn all(at: Option<Timestamp>, live_at: Timestamp) -> PageBounds {
    PageBounds { at, live_at, limit: usize::MAX, max_bytes: usize::MAX, reverse: false }
}

/// Every page of a range, joined.
fn pages(store: &Store, range: &KeyRange, bounds: &PageBounds) -> Vec<Page> {
    let (mut range, mut pages) = (range.clone(), Vec::new());
    loop {
        let page = store.range(&range, bounds).unwrap();
        let next = page.next.clone();
        pages.push(page);
        match next {
            None => return pages,
            Some(end) if bounds.reverse => {
                assert!(range.end.as_ref().is_none_or(|old| end < *old), "a page makes progress");
                range.end = Some(end);
            }
            Some(start) => {
                assert!(start > range.start, "a page makes progress");
                range.start = start;
            }
        }
    }
}
