//! `nomad node`: the members of the cluster, and how one goes.

pub mod drain;

use clap::Subcommand;

use crate::client::Client;
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure};
use crate::cmd::global::Global;
use crate::cmd::migrate::plan;
use crate::cmd::view::{Cluster, NodeView};
use crate::cmd::{log, session, spell, table};
use crate::model::id::NodeId;
use crate::net::wire::admin_request::Body;
use crate::net::wire::{NodeOrder, NodeOrderKind, plan_get};

/// Show the nodes of the cluster, and have one go
#[derive(Debug, Subcommand)]
pub enum Node {
    /// List all nodes
    Ls,
    /// Show one node
    Show {
        /// Its number, as `node ls` shows it
        id: NodeId,
    },
    /// Move all shards of a node elsewhere, live
    ///
    /// It stays a member until it is removed, and gets no shards meanwhile. The moves are migrations: nomad migrate ls
    Drain {
        /// Its number, as `node ls` shows it
        id: NodeId,
        /// Watch it until nothing is left on the node
        #[arg(long)]
        wait: bool,
        /// Also where too few nodes are left for as many copies as are set
        #[arg(long)]
        force: bool,
        /// Show what would move, and move nothing
        #[arg(long, conflicts_with = "wait")]
        dry_run: bool,
    },
    /// Let a node that is drained stay after all
    ///
    /// What was moved away stays where it is until nodes are evened out.
    Undrain {
        /// Its number, as `node ls` shows it
        id: NodeId,
    },
    /// Take a node out of the cluster for good
    ///
    /// Its number is never used again. Drain it first, unless it is dead: what it holds is then made anew from the others.
    Remove {
        /// Its number, as `node ls` shows it
        id: NodeId,
        /// Also while it holds shards
        #[arg(long)]
        force: bool,
        /// Only look whether it could be removed
        #[arg(long)]
        dry_run: bool,
    },
}

impl Node {
    pub async fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        log::start_for_command(&ui, global.verbose)?;
        let client = session::connect(global).await?;
        match self {
            Node::Ls => {
                let header = ["ID", "ADDR", "ZONE", "STATE", ">LEADERS", ">REPLICAS", ">SIZE", "VERSION"];
                ui.list(&nodes(&client).await?, &header, row, |node| node.id.to_string())?;
                Ok(Exit::Done)
            }
            Node::Show { id } => {
                let nodes = nodes(&client).await?;
                let node = nodes.iter().find(|node| node.id == id.0).ok_or_else(|| {
                    Failure::new(Exit::No, format!("there is no node {id}")).cure("nomad node ls")
                })?;
                ui.show(node, || page(node), || node.id.to_string())?;
                Ok(Exit::Done)
            }
            Node::Drain { id, wait, force, dry_run } => {
                drain(&client, global, id, (wait, force, dry_run)).await
            }
            Node::Undrain { id } => {
                order(&client, id, NodeOrderKind::NodeUndrain, (false, false), "undrain").await?;
                ui.note(&format!("{id} stays"));
                Ok(Exit::Done)
            }
            Node::Remove { id, force, dry_run } => remove(&client, global, id, (force, dry_run)).await,
        }
    }
}

/// All members, as they are shown.
async fn nodes(client: &Client) -> Result<Vec<NodeView>, Failure> {
    let (status, map) = (session::status(client).await?, session::map(client).await?);
    Ok(Cluster::new(&map, &status).nodes())
}

async fn drain(
    client: &Client,
    global: &Global,
    node: NodeId,
    (wait, force, dry_run): (bool, bool, bool),
) -> Answer {
    let ui = global.ui();
    let what = plan_get::What::DrainNode(node.0);
    let plan = plan::ask(client, what, || format!("cannot drain {node}")).await;
    let plan = plan.map_err(|failure| failure.cure("nomad node ls"))?;
    if dry_run {
        plan.show(&ui)?;
        order(client, node, NodeOrderKind::NodeDrain, (force, true), "drain").await?;
        return Ok(Exit::Done);
    }
    if force && !ui.confirm(&format!("Drain {node}, even if that leaves fewer copies of its shards?"))? {
        return Ok(Exit::No);
    }
    order(client, node, NodeOrderKind::NodeDrain, (force, false), "drain").await?;
    if !wait {
        ui.note(&format!("{node} is drained: {}", plan.sum()));
        ui.note(&format!("watch it: nomad node drain {node} --wait; stop it: nomad node undrain {node}"));
        return Ok(Exit::Done);
    }
    let exit = drain::watch(&ui, client, node).await?;
    if exit == Exit::Done {
        ui.note(&format!("{node} holds no shards any more; take it out: nomad node remove {node}"));
    }
    Ok(exit)
}

async fn remove(client: &Client, global: &Global, node: NodeId, (force, dry_run): (bool, bool)) -> Answer {
    let ui = global.ui();
    order(client, node, NodeOrderKind::NodeRemove, (force, true), "remove").await?;
    if dry_run {
        ui.note(&format!("{node} could be removed"));
        return Ok(Exit::Done);
    }
    if !ui.confirm(&format!("Remove {node} from the cluster for good?"))? {
        return Ok(Exit::No);
    }
    order(client, node, NodeOrderKind::NodeRemove, (force, false), "remove").await?;
    ui.note(&format!("{node} is no member any more; its data directory can be deleted once it has stopped"));
    Ok(Exit::Done)
}

/// Gives an order about a node, or only asks whether it could be given: (`force`, `dry_run`).
pub async fn order(
    client: &Client,
    node: NodeId,
    kind: NodeOrderKind,
    (force, dry_run): (bool, bool),
    verb: &str,
) -> Result<(), Failure> {
    let body = Body::NodeOrder(NodeOrder { node: node.0, order: kind.into(), force, dry_run });
    let answer = session::admin(client, body, || format!("cannot {verb} {node}")).await;
    answer.map(|_| ()).map_err(|failure| failure.cure(cure(node, kind)))
}

/// What helps against a refusal.
fn cure(node: NodeId, kind: NodeOrderKind) -> String {
    match kind {
        NodeOrderKind::NodeDrain => {
            format!("add a node (nomad token new), or nomad node drain {node} --force")
        }
        NodeOrderKind::NodeRemove => format!("nomad node drain {node} --wait; nomad status"),
        NodeOrderKind::NodeUndrain | NodeOrderKind::NodeUnspecified => "nomad node ls".to_owned(),
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
        ("disk", format!("{} free, {} kept", spell::size(node.free_bytes), spell::size(node.reserve_bytes))),
    ])
}

fn zone(node: &NodeView) -> String {
    if node.zone.is_empty() { "-".to_owned() } else { node.zone.clone() }
}
