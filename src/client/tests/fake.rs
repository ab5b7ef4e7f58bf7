//! A cluster in memory, for the client's tests: members 1 to 3, shards that apply writes by the real rules, and faults.
//!
//! Every member knows everything at once; what goes wrong is only what a test's fault says.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use prost::Message;

use super::wires::{Wires, address};
use crate::client::{Client, Options};
use crate::model::evaluate::{RULES, Rows, ShardState};
use crate::model::id::{NodeId, ShardId};
use crate::model::key::{Key, KeyRange};
use crate::model::row::Version;
use crate::model::time::Timestamp;
use crate::model::wire::{self, Outcome, outcome};
use crate::net::chance::Chance;
use crate::net::exec::Exec;
use crate::net::rpc::{FrameStream, Service};
use crate::net::transport::Connection;
use crate::net::wire::{self as net, FailureCode, Reply, Request, reply, request};

pub const NODES: u64 = 3;

/// What goes wrong with one request.
pub enum Fault {
    /// The connection breaks before it is done.
    LoseRequest,
    /// It is done, then the connection breaks.
    LoseAnswer,
    /// Never answered, never done.
    Swallow,
    /// Not done; answered so.
    Say(net::Failure),
    /// Done, and answered so all the same.
    DoAndSay(net::Failure),
    /// Answered with this.
    Answer(Box<reply::Body>),
    /// Not done now, perhaps by [`Fake::do_late`]; the connection breaks.
    Late,
    /// Answered after so long, milliseconds.
    Slow(u64),
}

type Rule = Box<dyn FnMut(u64, &request::Body) -> Option<Fault> + Send>;

#[derive(Default)]
struct Table(BTreeMap<Key, Version>);

struct Shard {
    state: ShardState,
    table: Table,
    leader: u64,
    replicas: Vec<u64>,
}

/// The cluster.
pub struct Fake {
    pub wires: Wires,
    world: Mutex<World>,
}

struct World {
    chance: Chance,
    stamp: u64,
    version: u64,
    shards: BTreeMap<ShardId, Shard>,
    rule: Rule,
    asked: Vec<(u64, Request)>,
    late: Vec<Request>,
    /// Whether NOT_LEADER says who leads.
    hints: bool,
    page_rows: usize,
    /// An old map that is told instead of the true one, so many times.
    old_map: Option<(net::MapReply, u32)>,
}

struct Member {
    node: u64,
    fake: Arc<Fake>,
}

impl Rows for Table {
    type Error = Infallible;

    fn newest(&self, key: &Key) -> Result<Option<Version>, Infallible> {
        Ok(self.0.get(key).cloned())
    }

    fn write(&mut self, key: Key, version: Version) {
        self.0.insert(key, version);
    }
}

pub fn key(name: &str) -> Key {
    Key::from_name(name.as_bytes()).unwrap()
}

pub fn failure(code: FailureCode) -> net::Failure {
    net::Failure { code: code.into(), message: "as the test says".to_owned(), leader_node: 0, map_version: 0 }
}

impl Fake {
    /// Three members; the meta shard and user shards that begin at the first key and at each of `splits`. Shard `n` is led
    /// by member `1 + n % 3`.
    pub fn new(splits: &[&str]) -> Arc<Fake> {
        let world = World {
            chance: Chance::from_seed(1),
            stamp: 1_000,
            version: 1,
            shards: BTreeMap::new(),
            rule: Box::new(|_, _| None),
            asked: Vec::new(),
            late: Vec::new(),
            hints: true,
            page_rows: 3,
            old_map: None,
        };
        let fake = Arc::new(Fake { wires: Wires::default(), world: Mutex::new(world) });
        for node in 1..=NODES {
            fake.wires.add(node, Arc::new(Member { node, fake: Arc::clone(&fake) }));
        }
        let mut starts = vec![Key::FIRST, Key::FIRST_USER];
        starts.extend(splits.iter().map(|split| key(split)));
        for (n, start) in starts.iter().enumerate() {
            let range = KeyRange::new(start.clone(), starts.get(n + 1).cloned());
            fake.world.lock().add_shard(n as u64, range);
        }
        fake
    }

    pub async fn client(self: &Arc<Fake>) -> Client {
        Client::connect(self.options(&[1])).await.unwrap()
    }

    pub fn options(&self, endpoints: &[u64]) -> Options {
        let endpoints = endpoints.iter().map(|node| address(*node)).collect();
        let chance = self.world.lock().chance.fork();
        Options::new(Arc::new(self.wires.clone()), endpoints, Exec::Threads, chance)
    }

    /// From now on `rule` says what goes wrong with a request to a member.
    pub fn rule(&self, rule: impl FnMut(u64, &request::Body) -> Option<Fault> + Send + 'static) {
        self.world.lock().rule = Box::new(rule);
    }

    /// These faults, one for each of the next requests that are no map requests.
    pub fn faults(&self, faults: Vec<Fault>) {
        let mut faults = faults.into_iter();
        self.rule(move |_, body| match body {
            request::Body::Map(_) => None,
            _ => faults.next(),
        });
    }

    pub fn no_hints(&self) {
        self.world.lock().hints = false;
    }

    /// What was asked since the last call, without map requests.
    pub fn asked(&self) -> Vec<(u64, Request)> {
        let mut asked = std::mem::take(&mut self.world.lock().asked);
        asked.retain(|(_, request)| !matches!(request.body, Some(request::Body::Map(_))));
        asked
    }

    /// How often the map was asked for since the last call of this or `asked`.
    pub fn maps_asked(&self) -> usize {
        let asked = std::mem::take(&mut self.world.lock().asked);
        asked.iter().filter(|(_, request)| matches!(request.body, Some(request::Body::Map(_)))).count()
    }

    pub fn lead(&self, shard: u64, node: u64) {
        self.world.lock().shards.get_mut(&ShardId(shard)).unwrap().leader = node;
    }

    /// Where a shard is; the epoch rises.
    pub fn place(&self, shard: u64, replicas: &[u64]) {
        let mut world = self.world.lock();
        world.version += 1;
        let shard = world.shards.get_mut(&ShardId(shard)).unwrap();
        shard.replicas = replicas.to_vec();
        shard.state.members_changed();
    }

    /// Splits a shard in two by the design's rules: the repeat table goes to both.
    pub fn split(&self, shard: u64, at: &str) {
        let mut world = self.world.lock();
        world.version += 1;
        let child = world.shards.keys().next_back().unwrap().0 + 1;
        let parent = world.shards.get_mut(&ShardId(shard)).unwrap();
        parent.state.members_changed();
        let mut state = parent.state.clone();
        state.shard = ShardId(child);
        let range = parent.state.range.as_mut().unwrap();
        state.range = Some(KeyRange::new(key(at), range.end.replace(key(at))));
        let rows = parent.table.0.split_off(&key(at));
        let (leader, replicas) = (parent.leader, parent.replicas.clone());
        world.shards.insert(ShardId(child), Shard { state, table: Table(rows), leader, replicas });
    }

    /// Tells the map of now, instead of newer ones, `times` more times.
    pub fn freeze_map(&self, times: u32) {
        let mut world = self.world.lock();
        world.old_map = Some((world.map(), times));
    }

    /// Tells the map that was frozen `times` more times.
    pub fn tell_frozen_map(&self, times: u32) {
        self.world.lock().old_map.as_mut().expect("a map was frozen").1 = times;
    }

    /// Does what came to [`Fault::Late`].
    pub fn do_late(&self) {
        let mut world = self.world.lock();
        for request in std::mem::take(&mut world.late) {
            world.answer(0, request.body.unwrap());
        }
    }

    /// The value of a key, past all faults.
    pub fn value(&self, name: &str) -> Option<String> {
        let world = self.world.lock();
        let shard = world.shards.values().find(|shard| shard.holds(&key(name)))?;
        let value = shard.table.0.get(&key(name))?.value.clone()?;
        Some(String::from_utf8(value.to_vec()).unwrap())
    }

    /// Makes all shards forget all clients, as if many others had come.
    pub fn forget_clients(&self) {
        let mut world = self.world.lock();
        world.stamp += 1;
        let forgotten = Timestamp(world.stamp);
        for shard in world.shards.values_mut() {
            shard.state.repeats = crate::model::repeat::RepeatTable::from_wire(Vec::new(), forgotten);
        }
    }
}

impl Shard {
    fn holds(&self, key: &Key) -> bool {
        self.state.range.as_ref().unwrap().contains(key)
    }
}

impl World {
    fn add_shard(&mut self, id: u64, range: KeyRange) {
        let mut state = ShardState::new(ShardId(id));
        state.range = Some(range);
        state.members_changed();
        let replicas = (1..=NODES).collect();
        let shard = Shard { state, table: Table::default(), leader: 1 + id % NODES, replicas };
        self.shards.insert(ShardId(id), shard);
    }

    fn map(&self) -> net::MapReply {
        let node = |node| wire::NodeRecord {
            node,
            quic: address(node).0,
            state: "member".to_owned(),
            ..Default::default()
        };
        let replica = |shard: u64, node: u64| wire::ReplicaRecord {
            replica: 100 * shard + node,
            node,
            role: wire::ReplicaRole::RoleVoter.into(),
        };
        let record = |(id, shard): (&ShardId, &Shard)| {
            let range = shard.state.range.as_ref().unwrap();
            wire::ShardRecord {
                shard: id.0,
                start: range.start.to_bytes(),
                end: range.end.as_ref().map(Key::to_bytes).unwrap_or_default(),
                epoch: shard.state.epoch,
                replicas: shard.replicas.iter().map(|node| replica(id.0, *node)).collect(),
                ring_position: 0,
                by_itself: false,
            }
        };
        net::MapReply {
            version: self.version,
            cluster_id: "c".to_owned(),
            nodes: (1..=NODES).map(node).collect(),
            shards: self.shards.iter().map(record).collect(),
            leaders: Vec::new(),
        }
    }

    /// Member 0 leads everything.
    fn answer(&mut self, node: u64, body: request::Body) -> reply::Body {
        let wrong = net::Failure { map_version: self.version, ..failure(FailureCode::FailureWrongShard) };
        let (shard_id, leader_only) = match &body {
            request::Body::Map(_) => return reply::Body::Map(self.told_map()),
            request::Body::Get(get) => (get.shard, get.options.unwrap_or_default().consistency == 0),
            request::Body::Range(range) => (range.shard, range.options.unwrap_or_default().consistency == 0),
            request::Body::Write(write) => (write.shard, true),
            request::Body::Status(status) => (0, status.cluster),
            request::Body::Admin(_) => (0, true),
            request::Body::Digest(digest) => (digest.shard, false),
        };
        let (hints, page_rows) = (self.hints, self.page_rows);
        let Some(shard) = self.shards.get_mut(&ShardId(shard_id)) else { return reply::Body::Failure(wrong) };
        if node != 0 && !shard.replicas.contains(&node) {
            return reply::Body::Failure(wrong);
        }
        if node != 0 && leader_only && shard.leader != node {
            let leader_node = if hints { shard.leader } else { 0 };
            return reply::Body::Failure(net::Failure {
                leader_node,
                ..failure(FailureCode::FailureNotLeader)
            });
        }
        match body {
            request::Body::Get(get) => {
                let key = Key::from_internal(get.key).unwrap();
                match shard.holds(&key) {
                    true => reply::Body::Get(net::GetReply { row: shard.row(&key) }),
                    false => reply::Body::Failure(wrong),
                }
            }
            request::Body::Range(range) => {
                shard.page(range, page_rows).unwrap_or(reply::Body::Failure(wrong))
            }
            request::Body::Write(write) => {
                self.stamp += 1;
                reply::Body::Write(shard.apply(self.stamp, write.write.unwrap()))
            }
            request::Body::Status(_) => reply::Body::Status(net::StatusReply::default()),
            request::Body::Admin(_) => reply::Body::Admin(net::AdminReply::default()),
            request::Body::Digest(_) => reply::Body::Digest(net::DigestReply::default()),
            request::Body::Map(_) => unreachable!("answered above"),
        }
    }

    fn told_map(&mut self) -> net::MapReply {
        match &mut self.old_map {
            Some((map, times)) if *times > 0 => {
                *times -= 1;
                map.clone()
            }
            _ => self.map(),
        }
    }
}

impl Shard {
    fn row(&self, key: &Key) -> Option<net::Row> {
        let version = self.table.0.get(key)?;
        let value = version.value.clone()?;
        Some(net::Row { key: key.to_bytes(), value, stamp: version.stamp.0, expires_at_ms: 0 })
    }

    fn page(&self, range: net::Range, page_rows: usize) -> Option<reply::Body> {
        let end = Some(range.end).filter(|end| !end.is_empty()).map(|end| Key::from_internal(end).unwrap());
        let asked = KeyRange::new(Key::from_internal(range.start).unwrap(), end);
        if asked.intersection(self.state.range.as_ref().unwrap()) != asked {
            return None;
        }
        let mut keys: Vec<_> = self.table.0.keys().filter(|key| asked.contains(key)).collect();
        if range.reverse {
            keys.reverse();
        }
        let rows: Vec<_> = keys.iter().filter_map(|key| self.row(key)).collect();
        let limit = if range.limit == 0 { page_rows } else { page_rows.min(range.limit as usize) };
        let next = match (rows.get(limit), range.reverse) {
            (None, _) => Bytes::new(),
            (Some(row), false) => row.key.clone(),
            (Some(_), true) => rows[limit - 1].key.clone(),
        };
        let rows = rows.into_iter().take(limit).collect();
        Some(reply::Body::Range(net::RangeReply { rows, next, at: 0 }))
    }

    fn apply(&mut self, stamp: u64, write: wire::Write) -> Outcome {
        let batch = wire::Batch { stamp, ceiling: 0, watermark: 0, writes: vec![write] };
        let entry = wire::Entry { rules: RULES, kind: Some(wire::entry::Kind::Batch(batch)) };
        self.state.apply(entry, &mut self.table).unwrap().remove(0)
    }
}

impl Service for Member {
    fn call(&self, from: &Arc<dyn Connection>, _: u16, body: Bytes) -> BoxFuture<'static, Bytes> {
        let request = Request::decode(body).unwrap();
        assert!(request.timeout_ms > 0, "a request says how long its caller waits");
        let mut world = self.fake.world.lock();
        world.asked.push((self.node, request.clone()));
        let asked = request.body.clone().unwrap();
        let fault = (world.rule)(self.node, &asked);
        let mut never = false;
        let mut slow_ms = 0;
        let body = match fault {
            None => world.answer(self.node, asked),
            Some(Fault::Say(failure)) => reply::Body::Failure(failure),
            Some(Fault::Answer(body)) => *body,
            Some(Fault::DoAndSay(failure)) => {
                world.answer(self.node, asked);
                reply::Body::Failure(failure)
            }
            Some(Fault::Slow(ms)) => {
                slow_ms = ms;
                world.answer(self.node, asked)
            }
            Some(fault) => {
                never = true;
                match fault {
                    Fault::LoseAnswer => drop(world.answer(self.node, asked)),
                    Fault::Late => world.late.push(request),
                    _ => {}
                }
                if !matches!(fault, Fault::Swallow) {
                    from.close("as the test says");
                }
                reply::Body::Failure(failure(FailureCode::FailureInternal))
            }
        };
        let reply = Reply { stamp: world.stamp, body: Some(body) };
        async move {
            if never {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(slow_ms)).await;
            reply.encode_to_vec().into()
        }
        .boxed()
    }

    fn stream(&self, _: &Arc<dyn Connection>, _: u16, _: Bytes, _: FrameStream) -> BoxFuture<'static, ()> {
        std::future::ready(()).boxed()
    }
}

/// The identities of the writes among these requests.
pub fn identities(asked: &[(u64, Request)]) -> Vec<wire::Identity> {
    let identity = |request: &Request| match &request.body {
        Some(request::Body::Write(write)) => write.write.as_ref()?.identity,
        _ => None,
    };
    asked.iter().filter_map(|(_, request)| identity(request)).collect()
}

/// Who was asked.
pub fn nodes(asked: &[(u64, Request)]) -> Vec<NodeId> {
    asked.iter().map(|(node, _)| NodeId(*node)).collect()
}

pub fn refused(reason: wire::Refusal) -> Fault {
    let refused = wire::Refused { reason: reason.into(), epoch: 0 };
    Fault::Answer(Box::new(reply::Body::Write(Outcome {
        stamp: 0,
        kind: Some(outcome::Kind::Refused(refused)),
    })))
}
