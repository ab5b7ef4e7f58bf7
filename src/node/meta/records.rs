//! Changing the cluster's own records: compare-and-set on the meta shard, by the node that leads it.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::model::id::{ReplicaId, ShardId};
use crate::model::map::ClusterMap;
use crate::model::system::{Counter, Listing, SystemKey, take_ids};
use crate::model::time::Timestamp;
use crate::model::wire::{
    Check, Condition, Delete, JobRecord, Operation, Put, ShardRecord, Write, condition, operation, outcome,
};
use crate::net::trouble::{Bug, planted};
use crate::node::replica::{Rejected, Replica};
use crate::node::shards::Shards;
use crate::node::store::{PageBounds, StoreError};

/// Bytes of records listed at once.
const LIST_MAX_BYTES: usize = 8 << 20;

/// Why a record was not changed.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// Somebody else was faster. Look again.
    #[error("the cluster's records have changed meanwhile")]
    Conflict,
    #[error("this node does not hold the meta shard yet")]
    NotHere,
    #[error(transparent)]
    Rejected(#[from] Rejected),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a record of the cluster cannot be read: {0}")]
    Damaged(String),
}

/// A record as it was found.
#[derive(Clone, Debug)]
pub struct Stored {
    pub key: SystemKey,
    pub value: Bytes,
    /// To condition a change on.
    pub stamp: Timestamp,
}

/// One atomic change of records, gathered and then committed.
#[derive(Default)]
pub struct Change(Vec<Operation>);

/// Reads and changes records. Shared; cheap to clone.
#[derive(Clone)]
pub struct Records(Shards);

impl Change {
    /// Sets a record that was seen at `seen` (`None`: that must not exist).
    pub fn put(mut self, key: &SystemKey, value: impl Into<Bytes>, seen: Option<Timestamp>) -> Change {
        let put = operation::Change::Put(Put { value: value.into(), ttl_ms: 0 });
        self.0.push(Operation {
            key: key.key().to_bytes(),
            condition: Some(unchanged(seen)),
            change: Some(put),
        });
        self
    }

    /// Changes nothing; that must not exist.
    pub fn absent(self, key: &SystemKey) -> Change {
        self.check(key, None)
    }

    fn check(mut self, key: &SystemKey, seen: Option<Timestamp>) -> Change {
        let check = operation::Change::Check(Check {});
        let condition = Some(unchanged(seen));
        self.0.push(Operation { key: key.key().to_bytes(), condition, change: Some(check) });
        self
    }

    /// Removes a record that was seen at `seen`.
    pub fn delete(mut self, key: &SystemKey, seen: Timestamp) -> Change {
        let delete = operation::Change::Delete(Delete {});
        let condition = Some(unchanged(Some(seen)));
        self.0.push(Operation { key: key.key().to_bytes(), condition, change: Some(delete) });
        self
    }
}

fn unchanged(seen: Option<Timestamp>) -> Condition {
    let kind = match seen {
        None => condition::Kind::Absent(true),
        Some(stamp) => condition::Kind::Stamp(stamp.0),
    };
    Condition { kind: Some(kind) }
}

impl Records {
    pub fn new(shards: Shards) -> Records {
        Records(shards)
    }

    /// The local replica of the meta shard.
    pub fn replica(&self) -> Result<Arc<Replica>, MetaError> {
        self.0.get(ShardId::META).ok_or(MetaError::NotHere)
    }

    /// The term in which this node leads the meta shard, if it does.
    pub fn leading(&self) -> Option<u64> {
        let leadership = self.replica().ok()?.group.leadership();
        leadership.here.then_some(leadership.term)
    }

    /// A record as applied here, with the timestamp to condition a change on.
    pub fn read(&self, key: &SystemKey) -> Result<Option<(Bytes, Timestamp)>, MetaError> {
        let version = self.replica()?.store.get(&key.key(), None)?;
        Ok(version.and_then(|version| Some((version.value?, version.stamp))))
    }

    /// A job, as part of `change`, that was thought out for a shard as it is in this map.
    ///
    /// # Errors
    /// `Conflict` if the shard's record is another one by now: who has begun to lead may have an old map.
    pub fn begin_job(&self, change: Change, map: &ClusterMap, job: &JobRecord) -> Result<Change, MetaError> {
        let shard = ShardId(job.shard);
        let known = map.shard(shard).map(|shard| ShardRecord::from(shard).encode_to_vec());
        let stored =
            self.read(&SystemKey::Shard(shard))?.filter(|(stored, _)| known.as_deref() == Some(stored));
        let (_, stamp) = stored.ok_or(MetaError::Conflict)?;
        let change = change.check(&SystemKey::Shard(shard), Some(stamp));
        Ok(change.put(&SystemKey::Job(shard), job.encode_to_vec(), None))
    }

    /// Takes `count` fresh ids as part of `change`; returns the first.
    pub fn take_ids(&self, change: Change, counter: Counter, count: u64) -> Result<(u64, Change), MetaError> {
        let key = SystemKey::Next(counter);
        let stored = self.read(&key)?;
        let seen = stored.as_ref().map(|(_, stamp)| *stamp);
        let taken = take_ids(stored.as_ref().map(|(value, _)| &value[..]), count);
        let (first, next) = taken.map_err(|error| MetaError::Damaged(error.to_string()))?;
        Ok((first, change.put(&key, next, seen)))
    }

    /// Takes the id of a new replica as part of `change`.
    pub fn take_replica(&self, map: &ClusterMap, change: Change) -> Result<(ReplicaId, Change), MetaError> {
        if planted(Bug::IdReused)
            && let Some(free) = (1..100).map(ReplicaId).find(|id| map.is_retired(*id))
            && let Some((_, stamp)) = self.read(&SystemKey::Retired(free))?
        {
            return Ok((free, change.delete(&SystemKey::Retired(free), stamp)));
        }
        let (replica, change) = self.take_ids(change, Counter::Replica, 1)?;
        Ok((ReplicaId(replica), change))
    }

    /// Lists replicas as retired for good, as part of `change`.
    pub fn retire(
        &self,
        mut change: Change,
        shard: ShardId,
        replicas: &[ReplicaId],
    ) -> Result<Change, MetaError> {
        for replica in replicas {
            let key = SystemKey::Retired(*replica);
            if self.read(&key)?.is_none() {
                change = change.put(&key, shard.0.to_string(), None);
            }
        }
        Ok(change)
    }

    /// The records of one kind, in order of their names; those that cannot be understood are left out.
    pub fn list(&self, listing: Listing, limit: usize) -> Result<Vec<Stored>, MetaError> {
        let bounds = PageBounds {
            at: None,
            live_at: Timestamp::ZERO,
            limit,
            max_bytes: LIST_MAX_BYTES,
            reverse: false,
        };
        let page = self.replica()?.store.range(&listing.range(), &bounds)?;
        let stored = page.rows.into_iter().filter_map(|(key, version)| {
            let (key, stamp) = (SystemKey::parse(&key)?, version.stamp);
            Some(Stored { key, value: version.value?, stamp })
        });
        Ok(stored.collect())
    }

    /// Writes a job's record if it is still that of `seen`.
    pub async fn rewrite_job(&self, job: &JobRecord, seen: Timestamp) -> Result<(), MetaError> {
        let name = SystemKey::Job(ShardId(job.shard));
        self.commit(Change::default().put(&name, job.encode_to_vec(), Some(seen))).await?;
        Ok(())
    }

    /// Commits a change whole, or nothing of it.
    pub async fn commit(&self, change: Change) -> Result<Timestamp, MetaError> {
        let write = Write { identity: None, epoch: 0, operations: change.0 };
        let outcome = self.replica()?.write(write).await?;
        match outcome.kind {
            Some(outcome::Kind::Applied(_)) => Ok(Timestamp(outcome.stamp)),
            Some(outcome::Kind::ConditionFailed(_)) => Err(MetaError::Conflict),
            other => Err(MetaError::Damaged(format!("a change was refused: {other:?}"))),
        }
    }
}
