//! The write-ahead log.

use super::metric::Kind::{Counter, Gauge, Histogram};
use super::metric::{Metric, plain};

pub(super) const METRICS: &[Metric] = &[
    plain(
        Histogram,
        "nodenomad_wal_sync_seconds",
        "Time of each sync of the write-ahead log",
        "the disk: nothing is acknowledged faster; above 0.1 s elections may follow",
        |look, out| out.one(&look.wal.counts().sync_seconds),
    ),
    plain(
        Histogram,
        "nodenomad_wal_batch_bytes",
        "Bytes of each batch written to the log; the count is the rate of batches, the sum that of bytes",
        "for what the disk is asked",
        |look, out| out.one(&look.wal.counts().batch_bytes),
    ),
    plain(
        Histogram,
        "nodenomad_wal_batch_jobs",
        "Appends, votes and the like that each batch has made durable",
        "many a batch under load is good: one sync serves all",
        |look, out| out.one(&look.wal.counts().batch_jobs),
    ),
    plain(
        Gauge,
        "nodenomad_wal_queue_jobs",
        "Jobs that wait for the log's writer",
        "in the thousands: the disk does not keep up; see `nodenomad_wal_sync_seconds`",
        |look, out| out.one(look.wal.stats().waiting),
    ),
    plain(
        Gauge,
        "nodenomad_wal_waiting_seconds",
        "How long the log has finished nothing although something waits",
        "a disk that hangs: above 5 s the node gives up what it leads",
        |look, out| out.one(look.wal.waiting().as_secs_f64()),
    ),
    plain(
        Gauge,
        "nodenomad_wal_segments",
        "Segment files of the log in use",
        "above 8: shards that are not flushed hold old segments",
        |look, out| out.one(look.wal.stats().segments),
    ),
    plain(Gauge, "nodenomad_wal_bytes", "Bytes of the segment files in use", "as above", |look, out| {
        out.one(look.wal.stats().bytes)
    }),
    plain(
        Counter,
        "nodenomad_wal_rewritten_bytes_total",
        "Bytes of entries copied out of old segments so that these could go",
        "a large part of all that is written: one shard holds its log and others write much",
        |look, out| out.one(look.wal.counts().rewritten_bytes.get()),
    ),
    plain(
        Counter,
        "nodenomad_wal_refused_total",
        "Appends and proposals refused because the log finds no room on the disk for what they bring",
        "not 0: the disk is full beyond its reserve; make room, then this replica catches up by itself",
        |look, out| out.one(look.wal.counts().refused.get()),
    ),
    plain(
        Gauge,
        "nodenomad_wal_damage",
        "Places of the log that are not what was written, found at the start and since",
        "the disk: it has lost or changed something; the log says what, and who has lost by it",
        |look, out| out.one(look.wal.damage().len()),
    ),
];
