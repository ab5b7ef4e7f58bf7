//! The cluster as one client knows it: its members, its map, who led which shard when last heard of.
//!
//! Promises: one request, one answer or a [`Miss`] that says whether it may have reached somebody; the map never goes
//! back to an older version; many who want a newer map fetch one.
//! Does not: repeat anything; see [`super::routed`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use prost::Message;
use tokio::time::{Instant, timeout, timeout_at};

use super::course::Miss;
use super::error::{Error, Trouble};
use super::map::{ClusterMap, Route};
use super::pool::Pool;
use super::session::Session;
use crate::model::id::{NodeId, ShardId};
use crate::model::time::Timestamp;
use crate::net::chance::Chance;
use crate::net::exec::Exec;
use crate::net::kind;
use crate::net::rpc::CallError;
use crate::net::transport::{Address, Transport};
use crate::net::wire::{MapReply, MapRequest, Reply, Request, reply, request};

/// How long an operation may take unless told otherwise, milliseconds.
pub const TIMEOUT_DEFAULT_MS: u64 = 10_000;
/// How long one member may take to connect or to tell its map before the next one is asked, milliseconds.
pub const MAP_ATTEMPT_MS: u64 = 1_000;
/// How long the first endpoints may be silent before the next one is asked, too, milliseconds.
pub const HEDGE_MS: u64 = 150;
/// How long a connection may take to come about within an attempt, milliseconds, or a quarter of the attempt if that is
/// more: nothing was sent yet, so it costs nothing to try elsewhere.
pub const CONNECT_MS: u64 = 500;
/// After so long without an answer a fresh server timestamp is taken before the next write, milliseconds.
pub const IDLE_MS: u64 = 30_000;
/// A server is told to stop waiting this much earlier than the client does, so that its answer still arrives,
/// milliseconds; at most a tenth of the time left.
pub const ANSWER_ALLOWANCE_MS: u64 = 50;

/// How to reach a cluster.
#[derive(Clone)]
pub struct Options {
    pub transport: Arc<dyn Transport>,
    /// Any members; one that answers is enough.
    pub endpoints: Vec<Address>,
    pub exec: Exec,
    pub chance: Chance,
    /// How long one operation may take, its retries included.
    pub timeout: Duration,
    /// What the client calls itself in its log lines.
    pub name: String,
}

impl Options {
    /// The usual ones.
    pub fn new(
        transport: Arc<dyn Transport>,
        endpoints: Vec<Address>,
        exec: Exec,
        chance: Chance,
    ) -> Options {
        let timeout = Duration::from_millis(TIMEOUT_DEFAULT_MS);
        Options { transport, endpoints, exec, chance, timeout, name: "client".to_owned() }
    }
}

/// What the clones of a client share.
pub(super) struct Cluster {
    pub(super) exec: Exec,
    pub(super) chance: Chance,
    pub(super) timeout: Duration,
    pub(super) session: Arc<Session>,
    name: String,
    endpoints: Vec<Address>,
    pool: Pool,
    map: ArcSwap<ClusterMap>,
    hints: Mutex<Hints>,
    /// Held while somebody fetches the map; `fetches` counts those that ended.
    fetch: tokio::sync::Mutex<()>,
    fetches: AtomicU64,
    last_answer: Mutex<Instant>,
    rotation: AtomicUsize,
}

/// What replies told beyond the map.
#[derive(Default)]
struct Hints {
    /// Which member answered first: the nearest, as far as we know.
    home: Option<NodeId>,
    leaders: BTreeMap<ShardId, NodeId>,
    /// Epochs that shards answered with, where the map is behind.
    epochs: BTreeMap<ShardId, u64>,
}

impl Cluster {
    /// A cluster that nobody has been asked about yet.
    pub(super) fn new(options: Options) -> Cluster {
        let chance = options.chance.fork();
        Cluster {
            exec: options.exec,
            timeout: options.timeout,
            session: Session::new(chance.number()),
            chance,
            name: options.name,
            endpoints: options.endpoints,
            pool: Pool::new(options.transport, options.exec),
            map: ArcSwap::default(),
            hints: Mutex::default(),
            fetch: tokio::sync::Mutex::default(),
            fetches: AtomicU64::new(0),
            last_answer: Mutex::new(Instant::now()),
            rotation: AtomicUsize::new(0),
        }
    }

    pub(super) fn map(&self) -> Arc<ClusterMap> {
        self.map.load_full()
    }

    pub(super) fn home(&self) -> Option<NodeId> {
        self.hints.lock().home
    }

    pub(super) fn leader(&self, shard: ShardId) -> Option<NodeId> {
        self.hints.lock().leaders.get(&shard).copied()
    }

    pub(super) fn set_leader(&self, shard: ShardId, node: NodeId) {
        self.hints.lock().leaders.insert(shard, node);
    }

    /// Forgets that `node` leads `shard`, if that is what was believed.
    pub(super) fn not_leader(&self, shard: ShardId, node: NodeId) {
        let mut hints = self.hints.lock();
        if hints.leaders.get(&shard) == Some(&node) {
            hints.leaders.remove(&shard);
        }
    }

    /// The shard's epoch: by the map or, if newer, by what the shard itself answered.
    pub(super) fn epoch(&self, route: &Route) -> u64 {
        self.hints.lock().epochs.get(&route.shard).map_or(route.epoch, |epoch| route.epoch.max(*epoch))
    }

    pub(super) fn set_epoch(&self, shard: ShardId, epoch: u64) {
        self.hints.lock().epochs.insert(shard, epoch);
    }

    pub(super) fn is_suspect(&self, node: NodeId) -> bool {
        self.pool.is_suspect(node)
    }

    /// A number that rises with each call, to spread load.
    pub(super) fn rotate(&self) -> usize {
        self.rotation.fetch_add(1, Ordering::Relaxed)
    }

    /// True if no server has told the time for so long that it must be asked before a write.
    pub(super) fn is_idle(&self) -> bool {
        self.last_answer.lock().elapsed() >= Duration::from_millis(IDLE_MS)
    }

    /// Asks one member, once. A failure it answers with is a miss too.
    pub(super) async fn ask(
        &self,
        node: NodeId,
        body: request::Body,
        within: Duration,
    ) -> Result<reply::Body, Miss> {
        let end = Instant::now() + within;
        let Some(address) = self.map.load().member(node).map(|member| member.address.clone()) else {
            return Err(Miss::Unsent(Trouble::NoMember { node }));
        };
        let no_answer = |waited: Duration| Trouble::NoAnswer {
            who: node.to_string(),
            waited_ms: waited.as_millis() as u64,
        };
        let connect_within = within.min(Duration::from_millis(CONNECT_MS).max(within / 4));
        let caller = match timeout(connect_within, self.pool.caller(node, &address)).await {
            Ok(Ok(caller)) => caller,
            Ok(Err(trouble)) => return Err(self.silent(node, Miss::Unsent(trouble))),
            Err(_) => return Err(self.silent(node, Miss::Unsent(no_answer(connect_within)))),
        };
        let left = end.saturating_duration_since(Instant::now());
        let request = self.request(body, left);
        match timeout_at(end, caller.call(kind::CLIENT_REQUEST, request.encode_to_vec().into())).await {
            Err(_) => Err(self.silent(node, Miss::Lost(no_answer(within)))),
            Ok(Err(source @ CallError::Lost(_))) => {
                Err(self.silent(node, Miss::Lost(Trouble::Call { node, source })))
            }
            Ok(Err(source @ CallError::NotSent(_))) => {
                Err(self.silent(node, Miss::Unsent(Trouble::Call { node, source })))
            }
            Ok(Err(source @ (CallError::TooLarge { .. } | CallError::Busy))) => {
                Err(Miss::Unsent(Trouble::Call { node, source }))
            }
            Ok(Ok(answer)) => self.read(node, answer),
        }
    }

    fn request(&self, body: request::Body, left: Duration) -> Request {
        let allowance = (left / 10).min(Duration::from_millis(ANSWER_ALLOWANCE_MS));
        let told_ms = (left - allowance).as_millis().clamp(1, u128::from(u32::MAX)) as u32;
        let (id, map_version) = (self.chance.number(), self.map.load().version);
        tracing::trace!(client = %self.name, request = id, timeout_ms = told_ms, "asking");
        Request { id, timeout_ms: told_ms, map_version, body: Some(body) }
    }

    fn read(&self, node: NodeId, answer: bytes::Bytes) -> Result<reply::Body, Miss> {
        let garbled = |what| Miss::Lost(Trouble::Garbled { node, what });
        let reply = Reply::decode(answer).map_err(|_| garbled("it is no reply"))?;
        self.pool.answered(node, true);
        *self.last_answer.lock() = Instant::now();
        self.session.observe(Timestamp(reply.stamp));
        match reply.body.ok_or_else(|| garbled("it is empty"))? {
            reply::Body::Failure(failure) => Err(Miss::Failure(node, failure)),
            body => Ok(body),
        }
    }

    fn silent(&self, node: NodeId, miss: Miss) -> Miss {
        self.pool.answered(node, false);
        miss
    }

    /// Gets a map of at least version `at_least` if anybody has one, asking `first` before all others. Whoever waits for
    /// another's fetch takes what that brought.
    pub(super) async fn fetch_map(
        &self,
        at_least: u64,
        first: Option<NodeId>,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        let fetches = self.fetches.load(Ordering::SeqCst);
        let Ok(_fetching) = timeout_at(deadline, self.fetch.lock()).await else {
            return Err(Trouble::NoAnswer { who: "another fetch of the map".to_owned(), waited_ms: 0 });
        };
        if self.fetches.load(Ordering::SeqCst) != fetches && self.map.load().version >= at_least {
            return Ok(());
        }
        let fetched = self.fetch_from_any(at_least, first, deadline).await;
        self.fetches.fetch_add(1, Ordering::SeqCst);
        fetched
    }

    async fn fetch_from_any(
        &self,
        at_least: u64,
        first: Option<NodeId>,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        let mut fetched = Err(Trouble::NoRoute);
        for node in self.sources(first) {
            match self.fetch_from(node, deadline).await {
                Ok(version) if version >= at_least => return Ok(()),
                Ok(_) => fetched = Ok(()), // an older map than needed, but a map
                Err(trouble) if fetched.is_err() => fetched = Err(trouble),
                Err(_) => {}
            }
        }
        match fetched {
            Ok(()) => Ok(()),
            // Nobody we know is there: perhaps all have moved.
            Err(trouble) => match self.meet_any(deadline).await {
                Ok(()) => Ok(()),
                Err(_) => Err(trouble),
            },
        }
    }

    /// Whom to ask for the map, best first.
    fn sources(&self, first: Option<NodeId>) -> Vec<NodeId> {
        let home = self.home();
        let map = self.map.load();
        let mut nodes: Vec<_> = map.members().map(|(node, _)| node).collect();
        nodes.sort_by_key(|node| (first != Some(*node), self.is_suspect(*node), home != Some(*node)));
        nodes
    }

    async fn fetch_from(&self, node: NodeId, deadline: Instant) -> Result<u64, Trouble> {
        let left = deadline.saturating_duration_since(Instant::now());
        let within = left.min(Duration::from_millis(MAP_ATTEMPT_MS));
        match self.ask(node, request::Body::Map(MapRequest { newest: false }), within).await {
            Ok(reply::Body::Map(map)) => self.adopt(node, map),
            Ok(_) => Err(Trouble::Garbled { node, what: "it is not a map" }),
            Err(miss) => Err(miss.into_trouble()),
        }
    }

    /// Takes in what a member said of the map; returns the version of that.
    pub(super) fn adopt(&self, node: NodeId, reply: MapReply) -> Result<u64, Trouble> {
        let known = self.map.load();
        if !known.cluster_id.is_empty() && known.cluster_id != reply.cluster_id {
            return Err(Trouble::OtherCluster { node, found: reply.cluster_id });
        }
        let leaders: BTreeMap<_, _> =
            reply.leaders.iter().map(|leader| (ShardId(leader.shard), NodeId(leader.node))).collect();
        let map = ClusterMap::from_wire(reply).map_err(|what| Trouble::Garbled { node, what })?;
        let version = map.version;
        if version < known.version {
            return Ok(version);
        }
        self.pool.keep(|node| map.member(node).is_some());
        let mut hints = self.hints.lock();
        hints.leaders.retain(|shard, node| map.shard(*shard).is_some() && map.member(*node).is_some());
        hints.epochs.retain(|shard, epoch| map.shard(*shard).is_some_and(|route| *epoch > route.epoch));
        for (shard, leader) in leaders {
            // What replies told is newer than what the map says.
            if map.shard(shard).is_some() && map.member(leader).is_some() && !self.is_suspect(leader) {
                hints.leaders.entry(shard).or_insert(leader);
            }
        }
        drop(hints);
        self.map.store(Arc::new(map));
        Ok(version)
    }

    /// Finds out about the cluster from the first endpoint that answers. While one is silent the next one is asked, too:
    /// a machine that is off must not cost everybody a second.
    async fn meet_any(&self, deadline: Instant) -> Result<(), Trouble> {
        let mut worst = Trouble::NoEndpoint;
        let mut asked = FuturesUnordered::new();
        let mut others = self.endpoints.iter();
        asked.extend(others.next().map(|address| self.meet(address, deadline)));
        loop {
            let answer = tokio::select! {
                biased;
                answer = asked.next() => answer,
                () = tokio::time::sleep(Duration::from_millis(HEDGE_MS)), if others.len() > 0 => None,
            };
            match answer {
                Some(Ok(())) => return Ok(()),
                // What may pass is worth waiting for, whatever is wrong with the other endpoints.
                Some(Err(trouble)) if worst.is_lasting() => worst = trouble,
                Some(Err(_)) | None => {}
            }
            asked.extend(others.next().map(|address| self.meet(address, deadline)));
            if asked.is_empty() {
                return Err(worst);
            }
        }
    }

    async fn meet(&self, address: &Address, deadline: Instant) -> Result<(), Trouble> {
        let within = Duration::from_millis(MAP_ATTEMPT_MS);
        let within = within.min(deadline.saturating_duration_since(Instant::now()));
        let waited_ms = within.as_millis() as u64;
        let node = timeout(within, self.pool.meet(address))
            .await
            .unwrap_or(Err(Trouble::NoAnswer { who: address.to_string(), waited_ms }))?;
        // Until a map names the member, the endpoint is where it is.
        if self.map.load().member(node).is_none() {
            let map = self.map.load().with_member(node, address.clone());
            self.map.store(Arc::new(map));
        }
        self.fetch_from(node, deadline).await?;
        self.hints.lock().home = Some(node);
        Ok(())
    }

    /// Finds out about the cluster for the first time; makes rounds while there is time.
    pub(super) async fn join(&self) -> Result<(), Error> {
        if self.endpoints.is_empty() {
            return Err(Error::Invalid(Trouble::NoEndpoint));
        }
        let mut course = super::course::Course::new(super::course::Nature::Read, self.timeout);
        loop {
            course.attempt()?;
            match self.meet_any(course.deadline()).await {
                Ok(()) => return Ok(()),
                Err(trouble) if trouble.is_lasting() => return Err(trouble.unreached()),
                Err(trouble) => course.judge(Miss::Unsent(trouble)).map(drop)?,
            }
            course.pause(&self.chance).await;
        }
    }
}
