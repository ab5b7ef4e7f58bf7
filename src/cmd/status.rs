//! `nomad status`: whether all is well, in one look.

use crate::client::Client;
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure};
use crate::cmd::global::Global;
use crate::cmd::view::{Cluster, Health};
use crate::cmd::{config, session, spell, table};

/// Show whether the cluster is healthy
///
/// Healthy: every node is up, every shard has a leader and its replicas. Exit code 1 if not.
#[derive(Debug, clap::Args)]
pub struct Status {}

impl Status {
    pub async fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        let client = session::connect(global).await?;
        let health = health(&client).await?;
        let word = if health.healthy { "healthy" } else { "not healthy" };
        ui.show(&health, || in_words(&health, word), || word.to_owned())?;
        Ok(if health.healthy { Exit::Done } else { Exit::No })
    }
}

/// The health of the cluster now.
pub async fn health(client: &Client) -> Result<Health, Failure> {
    // Whoever cannot even read the settings still learns how the cluster is.
    let replicas = config::stored(client).await.unwrap_or_default().replicas;
    let (status, map) = (session::status(client).await?, session::map(client).await?);
    Ok(Cluster::new(&map, &status).health(replicas))
}

fn in_words(health: &Health, word: &str) -> String {
    let nodes = match health.nodes - health.nodes_up {
        0 => format!("{}, all up", health.nodes),
        down => format!("{}, {down} not up", health.nodes),
    };
    table::pairs(&[
        ("cluster", format!("{} ({word})", health.cluster_id)),
        ("nodes", nodes),
        ("shards", spell::count(health.shards)),
        ("leaderless", spell::count(health.leaderless)),
        ("under-replicated", spell::count(health.under_replicated)),
        ("map", format!("version {}", health.map_epoch)),
    ])
}
