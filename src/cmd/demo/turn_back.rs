//! Steps: a move is cancelled half-way; one is undone after its cut-over.
//!
//! Promises: afterwards the shard is where it was. Does not: hide a move that was faster than the tour; that is said.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::Client;
use crate::cmd::demo::stage::{self, shards};
use crate::cmd::demo::wander::COPIED_PER_S;
use crate::cmd::exit::Exit;
use crate::cmd::fail::Failure;
use crate::cmd::migrate::{self, Bars, MigrationView};
use crate::cmd::session;
use crate::cmd::ui::Ui;
use crate::model::id::{MigrationId, NodeId, ShardId};
use crate::net::wire::admin_request::Body;
use crate::net::wire::{MigrationBegin, MigrationOrderKind};

/// How long a move that was done here can be undone.
const UNDO_WINDOW: &str = "1m";
/// How long a move may take, and how long one may have to wait for the end of another.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks: what goes back goes back at once.
const LOOK_EVERY: Duration = Duration::from_millis(30);

/// A move that went back.
pub struct Back {
    pub shard: ShardId,
    pub from: NodeId,
    pub to: NodeId,
    /// How far it was when it was told to go back.
    pub bytes_done: u64,
    pub bytes_total: u64,
    /// From the order until all was as before.
    pub took: Duration,
    pub longest_pause: Duration,
}

/// Moves a shard and gives that up when half of it is copied.
pub async fn cancel(ui: &Ui, client: &Client) -> Result<Back, Failure> {
    stage::set(client, "migration_bytes_per_s", COPIED_PER_S).await?;
    // Else others would move to make up for it.
    stage::set(client, "rebalance", "0").await?;
    stage::set(client, "undo_window_ms", UNDO_WINDOW).await?;
    let id = begin(client).await?;
    // What is not told in time is behind it: it can be given up until it is cut over.
    let half = |view: &MigrationView| match view.stage.as_str() {
        "prepare" => false,
        "transfer" => view.bytes_done * 2 >= view.bytes_total,
        _ => true,
    };
    until(ui, client, id, half).await?;
    match turn(client, id, MigrationOrderKind::OrderCancel, "cancel").await {
        Err(failure) if failure.exit == Exit::Forbidden => {
            ui.note("  it was cut over before it heard of that; undoing it instead");
            turn(client, id, MigrationOrderKind::OrderUndo, "undo").await
        }
        back => back,
    }
}

/// Moves a shard and takes it back once it is served from there.
pub async fn undo(ui: &Ui, client: &Client) -> Result<Back, Failure> {
    stage::set(client, "migration_bytes_per_s", "0").await?;
    stage::set(client, "undo_window_ms", UNDO_WINDOW).await?;
    let id = begin(client).await?;
    let view = until(ui, client, id, |_| false).await?;
    let (shard, to) = (ShardId(view.shard), NodeId(view.target));
    ui.note(&format!("  {shard} is served from {to}; taking that back: nomad migrate undo {id}"));
    turn(client, id, MigrationOrderKind::OrderUndo, "undo").await
}

/// Begins to move the leader of a shard to a node that does not hold it.
async fn begin(client: &Client) -> Result<MigrationId, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (shard, from, to) = choice(client).await?;
        let begin =
            MigrationBegin { shard, from_node: from, to_node: to, force: true, ..MigrationBegin::default() };
        let what = || format!("cannot move s{shard} from n{from} to n{to}");
        match session::admin(client, Body::MigrationBegin(begin), what).await {
            Ok(begun) => return migrate::only(begun.migrations).map(|status| MigrationId(status.id)),
            // The one before is about to end.
            Err(failure) if failure.exit == Exit::Unreachable && Instant::now() < deadline => {}
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn choice(client: &Client) -> Result<(u64, u64, u64), Failure> {
    let members = client.newest_map().await.ok().map(|map| map.members().map(|(node, _)| node.0).collect());
    let members: Vec<u64> = members.unwrap_or_default();
    for shard in shards(client).await?.iter().filter(|shard| shard.id != 0) {
        let is_free = |node: &&u64| shard.replicas.iter().all(|replica| replica.node != **node);
        if let (Some(from), Some(to)) = (shard.leader, members.iter().find(is_free)) {
            return Ok((shard.id, from, *to));
        }
    }
    Err(Failure::new(Exit::Unreachable, "no shard can move: each is on every node"))
}

/// Returns once it is so, or the move has come to its end.
async fn until(
    ui: &Ui,
    client: &Client,
    id: MigrationId,
    so: impl Fn(&MigrationView) -> bool,
) -> Result<MigrationView, Failure> {
    let (deadline, mut bars) = (Instant::now() + PATIENCE, Bars::start(ui));
    loop {
        let view = MigrationView::new(&migrate::find(client, id).await?);
        if so(&view) || view.is_settled() || Instant::now() >= deadline {
            bars.iter().for_each(Bars::clear);
            return Ok(view);
        }
        if let Some(bars) = &mut bars {
            bars.draw(0, 1, std::slice::from_ref(&view));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Tells a move to go back, and waits until it has.
async fn turn(
    client: &Client,
    id: MigrationId,
    order: MigrationOrderKind,
    verb: &str,
) -> Result<Back, Failure> {
    let asked = Instant::now();
    let at = MigrationView::new(&migrate::order(client, id, order, verb).await?);
    loop {
        let view = MigrationView::new(&migrate::find(client, id).await?);
        if matches!(view.state.as_str(), "rolled_back" | "undone") {
            let pause = Duration::from_micros(view.write_pause_us.unwrap_or(0));
            return Ok(Back {
                shard: ShardId(view.shard),
                from: NodeId(view.source),
                to: NodeId(view.target),
                bytes_done: at.bytes_done,
                bytes_total: at.bytes_total,
                took: asked.elapsed(),
                longest_pause: pause,
            });
        }
        if asked.elapsed() > PATIENCE {
            let shown = ShardId(view.shard);
            return Err(Failure::new(Exit::Unknown, format!("{shown} has not gone back"))
                .because(view.reason.unwrap_or(view.state)));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
