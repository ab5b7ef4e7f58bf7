//! Step: is every acknowledged write on every replica?
//!
//! Two halves that together answer it: the content digests of all replicas of a shard are equal, so all hold the same;
//! and reading all keys finds every acknowledged one with its value, so that this same is what it should be.
//!
//! Promises: a key nobody wrote is as wrong as one that is missing. Does not: repair.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;

use crate::client::{Client, RangeQuery, ReadOptions};
use crate::cmd::demo::ledger::{self, KEYS, Ledger};
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Failure, OrFail};
use crate::cmd::progress::{Progress, Unit};
use crate::cmd::ui::Ui;
use crate::cmd::view::ShardView;
use crate::model::id::{NodeId, ShardId};
use crate::model::key::KeyRange;

/// How long replicas may take to be equal.
const EQUAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two rounds of digests.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What verifying showed.
pub struct Verified {
    /// Replicas whose digests were compared.
    pub replicas: u64,
    pub keys: u64,
    /// Writes of unknown outcome that are there.
    pub unknown_found: u64,
}

/// Compares all replicas, then reads all keys.
pub async fn verify(
    ui: &Ui,
    client: &Client,
    shards: &[ShardView],
    ledger: &Ledger,
) -> Result<Verified, Failure> {
    let mut replicas = 0;
    // The meta shard changes by itself; the user's shards are still now.
    for shard in shards.iter().filter(|shard| shard.id != 0) {
        equal(client, shard).await?;
        replicas += shard.replicas.len() as u64;
    }
    let acknowledged = ledger.acknowledged();
    let expected = KEYS + acknowledged.len() as u64;
    let mut progress = Progress::start(ui, "verifying", Unit::Keys, Some(expected));
    let found = read_all(client, ledger, |keys| progress.at(keys)).await?;
    progress.finish();
    let missing = acknowledged.difference(&found.live).count() as u64 + (KEYS - found.loaded);
    if missing > 0 {
        let first =
            acknowledged.difference(&found.live).next().cloned().unwrap_or_else(|| "a loaded key".to_owned());
        return Err(Failure::new(Exit::Damaged, format!("{missing} acknowledged writes are missing"))
            .because(format!("the first is {first}")));
    }
    let unknown_found = found.live.len() as u64 - acknowledged.len() as u64;
    Ok(Verified { replicas, keys: found.loaded + acknowledged.len() as u64, unknown_found })
}

/// Waits until all replicas of a shard have the same content.
async fn equal(client: &Client, shard: &ShardView) -> Result<(), Failure> {
    let deadline = Instant::now() + EQUAL_TIMEOUT;
    loop {
        let ask = shard.replicas.iter().map(|replica| client.digest(NodeId(replica.node), ShardId(shard.id)));
        let answers = futures_util::future::join_all(ask).await;
        let answered: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
        let all = answered.len() == shard.replicas.len();
        if all && answered.windows(2).all(|pair| pair[0].digest == pair[1].digest) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let what = format!("the replicas of s{} are not equal", shard.id);
            let failure = Failure::new(Exit::Damaged, what);
            return Err(match answers.into_iter().find_map(Result::err) {
                Some(error) => failure.caused_by(&error),
                None => failure.because("their digests differ"),
            });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

struct Found {
    loaded: u64,
    live: BTreeSet<String>,
}

async fn read_all(client: &Client, ledger: &Ledger, mut report: impl FnMut(u64)) -> Result<Found, Failure> {
    let (range, options) =
        (KeyRange::with_prefix(b"/demo/").expect("a short prefix"), ReadOptions::default());
    let mut rows = client.range(RangeQuery { range, limit: None, reverse: false, options });
    let mut found = Found { loaded: 0, live: BTreeSet::new() };
    while let Some(row) = rows.next().await {
        let row = row.or_fail(|| "cannot read everything back".to_owned())?;
        let key = String::from_utf8_lossy(&row.key).into_owned();
        if row.value != ledger::value(&key) {
            return Err(Failure::new(Exit::Damaged, format!("{key} is not what was written")));
        }
        if key == ledger::key(found.loaded) {
            found.loaded += 1;
        } else if ledger.explains(&key) {
            found.live.insert(key);
        } else {
            return Err(Failure::new(Exit::Damaged, format!("{key} is there, and nobody wrote it"))
                .because(format!("{} was expected", ledger::key(found.loaded))));
        }
        report(found.loaded + found.live.len() as u64);
    }
    Ok(found)
}
