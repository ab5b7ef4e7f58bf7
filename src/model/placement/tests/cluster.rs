//! A cluster for tests of rules: records without machines.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use crate::model::config::Settings;
use crate::model::id::{NodeId, ReplicaId, ShardId};
use crate::model::key::{Key, KeyRange};
use crate::model::map::{ClusterMap, Node, NodeState, Replica, Role, Shard};
use crate::model::placement::{JOBS_MAX, Liveness, Proposal, Reason, plan};
use crate::model::system::SystemKey;
use crate::model::time::Timestamp;
use crate::model::wire::{NodeRecord, ShardRecord};

/// A cluster whose jobs are carried out at once, as its records.
#[derive(Clone)]
pub struct Cluster {
    pub nodes: BTreeMap<NodeId, Node>,
    pub shards: BTreeMap<ShardId, Shard>,
    pub silent: Liveness,
    pub settings: Settings,
    next_replica: u64,
}

impl Cluster {
    /// One node with the meta shard and `users` user shards on it.
    pub fn young(users: u64) -> Cluster {
        let (nodes, shards, settings) = (BTreeMap::new(), BTreeMap::new(), Settings::default());
        let mut cluster = Cluster { nodes, shards, silent: Liveness::default(), settings, next_replica: 1 };
        cluster.join(1, "");
        for id in 0..=users {
            let range = match id {
                0 => KeyRange::system(),
                _ => KeyRange::new(Key::from_name(format!("{id:06}").as_bytes()).unwrap(), None),
            };
            let replica = Replica { id: cluster.fresh(), node: NodeId(1), role: Role::Voter };
            let ring_position = id.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
            let shard = Shard {
                id: ShardId(id),
                range,
                epoch: 1,
                replicas: vec![replica],
                ring_position,
                by_itself: false,
            };
            cluster.shards.insert(ShardId(id), shard);
        }
        cluster
    }

    fn fresh(&mut self) -> ReplicaId {
        self.next_replica += 1;
        ReplicaId(self.next_replica)
    }

    pub fn join(&mut self, id: u64, zone: &str) {
        let (quic, http, zone) = (String::new(), String::new(), zone.to_owned());
        let state = NodeState::Member;
        let node = Node {
            id: NodeId(id),
            quic,
            http,
            zone,
            weight: 100,
            joined_at_ms: 0,
            state,
            meta_replica: ReplicaId(0),
        };
        self.nodes.insert(NodeId(id), node);
    }

    pub fn state(&mut self, id: u64, state: NodeState) {
        self.nodes.get_mut(&NodeId(id)).unwrap().state = state;
    }

    pub fn silence(&mut self, id: u64) {
        self.silent.silence_ms.insert(NodeId(id), self.settings.silent_after_ms + 1);
    }

    pub fn map(&self) -> ClusterMap {
        let nodes = self.nodes.values().map(|node| {
            (SystemKey::Node(node.id).key(), NodeRecord::from(node).encode_to_vec(), Timestamp(1))
        });
        let shards = self.shards.values().map(|shard| {
            (SystemKey::Shard(shard.id).key(), ShardRecord::from(shard).encode_to_vec(), Timestamp(1))
        });
        ClusterMap::from_rows(nodes.chain(shards)).unwrap()
    }

    pub fn plan(&self) -> Vec<Proposal> {
        plan(&self.map(), &self.settings, &self.silent)
    }

    pub fn carry_out(&mut self, proposal: &Proposal) {
        let fresh = self.fresh();
        let job = proposal.job(1, fresh, 0);
        assert_eq!(job.voters.len() % 2, 1);
        let shard = self.shards.get_mut(&proposal.shard).unwrap();
        if let Some(node) = proposal.add {
            let there = shard.replica_on(node);
            let is_made_anew = there.is_some_and(|old| {
                proposal.reason != Reason::Grow
                    && proposal.remove == Some(old.id)
                    && self.silent.damaged.contains(&old.id)
            });
            assert!(there.is_none() || is_made_anew, "two replicas of a shard on one node");
            assert_ne!(self.nodes[&node].state, NodeState::Left);
            shard.replicas.push(Replica { id: fresh, node, role: Role::Learner });
        }
        for replica in &mut shard.replicas {
            replica.role = if job.voters.contains(&replica.id.0) { Role::Voter } else { Role::Learner };
        }
        assert_eq!(shard.voters().count(), job.voters.len(), "all voters are there");
        let removed = proposal.remove.map(|id| *shard.replica(id).unwrap());
        assert!(removed.is_none_or(|replica| replica.role == Role::Learner));
        shard.replicas.retain(|replica| Some(replica.id) != proposal.remove);
        shard.epoch += 1;
    }

    /// Carries out plans until there is nothing left to do; returns how many jobs that took.
    pub fn settle(&mut self) -> usize {
        let mut jobs = 0;
        for _ in 0..10_000 {
            let proposals = self.plan();
            if proposals.is_empty() {
                return jobs;
            }
            let shards: BTreeSet<ShardId> = proposals.iter().map(|proposal| proposal.shard).collect();
            assert_eq!(shards.len(), proposals.len(), "one job a shard");
            assert!(proposals.len() <= JOBS_MAX + 1);
            jobs += proposals.len();
            proposals.iter().for_each(|proposal| self.carry_out(proposal));
        }
        panic!("no end of plans: {:?}", self.plan());
    }

    pub fn roles(&self, shard: u64) -> (usize, usize) {
        let shard = &self.shards[&ShardId(shard)];
        let voters = shard.voters().count();
        (voters, shard.replicas.len() - voters)
    }

    pub fn voters(&self, shard: u64) -> Vec<u64> {
        let mut nodes: Vec<u64> = self.shards[&ShardId(shard)].voters().map(|r| r.node.0).collect();
        nodes.sort_unstable();
        nodes
    }

    pub fn on(&self, node: u64) -> usize {
        self.shards.values().filter(|shard| shard.replica_on(NodeId(node)).is_some()).count()
    }
}
