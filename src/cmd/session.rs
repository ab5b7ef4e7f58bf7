//! A connection to the cluster for one command: the one file here that knows how a client is put together.
//!
//! Promises: connecting takes no longer than the time-out; a context's list of members is refreshed behind the back of
//! the command, and whatever goes wrong there is nobody's trouble. Does not: retry (the client library does).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::client::{Client, Options};
use crate::cmd::context_file::{Context, refreshed};
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Failure, OrFail};
use crate::cmd::global::Global;
use crate::model::wire::NodeRecord;
use crate::net::chance::Chance;
use crate::net::exec::Exec;
use crate::net::transport::quic::Quic;
use crate::net::transport::{Address, Transport};
use crate::net::wire::{MapReply, StatusReply, admin_request};

/// Connects to the cluster that the global options mean.
pub async fn connect(global: &Global) -> Result<Client, Failure> {
    let target = global.target()?;
    let client = connect_to(&target.context, target.timeout).await?;
    if let Some(file) = &target.file {
        refresh(file, &target.context, &map(&client).nodes);
    }
    Ok(client)
}

/// Connects to the cluster of a context.
pub async fn connect_to(context: &Context, timeout: Duration) -> Result<Client, Failure> {
    let what = || format!("cannot reach the cluster at {}", context.endpoints.join(", "));
    let endpoints = context.endpoints.iter().cloned().map(Address).collect();
    let (exec, chance) = (Exec::Threads, Chance::system());
    let options = Options { transport: transport(context)?, endpoints, exec, chance, timeout };
    match tokio::time::timeout(timeout, Client::connect(options)).await {
        Ok(connected) => connected.or_fail(what),
        Err(_) => Err(Failure::new(Exit::Unreachable, what())
            .because(format!("nobody answered within {}", humantime::format_duration(timeout)))),
    }
}

/// The map as the client knows it.
pub fn map(client: &Client) -> MapReply {
    let map = client.map();
    MapReply {
        version: map.version,
        cluster_id: map.cluster_id.clone(),
        nodes: map.nodes.clone(),
        shards: map.shards.clone(),
        leaders: map.leaders.clone(),
    }
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
) -> Result<crate::net::wire::AdminReply, Failure> {
    client.admin(body).await.or_fail(what)
}

/// Where the members are, by node id.
pub fn member_endpoints(nodes: &[NodeRecord]) -> Vec<String> {
    let mut members: Vec<&NodeRecord> = nodes.iter().filter(|node| node.state != "left").collect();
    members.sort_by_key(|node| node.node);
    members.into_iter().map(|node| node.quic.clone()).collect()
}

/// Rewrites a context file if the members have changed since.
pub fn refresh(file: &Path, context: &Context, nodes: &[NodeRecord]) {
    let endpoints = refreshed(&context.endpoints, &member_endpoints(nodes));
    if endpoints != context.endpoints {
        let fresh = Context { endpoints, ..context.clone() };
        if let Err(failure) = fresh.write(file) {
            tracing::debug!(file = %file.display(), cause = ?failure.because, "the context was not refreshed");
        }
    }
}

fn transport(_context: &Context) -> Result<Arc<dyn Transport>, Failure> {
    Ok(Arc::new(Quic))
}
