//! What the log counts.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;

use crate::node::histogram::Histogram;

/// Counts of one log. The committer counts, and whoever brings entries.
#[derive(Debug)]
pub struct WalCounts {
    pub(super) segments: AtomicU64,
    pub(super) segment_bytes: AtomicU64,
    /// Bytes of each batch.
    pub batch_bytes: Histogram,
    /// Jobs (appends, votes, barriers) answered by each batch.
    pub batch_jobs: Histogram,
    /// Time of each sync.
    pub sync_seconds: Histogram,
    /// Bytes of entries copied out of old segments so that these could go.
    pub rewritten_bytes: Counter,
    /// What was to be appended and was refused because there is no room.
    pub refused: Counter,
}

impl Default for WalCounts {
    fn default() -> WalCounts {
        WalCounts {
            segments: AtomicU64::new(0),
            segment_bytes: AtomicU64::new(0),
            batch_bytes: Histogram::of_bytes(),
            batch_jobs: Histogram::of_numbers(),
            sync_seconds: Histogram::of_seconds(),
            rewritten_bytes: Counter::default(),
            refused: Counter::default(),
        }
    }
}
