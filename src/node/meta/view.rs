//! The cluster as this node sees it: the meta shard's rows, read from the local replica and parsed.
//!
//! Every member follows the meta shard, so this needs no question to anybody. It may lag; whoever acts on it conditions
//! the act on what was seen.
//!
//! All nodes do this at every change, so only what has changed is taken in: the whole is read only where a change may have
//! gone into the file before it was looked at.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::model::config::Settings;
use crate::model::id::ShardId;
use crate::model::key::{Key, KeyRange};
use crate::model::map::ClusterMap;
use crate::model::row::Version;
use crate::model::time::Timestamp;
use crate::net::exec::Exec;
use crate::node::replica::Replica;
use crate::node::shards::Shards;
use crate::node::store::{Changes, PageBounds, StoreError};

/// How soon to look whether there is a replica again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Rows read at once.
const PAGE_ROWS: usize = 4096;
/// Bytes read at once.
const PAGE_BYTES: usize = 4 << 20;

/// The map and the settings that came with it.
#[derive(Clone, Default)]
pub struct Cluster {
    pub map: ClusterMap,
    pub settings: Settings,
}

/// Watches the cluster. Shared; cheap to clone.
#[derive(Clone)]
pub struct View(watch::Receiver<Arc<Cluster>>);

impl View {
    /// Follows the local replica of the meta shard, and whichever takes its place if it is lost, until told to stop.
    pub fn follow(shards: Shards, exec: Exec, mut stop: watch::Receiver<bool>) -> View {
        let found = shards.get(ShardId::META).and_then(|replica| read(&replica).ok());
        let (cluster, mut known) = found.unwrap_or_default();
        let (sender, receiver) = watch::channel(Arc::new(cluster));
        exec.spawn(async move {
            let follow = async {
                loop {
                    match shards.get(ShardId::META) {
                        Some(replica) => publish(replica, &mut known, &sender).await,
                        None => tokio::time::sleep(LOOK_AGAIN).await,
                    }
                }
            };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => {}
                () = follow => {}
            }
        });
        View(receiver)
    }

    /// The newest.
    pub fn now(&self) -> Arc<Cluster> {
        self.0.borrow().clone()
    }

    /// Watches every change.
    pub fn watch(&self) -> watch::Receiver<Arc<Cluster>> {
        self.0.clone()
    }
}

/// Publishes what the replica holds now, as far as it is newer than what was known; returns when it has applied more or
/// was closed. `known`: everything up to that stamp is in what was published.
async fn publish(replica: Arc<Replica>, known: &mut Timestamp, sender: &watch::Sender<Arc<Cluster>>) {
    let mut applied = replica.applied();
    applied.mark_unchanged();
    let newer = match replica.store.changes_since(*known) {
        // A replica made anew is behind what was known until it has caught up.
        Some(changes) if changes.highest_stamp <= *known => Ok(None),
        Some(changes) => Ok(Some(with(&sender.borrow(), changes))),
        None => read(&replica).map(Some),
    };
    match newer {
        Ok(None) => {}
        Ok(Some((cluster, highest))) => {
            *known = highest;
            sender.send_replace(Arc::new(cluster));
        }
        Err(error) => tracing::error!(%error, "the meta shard cannot be read here"),
    }
    drop(replica);
    if applied.changed().await.is_err() {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// What was known, with what has changed since.
fn with(known: &Cluster, changes: Changes) -> (Cluster, Timestamp) {
    let mut map = known.map.clone();
    take_in(&mut map, &changes.rows);
    (of(map, changes.highest_stamp), changes.highest_stamp)
}

/// All of it, and the stamp up to which that is certain.
fn read(replica: &Replica) -> Result<(Cluster, Timestamp), StoreError> {
    // Before any row: what is applied meanwhile may be in it or not.
    let highest = replica.store.state(|state| state.highest_stamp);
    let mut map = ClusterMap::default();
    let mut range = KeyRange::system();
    let bounds = PageBounds {
        at: None,
        live_at: Timestamp::ZERO,
        limit: PAGE_ROWS,
        max_bytes: PAGE_BYTES,
        reverse: false,
    };
    loop {
        let page = replica.store.range(&range, &bounds)?;
        take_in(&mut map, &page.rows);
        match page.next {
            Some(next) => range.start = next,
            None => break,
        }
    }
    Ok((of(map, highest), highest))
}

/// What one row means may be unknown here; the others still count.
fn take_in(map: &mut ClusterMap, rows: &[(Key, Version)]) {
    for (key, version) in rows {
        if let Err(error) = map.set(key, version.value.as_deref(), version.stamp) {
            tracing::error!(%error, "a record of the cluster cannot be understood");
        }
    }
}

fn of(mut map: ClusterMap, highest: Timestamp) -> Cluster {
    map.raise_version(highest);
    let (settings, bad) = map.settings();
    for error in bad {
        tracing::warn!(%error, "a setting cannot be understood; its default holds");
    }
    Cluster { map, settings }
}
