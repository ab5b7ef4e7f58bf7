//! Step: read single keys and a range.
//!
//! Promises: every answer is compared with what was written. Does not: measure seriously (`nomad bench` does).

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use crate::client::{Client, RangeQuery, ReadOptions};
use crate::cmd::demo::ledger::{self, KEYS};
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Failure, OrFail};
use crate::model::key::KeyRange;

/// How many single keys are read.
pub const READS: u64 = 5_000;
/// Reads under way.
const IN_FLIGHT: usize = 32;
/// A number without a common factor with [`KEYS`], so that reads hop over all shards.
const STRIDE: u64 = 37_199;

/// What reading showed.
pub struct Reads {
    pub took: Duration,
    pub median: Duration,
    pub p99: Duration,
    /// The first keys of a range that crosses a border of shards.
    pub rows: Vec<(String, Duration)>,
}

/// Reads keys all over the place, then a range.
pub async fn read(client: &Client) -> Result<Reads, Failure> {
    let started = Instant::now();
    let numbers = (0..READS).map(|nth| nth * STRIDE % KEYS);
    let mut reads = stream::iter(numbers).map(|number| get(client, number)).buffer_unordered(IN_FLIGHT);
    let mut times = Vec::new();
    while let Some(time) = reads.next().await {
        times.push(time?);
    }
    let took = started.elapsed();
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    let (median, p99) = (at(50), at(99));
    Ok(Reads { took, median, p99, rows: range(client).await? })
}

async fn get(client: &Client, number: u64) -> Result<Duration, Failure> {
    let key = ledger::key(number);
    let started = Instant::now();
    let found = client.get_with(key.as_bytes(), &ReadOptions::default()).await;
    let found = found.or_fail(|| format!("cannot read {key}"))?;
    match found.is_some_and(|found| found.value == ledger::value(&key)) {
        true => Ok(started.elapsed()),
        false => Err(Failure::new(Exit::Damaged, format!("{key} is not what was written"))),
    }
}

/// Four keys around a border between two shards.
async fn range(client: &Client) -> Result<Vec<(String, Duration)>, Failure> {
    let started = Instant::now();
    let prefix = KeyRange::with_prefix(b"/demo/03333").expect("a short prefix");
    let options = ReadOptions::default();
    let mut rows = client.range(RangeQuery { range: prefix, limit: Some(6), reverse: false, options });
    let mut found = Vec::new();
    while let Some(row) = rows.next().await {
        let row = row.or_fail(|| "cannot read a range".to_owned())?;
        let key = String::from_utf8_lossy(&row.key).into_owned();
        if row.value != ledger::value(&key) || key != ledger::key(33_330 + found.len() as u64) {
            return Err(Failure::new(Exit::Damaged, format!("{key} is not what was written there")));
        }
        found.push((key, started.elapsed()));
    }
    Ok(found)
}
