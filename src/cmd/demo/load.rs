//! Step: load 100,000 keys.
//!
//! Promises: returns once all are acknowledged. Does not: read them.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::client::{BatchOperation, Client};
use crate::cmd::demo::ledger::{self, KEYS};
use crate::cmd::fail::{Failure, OrFail};
use crate::cmd::progress::{Progress, Unit};
use crate::cmd::ui::Ui;

/// Keys in a batch.
const BATCH_KEYS: u64 = 200;
/// Batches under way.
const IN_FLIGHT: usize = 16;

/// Writes all keys; returns how long it took.
pub async fn load(ui: &Ui, client: &Client) -> Result<Duration, Failure> {
    let mut progress = Progress::start(ui, "loading", Unit::Keys, Some(KEYS));
    let starts = (0..KEYS).step_by(BATCH_KEYS as usize);
    let mut batches =
        stream::iter(starts).map(|first| write(client.clone(), first)).buffer_unordered(IN_FLIGHT);
    let mut done = 0;
    while let Some(written) = batches.next().await {
        done += written?;
        progress.at(done);
    }
    assert_eq!(done, KEYS, "each key belongs to one batch");
    Ok(progress.finish())
}

async fn write(client: Client, first: u64) -> Result<u64, Failure> {
    let numbers = first..(first + BATCH_KEYS).min(KEYS);
    let operations: Vec<BatchOperation> = numbers
        .map(|number| {
            let key = ledger::key(number);
            BatchOperation::Put { value: ledger::value(&key), key: Bytes::from(key), ttl: None }
        })
        .collect();
    let count = operations.len() as u64;
    client.batch(operations).await.or_fail(|| format!("cannot load the keys from {}", ledger::key(first)))?;
    Ok(count)
}
