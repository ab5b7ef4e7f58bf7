//! # What a node counts and measures, in Prometheus' terms
//!
//! Each part of a node counts in plain objects of its own ([`crate::node::wal::WalCounts`] and the like): an atomic addition
//! where something happens, two for a histogram, no lock, no look-up by name. Here is only what these are called, what
//! they mean and how they are read: a row of [`all`] a metric. `METRICS.md` is written from the same rows.
//!
//! What it costs, by what `benches/observe` measured of one observation (17 ns), one count (8 ns) and one look at the clock
//! (26 ns): at a leader a write makes one observation, one count and two looks of its own, 77 ns, beside the time of the
//! request; an entry with two followers and a batch to itself eight observations and six looks, 292 ns, which its writes
//! share.
//!
//! What belongs to a replica is read from the replica, so it goes when that goes: the number of time series is bounded by
//! the replicas on the node.
//!
//! Many who ask at once are given one text ([`Metrics::scrape`]): asking often costs the node no more than asking once
//! a second.
//!
//! ## Conventions
//!
//! Prometheus' own: base units in the name (`_seconds`, `_bytes`), `_total` for what only rises, one label at most, whose
//! values are few and known. The text is OpenMetrics 1.0.
//!
//! ## Invariants and what guards each
//!
//! - Every metric has a name by the conventions, words that say what it is, and a place in `METRICS.md`: guarded by
//!   `metrics::names_follow_the_conventions`, `metrics::the_page_is_up_to_date`.
//! - Every metric is there, and moves with what it counts: guarded by `metrics::a_working_cluster_moves_its_metrics`.
//! - What a replica counted goes with it: guarded by `metrics::a_replica_that_goes_takes_its_series_along`.
//!
//! Relies on the parts to count. Does not: keep anything, know a threshold, raise an alarm.

mod metric;
mod log;
mod memory;
mod consensus;
mod shard;
mod service;
mod machine;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::net::exec::Exec;
use crate::net::rpc::ServeCounts;
use crate::net::transport::TransportCounts;

use super::clock::Clock;
use super::flusher::FlushCounts;
use super::meta::view::View;
use super::serve::Requests;
use super::shards::Shards;
use super::wal::Wal;

use metric::Look;
pub use metric::{Kind, Metric};

/// A text is given to all who ask until it is this old.
const TEXT_FRESH: Duration = Duration::from_secs(1);

/// Where a node's metrics are counted.
pub struct Sources {
    pub shards: Shards,
    pub wal: Wal,
    pub clock: Clock,
    pub view: View,
    pub requests: Arc<Requests>,
    pub served: Arc<ServeCounts>,
    pub transport: Arc<TransportCounts>,
    pub flushes: Arc<FlushCounts>,
    /// HTTP connections that there was no room for.
    pub http_refused: Counter,
    /// When the node started: milliseconds since 1970.
    pub started_ms: u64,
}

/// A node's metrics.
pub struct Metrics {
    sources: Arc<Sources>,
    registry: Registry,
    /// What was told last.
    text: tokio::sync::Mutex<Option<(Instant, Bytes)>>,
}

/// Every metric there is, in the order in which they are told.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    let parts = [
        service::METRICS,
        shard::METRICS,
        consensus::METRICS,
        log::METRICS,
        memory::METRICS,
        machine::METRICS,
    ];
    parts.into_iter().flatten()
}

/// Encodes all metrics when the registry is.
struct Everything(Arc<Sources>);

impl Collector for Everything {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let look = Look::new(&self.0);
        all().try_for_each(|metric| metric.encode(&look, &mut encoder))
    }
}

impl fmt::Debug for Everything {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node's metrics")
    }
}

impl Metrics {
    pub fn new(sources: Sources) -> Metrics {
        let sources = Arc::new(sources);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Everything(sources.clone())));
        Metrics { sources, registry, text: tokio::sync::Mutex::default() }
    }

    /// Where HTTP connections are counted that there was no room for.
    pub fn http_refused(&self) -> &Counter {
        &self.sources.http_refused
    }

    /// Everything as of now, in OpenMetrics' text form.
    pub fn text(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to a string does not fail");
        text
    }

    /// Everything as of at most a second ago: one text at a time is made, by a thread that may take its time.
    pub async fn scrape(self: &Arc<Metrics>, exec: Exec) -> Bytes {
        let mut last = self.text.lock().await;
        if let Some((at, text)) = &*last
            && at.elapsed() < TEXT_FRESH
        {
            return text.clone();
        }
        let metrics = Arc::clone(self);
        let text = Bytes::from(exec.blocking(move || metrics.text()).await);
        *last = Some((Instant::now(), text.clone()));
        text
    }
}
