//! `nomad shard`: the ranges of keys and who holds them.

use std::ffi::OsString;
use std::time::Duration;

use clap::Subcommand;
use serde::Serialize;

use crate::client::Client;
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure};
use crate::cmd::global::Global;
use crate::cmd::ui::Ui;
use crate::cmd::view::{Cluster, ShardView};
use crate::cmd::{session, spell, table};
use crate::model::id::{NodeId, ShardId};
use crate::model::system::SystemKey;
use crate::net::wire::admin_request::Body;
use crate::net::wire::{LeadSet, MetaGet, Row as MetaRow};

mod merge;
mod split;

/// How often somebody who waits looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// After so long somebody who waits is told where to look.
const LONG: Duration = Duration::from_secs(15);
/// Nodes say once a second what they lead; by then `shard ls` shows a new leader.
const LISTED_WITHIN: Duration = Duration::from_secs(5);

/// Show shards and their replicas, let others lead, split and merge them
#[derive(Debug, Subcommand)]
pub enum Shard {
    /// List all shards, the meta shard first
    Ls,
    /// Show one shard and how far each replica is
    Show {
        /// Its number, as `shard ls` shows it
        id: ShardId,
    },
    /// Let another replica lead, which serves its writes and newest reads
    ///
    /// Nothing is copied; writes wait some milliseconds. By itself the cluster moves leaders only by load, see
    /// `nomad config ls`, `balance_leaders`.
    Lead {
        /// Its number, as `shard ls` shows it
        id: ShardId,
        /// From which node, as `node ls` shows it
        #[arg(long, value_name = "NODE")]
        to: NodeId,
    },
    /// Split a shard in two: the upper part of its keys becomes a shard of its own
    ///
    /// The new one is where the old one is, and nothing is sent anywhere: each node first makes a copy of the file, in seconds or
    /// more. Then keys of the upper part wait for the new shard, for a moment where all nodes are up; no client notices more.
    /// Ctrl-C stops watching, not splitting.
    Split {
        /// Its number, as `shard ls` shows it
        id: ShardId,
        /// The new shard's first key [default: the one with as many bytes before it as behind it]
        #[arg(long, value_name = "KEY")]
        at: Option<OsString>,
    },
    /// Merge a shard with the one whose keys follow: it takes them over
    ///
    /// What the other one holds goes through this one's log, so it may hold 16 MiB at most, history included. Requests for its
    /// keys wait meanwhile, for a moment where all nodes are up. Where the two have replicas does not matter.
    /// Ctrl-C stops watching, not merging.
    Merge {
        /// The left one's number, as `shard ls` shows it
        id: ShardId,
    },
}

/// Who led before and who leads now.
#[derive(Serialize)]
struct LeadView {
    shard: u64,
    before: u64,
    leader: u64,
    /// The longest that a write waited for it.
    write_pause_us: u64,
}

impl Shard {
    pub async fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        let client = session::connect(global).await?;
        match self {
            Shard::Lead { id, to } => return lead(&ui, &client, id, to).await,
            Shard::Split { id, at } => return split::split(&ui, &client, id, at).await,
            Shard::Merge { id } => return merge::merge(&ui, &client, id).await,
            Shard::Ls | Shard::Show { .. } => {}
        }
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
            Shard::Lead { .. } | Shard::Split { .. } | Shard::Merge { .. } => {
                unreachable!("it was done above")
            }
        }
        Ok(Exit::Done)
    }
}

/// What is being done for a shard, if anything is.
async fn job(client: &Client, shard: ShardId) -> Result<Option<MetaRow>, Failure> {
    let key = SystemKey::Job(shard).key();
    let body = Body::MetaGet(MetaGet { start: key.to_name(), ..MetaGet::default() });
    let answer = session::admin(client, body, || format!("cannot see what is done for {shard}")).await?;
    Ok(answer.rows.into_iter().find(|row| row.key == key.to_bytes()))
}

async fn lead(ui: &Ui, client: &Client, shard: ShardId, to: NodeId) -> Answer {
    let body = Body::LeadSet(LeadSet { shard: shard.0, node: to.0 });
    let answer = session::admin(client, body, || format!("cannot let {shard} be led from {to}")).await;
    let answer =
        answer.map_err(|failure| failure.cure(format!("nomad shard show {shard}; nomad node ls")))?;
    let reply = answer.lead.unwrap_or_default();
    let (before, write_pause_us) = (reply.before, reply.write_pause_us);
    // Whoever looks next is to see it. It is done in any case.
    let _ = tokio::time::timeout(LISTED_WITHIN, until_listed(client, shard, to)).await;
    let view = LeadView { shard: shard.0, before, leader: to.0, write_pause_us };
    let text = || match before == to.0 {
        true => format!("{shard} is led from {to} already"),
        false => {
            let waited = spell::span(write_pause_us.div_ceil(1000));
            format!(
                "{shard} is led from {to} now, before from {}; writes waited at most {waited}",
                NodeId(before)
            )
        }
    };
    ui.show(&view, text, || to.to_string())?;
    Ok(Exit::Done)
}

/// Returns once listings show a shard's leader there.
async fn until_listed(client: &Client, shard: ShardId, leader: NodeId) {
    let is_listed = async || -> Result<bool, Failure> {
        let (status, map) = (session::status(client).await?, session::map(client).await?);
        let shards = Cluster::new(&map, &status).shards();
        Ok(shards.iter().any(|known| known.id == shard.0 && known.leader == Some(leader.0)))
    };
    while is_listed().await.is_ok_and(|is_listed| !is_listed) {
        tokio::time::sleep(LOOK_EVERY).await;
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
