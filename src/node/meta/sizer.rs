//! What was seen of shards that are too large, too busy or too small, and since when: nothing is done about what passes.
//!
//! In memory only: a new meta leader begins to look anew, so what was to be done is done a little later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::model::id::ShardId;
use crate::model::sizing::{self, By, Size};
use crate::model::wire::{JobPhase, JobRecord};

use super::reports::REPORT_EVERY;
use super::view::Cluster;

/// How long a shard is asked too much before it is split for that: rates are smoothed over some seconds, and many a rush is over.
const BUSY_FOR: Duration = Duration::from_secs(15);
/// How long after it could not be done it is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Splits that the cluster makes at a time: each copies a file on all nodes of its shard.
const SPLITS_MAX: usize = 1;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Split { shard: ShardId, by: By },
    Merge { left: ShardId, right: ShardId },
}

/// What was seen, and since when. Clones are one.
#[derive(Clone, Default)]
pub struct Sizer(Arc<Mutex<Lately>>);

#[derive(Default)]
struct Lately {
    term: u64,
    last: Option<Instant>,
    busy: BTreeMap<ShardId, Instant>,
    /// Neighbours that are small and quiet.
    small: BTreeMap<(ShardId, ShardId), Instant>,
    /// What could not be done, when, and why.
    refused: BTreeMap<ShardId, (Instant, String)>,
}

impl Sizer {
    /// Why a shard that should be split or merged is not.
    pub fn told(&self, shard: ShardId) -> Option<String> {
        let lately = self.0.lock();
        let (at, why) = lately.refused.get(&shard)?;
        let is_new = at.elapsed() < AGAIN_AFTER + REPORT_EVERY * 2;
        is_new.then(|| {
            format!("By its size or load it should be split or merged, but that cannot be done now: {why}.")
        })
    }

    /// Notes that it could not be done.
    pub fn refuse(&self, shard: ShardId, why: String) {
        self.0.lock().refused.insert(shard, (Instant::now(), why));
    }

    /// What is due, now that shards are of these sizes.
    pub fn due(&self, term: u64, cluster: &Cluster, sizes: &[Size]) -> Vec<Due> {
        let mut lately = self.0.lock();
        lately.start(term);
        if lately.last.is_some_and(|last| last.elapsed() < REPORT_EVERY) {
            return Vec::new();
        }
        lately.last = Some(Instant::now());
        let mut due = lately.splits(cluster, sizes);
        if due.is_empty() {
            due.extend(lately.merge(cluster, sizes));
        }
        due
    }
}

impl Lately {
    fn start(&mut self, term: u64) {
        if self.term != term {
            *self = Lately { term, ..Lately::default() };
        }
    }

    fn was_refused(&self, shard: ShardId) -> bool {
        self.refused.get(&shard).is_some_and(|(at, _)| at.elapsed() < AGAIN_AFTER)
    }

    fn splits(&mut self, cluster: &Cluster, sizes: &[Size]) -> Vec<Due> {
        let now = Instant::now();
        let wanted = sizing::too_much(&cluster.map, &cluster.settings, sizes);
        let shards: BTreeSet<ShardId> = wanted.iter().map(|(shard, _)| *shard).collect();
        self.busy.retain(|shard, _| shards.contains(shard));
        self.refused.retain(|_, (at, _)| at.elapsed() < AGAIN_AFTER * 2);
        let under_way = cluster.map.jobs().filter(|job| job.split.is_some()).count();
        let is_due = |(shard, by): &(ShardId, By)| {
            let since = *self.busy.entry(*shard).or_insert(now);
            !self.was_refused(*shard) && (*by == By::Size || since.elapsed() >= BUSY_FOR)
        };
        let due: Vec<_> = wanted.into_iter().filter(is_due).collect();
        let due = due.into_iter().take(SPLITS_MAX.saturating_sub(under_way));
        due.map(|(shard, by)| Due::Split { shard, by }).collect()
    }

    /// One merge at a time: nothing is urgent about it.
    fn merge(&mut self, cluster: &Cluster, sizes: &[Size]) -> Option<Due> {
        let now = Instant::now();
        let wanted = sizing::too_little(&cluster.map, &cluster.settings, sizes);
        self.small.retain(|pair, _| wanted.contains(pair));
        let after = Duration::from_millis(cluster.settings.merge_after_ms);
        let waited = |(left, _): &&(ShardId, ShardId), since: Instant| {
            since.elapsed() >= after && !self.refused.contains_key(left)
        };
        let is_merge = |job: &&JobRecord| job.merge.is_some() && job.phase() != JobPhase::JobRemove;
        let is_free = !cluster.map.jobs().any(|job| is_merge(&job));
        let mut due = None;
        for pair in &wanted {
            let since = *self.small.entry(*pair).or_insert(now);
            if due.is_none() && is_free && waited(&pair, since) {
                due = Some(*pair);
            }
        }
        // Whatever comes of it: the next time it is as if it had just been seen.
        self.small.retain(|pair, _| Some(*pair) != due);
        due.map(|(left, right)| Due::Merge { left, right })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::Settings;
    use crate::model::map::ClusterMap;

    fn cluster() -> Cluster {
        Cluster { map: ClusterMap::default(), settings: Settings::default() }
    }

    fn size(live_bytes: u64, per_s: u64) -> Size {
        Size { shard: ShardId(1), live_bytes, per_s, stays: false }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_large_is_due_at_once_and_what_could_not_be_done_a_while_later() {
        let (sizer, cluster) = (Sizer::default(), cluster());
        let large = [size(u64::MAX, 0)];
        let split = [Due::Split { shard: ShardId(1), by: By::Size }];
        assert_eq!(sizer.due(1, &cluster, &large), split);
        assert_eq!(sizer.due(1, &cluster, &large), [], "it was looked at just now");
        sizer.refuse(ShardId(1), "no".to_owned());
        tokio::time::advance(REPORT_EVERY).await;
        assert_eq!(sizer.due(1, &cluster, &large), []);
        assert!(sizer.told(ShardId(1)).unwrap().ends_with("no."));
        tokio::time::advance(AGAIN_AFTER).await;
        assert_eq!(sizer.due(1, &cluster, &large), split);
        sizer.refuse(ShardId(1), "no".to_owned());
        assert_eq!(sizer.due(2, &cluster, &large), split, "another leader begins anew");
    }
}
