//! `nomad node`: the members of the cluster.

use clap::Subcommand;

use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure};
use crate::cmd::global::Global;
use crate::cmd::view::{Cluster, NodeView};
use crate::cmd::{session, spell, table};
use crate::model::id::NodeId;

/// Show the nodes of the cluster
#[derive(Debug, Subcommand)]
pub enum Node {
    /// List all nodes
    Ls,
    /// Show one node
    Show {
        /// Its number, as `node ls` shows it
        id: NodeId,
    },
}

impl Node {
    pub async fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        let client = session::connect(global).await?;
        let (status, map) = (session::status(&client).await?, session::map(&client).await?);
        let nodes = Cluster::new(&map, &status).nodes();
        match self {
            Node::Ls => {
                let header = ["ID", "ADDR", "ZONE", "STATE", ">LEADERS", ">REPLICAS", ">SIZE", "VERSION"];
                ui.list(&nodes, &header, row, |node| node.id.to_string())?;
            }
            Node::Show { id } => {
                let node = nodes.iter().find(|node| node.id == id.0).ok_or_else(|| {
                    Failure::new(Exit::No, format!("there is no node {id}")).cure("nomad node ls")
                })?;
                ui.show(node, || page(node), || node.id.to_string())?;
            }
        }
        Ok(Exit::Done)
    }
}

fn row(node: &NodeView) -> Vec<String> {
    vec![
        NodeId(node.id).to_string(),
        node.addr.clone(),
        zone(node),
        node.state.clone(),
        node.leaders.to_string(),
        node.replicas.to_string(),
        spell::size(node.bytes),
        node.version.clone(),
    ]
}

fn page(node: &NodeView) -> String {
    table::pairs(&[
        ("node", NodeId(node.id).to_string()),
        ("addr", node.addr.clone()),
        ("http", node.http.clone()),
        ("zone", zone(node)),
        ("weight", node.weight.to_string()),
        ("state", node.state.clone()),
        ("heard of", node.silent_ms.map_or("never".to_owned(), |ms| format!("{} ago", spell::span(ms)))),
        ("up for", spell::span(node.uptime_ms)),
        ("version", node.version.clone()),
        ("leaders", node.leaders.to_string()),
        ("replicas", node.replicas.to_string()),
        ("size", spell::size(node.bytes)),
        ("log", spell::size(node.wal_bytes)),
        ("memtable", spell::size(node.memtable_bytes)),
    ])
}

fn zone(node: &NodeView) -> String {
    if node.zone.is_empty() { "-".to_owned() } else { node.zone.clone() }
}
