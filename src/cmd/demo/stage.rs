//! The stage of the tour: three nodes and later a fourth, a client, a temporary directory.
//!
//! Promises: whatever happens, the processes and the directory are gone once the stage is dropped. Does not: restart
//! anything by itself.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::client::Client;
use crate::cmd::context_file::Context;
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Failure, OrFail};
use crate::cmd::fleet::LocalNode;
use crate::cmd::session;
use crate::cmd::view::{Cluster, ShardView};
use crate::net::wire::admin_request::Body;
use crate::net::wire::{ConfigSet, TokenNew};

/// How many nodes play from the beginning, and copies of each shard there are.
pub const NODES: u64 = 3;
/// Where the user keys are split, so that there are three shards.
pub const SPLIT_AT: &str = "/demo/033334,/demo/066667";
/// How long the cluster may take to have three replicas of every shard.
const SPREAD_TIMEOUT: Duration = Duration::from_secs(45);
/// How long an operation of the tour may take: longer than any fail-over.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two looks at the cluster.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the token for the other nodes lives, in milliseconds.
const TOKEN_TTL_MS: u64 = 5 * 60_000;

/// The nodes and where they are.
pub struct Stage {
    // Dropped first: the directory can only go when nobody writes there any more.
    nodes: Vec<LocalNode>,
    context: Context,
    folder: Folder,
}

/// A temporary directory that goes with its owner.
struct Folder(PathBuf);

impl Stage {
    /// An empty stage.
    pub fn build() -> Result<Stage, Failure> {
        let path = std::env::temp_dir().join(format!("nodenomad-demo-{}", std::process::id()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.or_fail(|| format!("cannot make {}", path.display()))?;
        let nodes = (1..=NODES).map(|number| LocalNode::new(&path, number)).collect();
        Ok(Stage { nodes, context: Context::default(), folder: Folder(path) })
    }

    pub fn path(&self) -> &Path {
        &self.folder.0
    }

    /// Starts the first node and lets the others join. Calls `told` after each.
    pub async fn start(&mut self, told: impl Fn(&str)) -> Result<Client, Failure> {
        self.nodes[0].spawn(&["--bootstrap", "--split-at", SPLIT_AT], None)?;
        let first = self.nodes[0].ready().await?;
        told(&format!("n1 made the cluster {} at {}", first.cluster_id, first.quic));
        self.context = Context::read(&self.nodes[0].data_dir().join("admin.toml"))?;
        let client = session::connect_to(&self.context, OPERATION_TIMEOUT).await?;
        let token = token(&client, (NODES - 1) as u32).await?;
        let mut endpoints = vec![first.quic.clone()];
        for node in &mut self.nodes[1..] {
            node.spawn(&["--join", &first.quic], Some(&token))?;
        }
        for node in &mut self.nodes[1..] {
            let file = node.ready().await?;
            told(&format!("{} joined at {}", node.name(), file.quic));
            endpoints.push(file.quic);
        }
        self.context.endpoints = endpoints;
        session::connect_to(&self.context, OPERATION_TIMEOUT).await
    }

    /// One more node joins; its id.
    pub async fn grow(&mut self, client: &Client) -> Result<u64, Failure> {
        let token = token(client, 1).await?;
        let mut node = LocalNode::new(self.path(), self.nodes.len() as u64 + 1);
        node.spawn(&["--join", &self.context.endpoints[0]], Some(&token))?;
        self.nodes.push(node);
        let node = self.nodes.last_mut().expect("it was pushed");
        let file = node.ready().await?;
        self.context.endpoints.push(file.quic);
        Ok(file.node_id)
    }

    /// Waits until every shard has a leader and a sound voter on each node. Returns the shards.
    pub async fn spread(&self, client: &Client) -> Result<Vec<ShardView>, Failure> {
        let deadline = Instant::now() + SPREAD_TIMEOUT;
        loop {
            // Right after a restart some requests fail; the deadline decides.
            if let Ok(shards) = shards(client).await {
                let sound = |shard: &ShardView| shard.leader.is_some() && shard.sound_voters() == NODES;
                if !shards.is_empty() && shards.iter().all(sound) {
                    return Ok(shards);
                }
            }
            if Instant::now() >= deadline {
                return Err(Failure::new(Exit::Unreachable, "the shards did not spread over the nodes")
                    .because(format!("not every shard had a leader and {NODES} replicas in time"))
                    .cure("the same again, on a machine with less to do"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A new client, as another program would have it.
    pub async fn connect(&self) -> Result<Client, Failure> {
        session::connect_to(&self.context, OPERATION_TIMEOUT).await
    }

    /// The node with this id. Ids are given in the order of joining, which may not be that of starting.
    pub fn node(&mut self, id: u64) -> Result<&mut LocalNode, Failure> {
        let of = |node: &LocalNode| {
            crate::cmd::node_file::NodeFile::read(node.data_dir()).map(|file| file.node_id)
        };
        self.nodes
            .iter_mut()
            .find(|node| of(node) == Some(id))
            .ok_or_else(|| Failure::new(Exit::Bug, format!("no process of ours is the node n{id}")))
    }

    /// Stops all nodes in order.
    pub async fn close(&mut self) {
        futures_util::future::join_all(self.nodes.iter_mut().map(LocalNode::stop)).await;
    }

    /// Ends all nodes at once; then nobody writes to the directory any more.
    pub async fn clear(&mut self) {
        futures_util::future::join_all(self.nodes.iter_mut().map(LocalNode::kill)).await;
    }

    /// The end of every node's log, for a failure.
    pub fn logs(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for node in &self.nodes {
            lines.extend(node.last_lines().into_iter().map(|line| format!("{}: {line}", node.name())));
        }
        lines
    }
}

/// Sets one of the cluster's settings.
pub async fn set(client: &Client, name: &str, value: &str) -> Result<(), Failure> {
    let set = ConfigSet { name: name.to_owned(), value: value.to_owned(), reset: false };
    session::admin(client, Body::ConfigSet(set), || format!("cannot set {name}")).await.map(drop)
}

/// A token for so many nodes.
async fn token(client: &Client, uses: u32) -> Result<String, Failure> {
    let body = Body::TokenNew(TokenNew { ttl_ms: TOKEN_TTL_MS, uses });
    Ok(session::admin(client, body, || "cannot make a token".to_owned()).await?.token)
}

/// All shards as they are now.
pub async fn shards(client: &Client) -> Result<Vec<ShardView>, Failure> {
    let (status, map) = (session::status(client).await?, session::map(client).await?);
    Ok(Cluster::new(&map, &status).shards())
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Killed children may still be closing files; what is left is in the system's temporary place.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
