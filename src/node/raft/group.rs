//! One replica's seat in its shard's Raft group: the facade that hides openraft from everything above.
//!
//! Promises: an answer of [`Group::propose`] other than [`ProposeError::Unknown`] is definite; [`Group::confirm`] returns only
//! after a majority acknowledged this leader in a round that began after the call, and everything committed before it is
//! applied here.

mod hands;
mod quorum;
mod rest;
mod room;
mod silence;
mod sole;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, ForwardReason, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::impls::ProgressResponder;
use openraft::raft::Precondition;
use openraft::type_config::alias::WatchReceiverOf;
use openraft::{ChangeMembers, Config, Raft, RaftMetrics, ReadPolicy, ServerState, SnapshotPolicy};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::model::id::{NodeId, ReplicaId, ShardId};
use crate::model::wire;
use crate::node::wal::NoHeadroom;

use super::log::Log;
use super::machine::{Applied, Machine, SnapshotMeta, SnapshotSource};
use super::network::Network;
use super::silence::Silence;
use super::types::{Answer, Proposal, Seat, Types, Vote, log_id_from_wire, membership_to_wire, term_leader};

use quorum::Quorum;
pub use quorum::{NO_QUORUM_AFTER, SILENCE};
use rest::Rest;
pub use rest::{RestView, Roused};

/// How often a leader says that it is alive, in milliseconds: twice before the first follower would lose patience. What
/// never sleeps looks at its clock five times as often.
const HEARTBEAT_MS: u64 = 200;
/// A follower that heard nothing for this long, and a drawn time up to the second, asks for votes. Milliseconds.
const ELECTION_MS: (u64, u64) = (500, 1000);
/// Entries in one append request; bytes are bounded by the log reader.
const APPEND_MAX_ENTRIES: u64 = 256;
/// Proposals and messages waiting for one group's core.
const CORE_QUEUE: u64 = 4096;

/// Who leads, as far as this replica knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub term: u64,
    pub replica: Option<ReplicaId>,
    pub node: Option<NodeId>,
    /// This very replica leads.
    pub here: bool,
}

/// Why a proposal was not answered with outcomes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was appended anywhere.
    #[error("this replica does not lead the shard")]
    NotLeader { node: Option<NodeId> },
    /// It was appended, and leadership was lost before its fate was known.
    #[error("leadership changed while the proposal was under way; nobody knows how it came out")]
    Unknown,
    /// The replica has stopped. Whether the proposal was appended is not known.
    #[error("the replica has stopped: {0}")]
    Stopped(String),
    /// Nothing was appended anywhere.
    #[error(transparent)]
    NoRoom(#[from] NoHeadroom),
}

/// Why entries were not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Nothing changed; they may be sent again.
    #[error(transparent)]
    NoRoom(#[from] NoHeadroom),
    #[error("{0}")]
    Stopped(String),
}

/// Why a replica could not be confirmed as leader.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfirmError {
    #[error("this replica does not lead the shard")]
    NotLeader { node: Option<NodeId> },
    #[error("no majority of the shard's replicas answers")]
    NoQuorum,
    #[error("the replica has stopped: {0}")]
    Stopped(String),
}

/// Why a change of members did not happen. Repeating it is harmless.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    #[error("this replica does not lead the shard")]
    NotLeader { node: Option<NodeId> },
    #[error("the members have changed since, or are changing")]
    Changed,
    #[error("{0}")]
    Refused(String),
}

/// What a replica says about itself.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    pub state: &'static str,
    pub leadership: Leadership,
    pub applied: Applied,
    pub last_index: u64,
    pub membership: wire::Membership,
    /// Why it has stopped, if it has.
    pub failure: Option<String>,
    /// Leader only: how far each replica's log is known to match. Who has acknowledged nothing yet is not listed.
    pub matched: BTreeMap<u64, u64>,
}

/// Shared; cheap to clone.
#[derive(Clone)]
pub struct Group {
    raft: Raft<Types, Machine>,
    metrics: WatchReceiverOf<Types, RaftMetrics<Types>>,
    shard: ShardId,
    replica: ReplicaId,
    applied: watch::Receiver<Applied>,
    rest: Arc<Mutex<Rest>>,
    roused: Arc<Roused>,
    quorum: Arc<Mutex<Quorum>>,
    silence: Arc<Silence>,
    log: Log,
    /// How often this replica is giving its leadership away just now.
    giving: watch::Sender<u32>,
}

fn config(shard: ShardId) -> Config {
    Config {
        cluster_name: shard.to_string(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS.0,
        election_timeout_max: ELECTION_MS.1,
        max_payload_entries: APPEND_MAX_ENTRIES,
        api_channel_size: Some(CORE_QUEUE),
        notification_channel_size: Some(CORE_QUEUE),
        // Flushes decide what a snapshot is, and the keeper decides what is purged.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 1 << 40,
        install_snapshot_timeout: 3_600_000,
        enable_pre_vote: Some(true),
        // A leader that restarts must be elected again. Taking up its old term it would know neither how far that had
        // been committed nor have a first entry to wait for: it would answer linearizable reads from its last flush.
        enable_leader_restore: Some(false),
        ..Config::default()
    }
}

impl Group {
    /// Takes the seat: recovers what log and store hold and joins in.
    pub async fn start(
        shard: ShardId,
        replica: ReplicaId,
        network: Network,
        log: Log,
        machine: Machine,
        applied: watch::Receiver<Applied>,
        roused: Arc<Roused>,
    ) -> Result<Group, ProposeError> {
        let config = config(shard).validate().expect("the time-outs are ordered");
        let silence = network.silence.clone();
        let raft = Raft::new(replica.0, Arc::new(config), network, log.clone(), machine);
        let raft = raft.await.map_err(|error| ProposeError::Stopped(error.to_string()))?;
        let rest = Arc::new(Mutex::new(Rest::new(Instant::now())));
        // Taking a receiver costs more than a look, and groups are looked at by the hundred.
        let metrics = raft.metrics();
        let quorum = Arc::default();
        let giving = watch::Sender::new(0);
        Ok(Group { raft, metrics, shard, replica, applied, rest, roused, quorum, silence, log, giving })
    }

    pub fn shard(&self) -> ShardId {
        self.shard
    }

    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// Makes this replica the first and only voter of a new group; harmless if the group already is.
    pub async fn initialize(&self, node: NodeId) -> Result<(), ProposeError> {
        let members = BTreeMap::from([(self.replica.0, Seat { node: node.0 })]);
        match self.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(openraft::errors::InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(ProposeError::Stopped(error.to_string())),
        }
    }

    /// Who leads, as far as is known here.
    pub fn leadership(&self) -> Leadership {
        let metrics = self.metrics.borrow_watched();
        let node = |replica: &u64| {
            metrics.membership_config.membership().get_node(replica).map(|seat| NodeId(seat.node))
        };
        if self.is_silent() {
            return Leadership { term: metrics.current_term, ..Leadership::default() };
        }
        Leadership {
            term: metrics.current_term,
            replica: metrics.current_leader.map(ReplicaId),
            node: metrics.current_leader.as_ref().and_then(node),
            here: metrics.state == ServerState::Leader && metrics.current_leader == Some(self.replica.0),
        }
    }

    /// Appends an entry, in `term` only; returns how its writes came out once it is applied here.
    pub async fn propose(&self, term: u64, entry: Bytes) -> Result<Vec<wire::Outcome>, ProposeError> {
        self.used();
        let _admitted = self.log.admit(entry.len() as u64)?;
        let mut lease_renewed = false;
        loop {
            if self.is_silent() {
                return Err(ProposeError::NotLeader { node: None });
            }
            let (responder, _committed, answer) = ProgressResponder::new();
            let proposal = Proposal(entry.clone());
            let request = self.raft.write(proposal).with_leader(term_leader(term)).responder(responder);
            let request = async {
                request.await.map_err(|error| ProposeError::Stopped(error.to_string()))?;
                Ok(answer.await)
            };
            let answer = self.unless_silent(request).await.unwrap_or(Err(ProposeError::Unknown))?;
            return match answer {
                Ok(Ok(response)) => {
                    let Answer(outcomes) = response.data;
                    Ok(outcomes)
                }
                // Refused before anything was appended: a leader that has slept, or was held up, has itself confirmed.
                Ok(Err(ClientWriteError::ForwardToLeader(forward)))
                    if lease_expired(&forward) && !lease_renewed && self.confirm().await.is_ok() =>
                {
                    lease_renewed = true;
                    continue;
                }
                Ok(Err(ClientWriteError::ForwardToLeader(forward))) => {
                    Err(ProposeError::NotLeader { node: forward_node(&forward) })
                }
                Ok(Err(ClientWriteError::LogEntryDiscarded(_))) => Err(ProposeError::Unknown),
                Ok(Err(error)) => Err(ProposeError::Stopped(error.to_string())),
                Err(_) => Err(ProposeError::Unknown),
            };
        }
    }

    /// One ReadIndex round: returns once a majority has acknowledged this leader and all that was committed is applied.
    pub async fn confirm(&self) -> Result<(), ConfirmError> {
        self.used();
        let confirmed = self.unless_silent(self.raft.ensure_linearizable(ReadPolicy::ReadIndex)).await;
        confirmed.ok_or(ConfirmError::NotLeader { node: None })?.map(|_| ()).map_err(confirm_error)
    }

    /// A ReadIndex round for another replica: the index it must have applied before it reads.
    pub async fn read_index(&self) -> Result<u64, ConfirmError> {
        self.used();
        let asked = self.unless_silent(self.raft.get_read_log_id(ReadPolicy::ReadIndex)).await;
        let (id, _) = asked.ok_or(ConfirmError::NotLeader { node: None })?.map_err(confirm_error)?;
        Ok(id.index())
    }

    /// Watches how far this replica has applied.
    pub fn applied(&self) -> watch::Receiver<Applied> {
        self.applied.clone()
    }

    /// True if the newest membership in this replica's log has this member.
    pub fn has_member(&self, replica: u64) -> bool {
        let metrics = self.raft.metrics();
        metrics.borrow_watched().membership_config.membership().get_node(&replica).is_some()
    }

    /// Adds a replica that copies but does not vote. Returns once the change is committed, not once it has caught up.
    pub async fn add_learner(
        &self,
        member: &wire::Member,
        seen: Option<&wire::LogId>,
    ) -> Result<(), MembershipError> {
        let nodes = BTreeMap::from([(member.replica, Seat { node: member.node })]);
        self.change(ChangeMembers::AddNodes(nodes), seen).await
    }

    /// Makes exactly these replicas the voters, by joint consensus. Those that stop voting stay as learners. What must be
    /// done before it is `Replica::change_voters`, which nobody else may leave out.
    pub(in crate::node) async fn change_voters(
        &self,
        voters: &[u64],
        seen: Option<&wire::LogId>,
    ) -> Result<(), MembershipError> {
        let voters: BTreeSet<u64> = voters.iter().copied().collect();
        self.change(ChangeMembers::ReplaceAllVoters(voters), seen).await
    }

    /// Removes a replica that does not vote.
    pub async fn remove_learner(
        &self,
        replica: u64,
        seen: Option<&wire::LogId>,
    ) -> Result<(), MembershipError> {
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([replica])), seen).await
    }

    async fn change(
        &self,
        change: ChangeMembers<u64, Seat>,
        seen: Option<&wire::LogId>,
    ) -> Result<(), MembershipError> {
        if self.used() {
            // Its lease has run out, and without one nothing is appended. If no majority answers, the change says so.
            let _ = self.confirm().await;
        }
        let _admitted = self.admit_change()?;
        let precondition =
            Precondition::LastMembershipLogId { last_membership_log_id: seen.map(log_id_from_wire) };
        let changed = self.unless_silent(self.raft.change_membership_if(change, true, [precondition])).await;
        match changed.ok_or(MembershipError::NotLeader { node: None })? {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(MembershipError::NotLeader { node: forward_node(&forward) })
            }
            Err(RaftError::APIError(ClientWriteError::PreconditionFailed(_))) => {
                Err(MembershipError::Changed)
            }
            Err(error) => Err(MembershipError::Refused(error.to_string())),
        }
    }

    /// Tells openraft that a flush has made something durable, and forgets the log up to `purge_to`. Only once something was
    /// flushed: that there is nothing yet would end the group.
    pub async fn flushed(&self, purge_to: Option<u64>) {
        // Both only fail when the group has stopped.
        let _ = self.raft.trigger().snapshot().await;
        if let Some(index) = purge_to {
            let _ = self.raft.trigger().purge_log(index).await;
        }
    }

    /// Takes in a leader's entries.
    pub async fn handle_append(
        &self,
        request: openraft::raft::AppendEntriesRequest<Types>,
    ) -> Result<openraft::raft::AppendEntriesResponse<Types>, AppendError> {
        let _admitted = self.admit_entries(&request.entries)?;
        let answer = self.raft.append_entries(request).await;
        let answer = answer.map_err(|error| AppendError::Stopped(error.to_string()));
        // Only now: with a lease from long ago the first tick would ask for votes.
        self.heard_leader();
        answer
    }

    /// Judges a candidate. If this replica sleeps and `leader_lives` (its leader's machine is heard, or it is this one),
    /// it wakes and refuses a pre-vote: all leases have run out, which says nothing of the leader.
    pub async fn handle_ballot(
        &self,
        request: openraft::raft::VoteRequest<Types>,
        pre_vote: bool,
        leader_lives: bool,
    ) -> Result<openraft::raft::VoteResponse<Types>, String> {
        if self.woken_by_ballot(leader_lives).await && pre_vote {
            let vote = self.metrics.borrow_watched().vote;
            return Ok(openraft::raft::VoteResponse { vote, vote_granted: false, last_log_id: None });
        }
        let answer = match pre_vote {
            true => self.raft.pre_vote(request).await,
            false => self.raft.vote(request).await,
        };
        answer.map_err(|error| error.to_string())
    }

    /// Has this replica ask for votes at once, if it may vote: nobody leads the group yet.
    pub async fn campaign(&self) {
        self.heard_leader();
        // It only fails when the group has stopped.
        let _ = self.raft.trigger().elect(true).await;
    }

    /// Follows a leader's wish that this replica should lead.
    pub async fn handle_transfer(
        &self,
        request: openraft::raft::TransferLeaderRequest<Types>,
    ) -> Result<(), String> {
        self.heard_leader();
        match self.raft.handle_transfer_leader(request).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("{error:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Installs a received snapshot; returns this replica's vote.
    pub async fn install(
        &self,
        vote: Vote,
        meta: SnapshotMeta,
        source: SnapshotSource,
    ) -> Result<Vote, String> {
        let snapshot = openraft::storage::Snapshot { meta, snapshot: source };
        let answer = self.raft.install_full_snapshot(vote, snapshot).await;
        self.heard_leader();
        answer.map(|response| response.vote).map_err(|error| error.to_string())
    }

    pub fn status(&self) -> GroupStatus {
        let leadership = self.leadership();
        let metrics = self.metrics.borrow_watched();
        let stored = &metrics.membership_config;
        let voter = stored.voter_ids().any(|id| id == self.replica.0);
        let state = match metrics.state {
            _ if metrics.running_state.is_err() => "failed",
            ServerState::Leader => "leader",
            ServerState::Candidate => "candidate",
            ServerState::Follower => "follower",
            ServerState::Learner if voter => "follower",
            ServerState::Learner => "learner",
            ServerState::Shutdown => "stopped",
        };
        let matched = metrics.replication.iter().flatten();
        GroupStatus {
            state,
            leadership,
            applied: *self.applied.borrow(),
            last_index: metrics.last_log_index.unwrap_or(0),
            membership: membership_to_wire(stored.log_id().as_ref(), stored.membership()),
            failure: metrics.running_state.as_ref().err().map(ToString::to_string),
            matched: matched.filter_map(|(id, point)| Some((*id, point.as_ref()?.index))).collect(),
        }
    }

    /// Why it has stopped, if it has.
    pub fn failure(&self) -> Option<String> {
        self.metrics.borrow_watched().running_state.as_ref().err().map(ToString::to_string)
    }

    /// Returns once `look` says so, or once the replica has stopped. Looks again at every change of state.
    pub async fn wait_until(&self, look: impl Fn() -> bool) {
        // One receiver all along: a fresh one counts what came before it as a change, and nobody would ever wait.
        let mut metrics = self.metrics.clone();
        while !look() {
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Leaves the seat.
    pub async fn shutdown(&self) {
        let _ = self.raft.shutdown().await;
    }
}

fn lease_expired(forward: &ForwardToLeader<Types>) -> bool {
    forward.reason == ForwardReason::LeaseExpired
}

fn forward_node(forward: &ForwardToLeader<Types>) -> Option<NodeId> {
    forward.leader_node.map(|seat| NodeId(seat.node))
}

fn confirm_error(error: RaftError<Types, LinearizableReadError<Types>>) -> ConfirmError {
    match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => {
            ConfirmError::NotLeader { node: forward_node(&forward) }
        }
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => ConfirmError::NoQuorum,
        RaftError::Fatal(error) => ConfirmError::Stopped(error.to_string()),
    }
}
