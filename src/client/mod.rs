//! # A cluster as a value
//!
//! A stand-in with the names that the real room will have: nothing is reachable.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};

use crate::model::id::{NodeId, ShardId};
use crate::model::key::KeyRange;
use crate::model::time::Timestamp;
use crate::model::wire::{NodeRecord, ShardRecord};
use crate::net::chance::Chance;
use crate::net::exec::Exec;
use crate::net::transport::{Address, Transport};
use crate::net::wire;

pub struct Options {
    pub transport: Arc<dyn Transport>,
    pub endpoints: Vec<Address>,
    pub exec: Exec,
    pub chance: Chance,
    pub timeout: Duration,
}
#[derive(Clone)]
pub struct Client {
    nobody: Arc<Map>,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Failed,
    Unknown,
}
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no member answered")]
    Unreachable,
}
impl Error {
    pub fn outcome(&self) -> Outcome {
        Outcome::Failed
    }
    pub fn exit_code(&self) -> u8 {
        3
    }
    pub fn retryable(&self) -> bool {
        true
    }
}
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    #[default]
    Linearizable,
    Session,
    Stale,
}
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    pub consistency: Consistency,
    pub at: Option<Timestamp>,
}
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    pub ttl: Option<Duration>,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    pub value: Bytes,
    pub stamp: Timestamp,
    pub expires_at_ms: Option<u64>,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub key: Bytes,
    pub value: Bytes,
    pub stamp: Timestamp,
    pub expires_at_ms: Option<u64>,
}
#[derive(Clone, Debug)]
pub enum Expected {
    Absent,
    Present,
    Value(Bytes),
    Stamp(Timestamp),
}
#[derive(Clone, Debug)]
pub enum Cas {
    Done { stamp: Timestamp },
    Failed { found: Option<Value> },
}
#[derive(Clone, Debug)]
pub enum BatchOperation {
    Put { key: Bytes, value: Bytes, ttl: Option<Duration> },
    Delete { key: Bytes },
}
#[derive(Clone, Debug, Default)]
pub struct BatchSummary {
    pub operations: u64,
}
#[derive(Clone, Debug)]
pub struct RangeQuery {
    pub range: KeyRange,
    pub limit: Option<u64>,
    pub reverse: bool,
    pub options: ReadOptions,
}
pub type RangeStream = BoxStream<'static, Result<Row, Error>>;
#[derive(Default)]
pub struct Map {
    pub version: u64,
    pub cluster_id: String,
    pub nodes: Vec<NodeRecord>,
    pub shards: Vec<ShardRecord>,
    pub leaders: Vec<wire::Leader>,
}
impl Client {
    pub async fn connect(options: Options) -> Result<Client, Error> {
        for endpoint in &options.endpoints {
            let connect =
                options.transport.connect(endpoint, crate::net::transport::Class::Client, None).await;
            if connect.is_ok() {
                return Ok(Client { nobody: Arc::default() });
            }
        }
        Err(Error::Unreachable)
    }
    pub async fn get_with(&self, _key: &[u8], _options: &ReadOptions) -> Result<Option<Value>, Error> {
        Err(Error::Unreachable)
    }
    pub async fn put_with(&self, _: &[u8], _: impl Into<Bytes>, _: &PutOptions) -> Result<Timestamp, Error> {
        Err(Error::Unreachable)
    }
    pub async fn delete(&self, _key: &[u8]) -> Result<bool, Error> {
        Err(Error::Unreachable)
    }
    pub async fn cas(&self, _: &[u8], _: Expected, _: impl Into<Bytes>) -> Result<Cas, Error> {
        Err(Error::Unreachable)
    }
    pub async fn incr(&self, _key: &[u8], _by: i64) -> Result<i64, Error> {
        Err(Error::Unreachable)
    }
    pub async fn batch(&self, _operations: Vec<BatchOperation>) -> Result<BatchSummary, Error> {
        Err(Error::Unreachable)
    }
    pub fn range(&self, _query: RangeQuery) -> RangeStream {
        Box::pin(stream::once(async { Err(Error::Unreachable) }))
    }
    pub fn map(&self) -> Arc<Map> {
        self.nobody.clone()
    }
    pub async fn status(&self) -> Result<wire::StatusReply, Error> {
        Err(Error::Unreachable)
    }
    pub async fn digest(&self, _node: NodeId, _shard: ShardId) -> Result<wire::DigestReply, Error> {
        Err(Error::Unreachable)
    }
    pub async fn admin(&self, _body: wire::admin_request::Body) -> Result<wire::AdminReply, Error> {
        Err(Error::Unreachable)
    }
    pub fn seen(&self) -> Timestamp {
        Timestamp::ZERO
    }
}
