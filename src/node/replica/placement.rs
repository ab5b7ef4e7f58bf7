//! Steps of a placement job, as the shard's leader does them.

use std::time::Duration;

use crate::model::id::{ReplicaId, ShardId};
use crate::model::key::Key;
use crate::net::wire::{self, placement_step::Step};
use crate::node::raft::group::MembershipError;
use crate::node::raft::sending::{Sent, Throttle};

use super::Replica;
use super::proposer::Rejected;

/// How long leadership may take to move.
pub const HAND_OVER: Duration = Duration::from_secs(3);

impl Replica {
    /// Does one step of a placement job, as the shard's leader, and tells how things are.
    ///
    /// Leadership is confirmed by a majority after the step, so what is told is not a deposed leader's memory.
    pub async fn placement_answer(&self, step: wire::PlacementStep) -> wire::PlacementReply {
        let middle = match step.step {
            Some(Step::Middle(_)) => self.middle().await,
            _ => None,
        };
        let stepped = self.placement_step(step).await;
        let confirmed = self.group.confirm().await.map_err(|_| {
            let leadership = self.group.leadership();
            MembershipError::NotLeader { node: leadership.node }
        });
        let (done, failure) = match stepped.and(confirmed) {
            Ok(()) => (true, None),
            Err(MembershipError::Changed) => (false, None),
            Err(error) => {
                let code = match error {
                    MembershipError::NotLeader { .. } => wire::PeerFailureCode::PeerNotLeader,
                    _ => wire::PeerFailureCode::PeerFailed,
                };
                (false, Some(wire::PeerFailure { code: code.into(), message: error.to_string() }))
            }
        };
        // The epoch first: it may only be older than the index told, never newer.
        let (epoch, birth) = self.store.state(|state| (state.epoch, state.birth_id()));
        let group = self.group.status();
        let progress = |(replica, matched_index): (&u64, &u64)| wire::Progress {
            replica: *replica,
            matched_index: *matched_index,
        };
        let sent = |(replica, sent): (u64, Sent)| wire::Sent {
            replica,
            bytes: sent.bytes,
            file_bytes: sent.of_bytes,
        };
        wire::PlacementReply {
            done,
            membership: Some(group.membership),
            progress: group.matched.iter().map(progress).collect(),
            applied_index: group.applied.index,
            last_index: group.last_index,
            epoch,
            failure,
            leader: self.id.0,
            asked_index: self.store.word().asked_index,
            write_pause_us: self.pause.longest_us(),
            sent: self.sending.all().into_iter().map(sent).collect(),
            birth,
            prepared: self.store.is_prepared(),
            middle: middle.map(|key| key.to_bytes()).unwrap_or_default(),
        }
    }

    /// Where to split, if anywhere.
    async fn middle(&self) -> Option<Key> {
        let found = self.store.middle().await;
        found
            .inspect_err(|error| tracing::warn!(shard = %self.shard, %error, "the middle was not found"))
            .ok()?
    }

    async fn placement_step(&self, step: wire::PlacementStep) -> Result<(), MembershipError> {
        self.sending.throttle(
            step.throttle
                .map(|throttle| Throttle { replica: throttle.replica, bytes_per_s: throttle.bytes_per_s }),
        );
        let seen = step.seen_membership.as_ref();
        match step.step {
            // Adding a member again would append an entry that changes nothing.
            Some(Step::AddLearner(member)) if self.group.has_member(member.replica) => Ok(()),
            Some(Step::AddLearner(member)) => self.group.add_learner(&member, seen).await,
            Some(Step::ChangeVoters(set)) => {
                self.pause.begin();
                self.change_voters(&set.replicas, seen).await
            }
            Some(Step::RemoveMember(replica)) => self.group.remove_learner(replica, seen).await,
            Some(Step::Verify(_)) => self.proposer.verify().await.map_err(refused),
            Some(Step::Split(split)) => self.proposer.split(split).await.map_err(refused),
            Some(Step::Settle(child)) => self.proposer.settle(ShardId(child)).await.map_err(refused),
            // Whether it leads is asked afterwards.
            Some(Step::HandOver(heir)) if heir == self.id.0 => Ok(()),
            Some(Step::HandOver(heir)) => self.hand_over(ReplicaId(heir)).await,
            // Asked of those, too, who do not lead.
            Some(Step::Prepare(_)) => {
                self.prepare_split();
                Ok(())
            }
            Some(Step::Middle(_)) | None => Ok(()), // only a question
        }
    }

    /// Lets another voter lead. What was being written waits for it.
    async fn hand_over(&self, heir: ReplicaId) -> Result<(), MembershipError> {
        self.pause.begin();
        let begin = tokio::time::Instant::now();
        let given = self.group.transfer_leadership(heir, HAND_OVER).await;
        self.pause.waited(begin.elapsed());
        match given {
            true => Ok(()),
            false => Err(MembershipError::Refused(format!("{heir} did not take over in time"))),
        }
    }
}

fn refused(error: Rejected) -> MembershipError {
    MembershipError::Refused(error.to_string())
}
