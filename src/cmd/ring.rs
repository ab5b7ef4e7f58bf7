//! `nomad ring`: how shards lie on the ring, and how evenly on the nodes.

use prost::Message;
use serde::Serialize;

use crate::cmd::exit::Exit;
use crate::cmd::fail::Answer;
use crate::cmd::global::Global;
use crate::cmd::view::Cluster;
use crate::cmd::{meta, session, table};
use crate::model::id::{NodeId, ShardId};
use crate::model::wire::ShardRecord;

/// Show the ring: shares of the nodes, positions of the shards
#[derive(Debug, clap::Args)]
pub struct Ring {}

#[derive(Serialize)]
struct RingView {
    map_epoch: u64,
    nodes: Vec<Share>,
    shards: Vec<Position>,
}

/// What a node holds of all user shards' replicas, and what its weight asks for.
#[derive(Serialize)]
struct Share {
    node: u64,
    zone: String,
    weight: u32,
    replicas: u64,
    leaders: u64,
    share_percent: f64,
    want_percent: f64,
}

#[derive(Serialize)]
struct Position {
    /// 16 hexadecimal digits.
    position: String,
    shard: u64,
    nodes: Vec<u64>,
}

impl Ring {
    pub async fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        let client = session::connect(global).await?;
        let (status, map) = (session::status(&client).await?, session::map(&client).await?);
        let cluster = Cluster::new(&map, &status);
        let shards: Vec<_> = cluster.shards().into_iter().filter(|shard| shard.id != 0).collect();
        let on = |node: u64| {
            shards.iter().flat_map(|shard| &shard.replicas).filter(|r| r.node == node).count() as u64
        };
        let nodes = cluster.nodes();
        let replicas: u64 = nodes.iter().map(|node| on(node.id)).sum();
        let weights: u64 = nodes.iter().map(|node| u64::from(node.weight)).sum();
        let percent = |part: u64, whole: u64| (part * 1_000 / whole.max(1)) as f64 / 10.0;
        let shares = nodes.iter().map(|node| Share {
            node: node.id,
            zone: node.zone.clone(),
            weight: node.weight,
            replicas: on(node.id),
            leaders: shards.iter().filter(|shard| shard.leader == Some(node.id)).count() as u64,
            share_percent: percent(on(node.id), replicas),
            want_percent: percent(node.weight.into(), weights),
        });
        // Where a shard lies on the ring is in its record; routing needs no such thing.
        let stored = meta::rows(&client, b"_/shards/").await?;
        let mut records: Vec<ShardRecord> =
            stored.iter().filter_map(|row| ShardRecord::decode(row.value.clone()).ok()).collect();
        records.retain(|shard| shard.shard != 0);
        records.sort_by_key(|shard| (shard.ring_position, shard.shard));
        let positions = records.iter().map(|shard| Position {
            position: format!("{:016x}", shard.ring_position),
            shard: shard.shard,
            nodes: shard.replicas.iter().map(|replica| replica.node).collect(),
        });
        let ring = RingView { map_epoch: map.version, nodes: shares.collect(), shards: positions.collect() };
        let text = || in_tables(&ring, ui.columns());
        ui.show(&ring, text, text)?;
        Ok(Exit::Done)
    }
}

fn in_tables(ring: &RingView, columns: Option<u16>) -> String {
    let header = ["NODE", "ZONE", ">WEIGHT", ">REPLICAS", ">LEADERS", ">SHARE", ">WANT"];
    let shares = ring.nodes.iter().map(|share| {
        vec![
            NodeId(share.node).to_string(),
            if share.zone.is_empty() { "-".to_owned() } else { share.zone.clone() },
            share.weight.to_string(),
            share.replicas.to_string(),
            share.leaders.to_string(),
            format!("{:.1}%", share.share_percent),
            format!("{:.1}%", share.want_percent),
        ]
    });
    let nodes = table::render(columns, &header, shares.collect());
    let positions = ring.shards.iter().map(|at| {
        let nodes: Vec<String> = at.nodes.iter().map(|node| NodeId(*node).to_string()).collect();
        vec![at.position.clone(), ShardId(at.shard).to_string(), nodes.join(" ")]
    });
    let shards = table::render(columns, &["POSITION", "SHARD", "NODES"], positions.collect());
    format!("{nodes}\n{shards}")
}
