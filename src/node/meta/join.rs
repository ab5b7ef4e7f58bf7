//! Taking a new node in, and being taken in.
//!
//! ```text
//! joiner (no certificate)                       any member, on the joining protocol
//! checks the chain's CA against the token
//! JoinRequest {token id, secret, CSR} ------->  not the meta leader: redirect
//!                                               one change: token used (with the hash of the CSR's key),
//!                                               node id and meta replica id reserved, node recorded
//! writes identity, then member.json  <--------  JoinReply {node, certificate, CA, meta replica, members}
//! starts; the placement jobs do the rest
//! ```
//!
//! A joiner that dies before it has written `member.json` repeats the request with the same key (kept in `joining.key`)
//! and gets the same node id: the use of the token is recorded together with the key's hash.
//!
//! ## Invariants and what guards each
//!
//! - A use of a token is consumed once a key, which always gets the same ids; nobody else gets them: guarded by
//!   `sim_node::a_joiner_gets_its_ids_once`, `model::token::tests::a_use_is_consumed_once_a_key`.
//! - Without the secret, or after its time, nobody is let in or learns anything: guarded by
//!   `model::token::tests::without_the_secret_nothing_is_learnt`, `model::token::tests::time_runs_out`,
//!   `model::token::tests::a_damaged_record_lets_nobody_in`.
//! - The secret goes only to a member of the cluster that the token names: guarded by
//!   `net::transport::quic::tests::a_joiner_believes_only_the_pinned_authority`.
//! - Of a request nothing but the key gets into the certificate: guarded by
//!   `net::identity::tests::only_the_key_of_a_request_is_used`.
//! - A joiner makes one request, of bounded size, and few join at once: guarded by
//!   `net::transport::quic::tests::strangers_are_few`, `net::rpc::tests::connections_of_joiners_end_by_themselves`, and
//!   in `check`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use crate::model::id::{NodeId, ReplicaId};
use crate::model::map::ClusterMap;
use crate::model::system::{Counter, SystemKey, is_name};
use crate::model::token::{self, Accepted};
use crate::model::wire::{AuthorityRecord, NodeRecord, TokenRecord};
use crate::net::identity::{Authority, request_key_hash};
use crate::net::kind;
use crate::net::rpc::Caller;
use crate::net::transport::{Address, Class, ConnectError, Transport};
use crate::net::wire::{JoinReply, JoinRequest};
use crate::node::clock::Clock;

use super::records::{Change, MetaError, Records};
use super::view::View;

/// Times a change of records is tried against others before the joiner is asked to come again.
const TRIES: usize = 16;
/// Longest names a joiner may give, in bytes.
pub const NAME_MAX_BYTES: usize = 256;
/// Largest certificate signing request, in bytes.
pub const CSR_MAX_BYTES: usize = 8 << 10;
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes nodes in.
pub struct Door {
    pub records: Records,
    pub view: View,
    pub clock: Clock,
    pub cluster_id: String,
    /// Without identities: nobody asks for a certificate.
    pub insecure: bool,
}

/// Why a joiner is refused for good.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    #[error(transparent)]
    Token(#[from] token::TokenError),
    #[error("the certificate request cannot be signed: {0}")]
    Sign(String),
    #[error(transparent)]
    Meta(#[from] MetaError),
}

impl Door {
    /// Answers a request to join.
    pub async fn join(&self, body: Bytes) -> JoinReply {
        let Ok(request) = JoinRequest::decode(body) else {
            return refused("the request cannot be read", false);
        };
        if self.records.leading().is_none() {
            return self.redirect();
        }
        for _ in 0..TRIES {
            match self.try_join(&request).await {
                Ok(reply) => return reply,
                Err(Refusal::Meta(MetaError::Conflict)) => {}
                Err(Refusal::Meta(error)) => return refused(error, true),
                Err(error) => {
                    tracing::warn!(token = request.token_id, %error, "a node was not let in");
                    return refused(error, false);
                }
            }
        }
        refused("many nodes join at once", true)
    }

    fn redirect(&self) -> JoinReply {
        let leader = self.records.replica().ok().and_then(|meta| meta.group.leadership().node);
        let cluster = self.view.now();
        let address = leader.and_then(|node| cluster.map.node(node)).map(|node| node.quic.clone());
        match (leader, address) {
            (Some(node), Some(redirect)) => {
                JoinReply { redirect_node: node.0, redirect, retry: true, ..refused("not the leader", true) }
            }
            _ => refused("no leader of the meta shard is known at the moment", true),
        }
    }

    async fn try_join(&self, request: &JoinRequest) -> Result<JoinReply, Refusal> {
        check(request)?;
        let name = SystemKey::Token(request.token_id.clone());
        let stored = self.records.read(&name)?;
        let record = stored.as_ref().map(|(value, _)| TokenRecord::decode(value.clone())).transpose();
        let record = record.map_err(|_| token::TokenError::Damaged)?;
        let (node, change) = self.records.take_ids(Change::default(), Counter::Node, 1)?;
        let (replica, change) = self.records.take_ids(change, Counter::Replica, 1)?;
        let secret_hash = blake3::hash(&request.secret);
        let accepted = token::consume(
            record.as_ref(),
            secret_hash.as_bytes(),
            &self.key_hash(request)?,
            NodeId(node),
            self.clock.wall_ms(),
        )?;
        let (node, meta_replica) = match accepted {
            Accepted::Repeat { node } => {
                let cluster = self.view.now();
                let known = cluster.map.node(node).ok_or(MetaError::Conflict)?;
                (node, known.meta_replica)
            }
            Accepted::Fresh { node, record } => {
                let own = self.node_record(request, node, replica);
                let change = change.put(&name, record.encode_to_vec(), stored.map(|(_, stamp)| stamp)).put(
                    &SystemKey::Node(node),
                    own.encode_to_vec(),
                    None,
                );
                self.records.commit(change).await?;
                tracing::info!(%node, address = request.quic, token = request.token_id, "a node has joined");
                (node, ReplicaId(replica))
            }
        };
        let (certificate_der, ca_der) = self.sign(request, node)?;
        Ok(JoinReply {
            node: node.0,
            cluster_id: self.cluster_id.clone(),
            certificate_der: certificate_der.into(),
            ca_der: ca_der.into(),
            meta_replica: meta_replica.0,
            nodes: members(&self.view.now().map),
            ..JoinReply::default()
        })
    }

    /// Of the key that asks; on a cluster without identities, of whatever request was sent, which no two joiners share.
    /// Never of the address: a node whose disk was lost comes back to that, and must not be given its old ids.
    fn key_hash(&self, request: &JoinRequest) -> Result<[u8; 32], Refusal> {
        match self.insecure {
            true => Ok(*blake3::hash(&request.csr_der).as_bytes()),
            false => request_key_hash(&request.csr_der).map_err(|error| Refusal::Sign(error.to_string())),
        }
    }

    fn node_record(&self, request: &JoinRequest, node: NodeId, meta_replica: u64) -> NodeRecord {
        NodeRecord {
            node: node.0,
            quic: request.quic.clone(),
            http: request.http.clone(),
            zone: request.zone.clone(),
            weight: request.weight.clamp(1, 10_000),
            joined_at_ms: self.clock.wall_ms(),
            state: "member".to_owned(),
            meta_replica,
        }
    }

    fn sign(&self, request: &JoinRequest, node: NodeId) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
        if self.insecure {
            return Ok(Default::default());
        }
        let damaged = || MetaError::Damaged("the certificate authority".to_owned());
        let (stored, _) = self.records.read(&SystemKey::SealedCa)?.ok_or_else(damaged)?;
        let record = AuthorityRecord::decode(stored).map_err(|_| damaged())?;
        let authority = Authority::from_parts(&record.certificate_der, &record.key_der);
        let authority = authority.map_err(|error| Refusal::Sign(error.to_string()))?;
        let certificate = authority.sign_node(&request.csr_der, node, self.clock.wall_ms());
        let certificate = certificate.map_err(|error| Refusal::Sign(error.to_string()))?;
        Ok((certificate, record.certificate_der.to_vec()))
    }
}

fn check(request: &JoinRequest) -> Result<(), Refusal> {
    let names = [&request.token_id, &request.quic, &request.http, &request.zone];
    if names.iter().any(|name| name.len() > NAME_MAX_BYTES) || request.secret.len() > NAME_MAX_BYTES {
        return Err(Refusal::Malformed("a name is too long"));
    }
    if request.csr_der.is_empty() || request.csr_der.len() > CSR_MAX_BYTES {
        return Err(Refusal::Malformed("the certificate request is missing or too long"));
    }
    if !is_name(&request.token_id) {
        return Err(Refusal::Malformed("the token's name is no name"));
    }
    if request.quic.is_empty() {
        return Err(Refusal::Malformed("no address to be reached at"));
    }
    Ok(())
}

fn refused(reason: impl ToString, retry: bool) -> JoinReply {
    JoinReply { refused: reason.to_string(), retry, ..JoinReply::default() }
}

/// The members of a map, in their stored form.
pub fn members(map: &ClusterMap) -> Vec<NodeRecord> {
    map.nodes().map(NodeRecord::from).collect()
}

/// Why a node was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("the cluster refused: {0}")]
    Refused(String),
    /// Whoever answers there is not of the cluster that the token names. It was told nothing.
    #[error("{address} is not of the cluster that the token was made by: {reason}")]
    Foreign { address: String, reason: String },
    #[error("none of {addresses:?} took this node in; last: {last}")]
    Unreachable { addresses: Vec<String>, last: String },
}

/// Asks the members at `addresses` to be taken in, until one does, for at most `limit`.
pub async fn ask(
    transport: &Arc<dyn Transport>,
    exec: crate::net::exec::Exec,
    addresses: &[Address],
    request: &JoinRequest,
    limit: Duration,
) -> Result<JoinReply, JoinError> {
    let mut last = String::from("no address given");
    let mut foreign = None;
    let deadline = tokio::time::Instant::now() + limit;
    let mut pause = Duration::from_millis(100);
    while tokio::time::Instant::now() < deadline {
        let mut next: Vec<Address> = addresses.iter().rev().cloned().collect();
        // A redirect is followed a few times; then the list is tried again.
        for _ in 0..addresses.len() + 4 {
            let Some(address) = next.pop() else { break };
            match ask_one(transport, exec, &address, request).await {
                Ok(reply) if reply.refused.is_empty() => return Ok(reply),
                Ok(reply) if !reply.retry => return Err(JoinError::Refused(reply.refused)),
                Ok(reply) if !reply.redirect.is_empty() => next.push(Address(reply.redirect)),
                Ok(reply) => last = reply.refused,
                Err(AskError::Foreign(error)) => foreign = Some(error),
                Err(AskError::Failed(error)) => last = error,
            }
        }
        // Others may be who they should be, and only slow.
        if let Some(error) = foreign.take_if(|_| addresses.len() == 1) {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
    if let Some(error) = foreign {
        return Err(error);
    }
    Err(JoinError::Unreachable { addresses: addresses.iter().map(ToString::to_string).collect(), last })
}

/// Why one address did not answer.
enum AskError {
    Foreign(JoinError),
    Failed(String),
}

async fn ask_one(
    transport: &Arc<dyn Transport>,
    exec: crate::net::exec::Exec,
    address: &Address,
    request: &JoinRequest,
) -> Result<JoinReply, AskError> {
    let failed = |error: &dyn std::error::Error| AskError::Failed(chain(error));
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, async {
        let connection =
            transport.connect(address, Class::Join, None).await.map_err(|error| match error {
                ConnectError::Identity { address, reason } => {
                    AskError::Foreign(JoinError::Foreign { address, reason })
                }
                error => failed(&error),
            })?;
        let caller = Caller::open(connection, exec).await.map_err(|error| failed(&error))?;
        let answer = caller.call(kind::JOIN, request.encode_to_vec().into()).await;
        JoinReply::decode(answer.map_err(|error| failed(&error))?).map_err(|error| failed(&error))
    });
    let late = |_| AskError::Failed(format!("{address} did not answer within {ANSWER_TIMEOUT:?}"));
    answer.await.map_err(late)?
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
