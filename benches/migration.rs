//! What a move costs: how long it takes, what clients feel, how good the estimate of its time is.
//!
//! ```sh
//! cargo bench --bench migration                  # a shard of 256 MiB, 2,000 writes a second
//! cargo bench --bench migration -- --mib 64 --writes 500     # TMPDIR says where the data go
//! ```
//!
//! Four nodes as processes on this machine, one user shard on three of them, moved to the fourth: idle, and while writes arrive at
//! a steady rate (each measured from when it was due, so that waiting counts). Each move is undone, which is timed, too.

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use nodenomad::client::Client;
use nodenomad::model::id::{NodeId, ShardId};
use nodenomad::net::wire::admin_request::Body;
use nodenomad::net::wire::{
    ConfigSet, MigrationBegin, MigrationList, MigrationOrder, MigrationOrderKind, MigrationStatus,
};
use parking_lot::Mutex;
use support::Cluster;
use tokio::task::JoinSet;

const VALUE_BYTES: usize = 1 << 10;
/// Writes under way at a time while loading.
const LOADERS: u64 = 256;
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long is measured before a move, and after it.
const CALM: Duration = Duration::from_secs(10);

#[derive(Debug, Parser)]
struct Options {
    /// Size of the shard, MiB
    #[arg(long, default_value_t = 256)]
    mib: u64,
    /// Writes a second in the second half
    #[arg(long, default_value_t = 2_000)]
    writes: u64,
    /// In the last third, milliseconds: copied slower while a hundredth of the requests takes longer
    #[arg(long, default_value_t = 10)]
    keep_p99_ms: u64,
    /// Times each is measured
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// What cargo hands to all benches
    #[arg(long, hide = true)]
    bench: bool,
}

/// When a write was due.
const BEFORE: u8 = 0;
const DURING: u8 = 1;
const AFTER: u8 = 2;

/// Milliseconds that each took, by when it was due.
type Times = Mutex<[Vec<f64>; 3]>;

/// Writers at a steady rate.
struct Load {
    now: Arc<AtomicU8>,
    took_ms: Arc<Times>,
    failed: Arc<AtomicU64>,
    work: tokio::task::JoinHandle<()>,
}

impl Load {
    fn start(client: &Client, keys: u64, per_second: u64) -> Load {
        let (now, took_ms) = (Arc::new(AtomicU8::new(BEFORE)), Arc::<Times>::default());
        let failed = Arc::new(AtomicU64::new(0));
        let (client, seen) = (client.clone(), Arc::clone(&now));
        let (results, errors) = (Arc::clone(&took_ms), Arc::clone(&failed));
        let work = tokio::spawn(async move {
            let (begin, mut sent) = (Instant::now(), 0u64);
            loop {
                let due = begin + Duration::from_secs_f64(sent as f64 / per_second as f64);
                tokio::time::sleep_until(due.into()).await;
                let (client, results, errors) = (client.clone(), Arc::clone(&results), Arc::clone(&errors));
                let (phase, key) = (seen.load(Ordering::Relaxed), key(sent.wrapping_mul(7_919) % keys));
                sent += 1;
                tokio::spawn(async move {
                    match client.put(key.as_bytes(), vec![b'w'; VALUE_BYTES]).await {
                        Ok(_) => results.lock()[phase as usize].push(due.elapsed().as_secs_f64() * 1e3),
                        Err(_) => _ = errors.fetch_add(1, Ordering::Relaxed),
                    }
                });
            }
        });
        Load { now, took_ms, failed, work }
    }

    fn is(&self, when: u8) {
        self.now.store(when, Ordering::Relaxed);
    }

    /// The 99th percentile and the longest, in milliseconds.
    fn of(&self, when: u8) -> (f64, f64) {
        let mut all = self.took_ms.lock()[when as usize].clone();
        all.sort_by(f64::total_cmp);
        let at = |part: f64| all.get(((all.len() as f64 * part) as usize).min(all.len().saturating_sub(1)));
        (at(0.99).copied().unwrap_or(f64::NAN), all.last().copied().unwrap_or(f64::NAN))
    }
}

fn key(n: u64) -> String {
    format!("k{n:09}")
}

async fn load(client: &Client, keys: u64) {
    let mut tasks = JoinSet::new();
    for from in 0..LOADERS {
        let client = client.clone();
        tasks.spawn(async move {
            for n in (from..keys).step_by(LOADERS as usize) {
                // Of noise, so that it is copied as it is counted.
                let mut noise = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
                let value: Vec<u8> = (0..VALUE_BYTES / 8)
                    .flat_map(|_| {
                        noise ^= noise << 13;
                        noise ^= noise >> 7;
                        noise ^= noise << 17;
                        noise.to_le_bytes()
                    })
                    .collect();
                client.put(key(n).as_bytes(), value).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

async fn set(client: &Client, name: &str, value: &str) {
    let set = ConfigSet { name: name.to_owned(), value: value.to_owned(), reset: false };
    client.admin(Body::ConfigSet(set)).await.unwrap();
}

async fn find(client: &Client, id: u64) -> MigrationStatus {
    let all = client.admin(Body::MigrationList(MigrationList {})).await.unwrap().migrations;
    all.into_iter().find(|status| status.id == id).unwrap()
}

/// What one move took.
struct Took {
    seconds: f64,
    transfer_s: f64,
    mib: f64,
    write_pause_ms: f64,
    /// Seconds that were told to be left at half of the bytes, over what it then took; `None`: too fast to be seen.
    estimate_off: Option<f64>,
    undo_s: f64,
}

/// Moves the shard off one of its nodes and undoes that.
async fn go(client: &Client, shard: ShardId, keep_p99_us: u64, when: impl Fn(u8)) -> Took {
    let map = client.refresh().await.unwrap();
    let here: Vec<NodeId> = map.shard(shard).unwrap().replicas.iter().map(|replica| replica.node).collect();
    let to = map.members().map(|(node, _)| node).find(|node| !here.contains(node)).unwrap();
    when(DURING);
    let begin = Instant::now();
    let wish =
        MigrationBegin { shard: shard.0, from_node: here[0].0, to_node: to.0, force: false, keep_p99_us };
    let id = client.admin(Body::MigrationBegin(wish)).await.unwrap().migrations[0].id;
    let (mut transfer, mut half, mut moved_all) = (None, None, None);
    let status = loop {
        let status = find(client, id).await;
        let left = status.bytes_total.saturating_sub(status.bytes_done);
        if status.stage == "transfer" {
            transfer.get_or_insert_with(Instant::now);
            if left * 2 <= status.bytes_total && status.bytes_per_s > 0 && left > 0 {
                half.get_or_insert_with(|| (Instant::now(), left as f64 / status.bytes_per_s as f64));
            }
        }
        if transfer.is_some() && status.stage != "transfer" {
            moved_all.get_or_insert_with(Instant::now);
        }
        match status.state.as_str() {
            "done" => break status,
            "running" | "waiting" => tokio::time::sleep(LOOK_EVERY).await,
            other => panic!("{other}: {}", status.reason),
        }
    };
    let seconds = begin.elapsed().as_secs_f64();
    when(AFTER);
    tokio::time::sleep(CALM).await;
    let undo = Instant::now();
    let order = MigrationOrder { id, order: MigrationOrderKind::OrderUndo.into() };
    client.admin(Body::MigrationOrder(order)).await.unwrap();
    while find(client, id).await.state != "undone" {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let undo_s = undo.elapsed().as_secs_f64();
    while find(client, id).await.ended_at_ms == 0 {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let (transfer, moved_all) = (transfer.unwrap_or(begin), moved_all.unwrap_or_else(Instant::now));
    Took {
        seconds,
        transfer_s: (moved_all - transfer).as_secs_f64(),
        mib: status.bytes_total as f64 / f64::from(1 << 20),
        write_pause_ms: status.write_pause_us as f64 / 1e3,
        estimate_off: half.map(|(at, told_s)| told_s - (moved_all - at).as_secs_f64()),
        undo_s,
    }
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let mut cluster = Cluster::new(4);
    cluster.start_all("");
    let client = cluster.client().await;
    cluster.wait_until_whole(&client, 3).await;
    set(&client, "rebalance", "0").await;
    set(&client, "undo_window_ms", "5m").await;
    // One shard, as large as was asked for.
    set(&client, "split_bytes", "0").await;
    set(&client, "split_per_s", "0").await;
    let keys = (options.mib << 20) / VALUE_BYTES as u64;
    let begin = Instant::now();
    load(&client, keys).await;
    let map = client.refresh().await.unwrap();
    let shard = map.shards().map(|route| route.shard).find(|shard| *shard != ShardId::META).unwrap();
    println!(
        "{keys} keys of {VALUE_BYTES} B loaded in {:.1} s; {shard} is moved",
        begin.elapsed().as_secs_f64()
    );
    println!(
        "| load | seconds | MiB | MiB/s | write pause ms | estimate at half, off by s | undo s | p99 before/during/after ms | longest before/during/after ms | errors |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for _ in 0..options.rounds {
        let took = go(&client, shard, 0, |_| {}).await;
        line("none", &took, "-", "-", 0);
    }
    for keep_p99_ms in [0, options.keep_p99_ms] {
        for _ in 0..options.rounds {
            let load = Load::start(&client, keys, options.writes);
            tokio::time::sleep(CALM).await;
            let took = go(&client, shard, keep_p99_ms * 1000, |when| load.is(when)).await;
            load.work.abort();
            let all = [BEFORE, DURING, AFTER].map(|when| load.of(when));
            let p99 = all.map(|(p99, _)| format!("{p99:.1}")).join(" / ");
            let longest = all.map(|(_, longest)| format!("{longest:.0}")).join(" / ");
            let failed = load.failed.load(Ordering::Relaxed);
            let keep = if keep_p99_ms == 0 { String::new() } else { format!(", keeping {keep_p99_ms} ms") };
            line(&format!("{} writes/s{keep}", options.writes), &took, &p99, &longest, failed);
        }
    }
}

fn line(load: &str, took: &Took, p99: &str, longest: &str, failed: u64) {
    let off = took.estimate_off.map_or("-".to_owned(), |off| format!("{off:+.2}"));
    println!(
        "| {load} | {:.1} | {:.0} | {:.0} | {:.1} | {off} | {:.2} | {p99} | {longest} | {failed} |",
        took.seconds,
        took.mib,
        took.mib / took.transfer_s,
        took.write_pause_ms,
        took.undo_s,
    );
}
