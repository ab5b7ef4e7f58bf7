//! The beginning of a cluster, on its first node.
//!
//! Every step can be repeated: a bootstrap that was interrupted goes on when the node starts again.
//!
//! 1. The meta shard begins, with replica 1 here as its only voter.
//! 2. One change writes the cluster's first records, on the condition that there is no cluster id yet.
//! 3. The user shards begin, each with one replica here.
//!
//! Before its first entry each replica notes that it is its shard's only voter.
//!
//! ## Invariants and what guards each
//!
//! - A cluster begins once, wherever its first start is cut: guarded by `sim_node::a_beginning_that_is_cut_goes_on`.
//! - The first shards tile the user keys: guarded by `sim_node::a_beginning_that_is_cut_goes_on`, and in
//!   `first_ranges`.

use prost::Message;

use crate::model::id::{NodeId, ReplicaId, ShardId};
use crate::model::key::{Key, KeyRange};
use crate::model::system::{Counter, SystemKey};
use crate::model::wire::{AuthorityRecord, NodeRecord, ReplicaRecord, ReplicaRole, ShardRecord};
use crate::net::chance::Chance;
use crate::node::member::{Bootstrap, Member};
use crate::node::replica::{BeginError, ReplicaError};
use crate::node::shards::Shards;

use super::records::{Change, MetaError, Records};

/// The first node's id, and its replica of the meta shard.
pub const FIRST_NODE: NodeId = NodeId(1);
pub const FIRST_REPLICA: ReplicaId = ReplicaId(1);

/// Why a cluster could not begin.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("a split key: {0}")]
    SplitKey(#[from] crate::model::key::KeyError),
    #[error("the split keys must rise")]
    SplitOrder,
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    #[error(transparent)]
    Meta(#[from] MetaError),
    #[error(transparent)]
    Begin(#[from] BeginError),
    #[error("the meta shard's replica is not this node's")]
    OtherReplica,
}

/// The ranges of the first user shards.
pub fn first_ranges(bootstrap: &Bootstrap) -> Result<Vec<KeyRange>, BootstrapError> {
    let keys = bootstrap.split_at.iter().map(|name| Key::from_name(name)).collect::<Result<Vec<_>, _>>()?;
    if keys.windows(2).any(|pair| pair[0] >= pair[1]) || keys.iter().any(Key::is_system) {
        return Err(BootstrapError::SplitOrder);
    }
    let starts = std::iter::once(Key::FIRST_USER).chain(keys.iter().cloned());
    let ends = keys.iter().cloned().map(Some).chain(std::iter::once(None));
    Ok(starts.zip(ends).map(|(start, end)| KeyRange::new(start, end)).collect())
}

/// Begins the cluster, or goes on beginning it.
pub async fn begin(
    member: &Member,
    bootstrap: &Bootstrap,
    shards: &Shards,
    records: &Records,
    chance: &Chance,
    own: NodeRecord,
    authority: Option<AuthorityRecord>,
) -> Result<(), BootstrapError> {
    let ranges = first_ranges(bootstrap)?;
    let meta = shards.open(ShardId::META, FIRST_REPLICA).await?.ok_or(BootstrapError::OtherReplica)?;
    let system = KeyRange::system();
    meta.begin(FIRST_NODE, &system.start, system.end.as_ref()).await?;
    if records.read(&SystemKey::ClusterId)?.is_none() {
        let change = first_records(member, &ranges, chance, own, authority);
        match records.commit(change).await {
            Ok(_) | Err(MetaError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for (n, range) in ranges.iter().enumerate() {
        let (shard, replica) = first_placement(n);
        let replica = shards.open(shard, replica).await?.ok_or(BootstrapError::OtherReplica)?;
        replica.begin(FIRST_NODE, &range.start, range.end.as_ref()).await?;
    }
    Ok(())
}

/// The `n`-th user shard and its first replica.
fn first_placement(n: usize) -> (ShardId, ReplicaId) {
    (ShardId(n as u64 + 1), ReplicaId(FIRST_REPLICA.0 + n as u64 + 1))
}

fn first_records(
    member: &Member,
    ranges: &[KeyRange],
    chance: &Chance,
    own: NodeRecord,
    authority: Option<AuthorityRecord>,
) -> Change {
    let shards = ranges.len() as u64;
    let mut change = Change::default()
        .put(&SystemKey::ClusterId, member.cluster_id.clone(), None)
        .put(&SystemKey::Next(Counter::Node), (FIRST_NODE.0 + 1).to_string(), None)
        .put(&SystemKey::Next(Counter::Shard), (shards + 1).to_string(), None)
        .put(&SystemKey::Next(Counter::Replica), (FIRST_REPLICA.0 + shards + 1).to_string(), None)
        .put(&SystemKey::Node(FIRST_NODE), own.encode_to_vec(), None);
    if let Some(authority) = authority {
        change = change.put(&SystemKey::SealedCa, authority.encode_to_vec(), None);
    }
    let meta = (ShardId::META, FIRST_REPLICA, KeyRange::system());
    let users = ranges.iter().enumerate().map(|(n, range)| {
        let (shard, replica) = first_placement(n);
        (shard, replica, range.clone())
    });
    for (shard, replica, range) in std::iter::once(meta).chain(users) {
        let record = ShardRecord {
            shard: shard.0,
            start: range.start.to_bytes(),
            end: range.end.as_ref().map(Key::to_bytes).unwrap_or_default(),
            epoch: 1,
            replicas: vec![ReplicaRecord {
                replica: replica.0,
                node: FIRST_NODE.0,
                role: ReplicaRole::RoleVoter.into(),
            }],
            ring_position: chance.number(),
            by_itself: false,
        };
        change = change.put(&SystemKey::Shard(shard), record.encode_to_vec(), None);
    }
    change
}
