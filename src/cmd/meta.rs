//! `nomad meta`: the cluster's own records, as they are.

use bytes::Bytes;
use clap::Subcommand;
use prost::Message;
use serde::Serialize;
use serde_json::{Value, json};

use crate::client::Client;
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure};
use crate::cmd::global::Global;
use crate::cmd::ui::Format;
use crate::cmd::{escape, session};
use crate::model::key::{Key, KeyRange, SYSTEM_PREFIX};
use crate::model::time::Timestamp;
use crate::model::wire::{
    JobRecord, MigrationRecord, NodeRecord, ReplicaRecord, ReplicaRole, ShardRecord, TokenRecord,
};
use crate::net::wire::MetaGet;
use crate::net::wire::Row;
use crate::net::wire::admin_request::Body;

/// Read the cluster's own records (keys that start with `_/`)
#[derive(Debug, Subcommand)]
pub enum Meta {
    /// List records
    Ls {
        /// Only those whose key starts so
        #[arg(default_value = "_/")]
        prefix: String,
    },
    /// Print one record
    Get {
        /// Its key
        key: String,
    },
}

/// A record as it is shown.
#[derive(Serialize)]
struct Record {
    key: String,
    /// What the record says, where its kind is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<Value>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    other: Option<Other>,
    ts: Timestamp,
    #[serde(skip)]
    bytes: Vec<u8>,
}

/// A value of no known kind.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Other {
    Value(String),
    ValueB64(String),
}

impl Meta {
    pub async fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        let (name, exact) = match &self {
            Meta::Ls { prefix } => (prefix.as_bytes(), false),
            Meta::Get { key } => (key.as_bytes(), true),
        };
        if !name.starts_with(SYSTEM_PREFIX) {
            return Err(Failure::usage(format!("{} is not a system key", escape::short(name, 60)))
                .because("the cluster's own keys start with `_/`")
                .cure("nomad meta ls, or nomad kv get for a key of yours"));
        }
        let client = session::connect(global).await?;
        let mut records: Vec<Record> = rows(&client, name).await?.into_iter().map(record).collect();
        match self {
            Meta::Ls { .. } => ui.list(&records, &["KEY", "RECORD"], row, |record| record.key.clone())?,
            Meta::Get { key } => {
                records.retain(|record| record.key == key);
                let Some(found) = records.first().filter(|_| exact) else {
                    ui.note(&format!("{} is absent", escape::short(key.as_bytes(), 60)));
                    return Ok(Exit::No);
                };
                match ui.format() {
                    Some(Format::Raw) => ui.bytes(&found.bytes)?,
                    _ => ui.show(found, || text(found), String::new)?,
                }
            }
        }
        Ok(Exit::Done)
    }
}

/// The cluster's records whose key starts with `prefix`; secrets are never among them.
pub async fn rows(client: &Client, prefix: &[u8]) -> Result<Vec<Row>, Failure> {
    let wrong = |error| Failure::usage("that is not a key").caused_by(&error);
    let range = KeyRange::with_prefix(prefix).map_err(wrong)?;
    let end = range.end.as_ref().map_or(&b"_0"[..], |end| match end == &Key::FIRST_USER {
        true => &b"_0"[..],
        false => end.name(),
    });
    let body = Body::MetaGet(MetaGet { start: prefix.to_vec().into(), end: end.to_vec().into() });
    Ok(session::admin(client, body, || "cannot read the cluster's records".to_owned()).await?.rows)
}

/// What a system key is called by people.
pub fn name(row: &Row) -> Vec<u8> {
    match Key::from_internal(row.key.clone()) {
        Ok(key) if key.is_system() => key.name().to_vec(),
        _ => row.key.to_vec(),
    }
}

fn record(row: Row) -> Record {
    let name = name(&row);
    let known = decoded(&name, &row.value);
    let other = known.is_none().then(|| match std::str::from_utf8(&row.value) {
        Ok(text) => Other::Value(text.to_owned()),
        Err(_) => {
            use base64::Engine as _;
            Other::ValueB64(base64::prelude::BASE64_STANDARD.encode(&row.value))
        }
    });
    let key = escape::cell(&name);
    Record { key, record: known, other, ts: Timestamp(row.stamp), bytes: row.value.to_vec() }
}

/// The records whose form is known by their key.
fn decoded(name: &[u8], value: &[u8]) -> Option<Value> {
    let under = |prefix: &str| name.starts_with(prefix.as_bytes());
    if under("_/nodes/") {
        let node = NodeRecord::decode(value).ok()?;
        return Some(json!({"node": node.node, "quic": node.quic, "http": node.http, "zone": node.zone,
            "weight": node.weight, "joined_at_ms": node.joined_at_ms, "state": node.state}));
    }
    if under("_/shards/") {
        let shard = ShardRecord::decode(value).ok()?;
        let replicas: Vec<Value> = shard.replicas.iter().map(replica).collect();
        return Some(json!({"shard": shard.shard, "start": bound(&shard.start), "end": bound(&shard.end),
            "epoch": shard.epoch, "replicas": replicas,
            "ring_position": format!("{:016x}", shard.ring_position)}));
    }
    if under("_/jobs/") {
        let job = JobRecord::decode(value).ok()?;
        return Some(json!({"id": job.id, "shard": job.shard, "reason": job.reason,
            "started_at_ms": job.started_at_ms, "phase": word(job.phase().as_str_name())}));
    }
    if under("_/migrations/") {
        let record = MigrationRecord::decode(value).ok()?;
        let migration = record.migration.clone().unwrap_or_default();
        let node = |replica: Option<ReplicaRecord>| replica.map(|replica| replica.node);
        return Some(json!({"id": record.id, "shard": record.shard, "source": node(migration.source),
            "target": node(migration.target), "end": word(record.end().as_str_name()), "because": migration.because,
            "started_at_ms": record.started_at_ms, "ended_at_ms": record.ended_at_ms}));
    }
    if under("_/tokens/") {
        let token = TokenRecord::decode(value).ok()?;
        return Some(json!({"id": token.id, "created_at_ms": token.created_at_ms,
            "expires_at_ms": token.expires_at_ms, "uses_left": token.uses_left, "nodes": token.nodes}));
    }
    None
}

fn replica(replica: &ReplicaRecord) -> Value {
    let role = match replica.role() {
        ReplicaRole::RoleVoter => "voter",
        ReplicaRole::RoleLearner => "learner",
        ReplicaRole::RoleUnspecified => "unknown",
    };
    json!({"replica": replica.replica, "node": replica.node, "role": role})
}

/// A bound without the byte that tells the keyspace, as `shard ls` shows it; none at the end of everything.
fn bound(internal: &Bytes) -> Option<String> {
    let key = Key::from_internal(internal.clone()).ok()?;
    Some(escape::cell(key.name()))
}

/// `PHASE_CATCH_UP` as people read it: `catch up`.
fn word(name: &str) -> String {
    let word = name.split_once('_').map_or(name, |(_, word)| word);
    word.to_lowercase().replace('_', " ")
}

fn row(record: &Record) -> Vec<String> {
    vec![record.key.clone(), escape::short(text(record).as_bytes(), 200)]
}

fn text(record: &Record) -> String {
    match &record.record {
        Some(known) => known.to_string(),
        None => escape::cell(&record.bytes),
    }
}
