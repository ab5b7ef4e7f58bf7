//! The meta shard: which nodes follow it, and which of them vote.

use std::collections::BTreeSet;

use super::super::config::Settings;
use super::super::id::{NodeId, ReplicaId, ShardId};
use super::super::map::{ClusterMap, Node, Replica, Role, Shard};
use super::{Limits, Liveness, META_VOTERS_MAX, Planner, Proposal, Reason, odd};

/// True if the meta shard, voted on by these of its replicas, would be left as it is.
pub fn stays_elected(
    map: &ClusterMap,
    settings: &Settings,
    liveness: &Liveness,
    voters: &BTreeSet<ReplicaId>,
) -> bool {
    let Some(mut meta) = map.shard(ShardId::META).cloned() else { return false };
    for replica in &mut meta.replicas {
        replica.role = if voters.contains(&replica.id) { Role::Voter } else { Role::Learner };
    }
    Planner::new(map, settings, liveness, Limits::NONE).meta(&meta).is_none()
}

impl Planner<'_> {
    /// The meta shard follows the nodes: out with those that left, in with those that joined, then the voters.
    pub(super) fn meta(&self, shard: &Shard) -> Option<Proposal> {
        let reason = Reason::Meta;
        let belongs = |replica: &&Replica| {
            !matches!(self.fault(replica), Some(Reason::Leave | Reason::Retired | Reason::Damaged))
        };
        let stay: Vec<&Replica> = shard.replicas.iter().filter(belongs).collect();
        let out = shard.replicas.iter().find(|replica| !belongs(replica));
        let absent = |node: &&Node| shard.replica_on(node.id).is_none() && self.takes(shard, node.id);
        let add = match out.map(|out| (self.fault(out), out.node)) {
            None => self.map.members().find(absent).map(|node| node.id),
            Some((Some(Reason::Damaged), node)) => Some(node).filter(|node| self.is_ready(*node)),
            Some(_) => None,
        };
        if add.is_none() && out.is_some_and(|out| self.fault(out) == Some(Reason::Damaged)) {
            return None; // fewer voters would make nothing safer
        }
        let (voters, add_votes) = self.meta_voters(&stay, add);
        let now: BTreeSet<ReplicaId> = shard.voters().map(|replica| replica.id).collect();
        let changes = out.is_some() || add.is_some() || voters != now;
        let odd = (voters.len() + usize::from(add_votes)) % 2 == 1;
        let (shard, remove) = (shard.id, out.map(|replica| replica.id));
        (changes && odd).then_some(Proposal { shard, add, remove, voters, add_votes, reason })
    }

    /// As many voters as the nodes call for, of those that are sound, else also of those that drain; if these are too
    /// few, who votes goes on voting.
    fn meta_voters(&self, stay: &[&Replica], add: Option<NodeId>) -> (BTreeSet<ReplicaId>, bool) {
        let newcomer = usize::from(add.is_some());
        let wanted = odd(stay.len() + newcomer).clamp(1, META_VOTERS_MAX);
        let fit = |drain: bool| -> Vec<&Replica> {
            let fits = |fault: Option<Reason>| fault.is_none() || (drain && fault == Some(Reason::Drain));
            stay.iter().copied().filter(|replica| fits(self.fault(replica))).collect()
        };
        let enough = [fit(false), fit(true)].into_iter().find(|fit| fit.len() + newcomer >= wanted);
        if let Some(fit) = enough {
            return self.elect(&fit, add, wanted);
        }
        let voting: Vec<&Replica> = stay.iter().copied().filter(|r| r.role == Role::Voter).collect();
        match voting.is_empty() {
            true => self.elect(stay, None, 1),
            false => self.elect(&voting, None, odd(voting.len())),
        }
    }
}
