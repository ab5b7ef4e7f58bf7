//! Splits and merges that nobody has asked for: what [`crate::model::sizing`] says, once it has said so for a while.

use futures_util::future::join_all;

use crate::model::id::{ReplicaId, ShardId};
use crate::model::placement::TARGET_SILENT_MAX_MS;
use crate::model::sizing::{By, Size};

use super::admin::Office;
use super::drive::Round;
use super::felt::Felt;
use super::led::{Seen, leaders};
use super::sizer::Due;
use super::splits::{Place, planned};

impl Office {
    /// Begins what is due.
    pub(super) async fn size(&self, round: &Round<'_>) {
        let due = self.sizer.due(round.term, round.cluster, &self.sizes(round));
        let begun = due.into_iter().map(async |due| {
            let (shard, begun) = match due {
                Due::Split { shard, by: By::Size } => {
                    (shard, self.begin_split(shard, Place::Middle, true).await.map(drop))
                }
                Due::Split { shard, by: By::Load } => {
                    (shard, self.begin_split(shard, Place::BusyMiddle, true).await.map(drop))
                }
                Due::Merge { left, right } => (left, self.begin_merge(left, right).await),
            };
            if let Err(error) = begun {
                tracing::debug!(?due, %error, "a shard that should be split or merged is not");
                self.sizer.refuse(shard, error.to_string());
            }
        });
        Box::pin(join_all(begun)).await;
    }

    fn sizes(&self, round: &Round<'_>) -> Vec<Size> {
        let map = &round.cluster.map;
        let planned = planned(map);
        let led = leaders(round.statuses);
        let size = |felt: &Felt, shard: ShardId, seen: &Seen<'_>| Size {
            shard,
            live_bytes: seen.status.bytes,
            per_s: felt.per_s(seen.leader, shard, ReplicaId(seen.status.replica)),
            stays: map.job(shard).is_some()
                || planned.contains(&shard)
                || seen.status.birth != 0
                || seen.status.has_foreign
                || !is_whole(round, shard),
        };
        let all = |felt: &Felt| {
            let known = led.iter().filter(|(shard, _)| map.shard(**shard).is_some());
            known.map(|(shard, seen)| size(felt, *shard, seen)).collect()
        };
        self.reports.felt(round.term, all)
    }
}

/// True if all replicas of a shard are there.
fn is_whole(round: &Round<'_>, shard: ShardId) -> bool {
    let replicas = round.cluster.map.shard(shard).into_iter().flat_map(|shard| &shard.replicas);
    let is_there = |silent_ms: u64| silent_ms <= TARGET_SILENT_MAX_MS;
    replicas.into_iter().all(|replica| {
        is_there(round.liveness.silent_ms(replica.node)) && !round.liveness.damaged.contains(&replica.id)
    })
}
