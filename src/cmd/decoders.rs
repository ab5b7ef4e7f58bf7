//! Every decoder of bytes that come from outside, in one list: connections, certificates, logs, files, what people type.
//!
//! For fuzzing. `tests/fuzz_decoders.rs` feeds each of them for a short time with each test run, `fuzz/` for as long as one
//! likes; both run what is here. A decoder may refuse anything; it must not panic, hang, or take memory for a length that
//! was only announced. Where there is a way back it must also give what it was given.
//!
//! Does not know how the bytes are made up.

use std::collections::BTreeMap;
use std::convert::Infallible;

use bytes::{Bytes, BytesMut};
use prost::Message;

use crate::cmd::{context_file, kv, node_file, spell};
use crate::model::config;
use crate::model::evaluate::{Rows, ShardState, check};
use crate::model::id::{NodeId, ShardId};
use crate::model::key::Key;
use crate::model::map::ClusterMap;
use crate::model::row::Version;
use crate::model::system::{Listing, SystemKey};
use crate::model::time::Timestamp;
use crate::model::wire::{self as stored, entry, operation};
use crate::net::identity::{self, Authority, Identity, JoinToken, NodeKey, Secrets};
use crate::net::wire::{self, Reply, Request};
use crate::node::member::Member;
use crate::node::raft::types::{decode_entry, encode_entry, membership_from_wire};
use crate::node::store::record;
use crate::node::wal::frame::{
    BatchBuilder, Concerned, Found, Header, Kind, SECTOR, parse_point, point_payload, read_batch,
};

mod stream;

/// When the sample certificates were made, milliseconds since 1970.
const NOW_MS: u64 = 1_800_000_000_000;

/// One decoder.
pub struct Decoder {
    pub name: &'static str,
    /// Decodes and checks. A panic is a fault found.
    pub run: fn(&[u8]),
    /// What it accepts, to begin from.
    pub samples: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const DECODERS: &[Decoder] = &[
    Decoder { name: "served_stream", run: stream::served, samples: stream::served_samples },
    Decoder { name: "answers", run: stream::answers, samples: stream::answers_samples },
    Decoder { name: "request", run: request, samples: request_samples },
    Decoder { name: "reply", run: reply, samples: reply_samples },
    Decoder { name: "peer_message", run: peer_message, samples: peer_samples },
    Decoder { name: "log_entry", run: log_entry, samples: log_samples },
    Decoder { name: "command", run: command, samples: command_samples },
    Decoder { name: "wal_segment", run: wal_segment, samples: wal_samples },
    Decoder { name: "stored_row", run: stored_row, samples: row_samples },
    Decoder { name: "cluster_record", run: cluster_record, samples: record_samples },
    Decoder { name: "certificate", run: certificate, samples: certificate_samples },
    Decoder { name: "identity_text", run: identity_text, samples: identity_samples },
    Decoder { name: "file", run: file, samples: file_samples },
    Decoder { name: "typed", run: typed, samples: typed_samples },
];

/// What a node looks at of a client's request before it touches a shard.
fn request(bytes: &[u8]) {
    let Ok(request) = Request::decode(bytes) else { return };
    match request.body {
        Some(wire::request::Body::Get(get)) => _ = Key::from_internal(get.key),
        Some(wire::request::Body::Range(range)) => {
            _ = (Key::from_internal(range.start), Key::from_internal(range.end));
        }
        Some(wire::request::Body::Write(write)) => _ = write.write.as_ref().map(check),
        _ => {}
    }
}

fn operation(name: &[u8], change: operation::Change) -> stored::Operation {
    let key = Key::from_name(name).expect("a short name").to_bytes();
    stored::Operation { key, condition: None, change: Some(change) }
}

fn sample_write() -> stored::Write {
    let put = stored::Put { value: Bytes::from_static(b"12"), ttl_ms: 1000 };
    let increment = operation::Change::Increment(stored::Increment { by: -3 });
    let identity = stored::Identity { client: 7, sequence: 1, first_seen: 0, lowest_awaited: 1 };
    let operations = vec![operation(b"/a", operation::Change::Put(put)), operation(b"/n", increment)];
    stored::Write { identity: Some(identity), epoch: 0, operations }
}

fn request_samples() -> Vec<Vec<u8>> {
    let key = Key::from_name(b"/a").expect("a short name").to_bytes();
    let bodies = [
        wire::request::Body::Get(wire::Get { shard: 1, key: key.clone(), options: None }),
        wire::request::Body::Range(wire::Range { shard: 1, start: key, limit: 10, ..Default::default() }),
        wire::request::Body::Write(wire::WriteRequest { shard: 1, write: Some(sample_write()) }),
        wire::request::Body::Status(wire::StatusRequest { cluster: true }),
    ];
    let request =
        |body| Request { id: 1, timeout_ms: 1000, map_version: 2, body: Some(body) }.encode_to_vec();
    bodies.map(request).to_vec()
}

/// What a member answers a client.
fn reply(bytes: &[u8]) {
    let Ok(reply) = Reply::decode(bytes) else { return };
    match reply.body {
        Some(wire::reply::Body::Range(page)) => {
            page.rows.into_iter().for_each(|row| _ = Key::from_internal(row.key));
        }
        Some(wire::reply::Body::Map(map)) => {
            map.shards.into_iter().for_each(|shard| _ = crate::model::map::Shard::try_from(shard));
            map.nodes.into_iter().for_each(|node| _ = crate::model::map::Node::try_from(node));
        }
        _ => {}
    }
}

fn reply_samples() -> Vec<Vec<u8>> {
    let replicas = vec![stored::ReplicaRecord { replica: 1, node: 1, role: 0 }];
    let start = Key::FIRST_USER.to_bytes();
    let shard = stored::ShardRecord { shard: 1, start, epoch: 1, replicas, ..Default::default() };
    let node = stored::NodeRecord { node: 1, quic: "h:1".to_owned(), weight: 100, ..Default::default() };
    let map = wire::MapReply { version: 1, nodes: vec![node], shards: vec![shard], ..Default::default() };
    let failure = wire::Failure { code: 3, message: "busy".to_owned(), ..Default::default() };
    let bodies = [wire::reply::Body::Map(map), wire::reply::Body::Failure(failure)];
    bodies.map(|body| Reply { stamp: 1, body: Some(body) }.encode_to_vec()).to_vec()
}

/// What members and joiners say: the first byte chooses the message.
fn peer_message(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    match which % 8 {
        0 => {
            let entries = wire::Append::decode(bytes).map(|append| append.entries).unwrap_or_default();
            entries.into_iter().for_each(|entry| _ = decode_entry(entry));
        }
        1 => _ = wire::Ballot::decode(bytes),
        2 => _ = wire::LeaderTransfer::decode(bytes),
        3 => _ = wire::ReadIndex::decode(bytes),
        4 => _ = wire::Report::decode(bytes),
        5 => _ = wire::PlacementStep::decode(bytes),
        6 => {
            let request = wire::JoinRequest::decode(bytes).unwrap_or_default();
            _ = identity::request_key_hash(&request.csr_der);
        }
        _ => {
            let offer = wire::SnapshotOffer::decode(bytes).unwrap_or_default();
            _ = offer.membership.map(|membership| membership_from_wire(&membership));
        }
    }
}

fn peer_samples() -> Vec<Vec<u8>> {
    let vote = Some(stored::Vote { term: 2, replica: 1, committed: true });
    let entries = log_samples().into_iter().map(Bytes::from).collect();
    let append = wire::Append { shard: 1, replica: 2, vote, entries, ..Default::default() };
    let join = wire::JoinRequest {
        token_id: "abc".to_owned(),
        secret: Bytes::from_static(b"secret"),
        csr_der: node_key().csr_der.into(),
        ..Default::default()
    };
    let status = Some(wire::NodeStatus { node: 1, ..Default::default() });
    let report = wire::Report { status };
    [(0, append.encode_to_vec()), (6, join.encode_to_vec()), (4, report.encode_to_vec())]
        .map(|(which, message)| [vec![which], message].concat())
        .to_vec()
}

/// An entry as the log and the wire hold it.
fn log_entry(bytes: &[u8]) {
    let Ok(entry) = decode_entry(Bytes::copy_from_slice(bytes)) else { return };
    let again = decode_entry(encode_entry(&entry)).expect("what was read can be written and read");
    assert_eq!((again.log_id, again.payload), (entry.log_id, entry.payload));
}

fn log_samples() -> Vec<Vec<u8>> {
    let membership = stored::Membership {
        log_id: None,
        configs: vec![stored::VoterSet { replicas: vec![1, 2] }],
        members: vec![stored::Member { replica: 1, node: 1 }, stored::Member { replica: 2, node: 2 }],
    };
    let payloads = [
        stored::log_entry::Payload::Blank(true),
        stored::log_entry::Payload::Normal(command_samples().remove(0).into()),
        stored::log_entry::Payload::Membership(membership),
    ];
    let id = Some(stored::LogId { term: 1, index: 9 });
    payloads.map(|payload| stored::LogEntry { id, payload: Some(payload) }.encode_to_vec()).to_vec()
}

/// Rows in memory.
#[derive(Default)]
struct Table(BTreeMap<Key, Version>);

impl Rows for Table {
    type Error = Infallible;

    fn newest(&self, key: &Key) -> Result<Option<Version>, Infallible> {
        Ok(self.0.get(key).cloned())
    }

    fn write(&mut self, key: Key, version: Version) {
        self.0.insert(key, version);
    }
}

/// A proposal, applied twice to a shard that has some rows: twice the same answers, since repeats are recognised.
fn command(bytes: &[u8]) {
    let Ok(entry) = stored::Entry::decode(bytes) else { return };
    let (mut state, mut rows) = (ShardState::new(ShardId(1)), Table::default());
    for sample in command_samples() {
        let sample = stored::Entry::decode(&sample[..]).expect("a sample can be read");
        state.apply(sample, &mut rows).expect("a sample can be applied");
    }
    let (mut other, mut same) = (state.clone(), Table(rows.0.clone()));
    let answers = state.apply(entry.clone(), &mut rows).ok();
    assert_eq!(answers, other.apply(entry.clone(), &mut same).ok(), "evaluation is deterministic");
    assert!(rows.0 == same.0 && state == other, "evaluation is deterministic");
    let _ = state.apply(entry, &mut rows);
    let again = ShardState::from_wire(state.to_wire()).expect("a state can be written and read");
    assert_eq!(again, state);
}

fn command_samples() -> Vec<Vec<u8>> {
    let start = Key::FIRST_USER.to_bytes();
    let genesis = stored::Genesis { start, end: Bytes::new(), stamp: 1 };
    let writes = vec![sample_write()];
    let batch = stored::Batch { stamp: 1 << 40, ceiling: 1 << 41, watermark: 5, writes };
    [entry::Kind::Genesis(genesis), entry::Kind::Batch(batch)]
        .map(|kind| stored::Entry { rules: 1, kind: Some(kind) }.encode_to_vec())
        .to_vec()
}

/// A segment of the write-ahead log: its header, then batches.
fn wal_segment(bytes: &[u8]) {
    let seed = Header::decode(bytes).map_or(0, |header| header.seed);
    let segment = Bytes::copy_from_slice(bytes);
    let mut at = SECTOR;
    loop {
        let (head, frames) = match read_batch(&segment, at, seed) {
            Found::Batch { head, frames } => (head, frames),
            Found::Broken(head) => (head, Vec::new()),
            Found::Nothing => return,
        };
        assert!(head.end > at, "a batch has a length");
        for frame in frames {
            if let Some((term, index, rest)) = parse_point(&frame.payload) {
                _ = (term, index, stored::Vote::decode(rest.clone()), decode_entry(rest));
            }
        }
        at = head.end;
    }
}

fn wal_samples() -> Vec<Vec<u8>> {
    let header = Header::new(1, 0);
    let mut segment = header.encode();
    let mut batch = BatchBuilder::new(BytesMut::new(), SECTOR, 0, Concerned::default());
    let vote = stored::Vote { term: 1, replica: 3, committed: false };
    batch.push(3, Kind::Vote, &[&vote.encode_to_vec()]);
    batch.push(3, Kind::Entry, &[&point_payload(1, 1), &log_samples()[0]]);
    segment.extend_from_slice(&batch.finish(header.seed));
    vec![segment]
}

/// Rows of a shard's file.
fn stored_row(bytes: &[u8]) {
    if let Ok(version) = record::decode(bytes) {
        let mut again = Vec::new();
        record::encode(&version, &mut again);
        assert_eq!(record::decode(&again).ok(), Some(version));
    }
    _ = record::decode_replaced(bytes);
    if let Ok(state) = stored::ShardState::decode(bytes) {
        _ = record::shard_state(state);
    }
}

fn row_samples() -> Vec<Vec<u8>> {
    let value = Some(Bytes::from_static(b"value"));
    let version = Version { stamp: Timestamp(9), expires_at: Some(Timestamp(99)), value };
    let (mut row, mut replaced) = (Vec::new(), Vec::new());
    record::encode(&version, &mut row);
    record::encode_replaced(&version, Timestamp(50), &mut replaced);
    vec![row, replaced, ShardState::new(ShardId(1)).to_wire().encode_to_vec()]
}

/// Rows of the meta shard: the first byte chooses the kind.
fn cluster_record(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let keys = record_keys();
    let mut map = ClusterMap::default();
    let taken = map.set(&keys[usize::from(*which) % keys.len()].key(), Some(bytes), Timestamp(1));
    if taken.is_ok() {
        _ = (map.problems(), map.settings());
    }
    if let Ok(key) = Key::from_name(&[b"_/", bytes].concat())
        && let Some(parsed) = SystemKey::parse(&key)
    {
        assert_eq!(parsed.key(), key, "one spelling each");
    }
    let name = String::from_utf8_lossy(bytes);
    for setting in config::TABLE {
        if let Ok(number) = setting.parse(&name) {
            assert_eq!(setting.parse(&setting.show(number)).ok(), Some(number));
        }
    }
    _ = config::setting(&name);
    _ = Listing::Shards.range();
}

fn record_keys() -> [SystemKey; 6] {
    [
        SystemKey::ClusterId,
        SystemKey::Config("replicas".to_owned()),
        SystemKey::Node(NodeId(1)),
        SystemKey::Shard(ShardId(1)),
        SystemKey::Job(ShardId(1)),
        SystemKey::Token("abc".to_owned()),
    ]
}

fn record_samples() -> Vec<Vec<u8>> {
    let node = stored::NodeRecord {
        node: 1,
        quic: "h:1".to_owned(),
        weight: 100,
        state: "member".to_owned(),
        ..Default::default()
    };
    let start = Key::FIRST_USER.to_bytes();
    let shard = stored::ShardRecord { shard: 1, start, epoch: 1, ..Default::default() };
    let rows =
        [(1, b"3".to_vec()), (1, b"10m".to_vec()), (2, node.encode_to_vec()), (3, shard.encode_to_vec())];
    rows.map(|(which, row)| [vec![which], row].concat()).to_vec()
}

/// What TLS hands us, and requests to sign.
fn certificate(bytes: &[u8]) {
    _ = identity::named(bytes);
    _ = identity::peer_from_certificate(bytes, "blue");
    _ = identity::request_key_hash(bytes);
    _ = Authority::from_parts(bytes, bytes);
}

fn authority() -> Authority {
    Authority::create("blue", NOW_MS).expect("a cluster's name")
}

fn node_key() -> NodeKey {
    NodeKey::generate().expect("the library makes keys")
}

fn certificate_samples() -> Vec<Vec<u8>> {
    let authority = authority();
    let node = authority.issue_node(NodeId(7), NOW_MS).expect("it signs");
    vec![node.cert_der, authority.ca_der().to_vec(), node_key().csr_der]
}

/// Identities and tokens as text.
fn identity_text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(identity) = Identity::from_pem(&text) {
        assert!(Identity::from_pem(&identity.to_pem()).is_ok_and(|again| again == identity));
    }
    if let Ok(token) = text.parse::<JoinToken>() {
        assert!(token.to_string().parse::<JoinToken>().is_ok_and(|again| again == token));
    }
    if let Some((cluster_id, named)) = identity::name::parse(&text) {
        assert_eq!(identity::name::uri(&cluster_id, &named), text);
    }
}

fn identity_samples() -> Vec<Vec<u8>> {
    let authority = authority();
    let token = JoinToken::generate(&authority.fingerprint(), &Secrets::System).to_string();
    let ann = authority.issue_client("ann", NOW_MS).expect("it signs").to_pem();
    [token, ann, "nodenomad://blue/node/7".to_owned()].map(String::into_bytes).to_vec()
}

/// Small files of ours, which anybody may have edited.
fn file(bytes: &[u8]) {
    if let Ok(member) = serde_json::from_slice::<Member>(bytes) {
        let again = serde_json::to_vec(&member).expect("it has a JSON form");
        assert_eq!(serde_json::from_slice::<Member>(&again).ok(), Some(member));
    }
    _ = serde_json::from_slice::<node_file::NodeFile>(bytes);
    if let Ok(context) = toml::from_str::<context_file::Context>(&String::from_utf8_lossy(bytes)) {
        _ = context.check();
    }
}

fn file_samples() -> Vec<Vec<u8>> {
    let member =
        r#"{"cluster_id":"c","node":1,"meta_replica":1,"insecure":false,"seeds":[],"bootstrap":null}"#;
    let node = r#"{"node_id":1,"pid":2,"quic":"h:1","http":"h:2","cluster_id":"c"}"#;
    let context = "name = \"c\"\nendpoints = [\"h:1\"]\ninsecure = true\n";
    [member, node, context].map(|text| text.as_bytes().to_vec()).to_vec()
}

/// What people and scripts give the command line.
fn typed(bytes: &[u8]) {
    _ = kv::batch::parse(bytes);
    _ = (spell::user_key_bytes(bytes).is_ok(), spell::user_bound(bytes).is_ok());
    let text = String::from_utf8_lossy(bytes);
    _ = (spell::duration(&text), spell::timestamp(&text), context_file::is_endpoint(&text));
    _ = crate::cmd::escape::value(bytes);
}

fn typed_samples() -> Vec<Vec<u8>> {
    let put = r#"{"put":{"key":"/a","value_b64":"MQ==","ttl":"30m"}}"#;
    [put, "1h30m", "2026-11-21T10:00:00Z", "[::1]:7300"].map(|text| text.as_bytes().to_vec()).to_vec()
}
