//! What a node counts and measures, in Prometheus' terms. One registry a node, so that many can live in one process.

use std::ops::Deref;
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

use crate::net::wire::{Failure, reply, request};

use super::shards::Shards;
use super::wal::{Wal, WalStats};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShardLabel {
    shard: u64,
}

/// A node's metrics. Shared; cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Meters>);

/// Everything that is counted and measured.
pub struct Meters {
    pub refused_requests: Counter,
    /// Turned away because the node had too many of them under way.
    pub overload_requests: Counter,
    pub flushes: Counter,
    pub flush_seconds: Histogram,
    /// By [`operation`], found once: looking them up by their labels costs more than a request should.
    request_seconds: [Histogram; OPERATIONS.len()],
    failures: Family<CodeLabel, Counter>,
    in_flight: Gauge,
    gauges: Gauges,
    registry: Registry,
}

const OPERATIONS: [&str; 7] = ["get", "range", "write", "map", "status", "digest", "admin"];

/// Which of [`OPERATIONS`] a request is.
fn operation(body: &request::Body) -> usize {
    match body {
        request::Body::Get(_) => 0,
        request::Body::Range(_) => 1,
        request::Body::Write(_) => 2,
        request::Body::Map(_) => 3,
        request::Body::Status(_) => 4,
        request::Body::Digest(_) => 5,
        request::Body::Admin(_) => 6,
    }
}

/// Read from elsewhere when somebody looks.
#[derive(Default)]
struct Gauges {
    shards: Gauge,
    leaders: Gauge,
    asleep: Gauge,
    memtable_bytes: Gauge,
    wal_bytes: Gauge,
    wal_segments: Gauge,
    wal_syncs: Gauge,
    wal_synced_bytes: Gauge,
    wal_waiting_seconds: Gauge,
    applied_index: Family<ShardLabel, Gauge>,
}

/// Measures one request.
pub struct Timer {
    metrics: Metrics,
    operation: usize,
    start: Instant,
}

impl Metrics {
    /// Fresh metrics of a node.
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("nodenomad");
        let request_seconds = Family::<OperationLabel, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.000_1, 2.0, 17))
        });
        let metrics = Meters {
            refused_requests: Counter::default(),
            overload_requests: Counter::default(),
            flushes: Counter::default(),
            flush_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            request_seconds: OPERATIONS
                .map(|operation| request_seconds.get_or_create(&OperationLabel { operation }).clone()),
            failures: Family::default(),
            in_flight: Gauge::default(),
            gauges: Gauges::default(),
            registry: Registry::default(),
        };
        let r = &mut registry;
        r.register_with_unit("request", "Time to answer a client's request", Unit::Seconds, request_seconds);
        r.register("request_failures", "Requests answered with a failure", metrics.failures.clone());
        r.register("requests_in_flight", "Requests being served", metrics.in_flight.clone());
        r.register(
            "requests_refused",
            "Requests that their sender may not make",
            metrics.refused_requests.clone(),
        );
        r.register(
            "requests_overload",
            "Requests turned away because too many were under way",
            metrics.overload_requests.clone(),
        );
        r.register("flushes", "Memtables flushed to shard files", metrics.flushes.clone());
        r.register_with_unit("flush", "Time of one flush", Unit::Seconds, metrics.flush_seconds.clone());
        r.register("shards", "Replicas on this node", metrics.gauges.shards.clone());
        r.register("leaders", "Shards this node leads", metrics.gauges.leaders.clone());
        r.register("asleep", "Replicas here whose shard hibernates", metrics.gauges.asleep.clone());
        r.register("memtable_bytes", "Applied and not yet flushed", metrics.gauges.memtable_bytes.clone());
        r.register("wal_bytes", "Bytes of write-ahead log segments", metrics.gauges.wal_bytes.clone());
        r.register("wal_segments", "Write-ahead log segments", metrics.gauges.wal_segments.clone());
        r.register(
            "wal_syncs",
            "Syncs of the write-ahead log since the start",
            metrics.gauges.wal_syncs.clone(),
        );
        r.register(
            "wal_synced_bytes",
            "Bytes synced since the start",
            metrics.gauges.wal_synced_bytes.clone(),
        );
        r.register(
            "wal_waiting_seconds",
            "How long the write-ahead log has finished nothing although something waits",
            metrics.gauges.wal_waiting_seconds.clone(),
        );
        r.register("applied_index", "Log index applied, by shard", metrics.gauges.applied_index.clone());
        Metrics(Arc::new(Meters { registry, ..metrics }))
    }

    /// Starts measuring a request.
    pub fn request_started(&self, body: &request::Body) -> Timer {
        self.in_flight.inc();
        Timer { metrics: self.clone(), operation: operation(body), start: Instant::now() }
    }

    /// Everything, in Prometheus' text form.
    pub fn text(&self, shards: &Shards, wal: &Wal) -> String {
        self.gauges.wal_waiting_seconds.set(wal.waiting().as_secs() as i64);
        self.refresh(shards, &wal.stats());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to a string does not fail");
        text
    }

    fn refresh(&self, shards: &Shards, wal: &WalStats) {
        let gauges = &self.gauges;
        let all = shards.all();
        gauges.shards.set(all.len() as i64);
        gauges.leaders.set(all.iter().filter(|replica| replica.group.leadership().here).count() as i64);
        gauges.asleep.set(all.iter().filter(|replica| replica.group.is_asleep()).count() as i64);
        gauges.memtable_bytes.set(all.iter().map(|replica| replica.store.memtable_bytes() as i64).sum());
        gauges.wal_bytes.set(wal.bytes as i64);
        gauges.wal_segments.set(wal.segments as i64);
        gauges.wal_syncs.set(wal.syncs as i64);
        gauges.wal_synced_bytes.set(wal.synced_bytes as i64);
        for replica in &all {
            let label = ShardLabel { shard: replica.shard.0 };
            gauges.applied_index.get_or_create(&label).set(replica.applied().borrow().index as i64);
        }
    }
}

impl Deref for Metrics {
    type Target = Meters;

    fn deref(&self) -> &Meters {
        &self.0
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Timer {
    /// Ends with an answer.
    pub fn finish(self, answered: &Result<reply::Body, Failure>) {
        self.metrics.request_seconds[self.operation].observe(self.start.elapsed().as_secs_f64());
        if let Err(failure) = answered {
            let label = CodeLabel { code: failure.code().as_str_name() };
            self.metrics.failures.get_or_create(&label).inc();
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
    }
}
