//! What clients ask for and how long it takes, from what nodes report one after the other.
//!
//! Nodes tell counts that only rise; what happened between two reports is their difference. In memory of the meta leader only.
//!
//! Promises: a node that began anew (its counts are lower) is not taken for anything else. Does not: know what requests are about.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::model::id::{NodeId, ReplicaId, ShardId};
use crate::net::wire::NodeStatus;
use crate::node::histogram::SECONDS_FIRST_NS;

/// Reports that are remembered of each node, one a second.
const REPORTS_MAX: usize = 11;
/// How much a new report counts for a rate, in percent.
const RATE_PERCENT: u64 = 20;
/// The bound of the first bucket of latencies, in microseconds; each further one's is twice as large.
const FIRST_US: u64 = SECONDS_FIRST_NS / 1000;

/// What is known of all nodes.
#[derive(Clone, Debug, Default)]
pub struct Felt {
    latencies: BTreeMap<NodeId, VecDeque<Latencies>>,
    rates: BTreeMap<(NodeId, ReplicaId), Rate>,
}

/// How many requests took how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies(Vec<u64>);

#[derive(Clone, Copy, Debug)]
struct Rate {
    shard: ShardId,
    operations: u64,
    per_s: u64,
}

impl Felt {
    /// Takes in a report, `elapsed` after the one before.
    pub fn hear(&mut self, status: &NodeStatus, elapsed: Duration) {
        let node = NodeId(status.node);
        let counts = Latencies(status.latency_counts.clone());
        let reports = self.latencies.entry(node).or_default();
        if reports.back().is_some_and(|last| counts.since(last).is_none()) {
            reports.clear();
        }
        reports.push_back(counts);
        if reports.len() > REPORTS_MAX {
            reports.pop_front();
        }
        let mut rates = BTreeMap::new();
        for replica in &status.replicas {
            let key = (node, ReplicaId(replica.replica));
            let before = self.rates.get(&key).filter(|before| before.operations <= replica.operations);
            let per_s = before.map_or(0, |before| {
                let now =
                    (replica.operations - before.operations) * 1000 / (elapsed.as_millis() as u64).max(1);
                (now * RATE_PERCENT + before.per_s * (100 - RATE_PERCENT)) / 100
            });
            let (shard, operations) = (ShardId(replica.shard), replica.operations);
            rates.insert(key, Rate { shard, operations, per_s });
        }
        self.rates.retain(|(of, _), _| *of != node);
        self.rates.append(&mut rates);
    }

    /// Operations a second asked of a shard's replica on a node, smoothed over some seconds.
    pub fn per_s(&self, node: NodeId, shard: ShardId, replica: ReplicaId) -> u64 {
        self.rates.get(&(node, replica)).filter(|rate| rate.shard == shard).map_or(0, |rate| rate.per_s)
    }

    /// What each of these nodes told last.
    pub fn counts(&self, nodes: &[NodeId]) -> BTreeMap<NodeId, Latencies> {
        let last = |node: &NodeId| Some((*node, self.latencies.get(node)?.back()?.clone()));
        nodes.iter().filter_map(last).collect()
    }

    /// Of the requests at these nodes in the last seconds.
    pub fn lately(&self, nodes: &[NodeId], seconds: usize) -> Latencies {
        let mut all = Latencies::default();
        for reports in nodes.iter().filter_map(|node| self.latencies.get(node)) {
            let (Some(last), Some(before)) =
                (reports.back(), reports.iter().rev().take(seconds + 1).next_back())
            else {
                continue;
            };
            last.since(before).into_iter().for_each(|between| all.add(&between));
        }
        all
    }

    /// Of the requests at nodes since they told these counts.
    pub fn since(&self, counts: &BTreeMap<NodeId, Latencies>) -> Latencies {
        let mut all = Latencies::default();
        for (node, before) in counts {
            let last = self.latencies.get(node).and_then(|reports| reports.back());
            last.and_then(|last| last.since(before)).into_iter().for_each(|between| all.add(&between));
        }
        all
    }
}

impl Latencies {
    fn since(&self, before: &Latencies) -> Option<Latencies> {
        let of = |counts: &[u64], n: usize| counts.get(n).copied().unwrap_or(0);
        let buckets = 0..self.0.len().max(before.0.len());
        let between = buckets.map(|n| of(&self.0, n).checked_sub(of(&before.0, n)));
        between.collect::<Option<Vec<u64>>>().map(Latencies)
    }

    fn add(&mut self, other: &Latencies) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(sum, more)| *sum += more);
    }

    /// How many requests.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// What all but a hundredth of them took at most, in microseconds, as exactly as the buckets tell; 0 of none.
    pub fn p99_us(&self) -> u64 {
        let wanted = self.count() - self.count() / 100;
        let mut below = 0;
        for (n, count) in self.0.iter().enumerate() {
            if below + count >= wanted && *count > 0 {
                let (low, high) = (if n == 0 { 0 } else { FIRST_US << (n - 1) }, FIRST_US << n);
                return low + (high - low) * (wanted - below) / count;
            }
            below += count;
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::wire::ReplicaStatus;

    const SECOND: Duration = Duration::from_secs(1);

    fn report(node: u64, latency_counts: &[u64], operations: u64) -> NodeStatus {
        let replica = ReplicaStatus { shard: 3, replica: 7, operations, ..ReplicaStatus::default() };
        let (latency_counts, replicas) = (latency_counts.to_vec(), vec![replica]);
        NodeStatus { node, latency_counts, replicas, ..NodeStatus::default() }
    }

    fn rate(felt: &Felt) -> u64 {
        felt.per_s(NodeId(1), ShardId(3), ReplicaId(7))
    }

    #[test]
    fn rates_follow_what_is_asked_and_begin_anew_with_a_node() {
        let mut felt = Felt::default();
        for second in 0..40 {
            felt.hear(&report(1, &[], second * 1000), SECOND);
        }
        assert!((980..=1000).contains(&rate(&felt)), "{}", rate(&felt));
        felt.hear(&report(1, &[], 5), SECOND);
        assert_eq!(rate(&felt), 0, "it began anew");
        assert_eq!(felt.per_s(NodeId(2), ShardId(3), ReplicaId(7)), 0);
        felt.hear(&NodeStatus { node: 1, ..NodeStatus::default() }, SECOND);
        assert!(felt.rates.is_empty(), "what is not there any more is forgotten");
    }

    #[test]
    fn the_99th_percentile_lies_in_its_bucket() {
        assert_eq!(Latencies::default().p99_us(), 0);
        assert_eq!(Latencies(vec![100]).p99_us(), 99);
        // 990 up to 100 us, 10 from 1.6 to 3.2 ms: all but a hundredth are in the first.
        assert_eq!(Latencies(vec![990, 0, 0, 0, 0, 10]).p99_us(), 100);
        let slow = Latencies(vec![900, 0, 0, 0, 0, 100]).p99_us();
        assert!((1600..=3200).contains(&slow), "{slow}");
        assert_eq!(Latencies(vec![0, 0, 1]).p99_us(), 400);
    }

    #[test]
    fn what_happened_is_what_lies_between_two_reports() {
        let mut felt = Felt::default();
        let (one, two) = (NodeId(1), NodeId(2));
        felt.hear(&report(1, &[10, 0], 0), SECOND);
        felt.hear(&report(2, &[500, 5], 0), SECOND);
        let begin = felt.counts(&[one, two]);
        felt.hear(&report(1, &[110, 1], 0), SECOND);
        felt.hear(&report(1, &[210, 1], 0), SECOND);
        assert_eq!(felt.lately(&[one], 1), Latencies(vec![100, 0]));
        assert_eq!(felt.lately(&[one, two], 10), Latencies(vec![200, 1]));
        assert_eq!(felt.since(&begin), Latencies(vec![200, 1]));
        // One begins anew: what it tells is not what happened since.
        felt.hear(&report(1, &[3, 0], 0), SECOND);
        assert_eq!((felt.since(&begin).count(), felt.lately(&[one], 5).count()), (0, 0));
        felt.hear(&report(1, &[4, 0], 0), SECOND);
        assert_eq!(felt.lately(&[one], 5).count(), 1);
    }

    #[test]
    fn only_so_many_reports_are_remembered() {
        let mut felt = Felt::default();
        (0..100).for_each(|second| felt.hear(&report(1, &[second], 0), SECOND));
        assert_eq!(felt.latencies[&NodeId(1)].len(), REPORTS_MAX);
        assert_eq!(felt.lately(&[NodeId(1)], 50).count(), REPORTS_MAX as u64 - 1);
    }
}
