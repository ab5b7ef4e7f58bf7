//! What other members ask of this one: Raft's messages, snapshots, reports, steps of placement.

use std::sync::Arc;

use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest};
use prost::Message;
use tokio::time::Instant;

use crate::model::id::{ReplicaId, ShardId};
use crate::model::time::Timestamp;
use crate::net::rpc::FrameStream;
use crate::net::trouble::{Bug, planted};
use crate::net::wire::{self, PeerFailure, PeerFailureCode};
use crate::node::raft::group::{AppendError, ConfirmError};
use crate::node::raft::machine::{SnapshotMeta, SnapshotSource};
use crate::node::raft::snapshot;
use crate::node::raft::types::{
    decode_entry, log_id_from_wire, log_id_to_wire, stored_membership, vote_from_wire, vote_to_wire,
};
use crate::node::replica::{Replica, directory};

use super::Requests;

type Refused = PeerFailure;

fn refused(code: PeerFailureCode, message: impl ToString) -> Refused {
    PeerFailure { code: code.into(), message: message.to_string() }
}

impl Requests {
    fn malformed(&self, what: &str) -> Refused {
        self.counts.undecodable.inc();
        refused(PeerFailureCode::PeerFailed, format!("a message {what}"))
    }

    fn replica(&self, shard: u64, replica: u64) -> Result<Arc<Replica>, Refused> {
        let replica = self.shards.exactly(ShardId(shard), ReplicaId(replica)).ok_or_else(|| {
            refused(PeerFailureCode::PeerNoSuchReplica, format!("s{shard} r{replica} is not here"))
        })?;
        match replica.group.takes_nothing() {
            // What came in would pile up: nothing of it can be answered before it is on disk.
            true => Err(refused(PeerFailureCode::PeerBusy, "the disk hangs")),
            false => Ok(replica),
        }
    }

    pub(super) async fn append(&self, body: Bytes) -> wire::AppendReply {
        use wire::append_reply::Body;
        let body = match self.try_append(body).await {
            Ok(AppendEntriesResponse::Success) => Body::Success(true),
            Ok(AppendEntriesResponse::PartialSuccess(up_to)) => {
                Body::Partial(wire::PartialSuccess { up_to: up_to.as_ref().map(log_id_to_wire) })
            }
            Ok(AppendEntriesResponse::Conflict) => Body::Conflict(true),
            Ok(AppendEntriesResponse::HigherVote(vote)) => Body::HigherVote(vote_to_wire(&vote)),
            Err(failure) => Body::Failure(failure),
        };
        wire::AppendReply { body: Some(body) }
    }

    async fn try_append(
        &self,
        body: Bytes,
    ) -> Result<AppendEntriesResponse<crate::node::raft::types::Types>, Refused> {
        let message = wire::Append::decode(body).map_err(|_| self.malformed("that cannot be read"))?;
        let replica = self.replica(message.shard, message.replica)?;
        // The sender's clock is at or above every stamp it sends.
        let merged = self.clock.merge(Timestamp(message.clock));
        merged.map_err(|error| refused(PeerFailureCode::PeerClock, error))?;
        let vote =
            message.vote.as_ref().map(vote_from_wire).ok_or_else(|| self.malformed("without a vote"))?;
        let entries = message.entries.into_iter().map(decode_entry).collect::<Result<Vec<_>, _>>();
        let request = AppendEntriesRequest {
            vote,
            prev_log_id: message.previous.as_ref().map(log_id_from_wire),
            entries: entries.map_err(|error| self.malformed(&error.to_string()))?,
            leader_commit: message.committed.as_ref().map(log_id_from_wire),
        };
        let answer = replica.group.handle_append(request).await;
        answer.map_err(|error| match error {
            AppendError::NoRoom(_) => refused(PeerFailureCode::PeerFull, error),
            AppendError::Stopped(_) => refused(PeerFailureCode::PeerFailed, error),
        })
    }

    pub(super) async fn ballot(&self, body: Bytes) -> wire::BallotReply {
        self.try_ballot(body)
            .await
            .unwrap_or_else(|failure| wire::BallotReply { failure: Some(failure), ..Default::default() })
    }

    async fn try_ballot(&self, body: Bytes) -> Result<wire::BallotReply, Refused> {
        let message = wire::Ballot::decode(body).map_err(|_| self.malformed("that cannot be read"))?;
        let replica = self.replica(message.shard, message.replica)?;
        let request = VoteRequest {
            vote: message
                .vote
                .as_ref()
                .map(vote_from_wire)
                .ok_or_else(|| self.malformed("without a vote"))?,
            last_log_id: message.last.as_ref().map(log_id_from_wire),
            leadership_transfer: message.leadership_transfer,
        };
        let leader_lives = replica.group.leadership().node.is_some_and(|leader| self.pulses.lives(leader));
        let answer = replica.group.handle_ballot(request, message.pre_vote, leader_lives).await;
        let answer = answer.map_err(|error| refused(PeerFailureCode::PeerFailed, error))?;
        Ok(wire::BallotReply {
            vote: Some(vote_to_wire(&answer.vote)),
            granted: answer.vote_granted,
            last: answer.last_log_id.as_ref().map(log_id_to_wire),
            failure: None,
        })
    }

    pub(super) async fn leader_transfer(&self, body: Bytes) -> wire::LeaderTransferReply {
        wire::LeaderTransferReply { failure: self.try_leader_transfer(body).await.err() }
    }

    async fn try_leader_transfer(&self, body: Bytes) -> Result<(), Refused> {
        let message =
            wire::LeaderTransfer::decode(body).map_err(|_| self.malformed("that cannot be read"))?;
        let replica = self.replica(message.shard, message.replica)?;
        let from =
            message.from.as_ref().map(vote_from_wire).ok_or_else(|| self.malformed("without a vote"))?;
        let last = message.last.as_ref().map(log_id_from_wire);
        let request = TransferLeaderRequest::new(from, message.heir, last);
        let answer = replica.group.handle_transfer(request).await;
        answer.map_err(|error| refused(PeerFailureCode::PeerFailed, error))
    }

    pub(super) async fn read_index(&self, body: Bytes) -> wire::ReadIndexReply {
        let (index, failure) = match self.try_read_index(body).await {
            Ok(index) => (index, None),
            Err(failure) => (0, Some(failure)),
        };
        wire::ReadIndexReply { index, clock: self.clock.now().0, failure }
    }

    async fn try_read_index(&self, body: Bytes) -> Result<u64, Refused> {
        let message = wire::ReadIndex::decode(body).map_err(|_| self.malformed("that cannot be read"))?;
        let replica = self.replica(message.shard, message.replica)?;
        replica.group.read_index().await.map_err(|error| match error {
            ConfirmError::NotLeader { .. } => refused(PeerFailureCode::PeerNotLeader, error),
            other => refused(PeerFailureCode::PeerFailed, other),
        })
    }

    pub(super) async fn placement(&self, body: Bytes) -> wire::PlacementReply {
        self.try_placement(body)
            .await
            .unwrap_or_else(|failure| wire::PlacementReply { failure: Some(failure), ..Default::default() })
    }

    async fn try_placement(&self, body: Bytes) -> Result<wire::PlacementReply, Refused> {
        let step = wire::PlacementStep::decode(body).map_err(|_| self.malformed("that cannot be read"))?;
        let shard = ShardId(step.shard);
        let replica = self.shards.get(shard);
        let replica = replica
            .ok_or_else(|| refused(PeerFailureCode::PeerNoSuchReplica, format!("{shard} is not here")))?;
        Ok(replica.placement_answer(step).await)
    }

    /// Receives a shard's file for a replica here.
    pub(super) async fn snapshot(&self, head: Bytes, mut stream: FrameStream) {
        let reply = match self.try_snapshot(head, &mut stream).await {
            Ok(vote) => wire::SnapshotReply { vote: Some(vote), failure: None },
            Err(failure) => {
                tracing::warn!(reason = failure.message, "a snapshot was not installed");
                wire::SnapshotReply { vote: None, failure: Some(failure) }
            }
        };
        // The sender finds out by itself if it is gone.
        let _ = stream.send(reply.encode_to_vec().into()).await;
        let _ = stream.finish().await;
    }

    async fn try_snapshot(
        &self,
        head: Bytes,
        stream: &mut FrameStream,
    ) -> Result<crate::model::wire::Vote, Refused> {
        let failed = |error: &dyn std::error::Error| refused(PeerFailureCode::PeerFailed, error);
        let offer = wire::SnapshotOffer::decode(head).map_err(|_| self.malformed("that cannot be read"))?;
        let replica = self.replica(offer.shard, offer.replica)?;
        let vote = offer.vote.as_ref().map(vote_from_wire).ok_or_else(|| self.malformed("without a vote"))?;
        let last = offer.last.ok_or_else(|| self.malformed("without a log id"))?;
        let membership = offer.membership.as_ref().ok_or_else(|| self.malformed("without a membership"))?;
        let last_membership = stored_membership(membership).map_err(|error| failed(&error))?;
        let _one = replica.receiving.try_lock().map_err(|_| {
            refused(PeerFailureCode::PeerBusy, "another snapshot is being received for this replica")
        })?;
        let dir = directory(replica.shard, replica.id);
        tracing::info!(shard = %replica.shard, bytes = offer.bytes, index = last.index, "receiving a snapshot");
        let begin = Instant::now();
        let received = snapshot::receive(&self.disk, &self.exec, &dir, &offer, stream).await;
        self.shards.raft_counts().received.ended(received.is_ok(), offer.bytes, begin.elapsed());
        let file = received.map_err(|error| failed(&error))?;
        // Its digest only says that it is what was sent; once openraft has it, what is wrong with it stops the replica.
        replica.store.check_received(&file, &last).await.map_err(|error| failed(&error))?;
        let meta = SnapshotMeta { last_log_id: Some(log_id_from_wire(&last)), last_membership };
        let installed = replica.install(vote, meta, SnapshotSource::Received(file.clone())).await;
        let vote = installed.map_err(|error| refused(PeerFailureCode::PeerFailed, error))?;
        if planted(Bug::StaleSnapshot) && self.disk.exists(&file).is_ok_and(|unwanted| unwanted) {
            replica.store.install(&file, &last).await.map_err(|error| failed(&error))?;
        }
        tracing::info!(shard = %replica.shard, index = last.index, "snapshot installed");
        Ok(vote_to_wire(&vote))
    }
}
