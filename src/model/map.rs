//! The map: who the members are, which shard answers for which key, where its replicas are.
//!
//! A value built from the rows of the meta shard and kept up to date row by row ([`ClusterMap::set`]). Every node and
//! client holds one; it may be old, which is why requests carry epochs that the shards themselves check.
//!
//! Promises: the same rows make the same map, in whatever order they come. Rows of kinds this program does not know are
//! passed over. Does not: repair anything (`job`), decide anything (`placement`), or hold secrets.
//!
//! ## Invariants and what guards each
//!
//! - A tiled map has one shard for each key; a gap or an overlap is noticed: guarded by
//!   `tests::a_tiled_map_has_one_shard_for_each_key`, `tests::a_missing_shard_is_a_gap_and_a_longer_one_an_overlap`.
//! - A row that cannot be understood changes nothing and harms no other: guarded by
//!   `tests::damaged_rows_are_errors_not_panics`, `tests::records_under_a_wrong_key_and_unknown_words_are_refused`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message;

use super::config::{ConfigError, Settings};
use super::id::{NodeId, PlanId, ReplicaId, ShardId};
use super::key::{Key, KeyError, KeyRange};
use super::system::SystemKey;
use super::time::Timestamp;
use super::wire::{JobRecord, NodeRecord, PlanRecord, ReplicaRecord, ReplicaRole, ShardRecord};

/// Weight of an ordinary node, and of one whose record does not say.
pub const WEIGHT_DEFAULT: u32 = 100;
/// Heaviest node: ten ordinary ones. Records that say more count as this.
pub const WEIGHT_MAX: u32 = 1_000;

/// The cluster as its records describe it. Clones share what neither changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterMap {
    version: Timestamp,
    cluster_id: String,
    nodes: Arc<BTreeMap<NodeId, Node>>,
    shards: Arc<BTreeMap<ShardId, Shard>>,
    by_start: Arc<BTreeSet<(Key, ShardId)>>,
    jobs: BTreeMap<ShardId, JobRecord>,
    plans: BTreeMap<PlanId, PlanRecord>,
    retired: Arc<BTreeSet<ReplicaId>>,
    config: BTreeMap<String, String>,
}

/// A process that joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: NodeId,
    /// Where members and native clients reach it: `HOST:PORT`.
    pub quic: String,
    /// Where HTTP is: `HOST:PORT`.
    pub http: String,
    /// What fails together. Nodes that name none share the unnamed one.
    pub zone: String,
    /// Its share of the replicas, in hundredths of an ordinary node's; from 1 to [`WEIGHT_MAX`].
    pub weight: u32,
    pub joined_at_ms: u64,
    pub state: NodeState,
    /// The replica of the meta shard reserved for it when it joined.
    pub meta_replica: ReplicaId,
}

/// What the cluster has decided about a node. Whether it answers is not said here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    Member,
    /// Still a member, but its user shards are to go elsewhere.
    Draining,
    /// No longer a member: nothing of it counts, and it never comes back under this id.
    Left,
}

/// A range of keys and the replicas that hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    pub id: ShardId,
    pub range: KeyRange,
    pub epoch: u64,
    pub replicas: Vec<Replica>,
    /// Where on the ring its candidates begin; drawn when it was made.
    pub ring_position: u64,
    /// The cluster has split it off by itself, and may merge it by itself.
    pub by_itself: bool,
}

/// One placement of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    pub id: ReplicaId,
    pub node: NodeId,
    pub role: Role,
}

/// What a replica's word counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Counts for quorums.
    Voter,
    /// Follows only.
    Learner,
}

/// Why a record is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("it cannot be decoded")]
    Decode(#[from] prost::DecodeError),
    #[error("it holds a bad key")]
    Key(#[from] KeyError),
    #[error("it is not text")]
    Text,
    #[error("it is the record of something else")]
    Misfiled,
    #[error("a node's state is `{0}`, which this program does not know")]
    NodeState(String),
    #[error("a replica has no role that this program knows")]
    Role,
}

/// A row of the meta shard that cannot be understood. The map is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cluster's record {key:?} is damaged")]
pub struct MapError {
    pub key: Key,
    pub source: RecordError,
}

/// Where the shards do not cover every key exactly once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("no shard answers for {0:?}")]
    Gap(KeyRange),
    #[error("{first} and {second} both answer for {range:?}")]
    Overlap { first: ShardId, second: ShardId, range: KeyRange },
    #[error("{0} has no keys")]
    Empty(ShardId),
}

impl ClusterMap {
    /// The map that these rows of the meta shard make.
    ///
    /// # Errors
    ///
    /// If a row of a known kind cannot be understood.
    pub fn from_rows<V: AsRef<[u8]>>(
        rows: impl IntoIterator<Item = (Key, V, Timestamp)>,
    ) -> Result<ClusterMap, MapError> {
        let mut map = ClusterMap::default();
        for (key, value, stamp) in rows {
            map.set(&key, Some(value.as_ref()), stamp)?;
        }
        Ok(map)
    }

    /// Takes in one row as it is now (`None`: deleted), stamped so.
    ///
    /// # Errors
    ///
    /// If the row is of a known kind and cannot be understood; the map is unchanged.
    pub fn set(&mut self, key: &Key, value: Option<&[u8]>, stamp: Timestamp) -> Result<(), MapError> {
        self.set_row(key, value).map_err(|source| MapError { key: key.clone(), source })?;
        self.raise_version(stamp);
        Ok(())
    }

    fn set_row(&mut self, key: &Key, value: Option<&[u8]>) -> Result<(), RecordError> {
        let text = || -> Result<String, RecordError> {
            let text = std::str::from_utf8(value.unwrap_or_default()).map_err(|_| RecordError::Text)?;
            Ok(text.to_owned())
        };
        match SystemKey::parse(key) {
            Some(SystemKey::ClusterId) => self.cluster_id = text()?,
            Some(SystemKey::Config(name)) => put(&mut self.config, name, value.map(|_| text()).transpose()?),
            Some(SystemKey::Node(id)) => {
                let node = value.map(NodeRecord::decode).transpose()?.map(Node::try_from).transpose()?;
                filed(node.as_ref().is_none_or(|node| node.id == id))?;
                put(Arc::make_mut(&mut self.nodes), id, node);
            }
            Some(SystemKey::Shard(id)) => {
                let shard = value.map(ShardRecord::decode).transpose()?.map(Shard::try_from).transpose()?;
                filed(shard.as_ref().is_none_or(|shard| shard.id == id))?;
                let start = |shard: &Shard| (shard.range.start.clone(), id);
                let (old, new) = (self.shards.get(&id).map(start), shard.as_ref().map(start));
                if old != new {
                    let by_start = Arc::make_mut(&mut self.by_start);
                    old.map(|old| by_start.remove(&old));
                    by_start.extend(new);
                }
                put(Arc::make_mut(&mut self.shards), id, shard);
            }
            Some(SystemKey::Job(shard)) => {
                let job = value.map(JobRecord::decode).transpose()?;
                filed(job.as_ref().is_none_or(|job| job.shard == shard.0))?;
                put(&mut self.jobs, shard, job);
            }
            Some(SystemKey::Plan(id)) => {
                let plan = value.map(PlanRecord::decode).transpose()?;
                filed(plan.as_ref().is_none_or(|plan| plan.id == id.0))?;
                put(&mut self.plans, id, plan);
            }
            Some(SystemKey::Retired(replica)) => {
                let retired = Arc::make_mut(&mut self.retired);
                _ = if value.is_some() { retired.insert(replica) } else { retired.remove(&replica) };
            }
            Some(
                SystemKey::Next(_) | SystemKey::SealedCa | SystemKey::Token(_) | SystemKey::Migration(_),
            )
            | None => {}
        }
        Ok(())
    }

    /// Says that the map is at least as new as `stamp`. A map made anew from rows must be told the meta shard's highest
    /// stamp: rows that are gone left none.
    pub fn raise_version(&mut self, stamp: Timestamp) {
        self.version = self.version.max(stamp);
    }

    /// The highest stamp seen: of two maps of one cluster the one with the higher is newer.
    pub fn version(&self) -> Timestamp {
        self.version
    }

    /// The cluster's id; empty before it is known.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The shard that answers for `key`.
    pub fn shard_of(&self, key: &Key) -> Option<&Shard> {
        let below = self.by_start.range(..=(key.clone(), ShardId(u64::MAX)));
        let shard = below.last().and_then(|(_, id)| self.shards.get(id));
        shard.filter(|shard| shard.range.contains(key))
    }

    /// The shards that hold part of `range`, in key order.
    pub fn shards_in<'a>(&'a self, range: &'a KeyRange) -> impl Iterator<Item = &'a Shard> {
        let first = self.shard_of(&range.start).map_or(&range.start, |shard| &shard.range.start);
        let shards = self.by_start.range((first.clone(), ShardId(0))..).map(|(_, id)| &self.shards[id]);
        let within = move |shard: &&Shard| range.end.as_ref().is_none_or(|end| shard.range.start < *end);
        shards.take_while(within).filter(|shard| !shard.range.intersection(range).is_empty())
    }

    /// The shard of this id.
    pub fn shard(&self, id: ShardId) -> Option<&Shard> {
        self.shards.get(&id)
    }

    /// All shards, by id; the meta shard is the first.
    pub fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.values()
    }

    /// The node of this id, also if it left.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// All nodes by id, those that left included.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// True if a map that this one was made from, or that was made from it, has the same nodes for certain; costs nothing.
    pub fn shares_nodes(&self, other: &ClusterMap) -> bool {
        Arc::ptr_eq(&self.nodes, &other.nodes)
    }

    /// The nodes that belong to the cluster, draining ones included.
    pub fn members(&self) -> impl Iterator<Item = &Node> {
        self.nodes().filter(|node| node.state != NodeState::Left)
    }

    /// The job under way on a shard.
    pub fn job(&self, shard: ShardId) -> Option<&JobRecord> {
        self.jobs.get(&shard)
    }

    /// All jobs, by shard.
    pub fn jobs(&self) -> impl Iterator<Item = &JobRecord> {
        self.jobs.values()
    }

    /// Moves that are made together, oldest first; also such as are over.
    pub fn plans(&self) -> impl Iterator<Item = &PlanRecord> {
        self.plans.values()
    }

    /// True if this replica id is gone for good: its data is to be deleted. Absence from the map says nothing.
    pub fn is_retired(&self, replica: ReplicaId) -> bool {
        self.retired.contains(&replica)
    }

    /// The replicas that `node` should have open: those the map lists and those that jobs are about to add.
    pub fn replicas_on(&self, node: NodeId) -> impl Iterator<Item = (ShardId, ReplicaId)> {
        let listed = self.shards.values().flat_map(|shard| shard.replicas.iter().map(move |r| (shard.id, r)));
        let listed = listed.filter(move |(_, r)| r.node == node).map(|(shard, r)| (shard, r.id));
        let coming = self.jobs.values().filter_map(|job| Some((ShardId(job.shard), job.add.as_ref()?)));
        let coming = coming.filter(move |(_, add)| add.node == node.0);
        let all = listed.chain(coming.map(|(shard, add)| (shard, ReplicaId(add.replica))));
        all.filter(|(_, replica)| !self.is_retired(*replica)).collect::<BTreeSet<_>>().into_iter()
    }

    /// The settings, and which of the stored ones could not be understood.
    pub fn settings(&self) -> (Settings, Vec<ConfigError>) {
        Settings::from_rows(self.config.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    /// Where the shards fail to cover every key, system keys included, exactly once.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        // Where the shards so far end (`None`: nowhere), and which of them reaches so far.
        let (mut end, mut reaches) = (Some(Key::FIRST), None);
        for (start, id) in self.by_start.iter() {
            let range = &self.shards[id].range;
            if range.is_empty() {
                problems.push(Problem::Empty(*id));
                continue;
            }
            match (&end, reaches) {
                (Some(end), _) if end < start => {
                    problems.push(Problem::Gap(KeyRange::new(end.clone(), Some(start.clone()))));
                }
                (end, Some(first)) if end.as_ref().is_none_or(|end| end > start) => {
                    let range = KeyRange::new(start.clone(), end.clone()).intersection(range);
                    problems.push(Problem::Overlap { first, second: *id, range });
                }
                _ => {}
            }
            let further =
                range.end.is_none() || end.as_ref().is_some_and(|end| range.end.as_ref() > Some(end));
            if end.is_some() && further {
                (end, reaches) = (range.end.clone(), Some(*id));
            }
        }
        problems.extend(end.map(|end| Problem::Gap(KeyRange::new(end, None))));
        problems
    }
}

impl Shard {
    /// Its replica of this id.
    pub fn replica(&self, id: ReplicaId) -> Option<&Replica> {
        self.replicas.iter().find(|replica| replica.id == id)
    }

    /// Its replica on `node`.
    pub fn replica_on(&self, node: NodeId) -> Option<&Replica> {
        self.replicas.iter().find(|replica| replica.node == node)
    }

    /// The replicas that vote.
    pub fn voters(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|replica| replica.role == Role::Voter)
    }
}

impl NodeState {
    /// As it stands in the record.
    pub fn name(self) -> &'static str {
        match self {
            NodeState::Member => "member",
            NodeState::Draining => "draining",
            NodeState::Left => "left",
        }
    }
}

impl TryFrom<NodeRecord> for Node {
    type Error = RecordError;

    fn try_from(record: NodeRecord) -> Result<Node, RecordError> {
        let known = [NodeState::Member, NodeState::Draining, NodeState::Left];
        let state = known.into_iter().find(|state| state.name() == record.state);
        let weight = if record.weight == 0 { WEIGHT_DEFAULT } else { record.weight };
        Ok(Node {
            id: NodeId(record.node),
            quic: record.quic,
            http: record.http,
            zone: record.zone,
            weight: weight.min(WEIGHT_MAX),
            joined_at_ms: record.joined_at_ms,
            meta_replica: ReplicaId(record.meta_replica),
            state: state.ok_or(RecordError::NodeState(record.state))?,
        })
    }
}

impl From<&Node> for NodeRecord {
    fn from(node: &Node) -> NodeRecord {
        NodeRecord {
            node: node.id.0,
            quic: node.quic.clone(),
            http: node.http.clone(),
            zone: node.zone.clone(),
            weight: node.weight,
            joined_at_ms: node.joined_at_ms,
            state: node.state.name().to_owned(),
            meta_replica: node.meta_replica.0,
        }
    }
}

impl TryFrom<ShardRecord> for Shard {
    type Error = RecordError;

    fn try_from(record: ShardRecord) -> Result<Shard, RecordError> {
        let end = Some(record.end).filter(|end| !end.is_empty()).map(Key::from_internal).transpose()?;
        let replicas: Result<_, _> = record.replicas.iter().map(Replica::try_from).collect();
        Ok(Shard {
            id: ShardId(record.shard),
            range: KeyRange::new(Key::from_internal(record.start)?, end),
            epoch: record.epoch,
            replicas: replicas?,
            ring_position: record.ring_position,
            by_itself: record.by_itself,
        })
    }
}

impl From<&Shard> for ShardRecord {
    fn from(shard: &Shard) -> ShardRecord {
        ShardRecord {
            shard: shard.id.0,
            start: shard.range.start.to_bytes(),
            end: shard.range.end.as_ref().map(Key::to_bytes).unwrap_or_default(),
            epoch: shard.epoch,
            replicas: shard.replicas.iter().map(ReplicaRecord::from).collect(),
            ring_position: shard.ring_position,
            by_itself: shard.by_itself,
        }
    }
}

impl TryFrom<&ReplicaRecord> for Replica {
    type Error = RecordError;

    fn try_from(record: &ReplicaRecord) -> Result<Replica, RecordError> {
        let role = match record.role() {
            ReplicaRole::RoleVoter => Role::Voter,
            ReplicaRole::RoleLearner => Role::Learner,
            ReplicaRole::RoleUnspecified => return Err(RecordError::Role),
        };
        Ok(Replica { id: ReplicaId(record.replica), node: NodeId(record.node), role })
    }
}

impl From<&Replica> for ReplicaRecord {
    fn from(replica: &Replica) -> ReplicaRecord {
        let role = match replica.role {
            Role::Voter => ReplicaRole::RoleVoter,
            Role::Learner => ReplicaRole::RoleLearner,
        };
        ReplicaRecord { replica: replica.id.0, node: replica.node.0, role: role.into() }
    }
}

fn put<K: Ord, V>(rows: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => _ = rows.insert(key, value),
        None => _ = rows.remove(&key),
    }
}

fn filed(right: bool) -> Result<(), RecordError> {
    right.then_some(()).ok_or(RecordError::Misfiled)
}

#[cfg(test)]
mod tests;
