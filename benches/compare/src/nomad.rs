//! nomad, through its own commands.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::machine::Servers;
use crate::{Kind, Measured, Result, Work};

const START_LIMIT: Duration = Duration::from_secs(60);

pub struct Cluster {
    program: PathBuf,
    context: PathBuf,
    /// Below it are the data.
    pub dir: PathBuf,
    pub servers: Servers,
}

impl Cluster {
    /// `shards` have as many of the first `keys` keys each.
    pub fn start(program: &Path, dir: &Path, shards: u64, keys: u64) -> Result<Cluster> {
        let program = program.canonicalize().map_err(|error| format!("{}: {error}", program.display()))?;
        let dir = dir.join("nomad");
        fs::create_dir(&dir)?;
        let border = |n: u64| format!("bench/k{:012}", n * keys / shards);
        let up = Command::new(&program)
            .args(["up", "-n", "3", "--dir"])
            .arg(&dir)
            .args((1..shards).flat_map(|n| ["--split-at".to_owned(), border(n)]))
            .env("HOME", &dir)
            .env("XDG_CONFIG_HOME", &dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let servers = Servers { pids: Vec::new(), started: vec![up] };
        let mut cluster = Cluster { program, context: dir.join("admin.toml"), dir, servers };
        let begin = Instant::now();
        while !cluster.is_whole() {
            if begin.elapsed() > START_LIMIT {
                return Err("nomad does not come up".into());
            }
            sleep(Duration::from_millis(200));
        }
        cluster.servers.pids = children(&cluster.servers.started[0]);
        Ok(cluster)
    }

    /// All three nodes have a replica of each shard.
    fn is_whole(&self) -> bool {
        let Ok(Value::Array(shards)) = self.json(&["shard", "ls"]) else { return false };
        let voters = |shard: &Value| {
            let replicas = shard.pointer("/replicas").and_then(Value::as_array);
            replicas.map_or(0, |all| all.iter().filter(|one| one["role"] == "voter").count())
        };
        shards.iter().all(|shard| voters(shard) == 3)
    }

    fn json(&self, args: &[&str]) -> Result<Value> {
        let mut command = Command::new(&self.program);
        command.args(args).args(["-o", "json", "--context"]).arg(&self.context);
        let output = command.stdin(Stdio::null()).output()?;
        match output.status.success() {
            // What only does something has nothing to say.
            true if output.stdout.is_empty() => Ok(Value::Null),
            true => Ok(serde_json::from_slice(&output.stdout)?),
            false => Err(String::from_utf8_lossy(&output.stderr).into()),
        }
    }

    /// Where each node tells its metrics.
    pub fn http_addresses(&self) -> Result<Vec<String>> {
        let mut addresses = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let Ok(file) = fs::read(entry?.path().join("node.json")) else { continue };
            let file: Value = serde_json::from_slice(&file)?;
            addresses.extend(file["http"].as_str().map(str::to_owned));
        }
        Ok(addresses)
    }

    /// Puts every key once.
    pub fn load(&self, keys: u64, value_bytes: usize) -> Result<()> {
        let (keys, bytes) = (keys.to_string(), value_bytes.to_string());
        self.json(&["bench", "get", "--load-only", "--keys", &keys, "--value-bytes", &bytes])?;
        Ok(())
    }

    pub async fn measure(&self, work: &Work) -> Result<Measured> {
        let workload = match work.kind {
            Kind::Put => "put",
            Kind::Get { .. } => "get",
            Kind::Scan { .. } => "scan",
            Kind::Cas => "cas",
            Kind::Ycsb(letter) => letter,
        };
        let number = |number: u64| number.to_string();
        let (clients, keys) = (number(work.clients), number(work.keys));
        let (seconds, bytes) = (work.seconds.to_string(), work.value_bytes.to_string());
        let mut args =
            vec!["bench", workload, "--clients", &clients, "--keys", &keys, "--value-bytes", &bytes];
        // What must be loaded is loaded before the time is taken; connected it is by itself.
        let load = [args.as_slice(), &["--load-only"]].concat();
        self.json(&load)?;
        args.extend(["--seconds", &seconds, "--warm-up", "0"]);
        let rows;
        if let Kind::Scan { rows: wanted } = work.kind {
            rows = number(wanted);
            args.extend(["--scan-length", &rows]);
        }
        if work.kind == (Kind::Get { stale: true }) {
            args.extend(["--consistency", "stale"]);
        }
        let cpu_before = self.servers.cpu_seconds();
        let result = self.json(&args)?;
        let cpu = self.servers.cpu_seconds() - cpu_before;
        let field = |path: &str| result.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
        Ok(Measured {
            per_second: field("/ops_per_s"),
            p50_us: field("/latency_us/p50"),
            p99_us: field("/latency_us/p99"),
            max_us: field("/latency_us/max"),
            longest_after_s: result.pointer("/longest_after_s").and_then(Value::as_f64),
            ops: field("/ops"),
            errors: (field("/errors") + field("/unknown")) as u64,
            server_cpu_us: cpu * 1e6 / field("/ops"),
            server_rss_mib: self.servers.rss_mib(),
        })
    }
}

/// The processes that `nomad up` started.
fn children(up: &Child) -> Vec<u32> {
    let path = format!("/proc/{0}/task/{0}/children", up.id());
    let list = fs::read_to_string(path).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
