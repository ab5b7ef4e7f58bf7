//! Clusters of real processes for tests: real QUIC, real files, in a temporary directory.
//!
//! Whatever a test does, its processes are killed and its files removed when the [`Cluster`] is dropped.

#![allow(dead_code, reason = "each test target uses a part")]

pub mod answers;
pub mod spaces;
pub mod writers;

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nodenomad::client::Client;
use nodenomad::cmd::context_file::Context;
use nodenomad::cmd::session;
use nodenomad::model::id::ReplicaId;
use spaces::Spaces;
use tempfile::TempDir;

/// The executable under test.
pub const NOMAD: &str = env!("CARGO_BIN_EXE_nomad");
/// How long a cluster may take to be whole.
const WHOLE_LIMIT: Duration = Duration::from_secs(60);
/// How often a condition outside this process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How much of each node's log a failure shows, in lines.
const LOG_LINES: usize = 60;

/// A process with a data directory.
pub struct Node {
    pub dir: PathBuf,
    child: Option<Child>,
    /// Where its process runs, if not beside this one.
    space: Option<(Arc<Spaces>, usize)>,
}

/// Some nodes of one cluster.
pub struct Cluster {
    pub nodes: Vec<Node>,
    home: TempDir,
    /// Commands run in the one after those of the nodes.
    spaces: Option<Arc<Spaces>>,
}

impl Node {
    fn start(&mut self, args: &[&str]) {
        let lines = self.spawn(args);
        self.wait_until_ready(lines);
    }

    fn spawn(&mut self, args: &[&str]) -> Lines<BufReader<ChildStdout>> {
        assert!(self.child.is_none(), "a node is started once at a time");
        let log =
            std::fs::File::options().create(true).append(true).open(self.dir.with_extension("log")).unwrap();
        let (mut command, host) = match &self.space {
            None => (Command::new(NOMAD), "127.0.0.1".to_owned()),
            Some((spaces, n)) => (spaces.command(*n, NOMAD), spaces.address(*n)),
        };
        let mut child = command
            .args(["serve", "--listen", &format!("{host}:0"), "--no-context", "--data"])
            .arg(&self.dir)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        self.child = Some(child);
        lines
    }

    fn wait_until_ready(&self, mut lines: Lines<BufReader<ChildStdout>>) {
        let ready = lines.by_ref().map_while(Result::ok).any(|line| line.starts_with("ready:"));
        assert!(ready, "{} did not become ready:\n{}", self.dir.display(), self.log());
        std::thread::spawn(move || lines.for_each(drop));
    }

    /// Ends the process as a power cut of the machine's processes would: no destructor runs.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM; returns the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        child.wait().unwrap().code()
    }

    /// The process stands still, or goes on.
    pub fn pause(&self, paused: bool) {
        let (signal, pid) = (if paused { "-STOP" } else { "-CONT" }, self.pid().to_string());
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Starts the process again on its directory.
    pub fn restart(&mut self) {
        self.start(&[]);
    }

    /// The running process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.with_extension("log")).unwrap_or_default()
    }

    fn file(&self) -> serde_json::Value {
        let text = std::fs::read_to_string(self.dir.join("node.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The number in `node.json`.
    pub fn id(&self) -> u64 {
        self.file()["node_id"].as_u64().unwrap()
    }

    /// The value of one series that the node tells at `/metrics`; it must be running.
    pub fn metric(&self, series: &str) -> f64 {
        let mut node = TcpStream::connect(self.file()["http"].as_str().unwrap()).unwrap();
        node.write_all(b"GET /metrics HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        node.read_to_string(&mut text).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(series));
        value.unwrap_or_else(|| panic!("{series} is not in\n{text}")).trim().parse().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Drop for Cluster {
    /// Whoever reads of a failure wants to know what the nodes said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

impl Cluster {
    /// A cluster of `count` nodes with these split keys; returns when it runs, not when it is whole.
    pub fn start(count: usize, split_at: &str) -> Cluster {
        let mut cluster = Cluster::new(count);
        cluster.start_all(split_at);
        cluster
    }

    /// Places for `count` nodes, of which none runs.
    pub fn new(count: usize) -> Cluster {
        let home = TempDir::new().unwrap();
        let node = |n: usize| Node { dir: home.path().join(format!("n{n}")), child: None, space: None };
        Cluster { nodes: (1..=count).map(node).collect(), home, spaces: None }
    }

    /// The same, each in a namespace of its own; there is one more, for commands.
    pub fn in_spaces(count: usize, spaces: Spaces) -> Cluster {
        let (mut cluster, spaces) = (Cluster::new(count), Arc::new(spaces));
        for (n, node) in cluster.nodes.iter_mut().enumerate() {
            node.space = Some((spaces.clone(), n));
        }
        cluster.spaces = Some(spaces);
        cluster
    }

    /// What can cut the nodes apart.
    pub fn spaces(&self) -> Option<&Spaces> {
        self.spaces.as_deref()
    }

    /// The executable, where it reaches the nodes, as the administrator.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = match &self.spaces {
            None => Command::new(NOMAD),
            Some(spaces) => spaces.command(self.nodes.len(), NOMAD),
        };
        command.args(args).arg("-c").arg(self.context()).env("XDG_CONFIG_HOME", self.home.path());
        command
    }

    /// Starts a new cluster's nodes.
    pub fn start_all(&mut self, split_at: &str) {
        self.start_all_set(split_at, &[]);
    }

    /// The same, with these settings before the second node joins.
    pub fn start_all_set(&mut self, split_at: &str, settings: &[(&str, &str)]) {
        let mut first = vec!["--bootstrap"];
        if !split_at.is_empty() {
            first.extend(["--split-at", split_at]);
        }
        self.nodes[0].start(&first);
        for (name, value) in settings {
            self.nomad(&["config", "set", name, value]);
        }
        if self.nodes.len() > 1 {
            let token = self.nomad(&["token", "new", "--uses", "100", "-o", "raw"]);
            let address = self.quic(0);
            for node in &mut self.nodes[1..] {
                node.start(&["--join", &address, "--token", token.trim()]);
            }
        }
    }

    /// As [`Cluster::start`], and whole.
    pub async fn whole(count: usize, split_at: &str) -> (Cluster, Client) {
        let cluster = Cluster::start(count, split_at);
        let client = cluster.client().await;
        cluster.wait_until_whole(&client, count).await;
        (cluster, client)
    }

    /// Starts all processes that do not run, together.
    pub fn restart_all(&mut self) {
        let stopped = self.nodes.iter_mut().filter(|node| !node.is_running());
        let starting: Vec<_> = stopped.map(|node| (node.spawn(&[]), node)).collect();
        for (lines, node) in starting {
            node.wait_until_ready(lines);
        }
    }

    /// The administrator's context file.
    pub fn context(&self) -> PathBuf {
        self.nodes[0].dir.join("admin.toml")
    }

    pub fn dir(&self) -> &Path {
        self.home.path()
    }

    fn quic(&self, n: usize) -> String {
        let text = std::fs::read_to_string(self.nodes[n].dir.join("node.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["quic"].as_str().unwrap().to_owned()
    }

    /// Runs a command against the cluster; its standard output. It must succeed.
    pub fn nomad(&self, args: &[&str]) -> String {
        let (code, out, err) = self.nomad_with(args, b"");
        assert_eq!(code, Some(0), "nomad {args:?}: {err}");
        String::from_utf8(out).unwrap()
    }

    /// Runs a command against the cluster with this input: exit code, output, errors.
    pub fn nomad_with(&self, args: &[&str], input: &[u8]) -> (Option<i32>, Vec<u8>, String) {
        use std::io::Write;
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read its input closes it: not our trouble.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        (output.status.code(), output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// A client of the library, with the administrator's identity.
    pub async fn client(&self) -> Client {
        let context = Context::read(&self.context()).expect("bootstrap writes a context");
        let client = session::connect_to(&context, Duration::from_secs(30)).await;
        client.expect("the cluster answers")
    }

    /// Waits until every shard has `voters` voters and no replica besides: nothing joins, nothing is on its way out.
    pub async fn wait_until_whole(&self, client: &Client, voters: usize) {
        self.wait_until_whole_without(client, voters, &[]).await;
    }

    /// As [`Cluster::wait_until_whole`], and none of these replicas is among them.
    pub async fn wait_until_whole_without(&self, client: &Client, voters: usize, gone: &[ReplicaId]) {
        let whole = async {
            loop {
                let map = client.refresh().await;
                let settled = map.is_ok_and(|map| {
                    let voters_only = map.shards().all(|shard| {
                        let mut replicas = shard.replicas.iter();
                        shard.replicas.len() == voters
                            && replicas.all(|one| one.voter && !gone.contains(&one.replica))
                    });
                    voters_only && map.shards().count() > 1
                });
                if settled {
                    return;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(WHOLE_LIMIT, whole).await.is_err() {
            panic!("the cluster is not whole after {WHOLE_LIMIT:?}");
        }
    }

    /// The replicas that the map places on a node.
    pub async fn replicas_on(&self, client: &Client, n: usize) -> Vec<ReplicaId> {
        let (map, node) = (client.refresh().await.expect("the cluster answers"), self.nodes[n].id());
        let placed = map.shards().flat_map(|route| &route.replicas).filter(|one| one.node.0 == node);
        placed.map(|one| one.replica).collect()
    }

    /// The digests of every shard on every node, once all replicas of a shard tell the same index.
    pub async fn equal_digests(&self, client: &Client, limit: Duration) {
        let equal = async {
            loop {
                if self.digests_agree(client).await {
                    return;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(limit, equal).await.is_err() {
            panic!("the replicas do not converge in {limit:?}");
        }
    }

    /// True if all replicas of every shard are at the same index; then their digests must be equal.
    async fn digests_agree(&self, client: &Client) -> bool {
        let Ok(map) = client.refresh().await else { return false };
        for shard in map.shards() {
            let mut told = Vec::new();
            for replica in &shard.replicas {
                match client.digest(replica.node, shard.shard).await {
                    Ok(digest) => told.push(digest),
                    Err(_) => return false,
                }
            }
            if told.windows(2).any(|pair| pair[0].applied_index != pair[1].applied_index) {
                return false;
            }
            for pair in told.windows(2) {
                assert_eq!(pair[0].digest, pair[1].digest, "replicas of {} differ at one index", shard.shard);
                assert_eq!(pair[0].keys, pair[1].keys);
            }
        }
        true
    }

    /// The node that leads a shard, as its number in `nodes`.
    pub async fn leader_of(&self, client: &Client, shard: u64) -> usize {
        loop {
            if client.refresh().await.is_ok()
                && let Some(leader) = client.leader(nodenomad::model::id::ShardId(shard))
                && let Some(n) = self.nodes.iter().position(|node| node.is_running() && node.id() == leader.0)
            {
                return n;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Returns once every node that runs has forgotten something of what is more than `bytes` of a shard's log.
    pub async fn forgotten(&self, shard: u64, bytes: u64, limit: Duration) {
        let series = format!("nodenomad_shard_log_bytes{{shard=\"{shard}\"}}");
        let forgotten = async {
            let running = || self.nodes.iter().filter(|node| node.is_running());
            while running().any(|node| node.metric(&series) >= bytes as f64) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(limit, forgotten).await.is_err() {
            panic!("a log of shard {shard} is still {bytes} bytes long after {limit:?}");
        }
    }

    pub fn logs(&self) -> String {
        let tail = |text: String| {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
        };
        self.nodes.iter().map(|node| format!("== {}\n{}\n", node.dir.display(), tail(node.log()))).collect()
    }
}
