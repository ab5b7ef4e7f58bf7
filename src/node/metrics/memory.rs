//! Memtables and what becomes of them.

use super::metric::Kind::{Counter, Gauge, Histogram};
use super::metric::{Metric, plain};

pub(super) const METRICS: &[Metric] = &[
    plain(
        Gauge,
        "nodenomad_memtable_bytes",
        "Memory of what was applied and not flushed yet, over all replicas",
        "above `nodenomad_memtable_limit_bytes`: flushes do not keep up, and writes are slowed down",
        |look, out| out.one(look.requests.memory.held_bytes()),
    ),
    plain(
        Gauge,
        "nodenomad_memtable_limit_bytes",
        "Memory that it may take before writes are slowed down; with twice as much nothing is applied",
        "setting `memtable_bytes`, but at most a quarter of the machine's memory",
        |look, out| out.one(look.requests.memory.limit_bytes()),
    ),
    plain(
        Gauge,
        "nodenomad_write_pace_seconds",
        "How long a write waits now before it is let in, so that flushes keep up",
        "more than 0 for long: flushes do not keep up; the disk, or too small a `memtable_bytes`",
        |look, out| out.one(look.requests.memory.pace().as_secs_f64()),
    ),
    plain(
        Histogram,
        "nodenomad_flush_seconds",
        "Time of each flush of a memtable to its shard's file",
        "the disk; writes wait only once memtables hold more than their budget: `nodenomad_write_pace_seconds`",
        |look, out| out.one(&look.flushes.flush_seconds),
    ),
    plain(
        Counter,
        "nodenomad_flushed_bytes_total",
        "Memory that the flushed rows took",
        "for what the disk is asked",
        |look, out| out.one(look.flushes.flushed_bytes.get()),
    ),
    plain(
        Counter,
        "nodenomad_flushes_postponed_total",
        "Looks at which a flush was due and the disk had no room for it",
        "any: make room; see `nodenomad_disk_free_bytes`",
        |look, out| out.one(look.flushes.postponed.get()),
    ),
    plain(
        Histogram,
        "nodenomad_sweep_seconds",
        "Time of one pass over one shard that removes what nobody can read any more",
        "much history; see `nodenomad_shard_history_bytes`",
        |look, out| out.one(&look.flushes.sweep_seconds),
    ),
];
