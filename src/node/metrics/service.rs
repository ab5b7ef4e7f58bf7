//! What others ask of a node, and what of it is turned away.

use super::metric::Kind::{Counter, Gauge, Histogram};
use super::metric::{Metric, labelled, plain};
use crate::net::transport::Class;

pub(super) const METRICS: &[Metric] = &[
    labelled(
        Histogram,
        ("nodenomad_request_seconds", "operation"),
        "Time to answer a client's request, failures included",
        "compare with `nodenomad_shard_write_seconds` and `nodenomad_shard_read_seconds`: high there too: \
         `nodenomad_wal_sync_seconds`, `nodenomad_raft_append_seconds`; high only here: CPU",
        |look, out| look.requests.counts.seconds().try_for_each(|(name, seconds)| out.of(name, seconds)),
    ),
    labelled(
        Counter,
        ("nodenomad_request_failures_total", "code"),
        "Requests of clients answered with a failure",
        "`not_leader` and `wrong_shard` after changes are usual; `full`: the disk; `busy`: the queues; `internal`: the log",
        |look, out| look.requests.counts.failures().try_for_each(|(name, count)| out.of(name, count)),
    ),
    labelled(
        Counter,
        ("nodenomad_calls_total", "call"),
        "Calls and streams that were let in, by kind",
        "many `ballot`: elections; many `append` to a node that leads nothing: usual",
        |look, out| look.requests.counts.calls().try_for_each(|(name, count)| out.of(name, count)),
    ),
    labelled(
        Counter,
        ("nodenomad_rejected_total", "reason"),
        "What came from outside and was turned away",
        "`forbidden`, `frame`, `identity`, `handshake`, `join`: somebody who should not be there, or another version: the log \
         names whom; `overload`, `connections`, `http`: past a bound of LIMITS.md",
        |look, out| {
            let (counts, served, transport) = (&look.requests.counts, &look.served, &look.transport);
            out.of("handshake", transport.handshake.get())?;
            out.of("identity", transport.identity.get())?;
            out.of("connections", transport.crowd.get())?;
            out.of("frame", served.malformed.get())?;
            out.of("answers_not_taken", served.not_taken.get())?;
            out.of("forbidden", counts.forbidden.get())?;
            out.of("undecodable", counts.undecodable.get())?;
            out.of("join", counts.joins_refused.get())?;
            out.of("overload", counts.overload.get())?;
            out.of("http", look.http_refused.get())
        },
    ),
    plain(
        Counter,
        "nodenomad_handler_panics_total",
        "Calls and streams whose handler panicked; their connections were closed",
        "any is a fault of this program: report it with the log",
        |look, out| out.one(look.served.panics.get()),
    ),
    labelled(
        Gauge,
        ("nodenomad_connections", "class"),
        "Connections that others have made to this node",
        "near a bound of LIMITS.md new ones are refused",
        |look, out| {
            Class::ALL.into_iter().try_for_each(|class| {
                let open = look.served.open(class).get();
                out.of(format!("{class:?}").to_lowercase(), u64::try_from(open).unwrap_or(0))
            })
        },
    ),
    labelled(
        Counter,
        ("nodenomad_network_bytes_total", "direction"),
        "Contents of UDP datagrams sent to and received from nodes and clients",
        "near what the network carries: whole shard files on their way (`nodenomad_snapshot_bytes_total`) or large values",
        |look, out| {
            out.of("sent", look.transport.sent_bytes.get())?;
            out.of("received", look.transport.received_bytes.get())
        },
    ),
    plain(
        Gauge,
        "nodenomad_requests_in_flight",
        "Requests of clients under way",
        "near its bound (LIMITS.md) new ones are answered busy; look at what is slow",
        |look, out| out.one(look.requests.intake.under_way().0),
    ),
    plain(
        Gauge,
        "nodenomad_requests_in_flight_bytes",
        "Bodies of the requests under way",
        "as above",
        |look, out| out.one(look.requests.intake.under_way().1),
    ),
    plain(
        Gauge,
        "nodenomad_answers_waiting_bytes",
        "Large answers that were made and not taken yet",
        "clients that ask for much and read slowly",
        |look, out| out.one(look.requests.intake.answers_bytes()),
    ),
];
