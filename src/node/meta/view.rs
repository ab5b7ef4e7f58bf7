//! The cluster as this node sees it: the meta shard's rows, read from the local replica and parsed.
//!
//! Every member follows the meta shard, so this needs no question to anybody. It may lag; whoever acts on it conditions
//! the act on what was seen.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::model::config::Settings;
use crate::model::id::ShardId;
use crate::model::key::KeyRange;
use crate::model::map::ClusterMap;
use crate::model::time::Timestamp;
use crate::net::exec::Exec;
use crate::node::replica::Replica;
use crate::node::shards::Shards;
use crate::node::store::{PageBounds, StoreError};

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
        let known = shards.get(ShardId::META).and_then(|replica| read(&replica).ok());
        let (sender, receiver) = watch::channel(Arc::new(known.unwrap_or_default()));
        exec.spawn(async move {
            let follow = async {
                loop {
                    match shards.get(ShardId::META) {
                        Some(replica) => publish(replica, &sender).await,
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

/// Publishes what the replica holds now; returns when it has applied more or was closed.
async fn publish(replica: Arc<Replica>, sender: &watch::Sender<Arc<Cluster>>) {
    let mut applied = replica.applied();
    applied.mark_unchanged();
    match read(&replica) {
        // A replica made anew is behind what was known until it has caught up.
        Ok(cluster) if cluster.map.version() < sender.borrow().map.version() => {}
        Ok(cluster) => drop(sender.send_replace(Arc::new(cluster))),
        Err(error) => tracing::error!(%error, "the meta shard cannot be read here"),
    }
    drop(replica);
    if applied.changed().await.is_err() {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn read(replica: &Replica) -> Result<Cluster, StoreError> {
    let mut rows = Vec::new();
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
        rows.extend(page.rows);
        match page.next {
            Some(next) => range.start = next,
            None => break,
        }
    }
    // What one row means may be unknown here; the others still count.
    let mut map = ClusterMap::default();
    for (key, version) in &rows {
        if let Err(error) = map.set(key, version.value.as_deref(), version.stamp) {
            tracing::error!(%error, "a record of the cluster cannot be understood");
        }
    }
    map.raise_version(replica.store.state(|state| state.highest_stamp));
    let (settings, bad) = map.settings();
    for error in bad {
        tracing::warn!(%error, "a setting cannot be understood; its default holds");
    }
    Ok(Cluster { map, settings })
}
