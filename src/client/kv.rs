//! Single keys: get, put, delete, compare-and-set, increment.
//!
//! Promises: each is one operation on one key: linearizable unless a weaker read is asked for, repeated inside until
//! answered or out of time, applied at most once. Keys and values are checked before anything is sent.
//! Does not: combine keys; see [`super::batch`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::cluster::{Cluster, Options};
use super::course::{Course, Nature};
use super::error::{Error, Trouble};
use super::routed::Aim;
use super::write::Written;
use crate::model::key::{Key, VALUE_MAX_BYTES};
use crate::model::time::Timestamp;
use crate::model::wire::{self, Operation, condition, operation};
use crate::net::wire::{self as net, reply, request};

/// A cluster as a value. Cheap to clone; clones share connections, the map and the identity of their writes.
#[derive(Clone)]
pub struct Client(pub(super) Arc<Cluster>);

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Sees every write that was acknowledged, to anybody, before the read began.
    #[default]
    Linearizable,
    /// Sees at least what this client has written and read.
    Session,
    /// Whatever the replica asked has.
    Stale,
}

/// How to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    pub consistency: Consistency,
    /// The state as of this timestamp; `None`: the newest.
    pub at: Option<Timestamp>,
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    pub value: Bytes,
    /// Of the write that made it.
    pub stamp: Timestamp,
    /// When it goes by itself, milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
}

/// What must hold for a write to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    Absent,
    Present,
    Value(Bytes),
    /// The newest version was written at this timestamp.
    Stamp(Timestamp),
}

/// How to put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// The key goes by itself after this time, counted from the write. Rounded up to milliseconds.
    pub ttl: Option<Duration>,
    pub condition: Option<Expected>,
}

/// How a conditional write came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cas {
    Done {
        stamp: Timestamp,
    },
    /// The condition did not hold; nothing changed. `found` knows no expiry.
    Failed {
        found: Option<Value>,
    },
}

impl Client {
    /// Learns of the cluster from any of the endpoints. Later, all members are known and none is needed.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if none answers in time, or none is what it should be.
    pub async fn connect(options: Options) -> Result<Client, Error> {
        let cluster = Cluster::new(options);
        cluster.join().await?;
        Ok(Client(Arc::new(cluster)))
    }

    /// The newest value of a key.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Value>, Error> {
        self.get_with(key, &ReadOptions::default()).await
    }

    /// The value of a key as the options ask for it.
    pub async fn get_with(&self, key: &[u8], options: &ReadOptions) -> Result<Option<Value>, Error> {
        let key = Key::from_name(key)?;
        let mut course = Course::new(Nature::Read, self.0.timeout);
        let options = Some(self.read_options(options));
        let make = |route: &super::map::Route| {
            request::Body::Get(net::Get { shard: route.shard.0, key: key.to_bytes(), options })
        };
        let aim = aim(options);
        let answer = self.0.routed(&mut course, aim, |map| map.route(&key).cloned(), make).await?;
        match answer.body {
            reply::Body::Get(net::GetReply { row }) => Ok(row.map(value_of)),
            _ => Err(garbled(answer.node)),
        }
    }

    /// Writes a value; returns the write's timestamp.
    pub async fn put(&self, key: &[u8], value: impl Into<Bytes>) -> Result<Timestamp, Error> {
        match self.put_with(key, value, &PutOptions::default()).await? {
            Cas::Done { stamp } => Ok(stamp),
            Cas::Failed { .. } => Err(senseless("an unconditional write failed its condition")),
        }
    }

    /// Writes a value if its condition holds.
    pub async fn put_with(
        &self,
        key: &[u8],
        value: impl Into<Bytes>,
        options: &PutOptions,
    ) -> Result<Cas, Error> {
        let mut operation = put(key, value.into(), options.ttl)?;
        operation.condition = options.condition.clone().map(Expected::into_wire);
        match self.0.write(&[operation]).await? {
            Written::Applied { stamp, .. } => Ok(Cas::Done { stamp }),
            Written::ConditionFailed(failed) => Ok(Cas::Failed { found: found(failed) }),
        }
    }

    /// Writes a value if the key is as expected.
    pub async fn cas(&self, key: &[u8], expected: Expected, value: impl Into<Bytes>) -> Result<Cas, Error> {
        self.put_with(key, value, &PutOptions { ttl: None, condition: Some(expected) }).await
    }

    /// Removes a key; true if it was there.
    pub async fn delete(&self, key: &[u8]) -> Result<bool, Error> {
        Ok(self.apply_one(delete(key)?).await?.existed)
    }

    /// Adds to the number that a key holds as decimal text (an absent key holds 0); returns the sum.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it holds no number or the sum exceeds 64 bits.
    pub async fn incr(&self, key: &[u8], by: i64) -> Result<i64, Error> {
        let change = operation::Change::Increment(wire::Increment { by });
        Ok(self.apply_one(operation(key, change)?).await?.number)
    }

    /// The highest timestamp any server has told this client.
    pub fn seen(&self) -> Timestamp {
        self.0.session.seen()
    }

    async fn apply_one(&self, operation: Operation) -> Result<wire::Result, Error> {
        match self.0.write(&[operation]).await? {
            Written::Applied { mut results, .. } => Ok(results.swap_remove(0)),
            Written::ConditionFailed(_) => Err(senseless("an unconditional write failed its condition")),
        }
    }

    pub(super) fn read_options(&self, options: &ReadOptions) -> net::ReadOptions {
        let (consistency, seen) = match options.consistency {
            Consistency::Linearizable => (net::Consistency::Linearizable, Timestamp::ZERO),
            Consistency::Session => (net::Consistency::Session, self.seen()),
            Consistency::Stale => (net::Consistency::Stale, Timestamp::ZERO),
        };
        let at = options.at.map_or(0, |at| at.0);
        net::ReadOptions { consistency: consistency.into(), at, seen: seen.0 }
    }
}

impl Expected {
    fn into_wire(self) -> wire::Condition {
        let kind = match self {
            Expected::Absent => condition::Kind::Absent(true),
            Expected::Present => condition::Kind::Absent(false),
            Expected::Value(value) => condition::Kind::Value(value),
            Expected::Stamp(stamp) => condition::Kind::Stamp(stamp.0),
        };
        wire::Condition { kind: Some(kind) }
    }
}

/// Who may answer such a read.
pub(super) fn aim(options: Option<net::ReadOptions>) -> Aim {
    match options.unwrap_or_default().consistency() {
        net::Consistency::Linearizable => Aim::Leader,
        net::Consistency::Session | net::Consistency::Stale => Aim::AnyReplica,
    }
}

pub(super) fn put(key: &[u8], value: Bytes, ttl: Option<Duration>) -> Result<Operation, Error> {
    if value.len() > VALUE_MAX_BYTES {
        let (bytes, max) = (value.len(), VALUE_MAX_BYTES);
        return Err(Error::Invalid(Trouble::ValueTooLong { bytes, max }));
    }
    let ttl_ms = match ttl {
        None => 0,
        Some(Duration::ZERO) => return Err(Error::Invalid(Trouble::NoTimeToLive)),
        Some(ttl) => u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX),
    };
    operation(key, operation::Change::Put(wire::Put { value, ttl_ms }))
}

pub(super) fn delete(key: &[u8]) -> Result<Operation, Error> {
    operation(key, operation::Change::Delete(wire::Delete {}))
}

fn operation(key: &[u8], change: operation::Change) -> Result<Operation, Error> {
    Ok(Operation { key: Key::from_name(key)?.to_bytes(), condition: None, change: Some(change) })
}

pub(super) fn value_of(row: net::Row) -> Value {
    let expires_at_ms = Some(row.expires_at_ms).filter(|at_ms| *at_ms != 0);
    Value { value: row.value, stamp: Timestamp(row.stamp), expires_at_ms }
}

fn found(failed: wire::ConditionFailed) -> Option<Value> {
    let stamp = Timestamp(failed.stamp);
    failed.present.then_some(Value { value: failed.value, stamp, expires_at_ms: None })
}

pub(super) fn garbled(node: crate::model::id::NodeId) -> Error {
    Error::Internal(Trouble::Garbled { node, what: "it answers another question" })
}

fn senseless(what: &'static str) -> Error {
    Error::Internal(Trouble::Senseless { what })
}
