//! `nomad shard merge`: asks for it, and waits until one of the two is left.

use prost::Message;
use serde::Serialize;
use tokio::time::Instant;

use crate::client::Client;
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure};
use crate::cmd::session;
use crate::cmd::spell;
use crate::cmd::ui::Ui;
use crate::model::id::ShardId;
use crate::model::wire::JobRecord;
use crate::net::wire::{ShardMerge, admin_request::Body};

use super::{LONG, LOOK_EVERY, job};

/// What came of it.
#[derive(Serialize)]
struct MergeView {
    shard: u64,
    /// The one that is no more.
    gone: u64,
    /// How long it took until the map said so.
    took_ms: u64,
}

pub async fn merge(ui: &Ui, client: &Client, shard: ShardId) -> Answer {
    let begin = Instant::now();
    let body = Body::ShardMerge(ShardMerge { shard: shard.0 });
    let answer = session::admin(client, body, || format!("cannot merge {shard}")).await;
    let answer = answer.map_err(|failure| {
        failure.cure("nomad shard ls shows who is whose neighbour; nomad why shard ID".to_owned())
    })?;
    let gone = ShardId(answer.gone);
    let (mut told, mut because) = (false, String::new());
    loop {
        let under_way = job(client, shard).await?.and_then(|row| JobRecord::decode(row.value).ok());
        let merge = under_way.and_then(|job| job.merge).filter(|merge| merge.right == gone.0);
        let map = session::map(client).await.map_err(Failure::after_changes)?;
        if map.shards.iter().all(|known| known.shard != gone.0) {
            break;
        }
        if merge.is_none() {
            if because.is_empty() {
                because.push_str("one of their replicas was not there, or it took too long");
            }
            let what = format!("{shard} and {gone} were not merged; both are as they were");
            return Err(Failure::new(Exit::No, what)
                .because(because)
                .cure(format!("nomad why shard {shard}; then again: nomad shard merge {shard}")));
        }
        because = merge.map(|merge| merge.because).filter(|why| !why.is_empty()).unwrap_or(because);
        if !told && begin.elapsed() > LONG {
            told = true;
            ui.note(&format!(
                "it takes its time: nomad why shard {shard} says what it waits for; ctrl-C leaves it going"
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let took_ms = begin.elapsed().as_millis() as u64;
    let view = MergeView { shard: shard.0, gone: gone.0, took_ms };
    let text = || {
        format!("{shard} has the keys of {gone} now, which is no more; that took {}", spell::span(took_ms))
    };
    ui.show(&view, text, || shard.to_string())?;
    Ok(Exit::Done)
}
