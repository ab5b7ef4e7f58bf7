//! Loading the keys that a workload needs to be there.
//!
//! A marker says how many were loaded and of what size, so that the next run need not. Promises: once it is written,
//! that many keys were acknowledged. Does not: notice that somebody removed some of them since.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::client::{BatchOperation, Client};
use crate::cmd::bench::keys::{Family, Keys};
use crate::cmd::bench::value::{LOADER, Origin, Values};
use crate::cmd::escape;
use crate::cmd::fail::{Failure, OrFail};
use crate::cmd::progress::{Progress, Unit};
use crate::cmd::spell;
use crate::cmd::ui::Ui;

/// What is there, as the marker says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    pub keys: u64,
    pub value_bytes: usize,
}

impl Loaded {
    /// What was loaded by now; `None` if nothing was.
    pub async fn read(client: &Client, keys: &Keys) -> Result<Option<Loaded>, Failure> {
        let what = || format!("cannot read what is loaded below {}", escape::short(keys.prefix(), 60));
        let found = client.get(&keys.marker()).await.or_fail(what)?;
        // Not ours, or of another time: as if it were not there.
        Ok(found.and_then(|found| serde_json::from_slice(&found.value).ok()))
    }

    /// Writes down that this is there.
    pub async fn write(&self, client: &Client, keys: &Keys) -> Result<(), Failure> {
        let text = serde_json::to_vec(self).expect("numbers have a text");
        client.put(&keys.marker(), text).await.or_fail(|| what(keys)).map(|_| ())
    }

    /// Writes down that nothing sure is there.
    pub async fn forget(client: &Client, keys: &Keys) -> Result<(), Failure> {
        client.delete(&keys.marker()).await.or_fail(|| what(keys)).map(|_| ())
    }
}

/// Writes the first `wanted.keys` keys.
pub async fn load(
    ui: &Ui,
    client: &Client,
    keys: &Keys,
    values: &Values,
    run: u32,
    wanted: Loaded,
) -> Result<(), Failure> {
    let mut progress = Progress::start(ui, "loading", Unit::Keys, Some(wanted.keys));
    let mut batcher = client.batcher();
    for number in 0..wanted.keys {
        let value = values.make(number, Origin { run, writer: LOADER, sequence: number });
        let key: Bytes = keys.key(Family::Values, number);
        if batcher.push(BatchOperation::Put { key, value, ttl: None }).await.is_err() {
            break; // `finish` says the same
        }
        progress.at(number);
    }
    batcher.finish().await.or_fail(|| "cannot load the keys".to_owned())?;
    let took = progress.finish();
    wanted.write(client, keys).await.map_err(Failure::after_changes)?;
    let rate = (wanted.keys as f64 / took.as_secs_f64().max(0.001)) as u64;
    let (count, rate) = (spell::count(wanted.keys), spell::count(rate));
    ui.note(&format!("loaded {count} keys of {} B, {rate} a second", wanted.value_bytes));
    Ok(())
}

fn what(keys: &Keys) -> String {
    format!("cannot write down what is loaded below {}", escape::short(keys.prefix(), 60))
}
