//! Steps of a placement job, as the shard's leader does them.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::time::Instant;

use crate::model::evaluate::{ShardState, Taking};
use crate::model::id::ReplicaId;
use crate::model::key::{Key, KeyRange};
use crate::model::sizing;
use crate::model::time::Timestamp;
use crate::model::wire::entry::Kind;
use crate::model::wire::{self as model_wire, Forgo, Freeze, Settled, TakeOver, Verify};
use crate::net::wire::{self, placement_step::Step};
use crate::node::raft::group::MembershipError;
use crate::node::raft::sending::{Sent, Throttle};

use super::Replica;
use super::proposer::Rejected;

/// Bytes of rows that go over to another shard at once, about.
const LEFTOVER_BYTES: usize = 1 << 20;
/// How long leadership may take to move.
pub const HAND_OVER: Duration = Duration::from_secs(3);

impl Replica {
    /// Does one step of a placement job, as the shard's leader, and tells how things are.
    ///
    /// Leadership is confirmed by a majority after the step, so what is told is not a deposed leader's memory.
    pub async fn placement_answer(&self, step: wire::PlacementStep) -> wire::PlacementReply {
        let told = self.told(step.step.as_ref()).await;
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
        // The state first: it may only be older than the index told, never newer.
        let state = self.store.state(ShardState::clone);
        let (epoch, birth) = (state.epoch, state.birth_id());
        let taking = state.taking.as_deref();
        let stats = self.store.stats();
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
            frozen_by: state.frozen_by,
            attempts_over: state.attempts_over,
            taking: taking.map_or(0, |taking| taking.attempt),
            taking_after: taking.map(|taking| taking.after.clone()).unwrap_or_default(),
            taking_all: taking.is_some_and(|taking| taking.rest.is_some()),
            tidied_index: if self.store.holds_foreign() { 0 } else { self.tidied_index() },
            stored_bytes: stats.live_bytes + stats.history_bytes + stats.memtable_bytes,
            ..told
        }
    }

    /// The answer to what is only a question, as part of a reply.
    async fn told(&self, step: Option<&Step>) -> wire::PlacementReply {
        let mut told = wire::PlacementReply::default();
        match step {
            Some(Step::Middle(_)) => told.middle = internal(self.middle().await),
            Some(Step::BusyMiddle(_)) => told.middle = internal(self.busy_middle()),
            Some(Step::Prepare(at)) => told.prepared = self.is_split_prepared(at.clone()),
            Some(Step::Leftover(asked)) => {
                told.leftover = self.leftover(asked).await;
                let bytes = told.leftover.as_ref().map_or(0, |leftover| leftover.encoded_len());
                // It becomes an entry, of which the log takes none that is larger, and of which a batch is to have room.
                told.leftover_too_large = bytes > self.log.entry_max_bytes() / 2;
            }
            Some(Step::Compare(asked)) => {
                if let Some((digest, watermark)) = self.compare(asked).await {
                    told.rows_digest = Bytes::copy_from_slice(&digest);
                    told.digest_watermark = watermark.0;
                }
            }
            _ => {}
        }
        told
    }

    /// Some of what this shard holds, if it stands still for that merge: then it is the same on all its replicas.
    async fn leftover(&self, asked: &wire::Leftover) -> Option<model_wire::Ingest> {
        if self.store.state(|state| state.frozen_by) != asked.attempt {
            return None;
        }
        let after = Some(&asked.after).filter(|after| !after.is_empty()).cloned();
        let after = after.map(Key::from_internal).transpose().ok()?;
        let leftover = self.store.leftover(after, LEFTOVER_BYTES.min(self.log.entry_max_bytes() / 4)).await;
        leftover
            .inspect_err(
                |error| tracing::warn!(shard = %self.shard, %error, "what it holds could not be read"),
            )
            .ok()
    }

    /// What rows there are of a range, if this shard stands still for that merge or all has come here.
    async fn compare(&self, asked: &wire::Compare) -> Option<([u8; 32], Timestamp)> {
        let has_come = |taking: &Taking| taking.attempt == asked.attempt && taking.rest.is_some();
        let is_fixed = self
            .store
            .state(|state| state.frozen_by == asked.attempt || state.taking.as_deref().is_some_and(has_come));
        if !is_fixed {
            return None;
        }
        let start = Key::from_internal(asked.start.clone()).ok()?;
        let end = Some(&asked.end).filter(|end| !end.is_empty()).cloned();
        let range = KeyRange::new(start, end.map(Key::from_internal).transpose().ok()?);
        let digest = self.store.compare(range, Timestamp(asked.watermark)).await;
        digest
            .inspect_err(|error| tracing::warn!(shard = %self.shard, %error, "rows could not be compared"))
            .ok()
    }

    async fn order(&self, kind: Kind) -> Result<(), MembershipError> {
        self.proposer.order(kind).await.map_err(refused)
    }

    /// Where to split, if anywhere.
    async fn middle(&self) -> Option<Key> {
        let found = self.store.middle().await;
        found
            .inspect_err(|error| tracing::warn!(shard = %self.shard, %error, "the middle was not found"))
            .ok()?
    }

    /// Where to split so that each half is asked half, if anywhere.
    fn busy_middle(&self) -> Option<Key> {
        let range = self.store.state(|state| state.range.clone())?;
        let mut asked = self.asked.keys();
        asked.retain(|key| range.contains(key));
        sizing::halving_key(&asked).filter(|key| *key > range.start)
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
                let _changing = self.pause.begin();
                self.change_voters(&set.replicas, seen).await
            }
            Some(Step::RemoveMember(replica)) => self.group.remove_learner(replica, seen).await,
            Some(Step::Verify(_)) => self.order(Kind::Verify(Verify {})).await,
            Some(Step::Split(split)) => self.order(Kind::Split(split)).await,
            Some(Step::Settle(child)) => self.order(Kind::Settled(Settled { child })).await,
            Some(Step::Freeze(attempt)) => self.order(Kind::Freeze(Freeze { attempt })).await,
            Some(Step::Ingest(ingest)) => self.order(Kind::Ingest(ingest)).await,
            Some(Step::TakeOver(attempt)) => self.order(Kind::TakeOver(TakeOver { attempt })).await,
            Some(Step::Forgo(attempt)) => self.order(Kind::Forgo(Forgo { attempt })).await,
            // Whether it leads is asked afterwards.
            Some(Step::HandOver(heir)) if heir == self.id.0 => Ok(()),
            Some(Step::HandOver(heir)) => self.hand_over(ReplicaId(heir)).await,
            // Asked of those, too, who do not lead.
            Some(Step::Prepare(at)) => {
                self.prepare_split(at);
                Ok(())
            }
            Some(Step::Tidy(index)) => {
                self.tidy(index);
                Ok(())
            }
            // Only questions.
            Some(Step::Middle(_) | Step::BusyMiddle(_) | Step::Leftover(_) | Step::Compare(_)) | None => {
                Ok(())
            }
        }
    }

    /// Lets another voter lead. What was being written waits for it.
    async fn hand_over(&self, heir: ReplicaId) -> Result<(), MembershipError> {
        let _changing = self.pause.begin();
        let begin = Instant::now();
        let given = self.group.transfer_leadership(heir, HAND_OVER).await;
        self.group.next_leader(HAND_OVER.saturating_sub(begin.elapsed())).await;
        self.pause.waited(begin);
        match given {
            true => Ok(()),
            false => Err(MembershipError::Refused(format!("{heir} did not take over in time"))),
        }
    }
}

fn internal(key: Option<Key>) -> Bytes {
    key.map(|key| key.to_bytes()).unwrap_or_default()
}

fn refused(error: Rejected) -> MembershipError {
    MembershipError::Refused(error.to_string())
}
