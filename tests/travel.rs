//! Shards that travel between real processes while clients work: they migrate, are split and merged, and change their leaders, one
//! after the other without a pause. What clients were told is judged by `nomad bench --check`, and nobody may be told an error.
//!
//! `NODENOMAD_TRAVEL_S` says for how many seconds (600 for what is promised; a few here, since CI has other things to do):
//!
//! ```sh
//! NODENOMAD_TRAVEL_S=600 cargo test --test travel -- --nocapture
//! ```

mod support;

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nodenomad::net::chance::Chance;
use serde_json::Value;
use support::Cluster;
use support::answers::{done, run};

const NODES: usize = 4;
/// Without being told otherwise.
const USUAL_S: u64 = 25;
/// More shards than this are merged rather than split.
const SHARDS_MAX: usize = 8;
/// After the travelling everything that is under way comes to its end.
const END_LIMIT: Duration = Duration::from_secs(60);

/// What is done, and how often it was.
type Done = BTreeMap<&'static str, u64>;

fn shards(cluster: &Cluster) -> Vec<Value> {
    let mut all = done(cluster, "shard ls -o json").json();
    let mut all = std::mem::take(all.as_array_mut().expect("a list"));
    all.retain(|shard| shard["id"] != 0);
    all.sort_by_key(|shard| shard["start"].as_str().unwrap_or("").to_owned());
    all
}

fn nodes_of(shard: &Value) -> Vec<u64> {
    let replicas = shard["replicas"].as_array().expect("a list").iter();
    replicas.filter_map(|replica| replica["node"].as_u64()).collect()
}

struct Traveller<'a> {
    cluster: &'a Cluster,
    chance: Chance,
    done: Done,
    refused: Done,
}

impl Traveller<'_> {
    fn pick<'v, T>(&self, all: &'v [T]) -> &'v T {
        &all[self.chance.between(0, all.len() as u64) as usize]
    }

    /// Does one thing and waits for its end. What is refused for now has changed nothing, and is no failure.
    fn one(&mut self) {
        let shards = shards(self.cluster);
        let shard = self.pick(&shards);
        let here = nodes_of(shard);
        let free: Vec<u64> = (1..=NODES as u64).filter(|node| !here.contains(node)).collect();
        let at = shards.iter().position(|other| other["id"] == shard["id"]).expect("it is one of them");
        let id = &shard["id"];
        let (name, line) = match self.chance.between(0, 4) {
            0 if !free.is_empty() => {
                let (from, to) = (self.pick(&here), self.pick(&free));
                ("moved", format!("migrate --shard {id} --from {from} --to {to} -o jsonl"))
            }
            1 => ("led elsewhere", format!("shard lead {id} --to {}", self.pick(&here))),
            2 if shards.len() < SHARDS_MAX => ("split", format!("shard split {id}")),
            _ if at + 1 < shards.len() => ("merged", format!("shard merge {id}")),
            _ => return,
        };
        let answer = run(self.cluster, &line);
        // 1: it went back; 2: too few keys to be halved, or who should lead does not hold it any more; 3, 4: not now.
        assert!((0..=4).contains(&answer.code), "{line}: {answer:?}");
        let told = if answer.code == 0 { &mut self.done } else { &mut self.refused };
        *told.entry(name).or_default() += 1;
        if answer.code == 1 {
            println!("{line}: {}", answer.text().lines().last().unwrap_or(&answer.err));
        }
    }
}

/// Clients at work until the time is over, whose history is judged in the end.
fn clients(cluster: &Cluster, seconds: u64) -> Child {
    let seconds = seconds.to_string();
    let args = ["bench", "mixed", "--check", "--clients", "8", "--keys", "400", "--rate", "800", "--seconds"];
    let args = [&args[..], &[&seconds, "--warm-up", "0", "-o", "json"]].concat();
    cluster.command(&args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_travel_and_no_client_is_told_an_error() {
    let seconds = std::env::var("NODENOMAD_TRAVEL_S").map_or(USUAL_S, |told| told.parse().unwrap());
    let mut cluster = Cluster::new(NODES);
    // Nothing moves, or is merged, but by us; nothing stays for an undo long.
    let settings = [("rebalance", "0"), ("undo_window_ms", "1000"), ("merge_after_ms", "0")];
    cluster.start_all_set("", &settings);
    let client = cluster.client().await;
    cluster.wait_until_whole(&client, 3).await;
    let (mut working, begin) = (clients(&cluster, seconds), Instant::now());
    let chance = Chance::from_seed(seconds);
    let mut traveller = Traveller { cluster: &cluster, chance, done: Done::new(), refused: Done::new() };
    while begin.elapsed() < Duration::from_secs(seconds) {
        traveller.one();
    }
    let Traveller { done: did, refused, .. } = traveller;
    println!("{seconds} s: {did:?}; not done for now: {refused:?}");
    assert!(
        working.try_wait().unwrap().is_none() || begin.elapsed().as_secs() >= seconds,
        "they work all the time"
    );
    let output = working.wait_with_output().unwrap();
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{errors}\n{}", cluster.logs());
    let told: Value = serde_json::from_str(&told).unwrap();
    println!(
        "{} operations, p99 {} us, longest {} us: {}",
        told["ops"], told["latency_us"]["p99"], told["latency_us"]["max"], told["checked"]
    );
    assert_eq!((&told["errors"], &told["unknown"]), (&0.into(), &0.into()), "{told}\n{}", cluster.logs());
    assert!(told["ops"].as_u64().unwrap() > 100 * seconds, "{told}");
    for what in ["moved", "led elsewhere", "split", "merged"] {
        assert!(did.contains_key(what), "never {what}: {did:?} {refused:?}\n{}", cluster.logs());
    }
    cluster.equal_digests(&client, END_LIMIT).await;
}
