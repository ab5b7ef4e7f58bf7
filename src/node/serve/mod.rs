//! # What others ask of this node
//!
//! One request comes in on a connection of some class by somebody whose identity the transport has proved; here it is
//! decided whether that somebody may ask that on such a connection, and who answers.
//!
//! | class | who | what |
//! |---|---|---|
//! | client | clients and members | requests of `proto/net.proto` "clients" |
//! | control, append | members | Raft's messages, reports, steps of placement |
//! | bulk | members | snapshots |
//! | join | anybody with a token | one request to join |
//!
//! Who may ask what is a table ([`kind::RULES`]); how much clients may ask at once, of the node as a whole, is [`intake`].
//!
//! Relies on the frames being bounded ([`crate::net::rpc`]). Everything decoded here is hostile until checked.

pub mod intake;
mod peers;
mod clients;

pub use clients::{PAGE_MAX_BYTES, PAGE_MAX_ROWS, TIMEOUT_MAX, WRITE_MAX_BYTES};

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use prost::Message;

use crate::model::id::{ReplicaId, ShardId};
use crate::model::map::{Replica, Role};
use crate::model::wire::JobPhase;
use crate::net::exec::Exec;
use crate::net::kind::{self, Shape};
use crate::net::rpc::{FrameStream, Service};
use crate::net::transport::{Class, Connection, Peer};
use crate::net::wire::{JoinReply, NodeStatus, Pulse, PulseReply, Report, ReportReply};

use super::clock::Clock;
use super::disk::Disk;
use super::meta::admin::Office;
use super::meta::join::Door;
use super::meta::records::Records;
use super::meta::reports::{DAMAGED, Reports};
use super::meta::view::View;
use super::pulse::Pulses;
use super::request_counts::RequestCounts;
use super::room::Room;
use super::shards::Shards;
use super::store::MemoryBudget;
use intake::Intake;

/// Everything that answers needs.
pub struct Requests {
    pub shards: Shards,
    pub clock: Clock,
    pub disk: Arc<dyn Disk>,
    pub exec: Exec,
    pub view: View,
    pub records: Records,
    pub reports: Reports,
    pub door: Door,
    pub office: Arc<Office>,
    pub counts: Arc<RequestCounts>,
    pub intake: Arc<Intake>,
    pub room: Arc<Room>,
    pub memory: Arc<MemoryBudget>,
    pub pulses: Pulses,
}

/// The requests of a node, as the network calls them.
#[derive(Clone)]
pub struct Front(pub Arc<Requests>);

impl Service for Front {
    fn call(&self, from: &Arc<dyn Connection>, kind: u16, body: Bytes) -> BoxFuture<'static, Bytes> {
        let requests = self.0.clone();
        let (class, peer) = (from.class(), from.peer().clone());
        Box::pin(async move { requests.answer(class, &peer, kind, body).await })
    }

    fn stream(
        &self,
        from: &Arc<dyn Connection>,
        kind: u16,
        head: Bytes,
        frames: FrameStream,
    ) -> BoxFuture<'static, ()> {
        let requests = self.0.clone();
        let allowed = kind::allows(Shape::Stream, kind, from.class(), from.peer());
        let from = from.peer().to_string();
        Box::pin(async move {
            match kind {
                kind::SNAPSHOT if allowed => {
                    requests.counts.called(kind);
                    requests.snapshot(head, frames).await;
                }
                _ => requests.refuse(&from, kind),
            }
        })
    }
}

impl Requests {
    async fn answer(&self, class: Class, peer: &Peer, kind: u16, body: Bytes) -> Bytes {
        // First, so that nothing below needs to ask who it is.
        if !kind::allows(Shape::Call, kind, class, peer) {
            self.refuse(&peer.to_string(), kind);
            return Bytes::new();
        }
        self.counts.called(kind);
        // The requests of clients are the many, and each has its future in memory until it is answered: all others are
        // in boxes, or the largest of them (6 KiB) would be the size of every one.
        match kind {
            kind::CLIENT_REQUEST => self.kept(self.client(peer, body).await),
            kind::JOIN => encode(&Box::pin(self.join(body)).await),
            kind::APPEND => encode(&Box::pin(self.append(body)).await),
            kind::BALLOT => encode(&Box::pin(self.ballot(body)).await),
            kind::LEADER_TRANSFER => encode(&Box::pin(self.leader_transfer(body)).await),
            kind::READ_INDEX => encode(&Box::pin(self.read_index(body)).await),
            kind::PLACEMENT => encode(&Box::pin(self.placement(body)).await),
            kind::REPORT => encode(&self.report(peer, body)),
            kind::PULSE => encode(&Box::pin(self.pulse(peer, body)).await),
            _ => unreachable!("kind {kind} is allowed as a call and nobody answers it"),
        }
    }

    async fn join(&self, body: Bytes) -> JoinReply {
        let reply = self.door.join(body).await;
        // Who is told to try again, here or elsewhere, has done nothing wrong.
        if !reply.refused.is_empty() && !reply.retry {
            self.counts.joins_refused.inc();
        }
        reply
    }

    fn report(&self, peer: &Peer, body: Bytes) -> ReportReply {
        let clock = self.clock.now().0;
        let status = Report::decode(body).ok().and_then(|report| report.status);
        if status.is_none() {
            self.counts.undecodable.inc();
        }
        match (status, self.records.leading(), peer) {
            // A member speaks for itself only.
            (Some(status), Some(term), Peer::Node(node)) if status.node == node.0 => {
                let meta_replica = self.meta_seat(&status).map_or(0, |replica| replica.0);
                self.reports.hear(term, status);
                ReportReply { accepted: true, clock, meta_replica }
            }
            _ => ReportReply { accepted: false, clock, meta_replica: 0 },
        }
    }

    /// The replica of the meta shard that a node is to have which says that it has lost its own. Never one that votes
    /// already: if that is not there, it must not come back empty.
    fn meta_seat(&self, status: &NodeStatus) -> Option<ReplicaId> {
        let mut own = status.replicas.iter().filter(|replica| replica.shard == ShardId::META.0);
        let lost: Vec<u64> = own.clone().filter(|own| own.state == DAMAGED).map(|own| own.replica).collect();
        if lost.is_empty() || own.any(|own| own.state != DAMAGED) {
            return None;
        }
        let cluster = self.view.now();
        let job = cluster.map.job(ShardId::META).filter(|job| job.phase() == JobPhase::JobLearn);
        let coming = job.and_then(|job| job.add.as_ref());
        let coming = coming.filter(|add| add.node == status.node).map(|add| ReplicaId(add.replica));
        let meta = cluster.map.shard(ShardId::META)?;
        let learns = |replica: &&Replica| replica.node.0 == status.node && replica.role == Role::Learner;
        let mut listed = meta.replicas.iter().filter(learns);
        let listed = listed.find(|replica| !lost.contains(&replica.id.0)).map(|replica| replica.id);
        coming.or(listed).filter(|replica| !cluster.map.is_retired(*replica))
    }

    async fn pulse(&self, peer: &Peer, body: Bytes) -> PulseReply {
        match (Pulse::decode(body), peer) {
            (Ok(pulse), Peer::Node(node)) => self.pulses.answer(*node, pulse).await,
            _ => {
                self.counts.undecodable.inc();
                PulseReply::default()
            }
        }
    }

    fn refuse(&self, from: &str, kind: u16) {
        self.counts.forbidden.inc();
        tracing::warn!(
            from,
            kind,
            "asked for something it may not ask for, or that this version does not know"
        );
    }
}

fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}
