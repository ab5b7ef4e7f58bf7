//! Steps: a fourth node joins and shards wander to it; it is drained, and goes.
//!
//! Promises: returns once nothing moves any more. Does not: say which shards move (the cluster does).

use std::time::Duration;

use tokio::time::Instant;

use crate::client::Client;
use crate::cmd::demo::stage::{self, Stage};
use crate::cmd::exit::Exit;
use crate::cmd::fail::Failure;
use crate::cmd::migrate::plan;
use crate::cmd::migrate::{self, Bars, MigrationView};
use crate::cmd::node::{self, drain};
use crate::cmd::ui::Ui;
use crate::model::id::{NodeId, ShardId};
use crate::net::wire::{NodeOrderKind, plan_get};

/// How fast a node copies here: slowly enough to be watched.
pub const COPIED_PER_S: &str = "5MiB";
/// How long what has wandered can be undone: what comes next is to find everything where it stays.
const UNDO_WINDOW: &str = "1s";
/// How long shards may wander.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What wandered.
pub struct Wandered {
    pub node: NodeId,
    pub moves: usize,
    pub bytes: u64,
    /// The longest that a write has waited because of a cut-over.
    pub longest_pause: Duration,
}

/// A node joins; returns once it has its share and what moved has left nothing behind.
pub async fn join(ui: &Ui, stage: &mut Stage, client: &Client) -> Result<Wandered, Failure> {
    stage::set(client, "migration_bytes_per_s", COPIED_PER_S).await?;
    stage::set(client, "undo_window_ms", UNDO_WINDOW).await?;
    let node = NodeId(stage.grow(client).await?);
    ui.note(&format!("  {node} has joined; shards go there by themselves"));
    let mut bars = Bars::start(ui);
    let moved = wait_for_share(client, node, &mut bars).await;
    bars.iter().for_each(Bars::clear);
    let moved = moved?;
    for one in &moved {
        let (shard, from) = (ShardId(one.shard), NodeId(one.source));
        ui.note(&format!("  {shard} went from {from} to {node}"));
    }
    Ok(Wandered {
        node,
        moves: moved.len(),
        bytes: moved.iter().map(|one| one.bytes_total).sum(),
        longest_pause: Duration::from_micros(
            moved.iter().filter_map(|one| one.write_pause_us).max().unwrap_or(0),
        ),
    })
}

async fn wait_for_share(
    client: &Client,
    node: NodeId,
    bars: &mut Option<Bars>,
) -> Result<Vec<MigrationView>, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // In this order: what begins in between is then counted twice, and not missed.
        let join = plan_get::What::JoinNode(node.0);
        let planned = plan::ask(client, join, || format!("cannot tell what {node} gets")).await?;
        let moves = migrate::list(client).await?;
        let moves = moves.iter().map(MigrationView::new).filter(|one| one.target == node.0);
        let (done, going): (Vec<_>, Vec<_>) = moves.partition(|one| one.state == "done");
        if let Some(bars) = bars {
            let moving: Vec<_> = going.iter().filter(|one| !one.is_settled()).cloned().collect();
            let total = done.len() + moving.len() + planned.changes.len();
            bars.draw(done.len() as u64, total as u64, &moving);
        }
        let over = done.iter().chain(&going).all(MigrationView::is_over);
        if over && planned.changes.is_empty() && !done.is_empty() {
            return Ok(done);
        }
        if Instant::now() >= deadline {
            return Err(Failure::new(Exit::Unreachable, format!("{node} did not get its share in time"))
                .because(format!("{} moved, {} still move or wait", done.len(), going.len())));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A node is emptied, removed and stopped.
pub async fn drain(ui: &Ui, stage: &mut Stage, client: &Client, node: NodeId) -> Result<(), Failure> {
    node::order(client, node, NodeOrderKind::NodeDrain, (false, false), "drain").await?;
    drain::watch(ui, client, node).await?;
    node::order(client, node, NodeOrderKind::NodeRemove, (false, false), "remove").await?;
    stage.node(node.0)?.stop().await;
    Ok(())
}
