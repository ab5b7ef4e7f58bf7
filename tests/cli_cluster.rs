//! The command line against one real cluster: the contract that scripts rely on, line by line.
//!
//! One cluster for the whole file, so the parts run one after the other in one test; what stops nodes comes last.

mod support;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use support::answers::{Answer, assert_has, done, fails, feed, fields, run};
use support::{Cluster, NOMAD};

/// How long a change of leaders may keep a command waiting here.
const FAIL_OVER_LIMIT: Duration = Duration::from_secs(10);

fn node_file(cluster: &Cluster, n: usize) -> Value {
    serde_json::from_slice(&std::fs::read(cluster.nodes[n].dir.join("node.json")).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_scripts_rely_on() {
    let (mut cluster, client) = Cluster::whole(3, "m").await;
    values(&cluster);
    conditions_and_numbers(&cluster);
    times(&cluster);
    batches(&cluster);
    ranges(&cluster);
    views(&cluster);
    records(&cluster);
    tokens(&cluster);
    benches(&cluster);
    mistakes(&cluster);
    files(&cluster);
    cluster.equal_digests(&client, Duration::from_secs(20)).await;
    the_first_node_stops(&mut cluster);
    it_comes_back_as_it_was(&mut cluster);
    no_majority(&mut cluster);
}

fn values(c: &Cluster) {
    assert_eq!(done(c, "kv put /a hello").out, b"");
    assert_eq!(done(c, "kv get /a").out, b"hello", "the exact bytes on a pipe, no newline");
    assert_eq!(done(c, "kv get /a -o raw").out, b"hello");
    let put = done(c, "kv put /a hello -o json").json();
    let got = done(c, "kv get /a -o json").json();
    assert_eq!(got, json!({"key": "/a", "value": "hello", "ts": put["ts"]}));
    assert_eq!(put["key"], "/a");

    // All bytes there are, by stdin and by file, on both sides of what goes in one frame.
    for size in [256, 300_000, 1_000_000] {
        let bytes: Vec<u8> = (0..size).map(|n| n as u8).collect();
        assert_eq!(feed(c, "kv put /bytes -", &bytes).code, 0);
        assert!(done(c, "kv get /bytes").out == bytes, "{size} bytes by stdin");
        let file = c.dir().join("bytes");
        std::fs::write(&file, &bytes).unwrap();
        done(c, &format!("kv put /file --file {}", file.display()));
        assert!(done(c, "kv get /file").out == bytes, "{size} bytes by file");
    }
    let row = done(c, "kv get /bytes -o json").json();
    assert!(row.get("value").is_none() && row["value_b64"].is_string(), "not UTF-8");

    let absent = run(c, "kv get /absent");
    assert_eq!((absent.code, absent.text()), (1, ""), "{absent:?}");
    assert_eq!(run(c, "kv get /absent -o json").json(), Value::Null);

    assert_eq!(done(c, "kv del /file -o json").json(), json!({"key": "/file", "existed": true}));
    assert_eq!(done(c, "kv del /file -o json").json(), json!({"key": "/file", "existed": false}));
    assert_eq!(run(c, "kv get /file").code, 1);
}

fn conditions_and_numbers(c: &Cluster) {
    done(c, "kv put /cas one");
    done(c, "kv cas /cas one two");
    assert_eq!(run(c, "kv cas /cas one three").code, 1, "it is two by now");
    assert_eq!(run(c, "kv cas /cas --absent three").code, 1);
    assert_eq!(done(c, "kv get /cas").out, b"two");
    done(c, "kv cas /cas-new --absent here");
    assert_eq!(done(c, "kv get /cas-new").out, b"here");
    let failed = run(c, "kv cas /cas one three -o json");
    assert_eq!((failed.code, &failed.json()["done"]), (1, &json!(false)));

    assert_eq!(done(c, "kv incr /n").text(), "1\n");
    assert_eq!(done(c, "kv incr /n 41").text(), "42\n");
    assert_eq!(done(c, "kv incr /n -2").text(), "40\n");
    assert_eq!(done(c, "kv incr /n -o json").json(), json!({"key": "/n", "number": 41}));
    let refused = fails(c, "kv incr /cas", 2);
    assert!(refused.err.contains("not a number"), "{refused:?}");
    assert_eq!(done(c, "kv get /cas").out, b"two", "2 promises that nothing changed");
}

fn times(c: &Cluster) {
    let first = done(c, "kv put /t old -o json").json()["ts"].as_u64().unwrap();
    done(c, "kv put /t new");
    assert_eq!(done(c, &format!("kv get /t --at {first}")).out, b"old");
    assert_eq!(run(c, &format!("kv get /t --at {}", first - 1)).code, 1, "it was absent then");
    let range = |at: &str| done(c, &format!("range /t /u -o jsonl{at}")).lines();
    assert_eq!(range(&format!(" --at {first}")), [json!({"key": "/t", "value": "old", "ts": first})]);
    assert_eq!(range("")[0]["value"], "new");
    let forgotten = fails(c, "kv get /t --at 1", 1);
    assert!(forgotten.err.contains("retention_ms"), "{forgotten:?}");

    done(c, "kv put /ttl x --ttl 30m");
    let meta = done(c, "kv get /ttl --meta");
    let left = |minutes: &str| meta.text().contains(&format!("for another {minutes}"));
    assert!(meta.text().contains("ts ") && (left("29m") || left("30m")), "{meta:?}");
    let row = done(c, "kv get /ttl -o json").json();
    let left_ms = row["expires_at_ms"].as_u64().unwrap() - (row["ts"].as_u64().unwrap() >> 16);
    assert!((1_790_000..=1_800_000).contains(&left_ms), "{row}");
    done(c, "kv put /soon x --ttl 1ms");
    // Expiry goes by the cluster's clock, which each write moves.
    let expired = (0..100).any(|_| done(c, "kv put /tick x").code == 0 && run(c, "kv get /soon").code == 1);
    assert!(expired);
    for level in ["linearizable", "session", "stale"] {
        assert_eq!(done(c, &format!("kv get /a --consistency {level}")).out, b"hello");
    }
}

fn batches(c: &Cluster) {
    let mut lines = String::new();
    for n in 0..1_000 {
        let value = "v".repeat(if n % 100 == 0 { 300_000 } else { 1 + n % 7 });
        let letter = ['c', 'x'][n % 2];
        lines += &format!("{}\n", json!({"put": {"key": format!("{letter}/batch/{n:04}"), "value": value}}));
    }
    lines += "{\"del\":{\"key\":\"c/batch/0000\"}}\n";
    lines += &format!("{}\n", json!({"put": {"key_b64": "Yv8=", "value_b64": "/wA="}}));
    let summary = feed(c, "kv batch - -o json", lines.as_bytes());
    assert_eq!((summary.code, &summary.json()["operations"]), (0, &json!(1_002)), "{:?}", summary.err);
    assert_eq!(run(c, "kv get c/batch/0000").code, 1);
    assert_eq!(done(c, "kv get x/batch/0999").text().len(), 1 + 999 % 7);
    assert_eq!(done(c, "range --prefix c/batch/").lines().len(), 499);

    // Groups of these become entries larger and smaller than what shares a stream between nodes: none may be overtaken.
    let value = "v".repeat(256);
    let line = |n: u32| {
        let letter = if n.is_multiple_of(2) { 'd' } else { 'y' };
        format!("{}\n", json!({"put": {"key": format!("{letter}/{n:06}"), "value": value}}))
    };
    let many: String = (0..30_000).map(line).collect();
    let summary = feed(c, "kv batch -", many.as_bytes());
    assert_eq!(summary.code, 0, "{summary:?}");

    let wrong = feed(c, "kv batch -", b"{\"put\":{\"key\":\"k\",\"value\":\"1\"}}\nnonsense\n");
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.err.starts_with("error: line 2: "), "{wrong:?}");
    assert_eq!(run(c, "kv get k").code, 1, "2 promises that nothing changed");
    // The same behind lines that were sent already: something changed.
    let large = json!({"put": {"key": "large", "value": "v".repeat(700_000)}});
    let late = feed(c, "kv batch -", format!("{large}\n{large}\nnonsense\n").as_bytes());
    assert_eq!(late.code, 6, "{late:?}");
}

fn ranges(c: &Cluster) {
    for key in ["r/1", "r/2", "r/3", "s"] {
        done(c, &format!("kv put {key} {key}!"));
    }
    let keys = |line: &str| -> Vec<String> {
        let rows = done(c, line).lines();
        rows.iter().map(|row| row["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys("range r/1 s -o jsonl"), ["r/1", "r/2", "r/3"], "the end is exclusive");
    assert_eq!(keys("range r/1 s --limit 2 -o jsonl"), ["r/1", "r/2"]);
    assert_eq!(keys("range r/1 s --limit 2 --reverse"), ["r/3", "r/2"], "JSON lines on a pipe");
    assert_eq!(keys("range --prefix r/"), ["r/1", "r/2", "r/3"]);
    assert_eq!(keys("range r/2 r/2"), [""; 0]);
    let row = &done(c, "range r/1 r/2 -o jsonl").lines()[0];
    assert_eq!(fields(row), BTreeSet::from(["key", "value", "ts"]));
    assert_eq!(done(c, "range r/1 s -o json").json().as_array().unwrap().len(), 3);
    assert_eq!(done(c, "range r/1 r/2 -o raw").text(), "r/1\tr/1!\n");
    let row = &done(c, "range --prefix b -o jsonl").lines()[0];
    assert_eq!(BASE64_STANDARD.decode(row["key_b64"].as_str().unwrap()).unwrap(), b"b\xff");
    assert_eq!(BASE64_STANDARD.decode(row["value_b64"].as_str().unwrap()).unwrap(), b"\xff\x00");
    // Over both shards, in order, all of it.
    let all = done(c, "range").lines();
    let keys: Vec<&str> = all.iter().filter_map(|row| row["key"].as_str()).collect();
    assert!(keys.is_sorted() && keys.contains(&"/a") && keys.contains(&"x/batch/0999"));
    fails(c, "range s r", 2);
}

fn views(c: &Cluster) {
    let status = done(c, "status -o json").json();
    assert_has(&status, "cluster_id healthy nodes shards leaderless under_replicated map_epoch");
    assert_eq!(
        (&status["healthy"], &status["nodes"], &status["shards"]),
        (&json!(true), &json!(3), &json!(3))
    );
    assert_eq!((&status["leaderless"], &status["under_replicated"]), (&json!(0), &json!(0)));
    assert_eq!(status["cluster_id"], node_file(c, 0)["cluster_id"]);

    let shards = done(c, "shard ls -o json").json();
    let shards = shards.as_array().unwrap();
    assert_eq!(shards.iter().map(|shard| shard["id"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    for shard in shards {
        assert_has(shard, "id start end epoch leader replicas bytes keys");
        assert_eq!(shard["replicas"].as_array().unwrap().len(), 3);
        for replica in shard["replicas"].as_array().unwrap() {
            assert_has(replica, "node replica role state");
            assert_eq!(replica["role"], "voter");
        }
    }
    assert_eq!((&shards[1]["end"], &shards[2]["start"]), (&json!("m"), &json!("m")));
    assert!(shards[1]["keys"].as_u64().unwrap() > 499, "{}", shards[1]);
    assert_eq!(done(c, "shard show 1 -o json").json()["id"], 1);
    assert_eq!(done(c, "shard ls -o raw").text(), "0\n1\n2\n");
    assert_eq!(run(c, "shard show 99").code, 1);

    let nodes = done(c, "node ls -o json").json();
    for (n, node) in nodes.as_array().unwrap().iter().enumerate() {
        assert_has(node, "id addr zone state leaders replicas bytes");
        assert_eq!(
            (&node["id"], &node["replicas"], &node["state"]),
            (&json!(n + 1), &json!(3), &json!("up"))
        );
    }
    assert_eq!(nodes.as_array().unwrap().len(), 3);
    assert_eq!(done(c, "node show 2 -o json").json()["id"], 2);
    assert_eq!(run(c, "node show 99").code, 1);
}

fn records(c: &Cluster) {
    let ring = done(c, "ring -o json").json();
    assert_eq!((ring["nodes"].as_array().unwrap().len(), ring["shards"].as_array().unwrap().len()), (3, 2));
    let listed = done(c, "meta ls -o json").json();
    for record in listed.as_array().unwrap() {
        assert!(record.get("value_b64").is_none(), "nobody can read {record}");
    }
    let token =
        listed.as_array().unwrap().iter().find(|record| record["key"].as_str().unwrap().contains("tokens"));
    assert_has(&token.expect("there are tokens")["record"], "id expires_at_ms uses_left nodes");
    assert!(!listed.to_string().contains("secret") && !listed.to_string().contains("authority"));
    let shard = done(c, "meta get _/shards/00000000000000000001 -o json").json();
    assert_eq!((&shard["record"]["start"], &shard["record"]["end"]), (&json!(""), &json!("m")));
    assert_eq!(shard["record"]["replicas"][0]["role"], "voter");
    assert_eq!(run(c, "meta get _/nothing").code, 1);
    fails(c, "meta get mine", 2);

    assert_eq!(done(c, "config get replicas").text(), "3\n");
    done(c, "config set retention_ms 10m");
    assert_eq!(done(c, "config get retention_ms -o json").json()["value"], 600_000);
    done(c, "config reset retention_ms");
    assert_eq!(done(c, "config get retention_ms -o json").json()["value"], 300_000);
    fails(c, "config set replicas 2", 2);
    assert_eq!(done(c, "config ls -o json").json()[0]["name"], "balance_leaders");
    assert_eq!(done(c, "version -o json").json()["name"], "NodeNomad");
    assert_eq!(done(c, "context ls -o json").json(), json!([]), "--no-context leaves the user's files alone");
}

fn tokens(c: &Cluster) {
    let token = done(c, "token new -o raw");
    let token = token.text().strip_suffix('\n').expect("the token, a newline and nothing else");
    assert!(token.starts_with("nn1.") && token.split('.').count() == 4, "{token}");
    let id = token.split('.').nth(2).unwrap();
    let listed = || done(c, "token ls -o raw").text().lines().any(|line| line == id);
    assert!(listed());
    done(c, &format!("token revoke {id}"));
    assert!(!listed());
    fails(c, &format!("token revoke {id}"), 1);

    // Who comes with a token that is none is told so, and what to do.
    let data = c.dir().join("stranger");
    let address = node_file(c, 1)["quic"].as_str().unwrap().to_owned();
    for (token, code) in [(token, 4), ("nonsense", 2)] {
        let join = ["--join", &address, "--token", token];
        let refused = serve(&data, &join);
        assert_eq!(refused.code, code, "{refused:?}");
        assert!(refused.err.contains("\ntry: "), "{refused:?}");
    }
}

/// A node that is expected not to start.
fn serve(data: &std::path::Path, more: &[&str]) -> Answer {
    let mut command = Command::new(NOMAD);
    command.args(["serve", "--listen", "127.0.0.1:0", "--no-context", "--log-level", "error", "--data"]);
    let output = command.arg(data).args(more).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    Answer { code: output.status.code().unwrap(), out: output.stdout, err }
}

/// Each workload for a moment, everything verified.
fn benches(c: &Cluster) {
    let others = |line: &str| done(c, line).lines().len();
    let before = (others("range a b/"), others("range b0"));
    let bench = |workload: &str, more: &str| {
        let line = format!("bench {workload} --keys 200 --clients 4 --warm-up 0 --prefix b/ -o json {more}");
        done(c, line.trim_end()).json()
    };
    let mut answered = 0;
    for (workload, operations) in [
        ("put", "put"),
        ("get", "get"),
        ("cas", "cas"),
        ("incr", "incr"),
        ("scan", "scan"),
        ("mixed", "cas get incr put scan"),
        ("a", "get put"),
        ("b", "get put"),
        ("c", "get"),
        ("d", "get insert"),
        ("e", "insert scan"),
        ("f", "get rmw"),
    ] {
        let report = bench(workload, "--seconds 0.1 --verify");
        let latency = "p50 p95 p99 p999 max";
        assert_has(&report, "workload clients value_bytes seconds ops errors unknown ops_per_s latency_us");
        assert_has(&report["latency_us"], latency);
        assert_eq!((&report["workload"], &report["clients"]), (&json!(workload), &json!(4)));
        assert_eq!((&report["value_bytes"], &report["seconds"]), (&json!(256), &json!(0.1)));
        assert_eq!((&report["errors"], &report["unknown"]), (&json!(0), &json!(0)), "{report}");
        answered += report["ops"].as_u64().unwrap();
        assert_eq!(fields(&report["operations"]), operations.split(' ').collect(), "{workload}");
        for kind in report["operations"].as_object().unwrap().values() {
            assert_has(kind, "ops errors unknown ops_per_s latency_us");
            assert_has(&kind["latency_us"], latency);
        }
        assert_eq!(
            (&report["cut_short"], &report["verified"]["wrong"]),
            (&json!(false), &json!(0)),
            "{report}"
        );
        assert!(workload == "put" || report["verified"]["keys"].as_u64() >= Some(200), "{report}");
    }
    assert!(answered > 0);
    assert_eq!(before, (others("range a b/"), others("range b0")), "other keys were touched");

    // With a rate, operations come when they are due.
    let paced = bench("get", "--seconds 0.2 --rate 100");
    let due = ["ops", "not_begun"].map(|name| paced[name].as_u64().unwrap()).iter().sum::<u64>();
    assert_eq!((&paced["rate"], due), (&json!(100.0), 20), "{paced}");

    // What everybody was told is linearizable, and leaves nothing behind.
    let report = bench("mixed", "--seconds 0.3 --check --scan-length 20");
    let checked = &report["checked"];
    assert_has(checked, "keys operations unknown wrong undecided");
    assert_eq!((&checked["wrong"], &checked["undecided"]), (&json!(0), &json!(0)), "{report}");
    assert!(checked["operations"].as_u64() >= report["ops"].as_u64(), "{report}");
    assert_eq!(done(c, "range --prefix b/check-").lines().len(), 0, "{report}");
    fails(c, "bench a --check", 2);

    // What was loaded and is gone is found out.
    done(c, "kv del b/k000000000007");
    let lost = run(c, "bench incr --keys 200 --seconds 0.1 --warm-up 0 --prefix b/ --verify -o raw");
    assert_eq!(lost.code, 7, "{lost:?}");
    assert!(lost.err.contains("k7 is absent"), "{lost:?}");
    fails(c, "bench nonsense", 2);
    fails(c, "bench put --seconds soon", 2);
    fails(c, "bench put --prefix _/b", 4);
    fails(c, "bench put -e 127.0.0.1:1 --timeout 300ms", 3);
}

fn mistakes(c: &Cluster) {
    fails(c, "kv put _/x y", 4);
    fails(c, "kv get", 2);
    fails(c, "kv put /a b --ttl soon", 2);
    fails(c, "kv get /a --at never", 2);
    let large = feed(c, "kv put /large -", &vec![0; 2_000_000]);
    assert_eq!(large.code, 2, "{large:?}");
    assert!(!large.err.contains("Failure"), "words, not codes: {large:?}");
    assert_eq!(run(c, "kv get /large").code, 1);
    // Nobody there: 3. The last -e wins over -c of the cluster that runs.
    fails(c, "kv put /a b -e 127.0.0.1:1 --timeout 300ms", 3);
    let as_json = run(c, "kv get /a --at never -o json");
    let failure: Value = serde_json::from_str(&as_json.err).unwrap();
    assert_eq!(fields(&failure), BTreeSet::from(["because", "error", "exit_code", "try"]));
    // A second process on a directory in use, and an empty directory without a beginning.
    assert_eq!(serve(&c.nodes[0].dir, &[]).code, 2);
    assert_eq!(serve(&c.dir().join("empty"), &[]).code, 2);
}

fn files(c: &Cluster) {
    for n in 0..3 {
        let file = node_file(c, n);
        assert_has(&file, "node_id pid quic http cluster_id");
        assert_eq!(file["node_id"], n + 1, "small numbers");
        for name in ["quic", "http"] {
            let address: std::net::SocketAddr = file[name].as_str().unwrap().parse().expect("HOST:PORT");
            assert!(address.ip().is_loopback() && address.port() != 0);
        }
    }
}

/// SIGTERM: leadership handed over, exit 0; `admin.toml` goes on working although the node it came from is down.
fn the_first_node_stops(cluster: &mut Cluster) {
    assert_eq!(cluster.nodes[0].terminate(), Some(0), "{}", cluster.nodes[0].log());
    let stopped = Instant::now();
    done(cluster, "kv put /down 1");
    assert_eq!(done(cluster, "kv get /a").out, b"hello");
    let leaders: Vec<u64> = loop {
        let shards = done(cluster, "shard ls -o json").json();
        let leaders: Vec<_> =
            shards.as_array().unwrap().iter().map(|shard| shard["leader"].as_u64()).collect();
        if leaders.iter().all(|leader| leader.is_some_and(|leader| leader != 1)) {
            break leaders.into_iter().flatten().collect();
        }
        assert!(stopped.elapsed() < FAIL_OVER_LIMIT, "{leaders:?}");
    };
    assert_eq!(leaders.len(), 3);
    while run(cluster, "status -o json").json()["healthy"] != false {
        assert!(stopped.elapsed() < FAIL_OVER_LIMIT, "a node is down, and nobody says so");
    }
    assert_eq!(run(cluster, "status").code, 1, "unhealthy");
}

fn it_comes_back_as_it_was(cluster: &mut Cluster) {
    let before = node_file(cluster, 0);
    cluster.nodes[0].restart();
    let after = node_file(cluster, 0);
    for same in ["node_id", "quic", "http", "cluster_id"] {
        assert_eq!(after[same], before[same], "{same}");
    }
    assert_ne!(after["pid"], before["pid"]);
    assert_eq!(done(cluster, "kv get /a").out, b"hello");
    assert_eq!(done(cluster, "kv get /down").out, b"1");
    let back = Instant::now();
    while run(cluster, "status").code != 0 {
        assert!(back.elapsed() < FAIL_OVER_LIMIT, "{}", run(cluster, "status").text());
    }
}

/// Two of three killed: a write ends in time, and its exit code is the truth. All back: everything is there.
fn no_majority(cluster: &mut Cluster) {
    let shards = done(cluster, "shard ls -o json").json();
    let leader = shards[1]["leader"].as_u64().unwrap() as usize - 1;
    (0..3).filter(|n| *n != leader).for_each(|n| cluster.nodes[n].kill());
    let asked = Instant::now();
    let written = run(cluster, "kv put /alone 1 --timeout 1s");
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert!(matches!(written.code, 3 | 6), "{written:?}");
    cluster.restart_all();
    assert_eq!(done(cluster, "kv get /a --timeout 20s").out, b"hello");
    let found = run(cluster, "kv get /alone").code;
    assert!(written.code == 6 || found == 1, "3 promises that nothing changed");
}
