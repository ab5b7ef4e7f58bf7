//! The machine, the process, its clock, and what runs in it.

use super::metric::Kind::{Counter, Gauge};
use super::metric::{Metric, labelled, plain};
use crate::model::time::Timestamp;

pub(super) const METRICS: &[Metric] = &[
    plain(
        Gauge,
        "nodenomad_disk_free_bytes",
        "Bytes free where the node's data is",
        "below the reserve writes that grow are refused",
        |look, out| out.one(look.requests.room.free_bytes()),
    ),
    plain(
        Gauge,
        "nodenomad_disk_reserve_bytes",
        "Bytes kept free so that deletes and a restart work",
        "setting `disk_reserve_bytes`",
        |look, out| out.one(look.requests.room.reserve_bytes()),
    ),
    plain(
        Gauge,
        "nodenomad_clock_ahead_seconds",
        "How far the time this node has heard of lies ahead of its own clock",
        "its clock is slow by that much, or another node's is fast: synchronise clocks",
        |look, out| {
            let (heard, own) = (look.clock.now(), Timestamp::from_ms(look.clock.wall_ms()));
            out.one(heard.ms().saturating_sub(own.ms()) as f64 / 1e3)
        },
    ),
    plain(
        Counter,
        "nodenomad_clock_refused_total",
        "Timestamps that came from too far in the future to be believed",
        "a node's or a client's clock is fast: the log names it",
        |look, out| out.one(look.clock.refused()),
    ),
    labelled(
        Gauge,
        ("nodenomad_build_info", "version"),
        "1, with the version that runs",
        "several on one cluster: an upgrade is under way",
        |_, out| out.of(env!("CARGO_PKG_VERSION"), 1u64),
    ),
    plain(
        Gauge,
        "process_start_time_seconds",
        "When the node started, in seconds since 1970",
        "young: it has restarted; the log says why it stopped",
        |look, out| out.one(look.started_ms as f64 / 1e3),
    ),
    plain(
        Counter,
        "process_cpu_seconds_total",
        "Time that all threads have spent computing",
        "near one second a second and core: the CPU is what limits",
        |look, out| look.usage.cpu_seconds.map_or(Ok(()), |seconds| out.one(seconds)),
    ),
    plain(
        Gauge,
        "process_resident_memory_bytes",
        "Memory that the process takes (Linux)",
        "memtables and caches first: settings `memtable_bytes`; then answers not taken",
        |look, out| look.usage.resident_bytes.map_or(Ok(()), |bytes| out.one(bytes)),
    ),
    plain(
        Gauge,
        "process_open_fds",
        "Files and sockets open (Linux)",
        "near the next: connections and shards need them",
        |look, out| look.usage.open_fds.map_or(Ok(()), |fds| out.one(fds)),
    ),
    plain(Gauge, "process_max_fds", "Files and sockets that may be open", "`ulimit -n`", |look, out| {
        look.usage.max_fds.map_or(Ok(()), |fds| out.one(fds))
    }),
];
