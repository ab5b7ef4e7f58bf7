//! etcd, through its Rust client.

use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use etcd_client::{Client, Compare, CompareOp, GetOptions, Txn, TxnOp};
use hdrhistogram::Histogram;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

use crate::machine::Servers;
use crate::{Kind, Measured, Result, Work};

/// Connections that all clients share, spread over the members.
const CONNECTIONS: usize = 16;
/// Transactions under way while the keys are loaded.
const LOADERS: u64 = 16;
/// Puts in one of them; etcd takes 128.
const LOAD_PUTS_MAX: u64 = 100;
/// Bytes of values in one of them; etcd takes 1.5 MiB.
const LOAD_BYTES_MAX: usize = 1 << 20;
const START_LIMIT: Duration = Duration::from_secs(60);

pub struct Cluster {
    endpoints: Vec<String>,
    /// Below it are the data.
    pub dir: PathBuf,
    pub servers: Servers,
}

pub fn is_installed() -> bool {
    Command::new("etcd").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

impl Cluster {
    pub async fn start(dir: &Path) -> Result<Cluster> {
        let dir = dir.join("etcd");
        let ports = free_ports(6)?;
        let peer = |n: usize| format!("http://127.0.0.1:{}", ports[3 + n]);
        let endpoints: Vec<_> = (0..3).map(|n| format!("http://127.0.0.1:{}", ports[n])).collect();
        let members: Vec<_> = (0..3).map(|n| format!("e{n}={}", peer(n))).collect();
        let mut started = Vec::new();
        for (n, endpoint) in endpoints.iter().enumerate() {
            let mut command = Command::new("etcd");
            command
                .args(["--name", &format!("e{n}"), "--initial-cluster-state", "new"])
                .args(["--listen-client-urls", endpoint, "--advertise-client-urls", endpoint])
                .args(["--listen-peer-urls", &peer(n), "--initial-advertise-peer-urls", &peer(n)])
                .args(["--initial-cluster", &members.join(","), "--quota-backend-bytes", "8589934592"])
                .arg("--data-dir")
                .arg(dir.join(format!("e{n}")))
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            started.push(command.spawn()?);
        }
        let pids = started.iter().map(|child| child.id()).collect();
        let cluster = Cluster { endpoints, dir, servers: Servers { started, pids } };
        let begin = Instant::now();
        while !cluster.answers().await {
            if begin.elapsed() > START_LIMIT {
                return Err("etcd does not come up".into());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(cluster)
    }

    async fn answers(&self) -> bool {
        let Ok(mut client) = Client::connect(&self.endpoints, None).await else { return false };
        client.put("ready", "", None).await.is_ok()
    }

    async fn clients(&self) -> Result<Vec<Client>> {
        let mut clients = Vec::new();
        for n in 0..CONNECTIONS {
            clients.push(Client::connect([&self.endpoints[n % self.endpoints.len()]], None).await?);
        }
        Ok(clients)
    }

    /// Puts every key once.
    pub async fn load(&self, keys: u64, value_bytes: usize) -> Result<()> {
        let clients = self.clients().await?;
        let puts_each = LOAD_PUTS_MAX.min((LOAD_BYTES_MAX / value_bytes).max(1) as u64);
        let mut tasks = Vec::new();
        for n in 0..LOADERS {
            let mut client = clients[n as usize % clients.len()].clone();
            tasks.push(tokio::spawn(async move {
                let mut chance = SmallRng::seed_from_u64(n);
                for first in (n * puts_each..keys).step_by((LOADERS * puts_each) as usize) {
                    let put = |number| {
                        let mut value = vec![0; value_bytes];
                        chance.fill_bytes(&mut value);
                        TxnOp::put(key(number), value, None)
                    };
                    let puts: Vec<_> = (first..keys.min(first + puts_each)).map(put).collect();
                    client.txn(Txn::new().and_then(puts)).await?;
                }
                Ok::<_, etcd_client::Error>(())
            }));
        }
        for task in tasks {
            task.await??;
        }
        Ok(())
    }

    pub async fn measure(&self, work: &Work) -> Result<Measured> {
        let clients = self.clients().await?;
        let cpu_before = self.servers.cpu_seconds();
        let (begin, length) = (Instant::now(), Duration::from_secs_f64(work.seconds));
        let mut tasks = Vec::new();
        for n in 0..work.clients {
            let client = clients[n as usize % clients.len()].clone();
            tasks.push(tokio::spawn(one(client, *work, n, begin + length)));
        }
        let (mut latency, mut errors) = (histogram(), 0);
        for task in tasks {
            let (of_one, failed) = task.await?;
            latency.add(of_one)?;
            errors += failed;
        }
        let seconds = begin.elapsed().as_secs_f64();
        let cpu = self.servers.cpu_seconds() - cpu_before;
        Ok(Measured {
            per_second: latency.len() as f64 / seconds,
            p50_us: latency.value_at_quantile(0.5) as f64,
            p99_us: latency.value_at_quantile(0.99) as f64,
            max_us: latency.max() as f64,
            longest_after_s: None,
            ops: latency.len() as f64,
            errors,
            server_cpu_us: cpu * 1e6 / latency.len() as f64,
            server_rss_mib: self.servers.rss_mib(),
        })
    }
}

/// One client, until time is up: latencies in microseconds, and how often it failed.
async fn one(mut client: Client, work: Work, seed: u64, end: Instant) -> (Histogram<u64>, u64) {
    let mut chance = SmallRng::seed_from_u64(seed);
    let mut latency = histogram();
    let mut errors = 0;
    let mut value = vec![0; work.value_bytes];
    while Instant::now() < end {
        let key = key(chance.random_range(0..work.keys));
        chance.fill_bytes(&mut value);
        let begin = Instant::now();
        let done = match work.kind {
            Kind::Put => client.put(key, value.clone(), None).await.map(drop),
            Kind::Get { stale } => {
                let options = if stale { GetOptions::new().with_serializable() } else { GetOptions::new() };
                client.get(key, Some(options)).await.map(drop)
            }
            Kind::Scan { rows } => {
                let options = GetOptions::new().with_from_key().with_limit(rows as i64);
                client.get(key, Some(options)).await.map(drop)
            }
            Kind::Cas => {
                let exists = Compare::version(key.clone(), CompareOp::Greater, 0);
                let put = TxnOp::put(key, value.clone(), None);
                client.txn(Txn::new().when([exists]).and_then([put])).await.map(drop)
            }
            Kind::Ycsb(_) => unreachable!("only nomad is measured by it"),
        };
        match done {
            Ok(()) => latency.saturating_record(begin.elapsed().as_micros() as u64),
            Err(_) => errors += 1,
        }
    }
    (latency, errors)
}

/// Microseconds up to a minute.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("these bounds are allowed")
}

/// As long as the keys of `nomad bench`.
fn key(number: u64) -> String {
    format!("bench/{number:010}")
}

/// Ports that were free a moment ago.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let bind = |_| TcpListener::bind("127.0.0.1:0");
    let listeners: Vec<_> = (0..count).map(bind).collect::<io::Result<_>>()?;
    let port = |listener: &TcpListener| Ok(listener.local_addr()?.port());
    listeners.iter().map(port).collect()
}
