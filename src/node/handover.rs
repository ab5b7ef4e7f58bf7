//! # Leadership given away
//!
//! At shutdown a node gives all it leads to whoever is up to date. While its disk is full it gives it to those that
//! have room: what grows is refused here ([`super::room`]), and would be served there.
//!
//! Who has room says so in its answers to the pulse. A node has room for others only well above its reserve, and one that
//! is full gives away only after a while, so nothing goes back and forth. It gives one after the other, with a pause
//! between two: each is an election, and clients must find the new leader. If nobody has room, nothing moves.
//!
//! ## Invariants and what guards each
//!
//! - Writes go on if a majority of a shard's nodes, one of them in front, has room, and the leader stays where it then is:
//!   guarded by `scripts::full-leader`, `scripts::two-full-disks`.
//! - If all are full nobody gives anything away: guarded by `scripts::full-disk`.
//! - Only who votes, has the log and has room is given anything: guarded by `tests::who_is_given_a_shard`.
//!
//! Relies on the next leader having been told all: one that lags would keep its shard waiting. Does not: move replicas away
//! from a full disk.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::model::id::{NodeId, ReplicaId};

use super::pulse::Pulses;
use super::raft::group::GroupStatus;
use super::replica::HAND_OVER;
use super::room::Room;
use super::shards::Shards;

/// How often a node looks whether it is full.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A disk that is full for this long is no passing want of room.
const FULL_FOR: Duration = Duration::from_secs(2);
/// Between two that a full node gives away.
const PAUSE: Duration = Duration::from_millis(100);
/// Entries that the next leader of a full node's shard may lack.
const LAG_MAX: u64 = 256;

/// Gives every leadership to another voter that is up to date.
pub async fn all(shards: &Shards) {
    for replica in shards.all().iter() {
        let status = replica.group.status();
        if !status.leadership.here {
            continue;
        }
        let Some(to) = next_leader(&status, replica.id, |_| true) else { continue };
        if !replica.group.transfer_leadership(to, HAND_OVER).await {
            tracing::warn!(shard = %replica.shard, "leadership was not taken over in time; an election will follow");
        }
    }
}

/// Gives away what others have room for while the disk is full, for ever.
pub async fn while_full(room: Arc<Room>, shards: Shards, pulses: Pulses) {
    let mut full_since = None;
    loop {
        sleep(LOOK_EVERY).await;
        if room.check().is_ok() {
            full_since = None;
            continue;
        }
        if full_since.get_or_insert_with(Instant::now).elapsed() < FULL_FOR {
            continue;
        }
        for replica in shards.all().iter().filter(|replica| replica.group.leadership().here) {
            let status = replica.group.status();
            let knows_all =
                |voter| status.matched.get(&voter).copied().unwrap_or(0) + LAG_MAX >= status.last_index;
            let has_room = |node| pulses.has_room(node);
            let fits = |member: &Voter| knows_all(member.replica.0) && has_room(member.node);
            let Some(to) = next_leader(&status, replica.id, fits) else { continue };
            let given = replica.group.transfer_leadership(to, HAND_OVER).await;
            tracing::info!(shard = %replica.shard, %to, given, "the disk is full; leadership goes to who has room");
            sleep(PAUSE).await;
        }
    }
}

/// A voter beside the leader.
struct Voter {
    replica: ReplicaId,
    node: NodeId,
}

/// Whoever has most of the log, among the other voters that fit.
fn next_leader(status: &GroupStatus, own: ReplicaId, fits: impl Fn(&Voter) -> bool) -> Option<ReplicaId> {
    let votes = |replica| status.membership.configs.iter().any(|set| set.replicas.contains(&replica));
    let voters = status.membership.members.iter().filter(|member| votes(member.replica));
    let voters = voters.map(|member| Voter { replica: ReplicaId(member.replica), node: NodeId(member.node) });
    voters
        .filter(|voter| voter.replica != own && fits(voter))
        .max_by_key(|voter| status.matched.get(&voter.replica.0).copied().unwrap_or(0))
        .map(|voter| voter.replica)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::wire::{Member, Membership, VoterSet};
    use crate::node::raft::group::Leadership;

    #[test]
    fn who_is_given_a_shard() {
        let member = |replica| Member { replica, node: replica * 10 };
        let status = GroupStatus {
            state: "leader",
            leadership: Leadership::default(),
            applied: Default::default(),
            last_index: 1000,
            membership: Membership {
                log_id: None,
                configs: vec![VoterSet { replicas: vec![1, 2, 3] }],
                members: [1, 2, 3, 4].map(member).to_vec(),
            },
            failure: None,
            matched: [(1, 1000), (2, 990), (3, 995), (4, 1000)].into(),
        };
        let given = |fits: &dyn Fn(&Voter) -> bool| next_leader(&status, ReplicaId(1), fits).map(|to| to.0);
        assert_eq!(given(&|_| true), Some(3), "of two, the one that has more of the log");
        assert_eq!(given(&|voter| voter.node != NodeId(30)), Some(2));
        assert_eq!(given(&|voter| voter.node == NodeId(40)), None, "it does not vote");
        assert_eq!(given(&|voter| voter.node == NodeId(10)), None, "it is the one that gives");
    }
}
