//! How fast a replica that is being made is sent the log.
//!
//! What of a shard is still in its log when a replica of it begins is copied by the log, not in a file. So it is paced and
//! held as the file would be ([`super::pace`], [`super::sending`]): whoever limits or pauses a migration means all of the
//! copy. What has been written since is not: a shard that takes more writes than it may be copied would never be moved.
//!
//! Promises: requests leave in their order; who votes, as far as is known, waits for nothing here, and while a leader does not
//! know that for certain, having applied nothing of its own term, nobody does; neither does anybody who follows the cluster's own
//! shard. What is held for long is given up, so that the log may forget it: openraft keeps what it takes for under way.
//! Relies on being asked for one request after the other.

use std::time::Duration;

use openraft::raft::AppendEntriesRequest;
use tokio::time::Instant;

use crate::model::id::ShardId;
use crate::node::store::Store;

use super::pace::{Bucket, Pace};
use super::sending::Sending;
use super::types::{Types, entry_bytes_max};

/// How often it is looked whether what waits still must.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// What is held for longer is not sent.
const HELD_MAX: Duration = Duration::from_secs(10);

/// It must not be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held;

/// Of one replica's line to another.
#[derive(Clone)]
pub struct CatchUp {
    replica: u64,
    /// What was in the log when the line was made ends with this index; 0: nothing waits.
    until: u64,
    bucket: Bucket,
}

impl CatchUp {
    pub fn new(shard: ShardId, replica: u64, store: &Store) -> CatchUp {
        let until = match shard {
            ShardId::META => 0,
            _ => store.applied().0.map_or(0, |id| id.index),
        };
        CatchUp { replica, until, bucket: Bucket::default() }
    }

    /// Returns when a request may be sent.
    pub async fn admit(
        &self,
        request: &AppendEntriesRequest<Types>,
        store: &Store,
        (sending, pace): (&Sending, &Pace),
    ) -> Result<(), Held> {
        let is_copied = request.entries.first().is_some_and(|first| first.log_id.index <= self.until);
        let term = request.vote.leader_id.term;
        if !is_copied || !self.learns(store, term) {
            return Ok(());
        }
        let begin = Instant::now();
        while sending.is_held(self.replica) && self.learns(store, term) {
            if begin.elapsed() >= HELD_MAX {
                return Err(Held);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let bytes = request.entries.iter().map(entry_bytes_max).sum();
        let paced = async {
            pace.admit(bytes).await;
            self.bucket.admit(bytes, || sending.rate(self.replica).unwrap_or(0)).await;
        };
        tokio::select! {
            biased;
            () = paced => {}
            () = self.until_it_votes(store, term) => {}
        }
        Ok(())
    }

    /// True if it surely does not vote: of a leader that has applied something of its own term the membership is the newest.
    fn learns(&self, store: &Store, term: u64) -> bool {
        let (applied, membership) = store.applied();
        let votes = membership.configs.iter().any(|set| set.replicas.contains(&self.replica));
        !votes && applied.is_some_and(|applied| applied.term >= term)
    }

    async fn until_it_votes(&self, store: &Store, term: u64) {
        while self.learns(store, term) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
