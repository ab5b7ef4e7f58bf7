//! What replicas count: all of a node together, and each for itself.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::node::histogram::Histogram;

/// Shared by all replicas of a node.
#[derive(Debug)]
pub struct ReplicaCounts {
    /// Writes of each entry proposed; an entry that only raises the ceiling has none.
    pub entry_writes: Histogram,
    /// Readers that each read round served.
    pub round_reads: Histogram,
    /// Time of each read round.
    pub round_seconds: Histogram,
}

/// What one replica was asked: they go when it goes.
#[derive(Debug)]
pub struct ShardCounts {
    /// From a write's coming to its outcome, or to a refusal.
    pub write_seconds: Histogram,
    /// The same of reads of a key or a page.
    pub read_seconds: Histogram,
    /// Keys written and rows read beyond one of each request: a request of many keys is as much work as many requests.
    pub more_keys: AtomicU64,
}

impl ShardCounts {
    /// Counts the keys of a request.
    pub fn add_keys(&self, count: usize) {
        if count > 1 {
            self.more_keys.fetch_add(count as u64 - 1, Ordering::Relaxed);
        }
    }

    /// Keys written and rows read, and requests that found none.
    pub fn operations(&self) -> u64 {
        let requests = self.write_seconds.count() + self.read_seconds.count();
        requests + self.more_keys.load(Ordering::Relaxed)
    }
}

impl Default for ReplicaCounts {
    fn default() -> ReplicaCounts {
        ReplicaCounts {
            entry_writes: Histogram::of_numbers(),
            round_reads: Histogram::of_numbers(),
            round_seconds: Histogram::of_seconds(),
        }
    }
}

impl Default for ShardCounts {
    fn default() -> ShardCounts {
        ShardCounts {
            write_seconds: Histogram::of_seconds_coarse(),
            read_seconds: Histogram::of_seconds_coarse(),
            more_keys: AtomicU64::new(0),
        }
    }
}
