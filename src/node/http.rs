//! HTTP for machines that watch: `/healthz` (the process lives), `/readyz` (it serves), `/metrics`.
//!
//! Read-only and without secrets, so it needs no identity. Does not serve data.

use std::net::SocketAddr;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::model::id::ShardId;
use crate::net::exec::Exec;

use super::metrics::Metrics;
use super::shards::Shards;
use super::wal::Wal;

/// Serves until `stop` changes. Returns where.
pub async fn serve(
    listen: SocketAddr,
    exec: Exec,
    shards: Shards,
    wal: Wal,
    metrics: Metrics,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let ready = shards.clone();
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move || async move { readiness(&ready) }))
        .route("/metrics", get(move || async move { metrics.text(&shards, &wal) }));
    exec.spawn(async move {
        let stopped = async move {
            // An error means that the node is gone.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
            tracing::error!(%error, "HTTP has stopped");
        }
    });
    Ok(address)
}

/// Ready: the meta shard is here and has a leader, and no replica has failed.
fn readiness(shards: &Shards) -> (StatusCode, String) {
    let meta = shards.get(ShardId::META).map(|meta| meta.group.leadership());
    if meta.is_none_or(|leadership| leadership.node.is_none()) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the meta shard has no leader\n".to_owned());
    }
    let failed: Vec<_> = shards
        .all()
        .iter()
        .filter_map(|replica| Some(format!("{}: {}", replica.shard, replica.group.status().failure?)))
        .collect();
    match failed.is_empty() {
        true => (StatusCode::OK, "ready\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, failed.join("\n") + "\n"),
    }
}
