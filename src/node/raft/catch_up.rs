//! How fast a replica that is being made is sent the log.
//!
//! What of a shard is still in its log when a replica of it begins is copied by the log, not in a file. So it is paced and
//! held as the file would be ([`super::pace`], [`super::sending`]): whoever limits or pauses a migration means all of the
//! copy. What has been written since is not: a shard that takes more writes than it may be copied would never be moved.
//!
//! Promises: requests leave in their order; a voter waits for nothing here. Relies on being asked for one request after the
//! other.

use std::time::Duration;

use openraft::raft::AppendEntriesRequest;

use crate::node::store::Store;

use super::pace::{Bucket, Pace};
use super::sending::Sending;
use super::types::{Types, encode_entry};

/// How often it is looked whether what is held still is.
const HELD_LOOK_EVERY: Duration = Duration::from_millis(200);

/// Of one replica's line to another.
#[derive(Clone)]
pub struct CatchUp {
    replica: u64,
    /// What was in the log when the line was made ends with this index.
    until: u64,
    bucket: Bucket,
}

impl CatchUp {
    pub fn new(replica: u64, store: &Store) -> CatchUp {
        let (applied, _) = store.applied();
        CatchUp { replica, until: applied.map_or(0, |id| id.index), bucket: Bucket::default() }
    }

    /// Returns when a request may be sent.
    pub async fn admit(
        &self,
        request: &AppendEntriesRequest<Types>,
        store: &Store,
        (sending, pace): (&Sending, &Pace),
    ) {
        let is_copied = request.entries.first().is_some_and(|first| first.log_id.index <= self.until);
        if !is_copied || self.votes(store) {
            return;
        }
        while sending.is_held(self.replica) {
            tokio::time::sleep(HELD_LOOK_EVERY).await;
        }
        let bytes = request.entries.iter().map(|entry| encode_entry(entry).len() as u64).sum();
        pace.admit(bytes).await;
        self.bucket.admit(bytes, || sending.rate(self.replica).unwrap_or(0)).await;
    }

    /// As far as it is applied here: a replica is a learner first, and votes once it has caught up.
    fn votes(&self, store: &Store) -> bool {
        let (_, membership) = store.applied();
        membership.configs.iter().any(|set| set.replicas.contains(&self.replica))
    }
}
