//! The replicas on this node, by shard.
//!
//! ## Invariants and what guards each
//!
//! - A shard has one replica here, opened by one at a time; another must be gone first: guarded by
//!   `sim_node::a_shard_has_one_replica_on_a_node`.
//! - A replica that is not the one meant is not found: guarded by
//!   `sim_node::strangers_and_messages_for_nobody_change_nothing`.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::model::id::{ReplicaId, ShardId};

use super::replica::{Replica, ReplicaError, ReplicaParts, directory, parse_directory};

/// Replicas a node holds at most.
pub const REPLICAS_MAX: usize = 4096;

/// Shared; cheap to clone.
#[derive(Clone)]
pub struct Shards {
    parts: ReplicaParts,
    open: Arc<RwLock<BTreeMap<ShardId, Arc<Replica>>>>,
    /// One opening or closing at a time: two of the same replica would share its file.
    changing: Arc<tokio::sync::Mutex<()>>,
}

impl Shards {
    pub fn new(parts: ReplicaParts) -> Shards {
        Shards { parts, open: Arc::default(), changing: Arc::default() }
    }

    /// Opens every replica that has a directory here.
    pub async fn open_all(&self) -> Result<(), ReplicaError> {
        let root = directory(ShardId(0), ReplicaId(0));
        let root = root.parent().expect("replicas have a directory of their own");
        self.parts.disk.create_dir(root).map_err(super::wal::WalError::from)?;
        for name in self.parts.disk.list(root).map_err(super::wal::WalError::from)? {
            match parse_directory(&name) {
                Some((shard, replica)) => drop(self.open(shard, replica).await?),
                None => tracing::warn!(name, "not a replica's directory; left alone"),
            }
        }
        Ok(())
    }

    /// The replica, opened (and made, if it is not there). Another replica of the same shard must be gone first.
    pub async fn open(&self, shard: ShardId, id: ReplicaId) -> Result<Option<Arc<Replica>>, ReplicaError> {
        let _one = self.changing.lock().await;
        if let Some(replica) = self.get(shard) {
            return Ok(Some(replica).filter(|replica| replica.id == id));
        }
        if self.open.read().len() >= REPLICAS_MAX {
            tracing::error!(%shard, "this node holds {REPLICAS_MAX} replicas; no more are opened");
            return Ok(None);
        }
        let replica = Replica::open(&self.parts, shard, id).await?;
        tracing::info!(%shard, replica = %id, applied = replica.applied().borrow().index, "replica opened");
        self.open.write().insert(shard, replica.clone());
        Ok(Some(replica))
    }

    /// Closes a replica and removes all it has here.
    pub async fn destroy(&self, shard: ShardId, id: ReplicaId) -> Result<(), ReplicaError> {
        let _one = self.changing.lock().await;
        let replica = self.get(shard).filter(|replica| replica.id == id);
        if let Some(replica) = replica {
            self.open.write().remove(&shard);
            replica.group.shutdown().await;
            replica.store.close().await;
        }
        Replica::destroy(&self.parts, shard, id).await?;
        tracing::info!(%shard, replica = %id, "replica removed");
        Ok(())
    }

    /// Flushes and closes all.
    pub async fn close_all(&self) {
        let _one = self.changing.lock().await;
        let open = std::mem::take(&mut *self.open.write());
        for replica in open.into_values() {
            replica.close().await;
        }
    }

    /// This node's replica of a shard.
    pub fn get(&self, shard: ShardId) -> Option<Arc<Replica>> {
        self.open.read().get(&shard).cloned()
    }

    /// This node's replica of a shard, if it is the one meant.
    pub fn exactly(&self, shard: ShardId, id: ReplicaId) -> Option<Arc<Replica>> {
        self.get(shard).filter(|replica| replica.id == id)
    }

    /// All, in order of shard.
    pub fn all(&self) -> Vec<Arc<Replica>> {
        self.open.read().values().cloned().collect()
    }
}
