//! Every metric of a node, in one table: `METRICS.md` is written from here, from the rows that the node itself tells them by;
//! and a cluster at work in simulated time, whose metrics must all be there and must move with what it did.
//!
//! `NODENOMAD_TEST_WRITE=1 cargo test --test metrics` writes the file anew.

mod simulated;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use futures_util::TryStreamExt;
use nodenomad::client::RangeQuery;
use nodenomad::model::id::{NodeId, ShardId};
use nodenomad::model::key::KeyRange;
use nodenomad::net::kind;
use nodenomad::net::rpc::Caller;
use nodenomad::net::transport::{Address, Class, Peer, Transport};
use nodenomad::net::wire::{Get, Request, request};
use nodenomad::node::metrics::{self, Kind, Metric};
use prost::Message;
use tokio::io::AsyncWriteExt;

use simulated::machine::{EXEC, MEMORY_BYTES};
use simulated::{World, for_seeds};

const FILE: &str = "METRICS.md";

const HEAD: &str = "\
# Metrics

What a node tells at `/metrics` (HTTP, OpenMetrics 1.0, which Prometheus reads). All of it is always on. A test writes this
table from the rows by which the node itself tells them.

A histogram is told as `_bucket`, `_sum` and `_count`; the rate of what it observes is the rate of its `_count`. Label
`shard` has a value for each replica on the node, which makes 36 series for each, and these go when it goes; all other
labels have few values, known beforehand. The text is at most a second old.

| name | type | unit | label | what it is | when it is high, or otherwise unusual |
|---|---|---|---|---|---|
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for metric in metrics::all() {
        let Metric { name, kind, help, advice, .. } = metric;
        let unit = metric.unit().unwrap_or_default();
        let label = metric.label.map(|label| format!("`{label}`")).unwrap_or_default();
        page += &format!("| `{name}` | {kind} | {unit} | {label} | {help} | {advice} |\n");
    }
    page
}

#[test]
fn the_page_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if std::env::var_os("NODENOMAD_TEST_WRITE").is_some() {
        std::fs::write(&file, page()).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    let how = "refresh with NODENOMAD_TEST_WRITE=1 cargo test --test metrics";
    assert!(committed == page(), "{FILE} differs; {how}");
}

#[test]
fn names_follow_the_conventions() {
    let mut names = BTreeSet::new();
    for metric in metrics::all() {
        let name = metric.name;
        assert!(names.insert(name), "{name} is there once");
        assert!(name.starts_with("nodenomad_") || name.starts_with("process_"), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !name.contains("__"), "{name}");
        assert_eq!(
            name.ends_with("_total"),
            metric.kind == Kind::Counter,
            "{name}: what only rises is a total"
        );
        for other in ["_ms", "_us", "_millis", "_kib", "_mb", "_count", "_sum", "_bucket", "_created"] {
            assert!(!name.contains(other), "{name}: base units, and no suffix that is the format's");
        }
        let misplaced = ["seconds", "bytes"].iter().any(|unit| name.contains(unit));
        assert_eq!(misplaced, metric.unit().is_some(), "{name}: the unit comes last");
        for words in [metric.help, metric.advice] {
            assert!(
                !words.is_empty() && !words.ends_with('.') && !words.contains(['|', '\n']),
                "{name}: {words}"
            );
        }
    }
}

/// A text of OpenMetrics, read as strictly as its makers ask.
struct Scraped {
    kinds: BTreeMap<String, String>,
    values: BTreeMap<String, f64>,
}

impl Scraped {
    fn of(world: &World, n: usize) -> Scraped {
        Scraped::parse(&world.machine(n).node().metrics.text())
    }

    fn parse(text: &str) -> Scraped {
        let mut scraped = Scraped { kinds: BTreeMap::new(), values: BTreeMap::new() };
        let mut family = String::new();
        let body = text.strip_suffix("# EOF\n").expect("it ends with its mark");
        for line in body.lines() {
            if let Some(described) = line.strip_prefix("# ") {
                let [what, name, said] = described.splitn(3, ' ').collect::<Vec<_>>()[..] else {
                    panic!("{line}")
                };
                match what {
                    "HELP" => family = name.to_owned(),
                    "TYPE" => {
                        assert!(
                            scraped.kinds.insert(name.to_owned(), said.to_owned()).is_none(),
                            "{line}: twice"
                        );
                    }
                    "UNIT" => assert!(name.ends_with(&format!("_{said}")), "{line}"),
                    _ => panic!("{line}"),
                }
                assert_eq!(name, family, "{line}: a family is told in one piece");
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(series.starts_with(&family), "{line}: a sample of another family than {family}");
            let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(scraped.values.insert(series.to_owned(), value).is_none(), "{line}: twice");
        }
        scraped
    }

    /// The value of a series; 0 if it is not there.
    fn value(&self, series: &str) -> f64 {
        self.values.get(series).copied().unwrap_or(0.0)
    }

    /// Whether a metric is there as its row says.
    fn has(&self, metric: &Metric) -> bool {
        let family = metric.name.strip_suffix("_total").unwrap_or(metric.name);
        let suffixes: &[&str] = match metric.kind {
            Kind::Counter => &["_total"],
            Kind::Gauge => &[""],
            Kind::Histogram => &["_bucket", "_sum", "_count"],
        };
        let labelled = |rest: &str| match metric.label {
            Some(label) => rest.contains(&format!("{label}=\"")),
            None => !rest.contains('{') || rest.starts_with("{le="),
        };
        let told = |suffix: &&str| {
            let sample = format!("{family}{suffix}");
            self.values.keys().any(|series| {
                let rest = series.strip_prefix(&sample);
                rest.is_some_and(|rest| (rest.is_empty() || rest.starts_with('{')) && labelled(rest))
            })
        };
        self.kinds.get(family) == Some(&metric.kind.to_string()) && suffixes.iter().all(told)
    }

    fn series_of(&self, shard: ShardId) -> usize {
        let label = format!("shard=\"{}\"", shard.0);
        self.values.keys().filter(|series| series.contains(&label)).count()
    }
}

/// What three nodes must have counted, between them, that did the work below.
const MOVED: &[&str] = &[
    "nodenomad_request_seconds_count{operation=\"write\"}",
    "nodenomad_request_seconds_sum{operation=\"get\"}",
    "nodenomad_request_seconds_count{operation=\"range\"}",
    "nodenomad_request_failures_total{code=\"invalid\"}",
    "nodenomad_calls_total{call=\"client_request\"}",
    "nodenomad_calls_total{call=\"append\"}",
    "nodenomad_calls_total{call=\"report\"}",
    "nodenomad_connections{class=\"append\"}",
    "nodenomad_shard_write_seconds_count{shard=\"1\"}",
    "nodenomad_shard_write_seconds_sum{shard=\"1\"}",
    "nodenomad_shard_read_seconds_count{shard=\"1\"}",
    "nodenomad_shard_leader{shard=\"1\"}",
    "nodenomad_shard_term{shard=\"1\"}",
    "nodenomad_shard_applied_index{shard=\"1\"}",
    "nodenomad_shard_log_bytes{shard=\"1\"}",
    "nodenomad_shard_data_bytes{shard=\"1\"}",
    "nodenomad_shard_keys{shard=\"1\"}",
    "nodenomad_shard_repeat_clients{shard=\"1\"}",
    "nodenomad_raft_entry_writes_count",
    "nodenomad_raft_entry_writes_sum",
    "nodenomad_raft_append_entries_sum",
    "nodenomad_raft_append_seconds_count",
    "nodenomad_raft_append_seconds_sum",
    "nodenomad_raft_elections_total",
    "nodenomad_raft_leader_changes_total",
    "nodenomad_raft_groups{state=\"awake\"}",
    "nodenomad_replicas",
    "nodenomad_leaders",
    "nodenomad_map_version",
    "nodenomad_read_round_reads_sum",
    "nodenomad_read_round_seconds_sum",
    "nodenomad_wal_sync_seconds_count",
    "nodenomad_wal_batch_bytes_sum",
    "nodenomad_wal_batch_jobs_sum",
    "nodenomad_wal_segments",
    "nodenomad_wal_bytes",
    "nodenomad_memtable_bytes",
    "nodenomad_flush_seconds_count",
    "nodenomad_flushed_bytes_total",
    "nodenomad_sweep_seconds_count",
    "nodenomad_disk_free_bytes",
    "nodenomad_disk_reserve_bytes",
    "process_start_time_seconds",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_max_fds",
];

/// What must not have been counted before anybody has done anything wrong.
const REJECTED: [&str; 3] = ["forbidden", "undecodable", "frame"];

async fn work(world: &World) {
    let client = world.client("worker").await;
    for n in 0..400u32 {
        let key = ["a", "k", "z"][n as usize % 3];
        client.put(format!("{key}/{n}").as_bytes(), vec![n as u8; 1_000]).await.unwrap();
        assert!(client.get(format!("{key}/{n}").as_bytes()).await.unwrap().is_some());
    }
    let rows: Vec<_> = client.range(RangeQuery::new(KeyRange::system())).try_collect().await.unwrap();
    assert!(!rows.is_empty());
}

/// Someone with a good identity who asks for what it may not have, then for nothing sensible, then for too much.
async fn garbage(world: &World) {
    let transport = world.net.transport("10.0.9.9:1", Peer::Client("mallory".to_owned()));
    let to = Address(world.machine(0).address.clone());
    let connection = transport.connect(&to, Class::Client, None).await.unwrap();
    let caller = Caller::open(connection.clone(), EXEC).await.unwrap();
    assert!(caller.call(kind::BALLOT, "vote for me".into()).await.unwrap().is_empty());
    caller.call(kind::CLIENT_REQUEST, vec![0xff; 9].into()).await.unwrap();
    let get = Get { shard: 1, key: vec![0xff; 1 << 16].into(), ..Get::default() };
    let request = Request { timeout_ms: 1_000, body: Some(request::Body::Get(get)), ..Request::default() };
    caller.call(kind::CLIENT_REQUEST, request.encode_to_vec().into()).await.unwrap();
    let mut pipe = connection.open().await.unwrap();
    pipe.writer.write_all(&[9; 64]).await.unwrap();
    connection.closed().await;
}

#[test]
fn a_working_cluster_moves_its_metrics() {
    for_seeds("a_working_cluster_moves_its_metrics", [1], |world| async move {
        world.whole(3).await;
        let rejected = |reason| format!("nodenomad_rejected_total{{reason=\"{reason}\"}}");
        let before = Scraped::of(&world, 0);
        for reason in REJECTED {
            assert_eq!(before.values[&rejected(reason)], 0.0, "{reason}");
        }
        work(&world).await;
        garbage(&world).await;
        // A sweep comes once a minute.
        tokio::time::sleep(Duration::from_secs(61)).await;
        work(&world).await;
        let nodes: Vec<Scraped> = (0..3).map(|n| Scraped::of(&world, n)).collect();
        for (n, node) in nodes.iter().enumerate() {
            for metric in metrics::all() {
                assert!(node.has(metric), "{} at node {n}", metric.name);
            }
            assert_eq!(node.kinds.len(), metrics::all().count(), "nothing is told that has no row");
            assert_eq!(
                node.value(&format!("nodenomad_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))),
                1.0
            );
            assert_eq!(
                (node.value("nodenomad_wal_damage"), node.value("nodenomad_replicas_damaged")),
                (0.0, 0.0)
            );
            assert_eq!(node.value("nodenomad_handler_panics_total"), 0.0);
            let states =
                node.values.iter().filter(|(series, _)| series.starts_with("nodenomad_raft_groups{"));
            let groups: f64 = states.map(|(_, count)| count).sum();
            assert_eq!(groups, node.value("nodenomad_replicas"), "every replica is in a state that is told");
        }
        let moved = |series: &&&str| nodes.iter().any(|node| node.value(series) > 0.0);
        let still: Vec<_> = MOVED.iter().filter(|series| !moved(series)).collect();
        assert!(still.is_empty(), "these have not moved: {still:#?}");
        for reason in REJECTED {
            assert_eq!(nodes[0].values[&rejected(reason)], 1.0, "{reason}");
        }
        let sum = |series: &str| nodes.iter().map(|node| node.value(series)).sum::<f64>();
        // Each of the 800 writes was evaluated once or is the retry of one that was, and each was in an entry.
        let writes: f64 = (1..=3)
            .map(|shard| sum(&format!("nodenomad_shard_write_seconds_count{{shard=\"{shard}\"}}")))
            .sum();
        assert!((800.0..900.0).contains(&writes), "{writes} writes");
        assert!(sum("nodenomad_raft_entry_writes_sum") >= writes);
        assert_eq!(sum("nodenomad_leaders"), 4.0);
    });
}

#[test]
fn the_memory_for_writes_is_what_the_setting_says() {
    for_seeds("the_memory_for_writes_is_what_the_setting_says", [1], |world| async move {
        world.whole(3).await;
        let limit = || Scraped::of(&world, 1).value("nodenomad_memtable_limit_bytes");
        assert_eq!(limit(), MEMORY_BYTES as f64, "what is set by default is more than there is");
        world.configure(&world.client("admin").await, "memtable_bytes", "65536").await;
        let reached = || async { limit() == 65536.0 };
        world.until("the new limit", Duration::from_secs(10), reached).await;
    });
}

#[test]
fn a_replica_that_goes_takes_its_series_along() {
    for_seeds("a_replica_that_goes_takes_its_series_along", [1], |world| async move {
        world.whole(3).await;
        let (shard, other) = (ShardId(2), ShardId(3));
        let before = Scraped::of(&world, 1);
        assert_eq!((before.series_of(shard), before.series_of(other)), (36, 36), "as {FILE} says");
        let gone = world.machine(1).spawn(move |node| async move {
            let replica = node.shards.get(shard).unwrap();
            node.shards.destroy(shard, replica.id).await.unwrap();
            node.metrics.text()
        });
        let after = Scraped::parse(&gone.await.unwrap());
        assert_eq!((after.series_of(shard), after.series_of(other)), (0, before.series_of(other)));
        assert_eq!(after.value("nodenomad_replicas"), before.value("nodenomad_replicas") - 1.0);
    });
}

#[test]
fn many_who_ask_at_once_are_given_one_text() {
    for_seeds("many_who_ask_at_once_are_given_one_text", [1], |world| async move {
        world.bootstrap().await;
        assert_eq!(world.machine(0).id(), NodeId(1));
        let asked = world.machine(0).spawn(|node| async move {
            let first = node.metrics.scrape(EXEC).await;
            let same = node.metrics.scrape(EXEC).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            (first.as_ptr() == same.as_ptr(), first != node.metrics.scrape(EXEC).await)
        });
        assert_eq!(asked.await.unwrap(), (true, true));
    });
}
