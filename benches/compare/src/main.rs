//! The same work on a three-node nomad and on a three-node etcd, on this machine, over loopback, in turn.
//!
//! `cargo run --release --manifest-path benches/compare/Cargo.toml` behind `cargo build --release` (see `--help`; Debian:
//! `etcd-server` to compare with, `protobuf-compiler` to build this). What decides is the ratio: both run a
//! round of everything one after the other, several times, and the table has the medians. nomad runs with mutual TLS and
//! checksums as always, etcd as its package starts it, without TLS. Both sync every write to disk. Each system runs alone:
//! the other one is stopped while it works (SIGSTOP), so that its timers cost nothing.

mod cost;
mod etcd;
mod machine;
mod nomad;
mod sustained;
mod table;

use std::path::PathBuf;

use clap::Parser;

use table::{Cell, Table};

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Size of a value, if nothing else is said.
const VALUE_BYTES: usize = 256;
/// Of all values together, where they differ in size.
const VALUES_MAX_BYTES: usize = 256 << 20;

/// Compare nomad with etcd
#[derive(Parser)]
struct Options {
    /// How often everything is measured; the table has the medians
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Keys to work on
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Size of a value
    #[arg(long, default_value_t = VALUE_BYTES)]
    value_bytes: usize,
    /// Measure only what begins with this, such as "put" or "get linearizable, 64"
    #[arg(long, default_value = "")]
    only: String,
    /// The program to measure
    #[arg(long, default_value = "target/release/nomad")]
    nomad: PathBuf,
    /// What to measure
    #[arg(long, value_enum, default_value_t = Set::Usual)]
    set: Set,
    /// How many shards nomad has; etcd has one
    #[arg(long, default_value_t = 1)]
    shards: u64,
    /// Instead of the table: what an operation costs nomad's servers (allocations where perf can count them)
    #[arg(long)]
    cost: bool,
    /// Instead of the table: load the keys, then put random ones by 256 clients for this many minutes, and print a line a minute
    #[arg(long, value_name = "MINUTES")]
    sustained: Option<u32>,
    /// Where the data goes; it must be on a real disk [default: below the system's temporary directory]
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Measurements that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Set {
    /// Each kind of operation, few and many clients
    Usual,
    /// Puts and gets of 16 B to 64 KiB
    Values,
    /// Puts and gets by 1 to 1,024 clients
    Clients,
    /// YCSB a to f, nomad only
    Ycsb,
}

/// What is done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Put,
    Get {
        stale: bool,
    },
    Scan {
        rows: u64,
    },
    Cas,
    /// A core workload of YCSB, by its letter.
    Ycsb(&'static str),
}

/// One measurement to make.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    pub kind: Kind,
    pub clients: u64,
    pub seconds: f64,
    pub keys: u64,
    pub value_bytes: usize,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
    /// When the longest began, after measuring did, where that is known.
    pub longest_after_s: Option<f64>,
    pub errors: u64,
    pub ops: f64,
    /// Of all servers together, per operation.
    pub server_cpu_us: f64,
    /// Of all servers together, at the end.
    pub server_rss_mib: f64,
}

impl Work {
    fn name(&self) -> String {
        let kind = match self.kind {
            Kind::Put => "put".to_owned(),
            Kind::Get { stale: false } => "get linearizable".to_owned(),
            Kind::Get { stale: true } => "get stale".to_owned(),
            Kind::Scan { rows } => format!("scan of {rows}"),
            Kind::Cas => "compare and put".to_owned(),
            Kind::Ycsb(letter) => format!("YCSB {letter}"),
        };
        match self.value_bytes {
            VALUE_BYTES => format!("{kind}, {}", self.clients),
            other => format!("{kind} of {other} B, {}", self.clients),
        }
    }
}

fn works(options: &Options) -> Vec<Work> {
    let Options { seconds, keys, value_bytes, .. } = *options;
    let work = |kind, clients| Work { kind, clients, seconds, keys, value_bytes };
    let get = |stale| Kind::Get { stale };
    let both = |clients| [work(Kind::Put, clients), work(get(false), clients)];
    let all = match options.set {
        Set::Usual => vec![
            work(Kind::Put, 1),
            work(Kind::Put, 64),
            work(Kind::Put, 256),
            work(get(false), 1),
            work(get(false), 64),
            work(get(false), 256),
            work(get(true), 64),
            work(Kind::Scan { rows: 1000 }, 64),
            work(Kind::Cas, 64),
        ],
        Set::Values => {
            let of_size = |value_bytes: usize| {
                // So that the data stay what a machine can hold three times.
                let keys = keys.min((VALUES_MAX_BYTES / value_bytes) as u64);
                both(64).map(|work| Work { keys, value_bytes, ..work })
            };
            [16, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10].into_iter().flat_map(of_size).collect()
        }
        Set::Clients => [1, 4, 16, 64, 256, 1024].into_iter().flat_map(both).collect(),
        Set::Ycsb => ["a", "b", "c", "d", "e", "f"].map(|letter| work(Kind::Ycsb(letter), 64)).into(),
    };
    all.into_iter().filter(|work| work.name().starts_with(&options.only)).collect()
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let dir = match &options.dir {
        Some(parent) => tempfile::tempdir_in(parent)?,
        None => tempfile::tempdir()?,
    };
    let works = works(&options);
    let nomad = nomad::Cluster::start(&options.nomad, dir.path(), options.shards, options.keys)?;
    if options.cost {
        println!("{}", machine::describe());
        return cost::run(&nomad, &works).await;
    }
    let etcd = match etcd::is_installed() && options.set != Set::Ycsb {
        true => Some(etcd::Cluster::start(dir.path()).await?),
        false => None,
    };
    if etcd.is_none() && options.set != Set::Ycsb {
        eprintln!("etcd is not installed (Debian: etcd-server): only nomad is measured");
    }
    println!("{}", machine::describe());
    if let Some(minutes) = options.sustained {
        return sustained::run(&nomad, etcd.as_ref(), options.keys, options.value_bytes, minutes).await;
    }
    let mut table = Table::default();
    // Keys and size of values that etcd has.
    let mut loaded = (0, 0);
    for round in 1..=options.rounds {
        for work in &works {
            if let Some(etcd) = &etcd {
                etcd.servers.pause();
                nomad.servers.resume();
                machine::settle().await;
            }
            let ours = nomad.measure(work).await?;
            let theirs = match &etcd {
                None => None,
                Some(etcd) => {
                    nomad.servers.pause();
                    etcd.servers.resume();
                    machine::settle().await;
                    if loaded != (work.keys, work.value_bytes) {
                        etcd.load(work.keys, work.value_bytes).await?;
                        loaded = (work.keys, work.value_bytes);
                    }
                    Some(etcd.measure(work).await?)
                }
            };
            eprintln!("{round}/{} {}: {ours:?} {theirs:?}", options.rounds, work.name());
            table.add(work.name(), Cell { ours, theirs });
        }
    }
    print!("{table}");
    Ok(())
}
