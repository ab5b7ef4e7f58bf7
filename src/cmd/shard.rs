//! `nomad shard`: the ranges of keys and who holds them.

use clap::Subcommand;

use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure};
use crate::cmd::global::Global;
use crate::cmd::view::{Cluster, ShardView};
use crate::cmd::{session, spell, table};
use crate::model::id::{NodeId, ShardId};

/// Show shards and their replicas
#[derive(Debug, Subcommand)]
pub enum Shard {
    /// List all shards, the meta shard first
    Ls,
    /// Show one shard and how far each replica is
    Show {
        /// Its number, as `shard ls` shows it
        id: ShardId,
    },
}

impl Shard {
    pub async fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        let client = session::connect(global).await?;
        let (status, map) = (session::status(&client).await?, session::map(&client).await?);
        let shards = Cluster::new(&map, &status).shards();
        match self {
            Shard::Ls => {
                let header = [">ID", "START", "END", ">EPOCH", "LEADER", "REPLICAS", ">KEYS", ">SIZE"];
                ui.list(&shards, &header, row, |shard| shard.id.to_string())?;
            }
            Shard::Show { id } => {
                let shard = shards.iter().find(|shard| shard.id == id.0).ok_or_else(|| {
                    Failure::new(Exit::No, format!("there is no shard {id}")).cure("nomad shard ls")
                })?;
                ui.show(shard, || page(shard, ui.columns()), || shard.id.to_string())?;
            }
        }
        Ok(Exit::Done)
    }
}

fn row(shard: &ShardView) -> Vec<String> {
    // A learner in brackets, what is not sound with a sign.
    let replica = |replica: &crate::cmd::view::ReplicaView| {
        let sign = if matches!(replica.state.as_str(), "failed" | "damaged" | "missing" | "silent") {
            "!"
        } else {
            ""
        };
        let node = NodeId(replica.node);
        if replica.role == "learner" { format!("({node}{sign})") } else { format!("{node}{sign}") }
    };
    vec![
        shard.id.to_string(),
        shard.start_shown(),
        shard.end_shown(),
        shard.epoch.to_string(),
        leader(shard),
        shard.replicas.iter().map(replica).collect::<Vec<_>>().join(" "),
        spell::count(shard.keys),
        spell::size(shard.bytes),
    ]
}

fn page(shard: &ShardView, columns: Option<u16>) -> String {
    let about = table::pairs(&[
        ("shard", shard.id.to_string()),
        ("start", shard.start_shown()),
        ("end", shard.end_shown()),
        ("epoch", shard.epoch.to_string()),
        ("leader", leader(shard)),
        ("keys", spell::count(shard.keys)),
        ("size", spell::size(shard.bytes)),
    ]);
    let header = ["NODE", ">REPLICA", "ROLE", "STATE", ">TERM", ">APPLIED", ">LAST", ">FLUSHED"];
    let rows = shard.replicas.iter().map(|replica| {
        vec![
            NodeId(replica.node).to_string(),
            replica.replica.to_string(),
            replica.role.to_owned(),
            replica.state.clone(),
            replica.term.to_string(),
            replica.applied_index.to_string(),
            replica.last_index.to_string(),
            replica.flushed_index.to_string(),
        ]
    });
    format!("{about}\n{}", table::render(columns, &header, rows.collect()))
}

fn leader(shard: &ShardView) -> String {
    shard.leader.map_or("none".to_owned(), |node| NodeId(node).to_string())
}
