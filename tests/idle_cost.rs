//! What shards cost that nobody uses: real processes, figures for people.
//!
//! `cargo test --release --test idle_cost -- --ignored --nocapture`; takes some minutes. The aim: 300 idle shards cost a node
//! less than 2 % of a core and 150 MiB, the first write to one takes less than 50 ms, and when their leaders' machine is
//! killed all are led again within 5 s.

mod support;

use std::time::{Duration, Instant};

use nodenomad::client::Client;
use nodenomad::model::id::ShardId;
use support::Cluster;

const SHARDS: usize = 300;
/// Placement moves a few shards at a time.
const WHOLE_LIMIT: Duration = Duration::from_secs(600);
/// How long the processes are watched.
const WATCH: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(250);

fn key(n: usize) -> String {
    format!("k{n:04}")
}

/// Seconds of processor time used, and resident memory in MiB.
fn usage(pid: u32) -> (f64, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = resident.split_whitespace().next().unwrap().parse().unwrap();
    // Linux counts in hundredths of a second.
    (ticks as f64 / 100.0, kib / 1024)
}

async fn wait_until(what: &str, limit: Duration, so: impl AsyncFn() -> bool) -> Duration {
    let begin = Instant::now();
    while !so().await {
        assert!(begin.elapsed() < limit, "not so after {limit:?}: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    begin.elapsed()
}

async fn timed_put(client: &Client, n: usize) -> Duration {
    let begin = Instant::now();
    client.put(key(n).as_bytes(), "v").await.unwrap();
    begin.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures; takes minutes"]
async fn three_hundred_idle_shards() {
    let split_at: Vec<String> = (1..SHARDS).map(key).collect();
    let mut cluster = Cluster::start(3, &split_at.join(","));
    let client = cluster.client().await;
    let whole = || async {
        client.refresh().await.is_ok_and(|map| {
            map.shards().all(|shard| shard.replicas.iter().filter(|replica| replica.voter).count() == 3)
        })
    };
    println!("whole after {:?}", wait_until("it is whole", WHOLE_LIMIT, whole).await);
    // Asleep: ten seconds without use, and what agreeing takes.
    tokio::time::sleep(Duration::from_secs(15)).await;
    let pids: Vec<u32> = cluster.nodes.iter().map(|node| node.pid()).collect();
    let before: Vec<f64> = pids.iter().map(|pid| usage(*pid).0).collect();
    tokio::time::sleep(WATCH).await;
    for (n, (pid, before)) in pids.iter().zip(before).enumerate() {
        let (seconds, mib) = usage(*pid);
        let share = 100.0 * (seconds - before) / WATCH.as_secs_f64();
        println!("node {n}: {share:.2} % of a core, {mib} MiB");
    }

    let mut firsts: Vec<Duration> = Vec::new();
    for n in (0..SHARDS).step_by(10) {
        firsts.push(timed_put(&client, n).await);
    }
    firsts.sort();
    let (half, last) = (firsts[firsts.len() / 2], firsts[firsts.len() - 1]);
    println!("first write to a sleeping shard: half within {half:?}, all within {last:?}");
    println!("a write after that: {:?}", timed_put(&client, 0).await);

    tokio::time::sleep(Duration::from_secs(20)).await;
    let leader = cluster.leader_of(&client, 1).await;
    let first = client.leader(ShardId(1));
    cluster.nodes[leader].kill();
    let begin = Instant::now();
    for n in 0..SHARDS {
        let tried = Instant::now();
        while client.put(key(n).as_bytes(), "w").await.is_err() {
            assert!(tried.elapsed() < Duration::from_secs(30), "{} is not led", key(n));
        }
        if n == 0 {
            println!("after the kill of {first:?}: first write after {:?}", begin.elapsed());
        }
    }
    println!("every shard has been written after {:?}", begin.elapsed());
}
