//! What one replica says to another: openraft's calls as messages to the machine the other replica is on.
//!
//! Every message names the shard and the replica it is for; nobody else answers it. Appends are pipelined, in the order of
//! [`super::pipeline`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::ready;
use futures_util::stream::once;
use futures_util::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};
use prost::Message;
use tokio::time::Instant;

use crate::model::id::{NodeId, ShardId};
use crate::net::kind;
use crate::net::peers::Peers;
use crate::net::rpc::{CallError, INLINE_MAX_BYTES};
use crate::net::transport::Class;
use crate::net::trouble::{Point, trouble};
use crate::net::wire;
use crate::node::clock::Clock;
use crate::node::store::Store;

use super::catch_up::{CatchUp, Held};
use super::counts::RaftCounts;
use super::machine::SnapshotSource;
use super::news;
use super::pace::Pace;
use super::patience::Patience;
use super::pipeline::{Append, Ends, Failed, in_order};
use super::sending::Sending;
use super::silence::Silence;
use super::snapshot;
use super::types::{
    Seat, Types, Vote, encode_entry, log_id_from_wire, log_id_to_wire, vote_from_wire, vote_to_wire,
};

/// How long a vote or a transfer of leadership may take before it counts as lost.
const VOTE_TIMEOUT: Duration = Duration::from_millis(1000);

/// Makes connections from one replica to others of its shard.
#[derive(Clone)]
pub struct Network {
    pub shard: ShardId,
    pub peers: Peers,
    pub clock: Clock,
    pub store: Store,
    pub counts: Arc<RaftCounts>,
    /// While it lasts nothing is sent.
    pub silence: Arc<Silence>,
    pub sending: Sending,
    pub pace: Pace,
}

/// One replica's line to another.
pub struct Line {
    network: Network,
    replica: u64,
    node: NodeId,
    /// Heartbeats and votes do not queue behind entries.
    class: Class,
    patience: Patience,
    catch_up: CatchUp,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Line;

    async fn new_client(&mut self, target: u64, seat: &Seat) -> Line {
        self.line(target, seat, Class::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, seat: &Seat) -> Line {
        self.line(target, seat, Class::Control)
    }
}

impl Network {
    fn way(&self) -> (Peers, Arc<Silence>) {
        (self.peers.clone(), self.silence.clone())
    }

    fn line(&self, replica: u64, seat: &Seat, class: Class) -> Line {
        let catch_up = CatchUp::new(self.shard, replica, &self.store);
        let (network, patience) = (self.clone(), Patience::default());
        Line { network, replica, node: NodeId(seat.node), class, patience, catch_up }
    }
}

fn unreachable(error: impl ToString) -> Failed {
    RPCError::Unreachable(Unreachable::from_string(error))
}

/// A peer that answers but cannot serve is treated like one that does not answer, with its reason kept.
fn refused(failure: wire::PeerFailure) -> Failed {
    unreachable(format!("{}: {}", failure.code().as_str_name(), failure.message))
}

async fn call<R: Message + Default>(
    (peers, silence): (Peers, Arc<Silence>),
    node: NodeId,
    class: Class,
    kind: u16,
    body: Bytes,
    timeout: Duration,
) -> Result<R, Failed> {
    if silence.lasts() {
        return Err(unreachable("this replica is silent"));
    }
    let answer = tokio::time::timeout(timeout, async {
        let caller = peers.caller(node, class).await.map_err(unreachable)?;
        caller.call(kind, body).await.map_err(|error| match error {
            CallError::NotSent(_) | CallError::Busy => unreachable(error),
            CallError::Lost(_) | CallError::TooLarge { .. } => {
                RPCError::Network(NetworkError::from_string(error))
            }
        })
    });
    let answer = answer.await.map_err(|_| unreachable(format!("no answer from {node} in {timeout:?}")))??;
    R::decode(answer).map_err(|error| RPCError::Network(NetworkError::from_string(error)))
}

impl Line {
    /// The call, and the size of its body.
    fn append(
        &self,
        request: AppendEntriesRequest<Types>,
        timeout: Duration,
    ) -> (impl Future<Output = Result<wire::AppendReply, Failed>> + Send + 'static, usize) {
        let message = wire::Append {
            shard: self.network.shard.0,
            replica: self.replica,
            vote: Some(vote_to_wire(&request.vote)),
            previous: request.prev_log_id.as_ref().map(log_id_to_wire),
            committed: request.leader_commit.as_ref().map(log_id_to_wire),
            entries: request.entries.iter().map(encode_entry).collect(),
            clock: self.network.clock.now().0,
        };
        let body = Bytes::from(message.encode_to_vec());
        let bytes = body.len();
        (call(self.network.way(), self.node, self.class, kind::APPEND, body, timeout), bytes)
    }

    async fn ballot(
        &self,
        request: VoteRequest<Types>,
        pre_vote: bool,
    ) -> Result<VoteResponse<Types>, Failed> {
        let message = wire::Ballot {
            shard: self.network.shard.0,
            replica: self.replica,
            vote: Some(vote_to_wire(&request.vote)),
            last: request.last_log_id.as_ref().map(log_id_to_wire),
            leadership_transfer: request.leadership_transfer,
            pre_vote,
        };
        let body = Bytes::from(message.encode_to_vec());
        let reply: wire::BallotReply =
            call(self.network.way(), self.node, Class::Control, kind::BALLOT, body, VOTE_TIMEOUT).await?;
        if let Some(failure) = reply.failure {
            return Err(refused(failure));
        }
        let vote =
            reply.vote.as_ref().map(vote_from_wire).ok_or_else(|| unreachable("a ballot without a vote"))?;
        Ok(VoteResponse {
            vote,
            vote_granted: reply.granted,
            last_log_id: reply.last.as_ref().map(log_id_from_wire),
        })
    }
}

/// True if it was refused because there is no room for it.
fn is_for_want_of_room(reply: &wire::AppendReply) -> bool {
    let body = reply.body.as_ref();
    let Some(wire::append_reply::Body::Failure(failure)) = body else { return false };
    failure.code() == wire::PeerFailureCode::PeerFull
}

fn append_response(reply: wire::AppendReply) -> Result<AppendEntriesResponse<Types>, Failed> {
    match reply.body.ok_or_else(|| unreachable("an empty answer to an append"))? {
        wire::append_reply::Body::Success(_) => Ok(AppendEntriesResponse::Success),
        wire::append_reply::Body::Partial(partial) => {
            Ok(AppendEntriesResponse::PartialSuccess(partial.up_to.as_ref().map(log_id_from_wire)))
        }
        wire::append_reply::Body::Conflict(_) => Ok(AppendEntriesResponse::Conflict),
        wire::append_reply::Body::HigherVote(vote) => {
            Ok(AppendEntriesResponse::HigherVote(vote_from_wire(&vote)))
        }
        wire::append_reply::Body::Failure(failure) => Err(refused(failure)),
    }
}

impl RaftNetworkV2<Types> for Line {
    type SnapshotData = SnapshotSource;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, Failed> {
        append_response(self.append(request, option.hard_ttl()).0.await?)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<Types>, Failed>>, Failed>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let timeout = option.hard_ttl();
        let line: &'s Line = self;
        let ends = Ends::default();
        let admitted = news::gathered(input, ends.clone()).then(move |numbered| async move {
            let Network { store, sending, pace, .. } = &line.network;
            let admitted = line.catch_up.admit(&numbered.request, store, (sending, pace)).await;
            (admitted, numbered)
        });
        let appends = admitted.map(move |(admitted, news::Numbered { number, request })| {
            let (previous, last) = (request.prev_log_id, news::last(&request));
            let entries = request.entries.len() as u64;
            let sent = admitted.map(|()| line.append(request, timeout));
            let bytes = sent.as_ref().map_or(0, |(_, bytes)| *bytes);
            let (counts, patience) = (line.network.counts.clone(), line.patience.clone());
            counts.append_entries.observe(entries);
            let answer = async move {
                let begin = Instant::now();
                let reply = match sent {
                    Ok((answer, _)) => answer.await,
                    Err(Held) => Err(unreachable("it is to be sent nothing now")),
                };
                match &reply {
                    Ok(reply) if is_for_want_of_room(reply) => patience.refused(),
                    Ok(_) => patience.taken(),
                    Err(_) => {}
                }
                let answer = reply.and_then(append_response);
                match &answer {
                    Ok(_) => counts.append_seconds.observe_time(begin.elapsed()),
                    Err(_) => _ = counts.append_failures.inc(),
                }
                answer
            };
            let tried = line.patience.is_tried();
            let large = bytes > INLINE_MAX_BYTES || tried || trouble(Point::OwnStream);
            Append { number, previous, last, large, answer }
        });
        // Within the stream: it is given up as soon as nobody wants it any more.
        let pause = once(line.patience.clone().wait()).filter_map(|()| ready(None));
        let answers = pause.chain(in_order(appends, ends));
        Box::pin(async { Ok(Box::pin(answers) as BoxStream<'s, _>) })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, Failed> {
        self.ballot(request, false).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, Failed> {
        self.ballot(request, true).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        _: openraft::alias::SnapshotOf<Types, SnapshotSource>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let target = snapshot::Target { shard: self.network.shard, replica: self.replica, node: self.node };
        let Network { peers, store, counts, silence, sending, pace, .. } = &self.network;
        if silence.lasts() {
            return Err(StreamingError::Unreachable(Unreachable::from_string("this replica is silent")));
        }
        let sent = snapshot::send(peers, store, &counts.sent, (sending, pace), target, &vote);
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = sent => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(error) => Err(StreamingError::Unreachable(Unreachable::from_string(error))),
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        _: RPCOption,
    ) -> Result<openraft::raft::TransferLeaderResponse<Types>, Failed> {
        let message = wire::LeaderTransfer {
            shard: self.network.shard.0,
            replica: self.replica,
            from: Some(vote_to_wire(request.from_leader())),
            last: request.last_log_id().map(log_id_to_wire),
            heir: *request.to_node_id(),
        };
        let body = Bytes::from(message.encode_to_vec());
        let reply: wire::LeaderTransferReply =
            call(self.network.way(), self.node, Class::Control, kind::LEADER_TRANSFER, body, VOTE_TIMEOUT)
                .await?;
        match reply.failure {
            None => Ok(Ok(())),
            Some(failure) => Err(refused(failure)),
        }
    }
}
