//! A disk that is really full: a small file system of its own under one node. failures.md row 15.
//!
//! Mounting needs root. Where it is not allowed the tests say so and end; what is full in simulation is in `sim_node.rs`.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nodenomad::client::{Client, Error};
use nodenomad::node::wal::BALLAST_PIECES;
use support::Cluster;

/// Room for the log's segments and as much of data.
const SIZE: &str = "size=768m";
const VALUE_BYTES: usize = 1 << 20;
/// More than fits.
const PUTS_MAX: usize = 2000;
const LIMIT: Duration = Duration::from_secs(60);

/// A file system in memory; unmounted when dropped.
struct Small(PathBuf);

impl Small {
    /// `None` where mounting is not allowed; it says so.
    fn mount(at: &Path) -> Option<Small> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Small(at.to_owned())),
            other => {
                println!("skipped: a file system cannot be mounted here: {other:?}");
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: the node's process may still be ending.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn key(n: usize) -> String {
    format!("fill/{n:05}")
}

/// Puts until one is refused for want of room; how many were acknowledged.
async fn fill(client: &Client) -> usize {
    for n in 0..PUTS_MAX {
        match client.put(key(n).as_bytes(), vec![b'a' + (n % 26) as u8; VALUE_BYTES]).await {
            Ok(_) => {}
            Err(Error::Full(_)) => return n,
            Err(error) => panic!("the {n}th: {error:?}"),
        }
    }
    panic!("{PUTS_MAX} MiB fit");
}

/// A file of somebody else that takes all there is, to the last byte.
struct Foreign(PathBuf);

impl Foreign {
    fn take_all(&self) {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.0).unwrap();
        for piece in [1 << 20, 4 << 10, 1] {
            while file.write_all(&vec![b'f'; piece]).is_ok() {}
        }
    }
}

/// Pieces of the ballast in a node's directory.
fn ballast(dir: &Path) -> u64 {
    let names = std::fs::read_dir(dir.join("wal")).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with("ballast-")).count() as u64
}

/// Everything acknowledged is there.
async fn verify(client: &Client, count: usize, deleted: usize) {
    for n in deleted..count {
        let found = client.get(key(n).as_bytes()).await.unwrap().unwrap_or_else(|| panic!("{n} is gone"));
        assert!(found.value.len() == VALUE_BYTES && found.value[0] == b'a' + (n % 26) as u8, "{n}");
    }
    for n in (0..deleted).chain([count]) {
        assert!(client.get(key(n).as_bytes()).await.unwrap().is_none(), "{n} is there");
    }
}

async fn is_refused(cluster: &Cluster, client: &Client, count: usize) {
    let (code, out, err) = cluster.nomad_with(&["kv", "put", &key(count), "-"], &vec![b'x'; VALUE_BYTES]);
    assert_eq!((code, out.is_empty()), (Some(3), true), "{err}");
    for part in ["error: ", "its disk is full", "try: "] {
        assert!(err.contains(part), "{part} in\n{err}");
    }
    assert!(client.get(key(count).as_bytes()).await.unwrap().is_none(), "nothing changed");
}

/// Others have room: they lead soon, and take writes.
async fn goes_on_elsewhere(cluster: &Cluster, client: &Client) {
    let begin = Instant::now();
    while client.put(b"elsewhere", "1").await.is_err() {
        assert!(begin.elapsed() < LIMIT, "{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_ne!(cluster.leader_of(client, 1).await, 0, "the full node leads no more");
}

async fn a_full_node(count: usize) {
    let mut cluster = Cluster::new(count);
    let Some(_small) = Small::mount(&cluster.nodes[0].dir) else { return };
    // What is split wants room for copies.
    cluster.start_all_set("", &[("split_bytes", "0"), ("split_per_s", "0")]);
    let client = cluster.client().await;
    cluster.wait_until_whole(&client, count).await;
    for (name, value) in [("memtable_bytes", "16MiB"), ("log_keep_bytes", "1MiB"), ("retention_ms", "1000")] {
        cluster.nomad(&["config", "set", name, value]);
    }
    assert_eq!(cluster.leader_of(&client, 1).await, 0, "the first node leads what it has begun");
    let acknowledged = fill(&client).await;
    assert!(acknowledged > 100, "only {acknowledged} MiB");
    match count {
        1 => is_refused(&cluster, &client, acknowledged).await,
        _ => goes_on_elsewhere(&cluster, &client).await,
    }
    verify(&client, acknowledged, 0).await;
    for n in 0..10 {
        assert!(client.delete(key(n).as_bytes()).await.unwrap());
    }
    assert_eq!(cluster.nodes[0].terminate(), Some(0), "{}", cluster.logs());
    cluster.nodes[0].restart();
    verify(&client, acknowledged, 10).await;
    for _ in 0..4 {
        cluster.nodes[0].kill();
        cluster.nodes[0].restart();
    }
    verify(&client, acknowledged, 10).await;
    client.delete(key(10).as_bytes()).await.unwrap();
    cluster.equal_digests(&client, LIMIT).await;
    println!("{acknowledged} MiB were acknowledged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_node_alone_reads_deletes_and_restarts() {
    a_full_node(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_node_among_others_reads_deletes_and_restarts() {
    a_full_node(3).await;
}

/// The disk has not a byte left at the start, nor when it has taken what it needed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_without_a_byte_free() {
    let mut cluster = Cluster::new(1);
    let dir = cluster.nodes[0].dir.clone();
    let Some(_small) = Small::mount(&dir) else { return };
    // What is split wants room for copies.
    cluster.start_all_set("", &[("split_bytes", "0"), ("split_per_s", "0")]);
    let client = cluster.client().await;
    cluster.wait_until_whole(&client, 1).await;
    for n in 0..20 {
        client.put(key(n).as_bytes(), vec![b'a' + (n % 26) as u8; VALUE_BYTES]).await.unwrap();
    }
    let begin = Instant::now();
    while ballast(&dir) < BALLAST_PIECES {
        assert!(begin.elapsed() < LIMIT, "{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let foreign = Foreign(dir.join("foreign"));
    for round in 0..2 {
        foreign.take_all();
        cluster.nodes[0].kill();
        foreign.take_all();
        cluster.nodes[0].restart();
        // The first one finds room in what the log had made ahead.
        assert!(round == 0 || ballast(&dir) < BALLAST_PIECES, "the start has taken some");
        verify(&client, 20, round).await;
        is_refused(&cluster, &client, 20).await;
        assert!(client.delete(key(round).as_bytes()).await.unwrap());
        verify(&client, 20, round + 1).await;
    }
    assert_eq!(cluster.nodes[0].terminate(), Some(0), "{}", cluster.logs());
    foreign.take_all();
    cluster.nodes[0].restart();
    verify(&client, 20, 2).await;
    std::fs::remove_file(&foreign.0).unwrap();
    let begin = Instant::now();
    while client.put(key(20).as_bytes(), "1").await.is_err() || ballast(&dir) < BALLAST_PIECES {
        assert!(begin.elapsed() < LIMIT, "{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cluster.equal_digests(&client, LIMIT).await;
}
