//! What lasts: random puts over many keys, minute after minute, first on one system, then on the other.

use std::path::Path;

use crate::machine::{self, Servers, disk_mib};
use crate::{Kind, Measured, Result, Work, etcd, nomad};

/// Puts under way at a time.
const CLIENTS: u64 = 256;

/// Loads and measures one system after the other; prints a line a minute.
pub async fn run(
    nomad: &nomad::Cluster,
    etcd: Option<&etcd::Cluster>,
    keys: u64,
    value_bytes: usize,
    minutes: u32,
) -> Result<()> {
    let work = Work { kind: Kind::Put, clients: CLIENTS, seconds: 60.0, keys, value_bytes };
    println!("puts to {keys} keys of {value_bytes} B, all loaded before, by {CLIENTS} clients");
    println!(
        "| system, minute | puts/s | p50 ms | p99 ms | longest ms | CPU us/put | MiB memory | MiB on disk | errors |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    if let Some(etcd) = etcd {
        etcd.servers.pause();
    }
    nomad.load(keys, value_bytes)?;
    let mut ours = Vec::new();
    for minute in 1..=minutes {
        let measured = nomad.measure(&work).await?;
        line("nomad", minute, &measured, &nomad.servers, &nomad.dir);
        ours.push(measured);
    }
    let Some(etcd) = etcd else { return Ok(()) };
    nomad.servers.pause();
    etcd.servers.resume();
    machine::settle().await;
    etcd.load(keys, value_bytes).await?;
    let mut theirs = Vec::new();
    for minute in 1..=minutes {
        let measured = etcd.measure(&work).await?;
        line("etcd", minute, &measured, &etcd.servers, &etcd.dir);
        theirs.push(measured);
    }
    println!("ratio: {:.2}", mean(&ours) / mean(&theirs));
    Ok(())
}

fn mean(minutes: &[Measured]) -> f64 {
    minutes.iter().map(|minute| minute.per_second).sum::<f64>() / minutes.len() as f64
}

fn line(system: &str, minute: u32, measured: &Measured, servers: &Servers, dir: &Path) {
    println!(
        "| {system}, {minute} | {:.0} | {:.2} | {:.1} | {:.0}{} | {:.0} | {:.0} | {:.0} | {} |",
        measured.per_second,
        measured.p50_us / 1000.0,
        measured.p99_us / 1000.0,
        measured.max_us / 1000.0,
        measured.longest_after_s.map_or(String::new(), |after| format!(" (at {after:.1} s)")),
        measured.server_cpu_us,
        servers.rss_mib(),
        disk_mib(dir),
        measured.errors,
    );
}
