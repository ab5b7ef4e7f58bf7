//! The cluster as it is shown: the map and what the nodes report, put together.
//!
//! Pure. Promises: what a silent node said last is never shown as the present; field names are a stable contract of
//! `-o json`. Does not: ask anybody.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cmd::escape;
use crate::model::key::Key;
use crate::model::wire::{NodeRecord, ReplicaRecord, ReplicaRole, ShardRecord};
use crate::net::wire::{MapReply, NodeStatus, ReplicaStatus, StatusReply};

/// A node not heard of for longer than this is called silent.
pub const SILENT_AFTER_MS: u64 = 3_000;
/// Most voters the meta shard has.
const META_VOTERS_MAX: u64 = 5;

/// One shard, as `shard ls` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShardView {
    pub id: u64,
    /// First key; base64 in `start_b64` where it is not text.
    pub start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_b64: Option<String>,
    /// First key that is no longer in it; absent: no end.
    pub end: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_b64: Option<String>,
    pub epoch: u64,
    /// The node that leads; absent: nobody.
    pub leader: Option<u64>,
    pub replicas: Vec<ReplicaView>,
    pub bytes: u64,
    pub keys: u64,
}

/// One replica of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplicaView {
    pub node: u64,
    pub replica: u64,
    /// `voter` or `learner`.
    pub role: &'static str,
    /// `leader`, `follower`, `learner`, `candidate`, `recovering`, `failed`, `missing`, `silent`.
    pub state: String,
    pub term: u64,
    pub applied_index: u64,
    pub last_index: u64,
    pub flushed_index: u64,
}

/// One node, as `node ls` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeView {
    pub id: u64,
    pub addr: String,
    pub http: String,
    pub zone: String,
    /// `up`, `draining`, `silent`, `leaving`, `left`.
    pub state: String,
    pub leaders: u64,
    pub replicas: u64,
    pub bytes: u64,
    pub weight: u32,
    pub version: String,
    pub uptime_ms: u64,
    pub silent_ms: Option<u64>,
    pub wal_bytes: u64,
    pub memtable_bytes: u64,
    /// Free on its disk, that included which is kept.
    pub free_bytes: u64,
    pub reserve_bytes: u64,
}

/// The cluster in one line, as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    pub cluster_id: String,
    pub healthy: bool,
    pub nodes: u64,
    pub nodes_up: u64,
    pub shards: u64,
    pub leaderless: u64,
    pub under_replicated: u64,
    pub map_epoch: u64,
}

/// What is known, indexed.
pub struct Cluster<'a> {
    map: &'a MapReply,
    heard: BTreeMap<u64, &'a NodeStatus>,
}

impl<'a> Cluster<'a> {
    pub fn new(map: &'a MapReply, status: &'a StatusReply) -> Cluster<'a> {
        Cluster { map, heard: status.nodes.iter().map(|node| (node.node, node)).collect() }
    }

    /// All shards by id, the meta shard first.
    pub fn shards(&self) -> Vec<ShardView> {
        let mut shards: Vec<ShardView> = self.map.shards.iter().map(|shard| self.shard(shard)).collect();
        shards.sort_by_key(|shard| shard.id);
        shards
    }

    /// All nodes by id; those that left are not among them.
    pub fn nodes(&self) -> Vec<NodeView> {
        let shards = self.shards();
        let present = self.map.nodes.iter().filter(|node| node.state != "left");
        let mut nodes: Vec<NodeView> = present.map(|node| self.node(node, &shards)).collect();
        nodes.sort_by_key(|node| node.id);
        nodes
    }

    /// Whether all is well. `replicas` is how many a shard should have.
    pub fn health(&self, replicas: u64) -> Health {
        let (shards, nodes) = (self.shards(), self.nodes());
        let nodes_up = nodes.iter().filter(|node| node.is_up()).count() as u64;
        let members = nodes.len() as u64;
        let leaderless = shards.iter().filter(|shard| shard.leader.is_none()).count() as u64;
        let thin = |shard: &&ShardView| {
            let wanted = if shard.id == 0 { META_VOTERS_MAX } else { replicas };
            shard.sound_voters() < voters_wanted(wanted, members)
        };
        let under_replicated = shards.iter().filter(thin).count() as u64;
        let healthy = members > 0 && nodes_up == members && leaderless == 0 && under_replicated == 0;
        Health {
            cluster_id: self.map.cluster_id.clone(),
            healthy,
            nodes: members,
            nodes_up,
            shards: shards.len() as u64,
            leaderless,
            under_replicated,
            map_epoch: self.map.version,
        }
    }

    fn shard(&self, shard: &ShardRecord) -> ShardView {
        let mut replicas: Vec<ReplicaView> =
            shard.replicas.iter().map(|replica| self.replica(shard.shard, replica)).collect();
        replicas.sort_by_key(|replica| (replica.node, replica.replica));
        let leader = self.leader(shard);
        let reports = || shard.replicas.iter().filter_map(|replica| self.report(shard.shard, replica));
        let led = reports().find(|report| report.state == "leader");
        let bytes = led.map_or_else(|| reports().map(|r| r.bytes).max().unwrap_or(0), |r| r.bytes);
        let keys = led.map_or_else(|| reports().map(|r| r.keys).max().unwrap_or(0), |r| r.keys);
        let (start, start_b64) = bound(&shard.start).unwrap_or_default();
        let (end, end_b64) = bound(&shard.end).unwrap_or_default();
        let id = shard.shard;
        ShardView { id, start, start_b64, end, end_b64, epoch: shard.epoch, leader, replicas, bytes, keys }
    }

    /// Who leads: the replica that says so in the highest term, else whom the map names and who is not silent.
    fn leader(&self, shard: &ShardRecord) -> Option<u64> {
        let says_so = |replica: &&ReplicaRecord| {
            self.report(shard.shard, replica).is_some_and(|report| report.state == "leader")
        };
        let term =
            |replica: &&ReplicaRecord| self.report(shard.shard, replica).map_or(0, |report| report.term);
        let claimed = shard.replicas.iter().filter(says_so).max_by_key(term).map(|replica| replica.node);
        claimed.or_else(|| {
            let hint = self.map.leaders.iter().find(|hint| hint.shard == shard.shard && hint.node != 0)?;
            self.is_up(hint.node).then_some(hint.node)
        })
    }

    fn replica(&self, shard: u64, replica: &ReplicaRecord) -> ReplicaView {
        let report = self.report(shard, replica);
        let state = match report {
            Some(report) => report.state.clone(),
            None if self.is_up(replica.node) => "missing".to_owned(),
            None => "silent".to_owned(),
        };
        let role = match replica.role() {
            ReplicaRole::RoleLearner => "learner",
            ReplicaRole::RoleVoter | ReplicaRole::RoleUnspecified => "voter",
        };
        let known = |of: fn(&ReplicaStatus) -> u64| report.map_or(0, of);
        ReplicaView {
            node: replica.node,
            replica: replica.replica,
            role,
            state,
            term: known(|r| r.term),
            applied_index: known(|r| r.applied_index),
            last_index: known(|r| r.last_index),
            flushed_index: known(|r| r.flushed_index),
        }
    }

    fn node(&self, record: &NodeRecord, shards: &[ShardView]) -> NodeView {
        let heard = self.heard.get(&record.node);
        let state = match heard {
            Some(_) if !self.is_up(record.node) => "silent",
            Some(heard) if record.state == "draining" && heard.state == "up" => "draining",
            Some(heard) if !heard.state.is_empty() => &heard.state,
            Some(_) => "up",
            None => "silent",
        };
        let replicas = shards.iter().flat_map(|shard| &shard.replicas).filter(|r| r.node == record.node);
        let stored = heard.map_or(0, |heard| heard.replicas.iter().map(|replica| replica.bytes).sum());
        NodeView {
            id: record.node,
            addr: record.quic.clone(),
            http: record.http.clone(),
            zone: record.zone.clone(),
            state: state.to_owned(),
            leaders: shards.iter().filter(|shard| shard.leader == Some(record.node)).count() as u64,
            replicas: replicas.count() as u64,
            bytes: stored,
            weight: record.weight,
            version: heard.map_or(String::new(), |heard| heard.version.clone()),
            uptime_ms: heard.map_or(0, |heard| heard.uptime_ms),
            silent_ms: heard.map(|heard| heard.silent_ms),
            wal_bytes: heard.map_or(0, |heard| heard.wal_bytes),
            memtable_bytes: heard.map_or(0, |heard| heard.memtable_bytes),
            free_bytes: heard.map_or(0, |heard| heard.free_bytes),
            reserve_bytes: heard.map_or(0, |heard| heard.reserve_bytes),
        }
    }

    fn is_up(&self, node: u64) -> bool {
        self.heard
            .get(&node)
            .is_some_and(|heard| heard.silent_ms < SILENT_AFTER_MS && heard.state != "silent")
    }

    /// What a node that is up says about its replica of a shard.
    fn report(&self, shard: u64, replica: &ReplicaRecord) -> Option<&'a ReplicaStatus> {
        let heard = self.heard.get(&replica.node).filter(|heard| self.is_up(heard.node))?;
        heard.replicas.iter().find(|report| report.shard == shard && report.replica == replica.replica)
    }
}

impl NodeView {
    /// It does its work.
    pub fn is_up(&self) -> bool {
        matches!(self.state.as_str(), "up" | "draining")
    }
}

impl ShardView {
    /// Voters that do their work.
    pub fn sound_voters(&self) -> u64 {
        let sound = |replica: &&ReplicaView| {
            replica.role == "voter"
                && !matches!(replica.state.as_str(), "failed" | "damaged" | "missing" | "silent")
        };
        self.replicas.iter().filter(sound).count() as u64
    }

    /// First key, for people.
    pub fn start_shown(&self) -> String {
        shown(self.start.as_deref(), self.start_b64.as_deref())
    }

    /// End, for people.
    pub fn end_shown(&self) -> String {
        shown(self.end.as_deref(), self.end_b64.as_deref())
    }
}

/// How many voters a group should have among so many members: an odd number.
fn voters_wanted(wanted: u64, members: u64) -> u64 {
    let most = wanted.min(members);
    if most.is_multiple_of(2) { most.saturating_sub(1) } else { most }
}

fn shown(text: Option<&str>, b64: Option<&str>) -> String {
    match (text, b64) {
        (Some(text), _) if !text.is_empty() => escape::short(text.as_bytes(), 24),
        (None, Some(b64)) => format!("b64:{}", escape::short(b64.as_bytes(), 20)),
        _ => "-".to_owned(),
    }
}

/// A bound of a shard by its user's name: as text, or as base64. Nothing: no end.
fn bound(internal: &[u8]) -> Option<(Option<String>, Option<String>)> {
    if internal.is_empty() {
        return None;
    }
    // Where the system's keys end the user's begin; in the system's own spelling that is after all of `_/`.
    let name: &[u8] = match internal {
        start if start == Key::FIRST.as_bytes() => crate::model::key::SYSTEM_PREFIX,
        end => &end[1..],
    };
    Some(match std::str::from_utf8(name) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => {
            use base64::Engine as _;
            (None, Some(base64::prelude::BASE64_STANDARD.encode(name)))
        }
    })
}

#[cfg(test)]
#[path = "view/tests.rs"]
mod tests;
