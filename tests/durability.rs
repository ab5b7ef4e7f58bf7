//! What was acknowledged stays: real processes, killed.
//!
//! What SIGKILL cannot show (bytes that were never synced) is shown on simulated disks, in `sim_cluster.rs`.

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::Cluster;
use support::writers::{Writers, verify};

/// Long forms are asked for by `NODENOMAD_TEST_LONG=1`.
fn long_or(long: u64, short: u64) -> u64 {
    if std::env::var_os("NODENOMAD_TEST_LONG").is_some() { long } else { short }
}

/// How long writes may take to go on after something was killed.
const RESUME_LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_all_are_killed_at_once() {
    let (mut cluster, client) = Cluster::whole(3, "h,p").await;
    let mut unknown = 0;
    let mut acknowledged = 0;
    for round in 0..long_or(20, 4) {
        let writers = Writers::start_round(&client, 8, round);
        writers.wait_for(300, RESUME_LIMIT).await;
        for node in &mut cluster.nodes {
            node.kill();
        }
        cluster.restart_all();
        let records = writers.stop().await;
        acknowledged += verify(&client, &records).await;
        unknown += records.iter().map(|record| record.unknown).sum::<u64>();
    }
    cluster.equal_digests(&client, Duration::from_secs(30)).await;
    println!("{acknowledged} keys checked; {unknown} writes were answered \"unknown\"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_one_after_the_other_is_killed() {
    let (mut cluster, client) = Cluster::whole(3, "m").await;
    let writers = Writers::start(&client, 8);
    let end = Instant::now() + Duration::from_secs(long_or(60, 12));
    let mut kills = 0;
    while Instant::now() < end {
        let n = kills % cluster.nodes.len();
        cluster.nodes[n].kill();
        writers.wait_for(200, RESUME_LIMIT).await;
        cluster.nodes[n].restart();
        writers.wait_for(200, RESUME_LIMIT).await;
        kills += 1;
    }
    let count = writers.acknowledged();
    let records = writers.stop().await;
    let checked = verify(&client, &records).await;
    cluster.equal_digests(&client, Duration::from_secs(30)).await;
    assert!(kills >= 2, "at least two were killed");
    println!("{kills} kills, {count} writes acknowledged, {checked} keys checked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_resume_after_the_leader_is_killed() {
    let (mut cluster, client) = Cluster::whole(3, "").await;
    let writers = Writers::start(&client, 8);
    writers.wait_for(200, RESUME_LIMIT).await;
    let leader = cluster.leader_of(&client, 1).await;
    cluster.nodes[leader].kill();
    writers.wait_for(400, RESUME_LIMIT).await;
    let records = writers.stop().await;
    verify(&client, &records).await;
    let gap = records.iter().map(|record| record.longest_gap).max().unwrap();
    println!("writes resumed after {gap:?}");
    // The aim is 3 s; a machine that runs other tests at the same time gets some grace.
    assert!(gap < Duration::from_secs(6), "{gap:?}");
    cluster.nodes[leader].restart();
    cluster.equal_digests(&client, Duration::from_secs(30)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_missed_a_lot_catches_up() {
    let (mut cluster, client) = Cluster::whole(3, "").await;
    // So little log is kept that what was missed comes as a snapshot.
    cluster.nomad(&["config", "set", "log_keep_bytes", "1MiB"]);
    cluster.nomad(&["config", "set", "memtable_bytes", "2MiB"]);
    let away = (cluster.leader_of(&client, 1).await + 1) % 3;
    cluster.nodes[away].kill();
    let count = long_or(200_000, 30_000);
    let mut batcher = client.batcher();
    for n in 0..count {
        let (key, value) = (format!("bulk/{:06}", n % 150_000), format!("value {n} {}", "x".repeat(100)));
        let put = nodenomad::client::BatchOperation::Put { key: key.into(), value: value.into(), ttl: None };
        batcher.push(put).await.unwrap();
    }
    batcher.finish().await.unwrap();
    // Each write takes more than its value of 100 bytes: a log that is shorter has lost its beginning.
    cluster.forgotten(1, count * 100, Duration::from_secs(60)).await;
    cluster.nodes[away].restart();
    let start = Instant::now();
    cluster.equal_digests(&client, Duration::from_secs(60)).await;
    println!("caught up with {count} writes in {:?}", start.elapsed());
    let log = cluster.nodes[away].log();
    assert!(log.contains("snapshot installed"), "it came by log, not by snapshot:\n{log}");
}

/// Changes every bit of a shard's file but for its first page, which says where the others are: many are free, and
/// what is in these is nobody's loss.
fn harm(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[4096..].iter_mut().for_each(|byte| *byte = !*byte);
    std::fs::write(path, bytes).unwrap();
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(dir.join("wal")).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = names.filter(|path| path.extension().is_some()).collect();
    segments.sort();
    segments
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_damaged_node_has_lost_comes_back_from_the_others() {
    let (mut cluster, client) = Cluster::whole(3, "h,p").await;
    let mut records = Vec::new();
    for (n, what) in ["segment", "files"].into_iter().enumerate() {
        let writers = Writers::start_round(&client, 4, n as u64);
        writers.wait_for(300, RESUME_LIMIT).await;
        let dir = cluster.nodes[n].dir.clone();
        let lost = cluster.replicas_on(&client, n).await;
        assert_eq!(lost.len(), 4);
        cluster.nodes[n].terminate();
        match what {
            "segment" => std::fs::remove_file(segments(&dir).last().unwrap()).unwrap(),
            _ => std::fs::read_dir(dir.join("replicas"))
                .unwrap()
                .for_each(|entry| harm(&entry.unwrap().path().join("shard.redb"))),
        }
        let (code, out, _) = cluster.nomad_with(&["debug", "shard", dir.to_str().unwrap()], b"");
        let out = String::from_utf8(out).unwrap();
        assert_eq!((code, out.contains("sound")), (Some(7), false), "every replica is lost:\n{out}");
        cluster.nodes[n].restart();
        writers.wait_for(200, RESUME_LIMIT).await;
        // A second node harmed before the replacements vote would take the majority with it.
        cluster.wait_until_whole_without(&client, 3, &lost).await;
        records.extend(writers.stop().await);
        cluster.equal_digests(&client, Duration::from_secs(60)).await;
        let log = cluster.nodes[n].log();
        assert!(log.contains("it is set aside"), "{log}");
        assert!(!log.contains("has a bug"), "{log}");
    }
    verify(&client, &records).await;
}

#[test]
fn a_node_alone_does_not_start_on_damage_and_says_why() {
    let mut cluster = Cluster::start(1, "");
    cluster.nomad(&["kv", "put", "a", "b"]);
    let dir = cluster.nodes[0].dir.clone();
    assert_eq!(cluster.nodes[0].terminate(), Some(0));
    for what in ["wal", "store", "shard"] {
        let (code, out, err) = cluster.nomad_with(&["debug", what, dir.to_str().unwrap()], b"");
        assert_eq!(code, Some(0), "{}\n{err}", String::from_utf8_lossy(&out));
    }
    let file = dir.join("replicas").join("s1-r2").join("shard.redb");
    harm(&file);
    let before = std::fs::read(&file).unwrap();
    let (code, out, _) = cluster.nomad_with(&["debug", "store", dir.to_str().unwrap(), "-o", "json"], b"");
    let out: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(code, Some(7));
    let states: Vec<_> = out.as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["sound", "damaged"]);
    assert!(std::fs::read(&file).unwrap() == before, "looking changes nothing");
    let (code, _, err) =
        cluster.nomad_with(&["serve", "--listen", "127.0.0.1:0", "--data", dir.to_str().unwrap()], b"");
    assert_eq!(code, Some(7), "{err}");
    for part in ["error: cannot start", "because: ", "r2, which is damaged", "try: "] {
        assert!(err.contains(part), "{part} in\n{err}");
    }
}
