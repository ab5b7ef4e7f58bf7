//! The shard map as a client holds it: who answers for which key.
//!
//! Promises: a map is made from a reply only if every part of it can be read; lookups cost a walk down a tree.
//! Does not: promise to be the newest. Whoever is asked by an old map says so, and the map is fetched anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::id::{NodeId, ReplicaId, ShardId};
use crate::model::key::{Key, KeyRange};
use crate::model::map::NodeState;
use crate::model::wire::{ReplicaRole, ShardRecord};
use crate::net::transport::Address;
use crate::net::wire::MapReply;

/// One version of the map.
#[derive(Clone, Debug, Default)]
pub struct ClusterMap {
    pub version: u64,
    pub cluster_id: String,
    members: BTreeMap<NodeId, Member>,
    by_start: BTreeMap<Key, Arc<Route>>,
    by_shard: BTreeMap<ShardId, Arc<Route>>,
}

/// One member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub address: Address,
    pub http: String,
    pub zone: String,
    pub weight: u32,
    /// Its shards are to go elsewhere.
    pub draining: bool,
}

/// One shard and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub shard: ShardId,
    pub range: KeyRange,
    pub epoch: u64,
    pub replicas: Vec<RouteReplica>,
}

/// One placement of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteReplica {
    pub replica: ReplicaId,
    pub node: NodeId,
    /// False: it only learns.
    pub voter: bool,
}

impl ClusterMap {
    /// The map in a reply; `Err` says what cannot be read.
    pub(super) fn from_wire(reply: MapReply) -> Result<ClusterMap, &'static str> {
        let members = reply.nodes.into_iter().filter(|node| node.state != "left");
        let members = members.map(|node| {
            let (address, draining) = (Address(node.quic), node.state == NodeState::Draining.name());
            let (http, zone, weight) = (node.http, node.zone, node.weight);
            (NodeId(node.node), Member { address, http, zone, weight, draining })
        });
        let mut map = ClusterMap {
            version: reply.version,
            cluster_id: reply.cluster_id,
            members: members.collect(),
            ..ClusterMap::default()
        };
        for record in reply.shards {
            let route = Arc::new(Route::from_wire(record)?);
            map.by_start.insert(route.range.start.clone(), Arc::clone(&route));
            map.by_shard.insert(route.shard, route);
        }
        Ok(map)
    }

    /// This map with one more member, of which only the address is known.
    pub(super) fn with_member(&self, node: NodeId, address: Address) -> ClusterMap {
        let member = Member { address, http: String::new(), zone: String::new(), weight: 0, draining: false };
        let mut map = self.clone();
        map.members.insert(node, member);
        map
    }

    /// The shard that holds `key`, as far as this map knows.
    pub fn route(&self, key: &Key) -> Option<&Arc<Route>> {
        let (_, route) = self.by_start.range(..=key).next_back()?;
        route.range.contains(key).then_some(route)
    }

    /// The shard that holds the keys just below `end`; `None`: the last keys of all.
    pub fn route_below(&self, end: Option<&Key>) -> Option<&Arc<Route>> {
        let (_, route) = match end {
            Some(end) => self.by_start.range(..end).next_back()?,
            None => self.by_start.last_key_value()?,
        };
        let reaches = match (&route.range.end, end) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(found), Some(wanted)) => found >= wanted,
        };
        reaches.then_some(route)
    }

    /// The shard of that name.
    pub fn shard(&self, shard: ShardId) -> Option<&Arc<Route>> {
        self.by_shard.get(&shard)
    }

    /// All shards, in order of their keys.
    pub fn shards(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.by_start.values()
    }

    /// All members, in order of their ids.
    pub fn members(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.members.iter().map(|(node, member)| (*node, member))
    }

    /// The member of that name.
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.get(&node)
    }
}

impl Route {
    fn from_wire(record: ShardRecord) -> Result<Route, &'static str> {
        let start = Key::from_internal(record.start).map_err(|_| "a shard starts at no key")?;
        let end = Some(record.end).filter(|end| !end.is_empty()).map(Key::from_internal).transpose();
        let range = KeyRange::new(start, end.map_err(|_| "a shard ends at no key")?);
        let replicas = record.replicas.iter().map(|replica| RouteReplica {
            replica: ReplicaId(replica.replica),
            node: NodeId(replica.node),
            voter: replica.role() == ReplicaRole::RoleVoter,
        });
        let replicas = replicas.collect();
        Ok(Route { shard: ShardId(record.shard), range, epoch: record.epoch, replicas })
    }
}
