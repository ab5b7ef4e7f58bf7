//! Step: kill the leader of a shard under continuous writes.
//!
//! Writers put one new key after another into one shard. Its leader is killed as a power cut would, and the longest
//! pause between two acknowledged writes from then on is the fail-over time.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::Client;
use crate::cmd::demo::ledger::{self, Ledger};
use crate::cmd::demo::stage::{Stage, shards};
use crate::cmd::demo::writers::Writers;
use crate::cmd::exit::Exit;
use crate::cmd::fail::Failure;
use crate::cmd::ui::Ui;

/// Writers at once.
const WRITERS: usize = 8;
/// The loaded key beside which they write: in the middle shard.
const BESIDE: u64 = 50_000;
/// How long they write before the kill, and after writes have resumed.
const BEFORE: Duration = Duration::from_millis(1_500);
const AFTER: Duration = Duration::from_millis(1_000);
/// How long writes may stand still before the tour gives up.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at the ledger.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the kill showed.
pub struct FailOver {
    pub shard: u64,
    pub killed: u64,
    pub pause: Duration,
}

/// Kills the leader of the middle shard; returns once writes have resumed.
pub async fn fail_over(
    ui: &Ui,
    stage: &mut Stage,
    client: &Client,
    ledger: &Ledger,
) -> Result<FailOver, Failure> {
    let writers = Writers::start(stage, ledger, &[BESIDE; WRITERS]).await?;
    let killed = kill_leader(ui, stage, client, ledger).await;
    writers.stop().await;
    killed
}

async fn kill_leader(
    ui: &Ui,
    stage: &mut Stage,
    client: &Client,
    ledger: &Ledger,
) -> Result<FailOver, Failure> {
    tokio::time::sleep(BEFORE).await;
    let middle = ledger::key(BESIDE);
    let inside = |start: Option<&str>, end: Option<&str>| {
        start.is_some_and(|start| start <= middle.as_str()) && end.is_none_or(|end| middle.as_str() < end)
    };
    let shards = shards(client).await?;
    let shard =
        shards.iter().find(|shard| shard.id != 0 && inside(shard.start.as_deref(), shard.end.as_deref()));
    let found = shard.and_then(|shard| Some((shard.id, shard.leader?)));
    let (shard, leader) =
        found.ok_or_else(|| Failure::new(Exit::Unreachable, "the shard to be failed over has no leader"))?;
    let moment = Instant::now();
    stage.node(leader)?.kill().await;
    ui.note(&format!("  killed n{leader}, which led s{shard}, after {} writes", ledger.count()));
    while !ledger.resumed_after(moment, AFTER) {
        if moment.elapsed() > PATIENCE {
            return Err(Failure::new(Exit::Unreachable, "writes did not resume after the leader was killed")
                .because(format!("none was acknowledged for {}", humantime::format_duration(PATIENCE))));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    // A first acknowledgement long after the kill is the end of the pause; let some more come.
    tokio::time::sleep(AFTER).await;
    Ok(FailOver { shard, killed: leader, pause: ledger.longest_gap_after(moment) })
}
