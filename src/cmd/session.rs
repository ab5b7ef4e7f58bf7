//! A connection to the cluster for one command: the one file here that knows how a client is put together.
//!
//! Promises: connecting takes no longer than the time-out; a context's list of members is refreshed behind the back of
//! the command, and whatever goes wrong there is nobody's trouble. Does not: retry (the client library does).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::client::{Client, ClusterMap, Options};
use crate::cmd::context_file::{Context, refreshed};
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Failure, OrFail};
use crate::cmd::global::Global;
use crate::model::id::ShardId;
use crate::model::map::NodeState;
use crate::model::wire::{NodeRecord, ReplicaRecord, ReplicaRole, ShardRecord};
use crate::net::chance::Chance;
use crate::net::exec::Exec;
use crate::net::identity::{Identity, Peer, pem};
use crate::net::transport::quic::{BindError, QuicTransport, Security};
use crate::net::transport::{Address, Transport};
use crate::net::wire::{AdminReply, Leader, MapReply, StatusReply, admin_request};

/// What a client without an identity calls itself.
const NAMELESS: &str = "nomad";
/// The client library keeps the time itself; this is for where it does not.
const GRACE: Duration = Duration::from_millis(250);

/// Connects to the cluster that the global options mean.
pub async fn connect(global: &Global) -> Result<Client, Failure> {
    let target = global.target()?;
    let client = connect_to(&target.context, target.timeout).await?;
    if let Some(file) = &target.file {
        refresh(file, &target.context, &members(&client));
    }
    Ok(client)
}

/// Connects to the cluster of a context.
pub async fn connect_to(context: &Context, timeout: Duration) -> Result<Client, Failure> {
    let what = || format!("cannot reach the cluster at {}", context.endpoints.join(", "));
    let endpoints = context.endpoints.iter().cloned().map(Address).collect();
    let usual = Options::new(transport(context)?, endpoints, Exec::Threads, Chance::system());
    let options = Options { timeout, name: NAMELESS.to_owned(), ..usual };
    match tokio::time::timeout(timeout + GRACE, Client::connect(options)).await {
        Ok(connected) => connected.or_fail(what),
        Err(_) => Err(Failure::new(Exit::Unreachable, what())
            .because(format!("nobody answered within {}", humantime::format_duration(timeout)))),
    }
}

/// The map as it is now: whoever has just given an order sees what came of it.
pub async fn map(client: &Client) -> Result<MapReply, Failure> {
    let map = client.newest_map().await.or_fail(|| "cannot fetch the shard map".to_owned())?;
    Ok(as_wire(client, &map))
}

/// Where the members are, as far as the client knows.
pub fn members(client: &Client) -> Vec<String> {
    client.members().into_iter().map(|(_, address)| address.0).collect()
}

/// What all nodes say about themselves.
pub async fn status(client: &Client) -> Result<StatusReply, Failure> {
    client.status().await.or_fail(|| "cannot learn how the nodes are".to_owned())
}

/// One administrative request; `what` says what failed if it does.
pub async fn admin(
    client: &Client,
    body: admin_request::Body,
    what: impl FnOnce() -> String,
) -> Result<AdminReply, Failure> {
    client.admin(body).await.or_fail(what)
}

/// Where the members are, by node id.
pub fn member_endpoints(nodes: &[NodeRecord]) -> Vec<String> {
    let mut members: Vec<&NodeRecord> = nodes.iter().filter(|node| node.state != "left").collect();
    members.sort_by_key(|node| node.node);
    members.into_iter().map(|node| node.quic.clone()).collect()
}

/// Rewrites a context file if the members are no longer where it says.
pub fn refresh(file: &Path, context: &Context, members: &[String]) {
    let endpoints = refreshed(&context.endpoints, members);
    if endpoints != context.endpoints {
        let fresh = Context { endpoints, ..context.clone() };
        if let Err(failure) = fresh.write(file) {
            tracing::debug!(file = %file.display(), cause = ?failure.because, "the context was not refreshed");
        }
    }
}

/// The context with this identity in it.
pub fn with_identity(context: Context, identity: &Identity) -> Context {
    Context {
        ca: Some(pem::encode("CERTIFICATE", &identity.ca_der)),
        cert: Some(pem::encode("CERTIFICATE", &identity.cert_der)),
        key: Some(pem::encode("PRIVATE KEY", &identity.key_der)),
        ..context
    }
}

/// The identity in a context; none if it is insecure.
fn identity(context: &Context) -> Result<Option<Identity>, Failure> {
    let (Some(ca), Some(cert), Some(key)) = (&context.ca, &context.cert, &context.key) else {
        return Ok(None);
    };
    // In the order that `Identity` reads: our certificate before the authority's.
    let read = Identity::from_pem(&[cert.as_str(), ca, key].join("\n"));
    let what = || Failure::usage(format!("the identity in the context `{}` cannot be used", context.name));
    Ok(Some(
        read.map_err(|error| what().caused_by(&error).cure("nomad context ls, or another file after -c"))?,
    ))
}

fn transport(context: &Context) -> Result<Arc<dyn Transport>, Failure> {
    let security = match identity(context)? {
        Some(identity) => Security::Mutual { cluster_id: cluster_id(context, &identity)?, identity },
        None => Security::Insecure { claim: Peer::Client(NAMELESS.to_owned()) },
    };
    let bound = QuicTransport::bind(None, security, Exec::Threads);
    Ok(Arc::new(bound.map_err(|error| {
        let exit = match &error {
            BindError::Identity(_) | BindError::Tls(_) => Exit::Usage,
            BindError::NotLoopback(_) | BindError::CannotListen | BindError::Socket { .. } => {
                Exit::Unreachable
            }
        };
        Failure::new(exit, "cannot open a connection").caused_by(&error)
    })?))
}

/// The cluster a context is for: as it says, else as its certificate does.
fn cluster_id(context: &Context, identity: &Identity) -> Result<String, Failure> {
    if !context.cluster_id.is_empty() {
        return Ok(context.cluster_id.clone());
    }
    let named = identity.peer().map(|(cluster_id, _)| cluster_id);
    named
        .map_err(|error| Failure::usage("the context does not say which cluster it is for").caused_by(&error))
}

/// The client's map in the words of the wire, which all views are made from.
fn as_wire(client: &Client, map: &ClusterMap) -> MapReply {
    let nodes = map.members().map(|(node, member)| NodeRecord {
        node: node.0,
        quic: member.address.0.clone(),
        http: member.http.clone(),
        zone: member.zone.clone(),
        weight: member.weight,
        state: if member.draining { NodeState::Draining } else { NodeState::Member }.name().to_owned(),
        ..NodeRecord::default()
    });
    let shards = map.shards().map(|route| ShardRecord {
        shard: route.shard.0,
        start: route.range.start.to_bytes(),
        end: route.range.end.as_ref().map(|end| end.to_bytes()).unwrap_or_default(),
        epoch: route.epoch,
        replicas: route
            .replicas
            .iter()
            .map(|replica| ReplicaRecord {
                replica: replica.replica.0,
                node: replica.node.0,
                role: if replica.voter { ReplicaRole::RoleVoter } else { ReplicaRole::RoleLearner } as i32,
            })
            .collect(),
        ..ShardRecord::default()
    });
    let leader = |shard: ShardId| client.leader(shard).map(|node| Leader { shard: shard.0, node: node.0 });
    MapReply {
        version: map.version,
        cluster_id: map.cluster_id.clone(),
        nodes: nodes.collect(),
        shards: shards.collect(),
        leaders: map.shards().filter_map(|route| leader(route.shard)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::identity::Authority;

    #[test]
    fn an_identity_survives_its_way_through_a_context() {
        let now_ms = 1_767_225_600_000;
        let authority = Authority::create("c1", now_ms).unwrap();
        let admin = authority.issue_client("admin", now_ms).unwrap();
        let context = with_identity(Context { name: "x".into(), ..Context::default() }, &admin);
        assert!(identity(&context).unwrap().unwrap() == admin);
        assert_eq!(cluster_id(&context, &admin).unwrap(), "c1", "as its certificate says");
        let swapped = Context { cert: context.ca.clone(), ca: context.cert.clone(), ..context };
        assert!(identity(&swapped).unwrap().is_some_and(|identity| identity != admin));
    }
}
