//! Who is alive: every node tells the leader of the meta shard about itself, once a second.
//!
//! Nothing of it is logged. A new meta leader knows nobody, and counts a node's silence from its own election.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::model::id::{NodeId, ReplicaId, ShardId};
use crate::model::map::ClusterMap;
use crate::model::placement::Liveness;
use crate::net::kind;
use crate::net::peers::Peers;
use crate::net::transport::Class;
use crate::net::wire::{self, NodeStatus};
use crate::node::clock::Clock;
use crate::node::member::Standing;
use crate::node::request_counts::RequestCounts;
use crate::node::room::Room;
use crate::node::shards::Shards;
use crate::node::wal::Wal;

use super::felt::Felt;

/// How often a node reports.
pub const REPORT_EVERY: Duration = Duration::from_secs(1);
/// The state of a replica that was set aside.
pub const DAMAGED: &str = "damaged";
/// A node silent for this long is shown as such.
const SILENT_AFTER: Duration = Duration::from_secs(4);
/// Nodes that are remembered.
const NODES_MAX: usize = 10_000;

/// What was heard, and what this node says. Shared; cheap to clone.
#[derive(Clone)]
pub struct Reports {
    own: Arc<Own>,
    heard: Arc<Mutex<Heard>>,
}

struct Own {
    node: NodeId,
    quic: String,
    http: Mutex<String>,
    started: Instant,
    clock: Clock,
    shards: Shards,
    wal: Wal,
    room: Arc<Room>,
    requests: Arc<RequestCounts>,
    leaving: std::sync::atomic::AtomicBool,
    /// This node's replica of the meta shard as its leader says, when this node has none.
    seat: watch::Sender<Option<ReplicaId>>,
}

#[derive(Default)]
struct Heard {
    /// The term of the meta shard in which this was heard.
    term: u64,
    /// When a node that has not been heard was first asked about.
    missed: BTreeMap<NodeId, Instant>,
    nodes: BTreeMap<NodeId, (Instant, Arc<NodeStatus>)>,
    felt: Felt,
}

impl Reports {
    pub fn new(
        node: NodeId,
        quic: String,
        clock: Clock,
        shards: Shards,
        wal: Wal,
        room: Arc<Room>,
        requests: Arc<RequestCounts>,
    ) -> Reports {
        let own = Own {
            node,
            quic,
            http: Mutex::default(),
            started: Instant::now(),
            clock,
            shards,
            wal,
            room,
            requests,
            leaving: Default::default(),
            seat: watch::channel(None).0,
        };
        Reports { own: Arc::new(own), heard: Arc::default() }
    }

    /// The node that this is.
    pub fn node(&self) -> NodeId {
        self.own.node
    }

    /// Watches which replica of the meta shard this node is to have in the place of one that it has lost.
    pub fn seat(&self) -> watch::Receiver<Option<ReplicaId>> {
        self.own.seat.subscribe()
    }

    /// Where this node's HTTP is, once it is known.
    pub fn set_http(&self, address: String) {
        *self.own.http.lock() = address;
    }

    /// From now on this node says that it is going.
    pub fn set_leaving(&self) {
        self.own.leaving.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// What this node says about itself.
    pub fn own(&self) -> NodeStatus {
        let replicas = self.own.shards.all();
        let damaged = self.own.shards.damaged().into_iter().map(|damaged| wire::ReplicaStatus {
            shard: damaged.shard.0,
            replica: damaged.id.0,
            state: DAMAGED.to_owned(),
            ..Default::default()
        });
        let leaving = self.own.leaving.load(std::sync::atomic::Ordering::Relaxed);
        NodeStatus {
            node: self.own.node.0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            clock: self.own.clock.now().0,
            uptime_ms: self.own.started.elapsed().as_millis() as u64,
            silent_ms: 0,
            wal_bytes: self.own.wal.stats().bytes,
            memtable_bytes: replicas.iter().map(|replica| replica.store.memtable_bytes() as u64).sum(),
            replicas: replicas.iter().map(|replica| replica.status().1).chain(damaged).collect(),
            state: if leaving { "leaving" } else { "up" }.to_owned(),
            quic: self.own.quic.clone(),
            http: self.own.http.lock().clone(),
            free_bytes: self.own.room.free_bytes(),
            reserve_bytes: self.own.room.reserve_bytes(),
            latency_counts: self.own.requests.latency_counts(),
        }
    }

    /// Takes in a report, as leader of the meta shard in `term`.
    pub fn hear(&self, term: u64, status: NodeStatus) {
        let mut heard = self.heard.lock();
        heard.start(term);
        let node = NodeId(status.node);
        if heard.nodes.len() < NODES_MAX || heard.nodes.contains_key(&node) {
            let last = heard.nodes.get(&node).map_or(REPORT_EVERY, |(at, _)| at.elapsed());
            heard.felt.hear(&status, last);
            heard.nodes.insert(node, (Instant::now(), Arc::new(status)));
        }
    }

    /// What clients ask for and how long it takes, as was heard in `term`.
    pub fn felt<T>(&self, term: u64, look: impl FnOnce(&Felt) -> T) -> T {
        let mut heard = self.heard.lock();
        heard.start(term);
        look(&heard.felt)
    }

    /// How long each of `nodes` has been silent, in `term`: since its last report, or since it was first asked about.
    pub fn silence(&self, term: u64, nodes: impl Iterator<Item = NodeId>) -> BTreeMap<NodeId, Duration> {
        let mut heard = self.heard.lock();
        heard.start(term);
        let heard = &mut *heard;
        nodes
            .map(|node| {
                let last = match heard.nodes.get(&node) {
                    Some((at, _)) => *at,
                    None => *heard.missed.entry(node).or_insert_with(Instant::now),
                };
                (node, last.elapsed())
            })
            .collect()
    }

    /// What is heard of the nodes of a map, in `term`.
    pub fn liveness(&self, term: u64, map: &ClusterMap, statuses: &[Arc<NodeStatus>]) -> Liveness {
        let silence = self.silence(term, map.nodes().map(|node| node.id));
        let silence_ms = silence.into_iter().map(|(node, silence)| (node, silence.as_millis() as u64));
        let replicas = statuses.iter().flat_map(|status| &status.replicas);
        let damaged = replicas.clone().filter(|replica| replica.state == DAMAGED);
        let mut stored_bytes = BTreeMap::new();
        for replica in replicas {
            let most: &mut u64 = stored_bytes.entry(ShardId(replica.shard)).or_default();
            *most = replica.bytes.max(*most);
        }
        let room = |status: &Arc<NodeStatus>| {
            (NodeId(status.node), status.free_bytes.saturating_sub(status.reserve_bytes))
        };
        Liveness {
            silence_ms: silence_ms.collect(),
            damaged: damaged.map(|replica| ReplicaId(replica.replica)).collect(),
            room_bytes: statuses.iter().map(room).collect(),
            stored_bytes,
        }
    }

    /// Everything heard; what this node says of itself is among it, and no newer than what the others say.
    pub fn statuses(&self, term: u64) -> Vec<Arc<NodeStatus>> {
        let mut all = self.last(term);
        if !all.iter().any(|status| status.node == self.own.node.0) {
            all.push(Arc::new(self.own()));
        }
        all
    }

    /// What each node said last in `term`, this one too.
    pub fn last(&self, term: u64) -> Vec<Arc<NodeStatus>> {
        let mut heard = self.heard.lock();
        heard.start(term);
        heard.nodes.values().map(|(_, status)| status.clone()).collect()
    }

    /// The same, with how long ago that was.
    pub fn all(&self, term: u64) -> Vec<NodeStatus> {
        let mut heard = self.heard.lock();
        heard.start(term);
        heard
            .nodes
            .values()
            .map(|(at, status)| {
                let silence = at.elapsed();
                let mut status = NodeStatus::clone(status);
                status.silent_ms = silence.as_millis() as u64;
                if silence > SILENT_AFTER {
                    status.state = "silent".to_owned();
                }
                status
            })
            .collect()
    }

    /// Reports for ever. While no leader is known (this node has only just joined, or has lost its replica of the meta
    /// shard), every member it knows of is told: the leader among them listens.
    pub async fn run(self, peers: Peers, standing: Arc<Standing>) {
        let mut ticks = tokio::time::interval(REPORT_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let meta = self.own.shards.get(ShardId::META);
            let leadership = meta.map(|meta| meta.group.leadership()).unwrap_or_default();
            match leadership.node {
                _ if leadership.here => self.hear(leadership.term, self.own()),
                Some(leader) => self.tell(&peers, leader).await,
                None => {
                    for seed in standing.now().seeds.iter().filter(|seed| seed.node != self.own.node) {
                        self.tell(&peers, seed.node).await;
                    }
                }
            }
        }
    }

    async fn tell(&self, peers: &Peers, leader: NodeId) {
        let report = wire::Report { status: Some(self.own()) };
        let told = tokio::time::timeout(REPORT_EVERY, async {
            let caller = peers.caller(leader, Class::Control).await.ok()?;
            let answer = caller.call(kind::REPORT, report.encode_to_vec().into()).await.ok()?;
            wire::ReportReply::decode(answer).ok()
        });
        // A leader that does not answer will be replaced; the next report goes to its successor.
        let Ok(Some(reply)) = told.await else { return };
        if let Err(error) = self.own.clock.merge(crate::model::time::Timestamp(reply.clock)) {
            tracing::warn!(%leader, %error, "clocks differ");
        }
        if reply.meta_replica != 0 {
            self.own.seat.send_replace(Some(ReplicaId(reply.meta_replica)));
        }
    }
}

impl Heard {
    fn start(&mut self, term: u64) {
        if self.term != term {
            *self = Heard { term, ..Heard::default() };
        }
    }
}
