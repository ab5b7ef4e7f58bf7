//! Step: kill the leader of a shard under continuous writes.
//!
//! Writers put one new key after another into one shard. Its leader is killed as a power cut would, and the longest
//! pause between two acknowledged writes from then on is the fail-over time.
//!
//! Promises: every write is recorded as acknowledged, failed or unknown, before the next of its writer. Does not: retry
//! (the client library does, inside a call).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::client::{Client, PutOptions};
use crate::cmd::demo::ledger::{self, Ledger};
use crate::cmd::demo::stage::{Stage, shards};
use crate::cmd::exit::Exit;
use crate::cmd::fail::Failure;
use crate::cmd::ui::Ui;
use crate::net::exec::Exec;

/// Writers at once.
const WRITERS: u64 = 8;
/// The loaded key beside which they write: in the middle shard.
const BESIDE: u64 = 50_000;
/// How long they write before the kill, and after writes have resumed.
const BEFORE: Duration = Duration::from_millis(1_500);
const AFTER: Duration = Duration::from_millis(1_000);
/// How long writes may stand still before the tour gives up.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at the ledger.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Pause of a writer after a failure, so that a dead cluster is not hammered.
const AFTER_FAILURE: Duration = Duration::from_millis(20);

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
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let (client, ledger, stop) = (stage.connect().await?, ledger.clone(), stop.clone());
        writers.push(Exec::Threads.spawn(write_on(client, ledger, stop, writer)));
    }
    let killed = kill_leader(ui, stage, client, ledger).await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        // A writer ends within the time-out of its last call.
        let _ = writer.await;
    }
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

/// Writes one key after the other until told to stop.
async fn write_on(client: Client, ledger: Ledger, stop: Arc<AtomicBool>, writer: u64) {
    for nth in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let key = ledger::live_key(BESIDE, writer, nth);
        let written = client.put_with(key.as_bytes(), ledger::value(&key), &PutOptions::default()).await;
        match written {
            Ok(_) => {
                if !ledger.acknowledge(key) {
                    return;
                }
            }
            Err(error) => {
                match Exit::from_code(i64::from(error.exit_code())).promises_no_change() {
                    true => ledger.fail(),
                    false => ledger.unknown(key),
                }
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}
