//! The same work on a three-node nomad and on a three-node etcd, on this machine, over loopback, in turn.
//!
//! `cargo run --release --manifest-path benches/compare/Cargo.toml` behind `cargo build --release` (see `--help`; Debian:
//! `etcd-server` to compare with, `protobuf-compiler` to build this). What decides is the ratio: both run a
//! round of everything one after the other, several times, and the table has the medians. nomad runs with mutual TLS and
//! checksums as always, etcd as its package starts it, without TLS. Both sync every write to disk. Each system runs alone:
//! the other one is stopped while it works (SIGSTOP), so that its timers cost nothing.

mod etcd;
mod machine;
mod nomad;
mod sustained;
mod table;

use std::path::PathBuf;

use clap::Parser;

use table::{Cell, Table};

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

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
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// Measure only what begins with this, such as "put" or "get linearizable, 64"
    #[arg(long, default_value = "")]
    only: String,
    /// The program to measure
    #[arg(long, default_value = "target/release/nomad")]
    nomad: PathBuf,
    /// Instead of the table: load the keys, then put random ones by 64 clients for this many minutes, and print a line a minute
    #[arg(long, value_name = "MINUTES")]
    sustained: Option<u32>,
    /// Where the data goes; it must be on a real disk [default: below the system's temporary directory]
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// What is done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Put,
    Get { stale: bool },
    Scan { rows: u64 },
    Cas,
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
    pub errors: u64,
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
        };
        format!("{kind}, {}", self.clients)
    }
}

fn works(options: &Options) -> Vec<Work> {
    let get = |stale| Kind::Get { stale };
    let list = [
        (Kind::Put, 1),
        (Kind::Put, 64),
        (Kind::Put, 256),
        (get(false), 1),
        (get(false), 64),
        (get(false), 256),
        (get(true), 64),
        (Kind::Scan { rows: 1000 }, 64),
        (Kind::Cas, 64),
    ];
    let Options { seconds, keys, value_bytes, .. } = *options;
    let all = list.map(|(kind, clients)| Work { kind, clients, seconds, keys, value_bytes });
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
    let nomad = nomad::Cluster::start(&options.nomad, dir.path())?;
    let etcd = match etcd::is_installed() {
        true => Some(etcd::Cluster::start(dir.path()).await?),
        false => None,
    };
    if etcd.is_none() {
        eprintln!("etcd is not installed (Debian: etcd-server): only nomad is measured");
    }
    println!("{}", machine::describe());
    if let Some(minutes) = options.sustained {
        return sustained::run(&nomad, etcd.as_ref(), options.keys, options.value_bytes, minutes).await;
    }
    if let (Some(etcd), Some(any)) = (&etcd, works.first()) {
        nomad.servers.pause();
        etcd.load(any.keys, any.value_bytes).await?;
    }
    let mut table = Table::default();
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
