//! `nomad shard split`: asks for it, and waits until both halves are served.

use std::ffi::OsString;

use serde::Serialize;
use tokio::time::Instant;

use crate::client::Client;
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure};
use crate::cmd::ui::Ui;
use crate::cmd::{escape, session, spell};
use crate::model::id::ShardId;
use crate::model::key::Key;
use crate::net::wire::{ShardSplit, admin_request::Body};

use super::{LONG, LOOK_EVERY, job};

/// What came of it.
#[derive(Serialize)]
struct SplitView {
    shard: u64,
    child: u64,
    /// The child's first key.
    #[serde(flatten)]
    at: escape::JsonKey,
    /// How long it took until both were in the map.
    took_ms: u64,
}

pub async fn split(ui: &Ui, client: &Client, shard: ShardId, at: Option<OsString>) -> Answer {
    let at = match &at {
        Some(typed) => {
            let name = spell::user_key(typed)?;
            Key::from_name(&name).expect("it was checked").to_bytes()
        }
        None => Default::default(),
    };
    let begin = Instant::now();
    let body = Body::ShardSplit(ShardSplit { shard: shard.0, at });
    let answer = session::admin(client, body, || format!("cannot split {shard}")).await;
    let answer = answer
        .map_err(|failure| failure.cure(format!("nomad shard show {shard}; nomad why shard {shard}")))?;
    let begun = answer.split.unwrap_or_default();
    let child = ShardId(begun.child);
    let at = Key::from_internal(begun.at).map(|key| key.to_name()).unwrap_or_default();
    until_split(ui, client, (shard, child), &at).await?;
    let took_ms = begin.elapsed().as_millis() as u64;
    let view = SplitView { shard: shard.0, child: child.0, at: escape::JsonKey::new(&at), took_ms };
    let text = || {
        let (key, took) = (escape::short(&at, 60), spell::span(took_ms));
        format!("{shard} ends before {key} now, where {child} begins; that took {took}")
    };
    ui.show(&view, text, || child.to_string())?;
    Ok(Exit::Done)
}

/// Returns once the map has both, and the new one answers for its first key.
async fn until_split(
    ui: &Ui,
    client: &Client,
    (shard, child): (ShardId, ShardId),
    at: &[u8],
) -> Result<(), Failure> {
    let begin = Instant::now();
    let mut told = false;
    loop {
        let map = session::map(client).await.map_err(Failure::after_changes)?;
        if map.shards.iter().any(|known| known.shard == child.0) {
            if client.get(at).await.is_ok() {
                return Ok(());
            }
        } else if job(client, shard).await?.is_none() {
            let map = session::map(client).await.map_err(Failure::after_changes)?;
            if map.shards.iter().all(|known| known.shard != child.0) {
                return Err(Failure::new(Exit::No, format!("{shard} was not split"))
                    .because("where its replicas are has changed meanwhile, or one was lost")
                    .cure(format!("nomad shard split {shard}")));
            }
        }
        if !told && begin.elapsed() > LONG {
            told = true;
            ui.note(&format!(
                "it takes its time: nomad why shard {shard} says what it waits for; ctrl-C leaves it going"
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
