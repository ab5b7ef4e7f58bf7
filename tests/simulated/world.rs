//! The machines, the network between them, and what is asked of the cluster as a whole.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nodenomad::client::{Client, Options};
use nodenomad::model::id::{NodeId, ReplicaId, ShardId};
use nodenomad::net::chance::Chance;
use nodenomad::net::identity::JoinToken;
use nodenomad::net::passage::Passage;
use nodenomad::net::transport::sim::SimNet;
use nodenomad::net::transport::{Address, Peer, Transport};
use nodenomad::net::wire::{AdminRequest, ConfigSet, JoinReply, JoinRequest, TokenNew, admin_request};
use nodenomad::node::member::{Bootstrap, Member, Seed};
use nodenomad::node::meta::join;
use nodenomad::node::wal::GroupId;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::machine::{EPOCH_MS, EXEC, Machine};
use super::trace::Trace;

/// Where the key space is split at first.
pub const SPLIT_AT: [&str; 2] = ["h", "q"];
/// How long a cluster may take to be whole, or its replicas to be equal.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub struct World {
    pub net: SimNet,
    pub machines: RefCell<Vec<Rc<Machine>>>,
    pub chance: Chance,
    pub begin: Instant,
    pub trace: Trace,
    /// Told when a client has just been promised something of the future: the worst moment for the power to go.
    pub promised: Rc<Notify>,
    clients: Cell<u64>,
}

impl World {
    pub fn new(chance: Chance) -> World {
        World {
            net: SimNet::new(chance.fork()),
            machines: RefCell::default(),
            chance,
            begin: Instant::now(),
            trace: Trace::new(),
            promised: Rc::default(),
            clients: Cell::new(0),
        }
    }

    /// A cluster of `count` nodes, all shards with three voters; and a client of it.
    pub async fn whole(&self, count: usize) -> Client {
        self.whole_split_at(count, SPLIT_AT.map(|key| key.as_bytes().to_vec()).to_vec()).await
    }

    /// The same, split at other places.
    pub async fn whole_split_at(&self, count: usize, split_at: Vec<Vec<u8>>) -> Client {
        self.bootstrap_split_at(split_at).await;
        let token = self.token().await;
        for _ in 1..count {
            self.join(&token).await;
        }
        let client = self.client("whole").await;
        self.wait_until_whole(&client).await;
        client
    }

    /// A cluster of one node; and a client of it.
    pub async fn alone(&self) -> Client {
        self.bootstrap().await;
        self.client("alone").await
    }

    pub fn machine(&self, n: usize) -> Rc<Machine> {
        self.machines.borrow()[n].clone()
    }

    pub fn count(&self) -> usize {
        self.machines.borrow().len()
    }

    /// The number of the machine with this node.
    pub fn number(&self, node: NodeId) -> usize {
        (0..self.count()).find(|n| self.machine(*n).id() == node).expect("every node has a machine")
    }

    fn add_machine(&self) -> Rc<Machine> {
        let n = self.count();
        let machine = Rc::new(Machine::new(&self.net, self.chance.fork(), n, self.now_ms()));
        // No two clocks agree.
        machine.wall.set_offset_ms(self.chance.between(0, 100) as i64 - 50);
        self.machines.borrow_mut().push(machine.clone());
        machine
    }

    pub async fn bootstrap(&self) {
        let machine = self.first_machine();
        assert!(machine.start().await);
    }

    /// The first node of a cluster that is split at other places.
    pub async fn bootstrap_split_at(&self, split_at: Vec<Vec<u8>>) {
        assert!(self.first_machine_split_at(split_at).start().await);
    }

    /// A machine on which a cluster is to begin; not started.
    pub fn first_machine(&self) -> Rc<Machine> {
        self.first_machine_split_at(SPLIT_AT.map(|key| key.as_bytes().to_vec()).to_vec())
    }

    fn first_machine_split_at(&self, split_at: Vec<Vec<u8>>) -> Rc<Machine> {
        let machine = self.add_machine();
        let member = Member {
            cluster_id: "simulated".to_owned(),
            node: NodeId(1),
            meta_replica: ReplicaId(1),
            insecure: true,
            seeds: Vec::new(),
            opened: false,
            bootstrap: Some(Bootstrap { split_at }),
        };
        member.save(&machine.disk()).unwrap();
        machine
    }

    pub async fn token(&self) -> JoinToken {
        let new = TokenNew { ttl_ms: 3_600_000, uses: 100 };
        let request = AdminRequest { body: Some(admin_request::Body::TokenNew(new)) };
        let answer = self.machine(0).spawn(|node| async move { node.requests.office.serve(request).await });
        answer.await.unwrap().unwrap().token.parse().unwrap()
    }

    pub async fn join(&self, token: &JoinToken) {
        let machine = self.add_machine();
        let reply = self.ask_to_join(token, &machine.address, &machine.address).await;
        let seeds = reply.nodes.iter().map(|node| Seed { node: NodeId(node.node), quic: node.quic.clone() });
        let member = Member {
            cluster_id: reply.cluster_id,
            node: NodeId(reply.node),
            meta_replica: ReplicaId(reply.meta_replica),
            insecure: true,
            seeds: seeds.collect(),
            opened: false,
            bootstrap: None,
        };
        member.save(&machine.disk()).unwrap();
        assert!(machine.start().await);
    }

    /// What the cluster answers to a joiner at an address, with this certificate request.
    pub async fn ask_to_join(&self, token: &JoinToken, address: &str, request: &str) -> JoinReply {
        let stranger = self.net.transport(&format!("joining-{address}"), Peer::Stranger);
        let stranger: Arc<dyn Transport> = Arc::new(stranger);
        let request = JoinRequest {
            token_id: token.id.clone(),
            secret: bytes::Bytes::copy_from_slice(token.secret()),
            csr_der: bytes::Bytes::copy_from_slice(request.as_bytes()),
            quic: address.to_owned(),
            weight: 100,
            ..JoinRequest::default()
        };
        let first = Address(self.machine(0).address.clone());
        join::ask(&stranger, EXEC, &[first], &request, Duration::from_secs(60)).await.unwrap()
    }

    /// A new client that knows the addresses of all.
    pub async fn client(&self, name: &str) -> Client {
        let all: Vec<usize> = (0..self.count()).collect();
        self.client_of(name, &all).await.1
    }

    /// A new client that is told of these machines only; and its address.
    pub async fn client_of(&self, name: &str, machines: &[usize]) -> (String, Client) {
        self.clients.set(self.clients.get() + 1);
        let address = format!("10.0.1.{}:9000", self.clients.get());
        let transport = Arc::new(self.net.transport(&address, Peer::Client(name.to_owned())));
        let endpoints = machines.iter().map(|n| Address(self.machine(*n).address.clone())).collect();
        let mut options = Options::new(transport, endpoints, EXEC, self.chance.fork());
        options.timeout = SETTLE_LIMIT;
        let client = Client::connect(options.clone()).await.expect("a member answers");
        drop(client);
        options.timeout = Duration::from_secs(10);
        (address, Client::connect(options).await.expect("a member answers"))
    }

    pub async fn configure(&self, client: &Client, name: &str, value: &str) {
        let set = ConfigSet { name: name.to_owned(), value: value.to_owned(), reset: false };
        client.admin(admin_request::Body::ConfigSet(set)).await.unwrap();
    }

    /// Waits until every shard has its voters and nobody else: three, the meta shard five if there are so many nodes,
    /// which all others follow. What is lost votes nowhere, but for the meta shard if nobody is there in its stead.
    pub async fn wait_until_whole(&self, client: &Client) {
        let meta_voters = if self.count() < 5 { 3 } else { 5 };
        let lost: Vec<NodeId> = self.lost().into_iter().map(|n| self.machine(n).id()).collect();
        let meta_living = meta_voters.min(self.count() - lost.len());
        self.until("every shard has its voters", SETTLE_LIMIT, || async {
            let Ok(map) = client.refresh().await else { return false };
            is_complete(&map)
                && self.is_settled()
                && map.shards().all(|shard| {
                    let voters = || shard.replicas.iter().filter(|one| one.voter);
                    let living = voters().filter(|one| !lost.contains(&one.node)).count();
                    let all = (voters().count(), living, shard.replicas.len());
                    match shard.shard {
                        ShardId(0) => all == (meta_voters, meta_living, self.count()),
                        _ => all == (3, 3, 3),
                    }
                })
        })
        .await;
    }

    /// True if nobody remembers a split that is not settled, nor is about to merge.
    pub fn is_settled(&self) -> bool {
        let running = (0..self.count()).map(|n| self.machine(n)).filter(|machine| machine.is_running());
        let mut replicas = running.flat_map(|machine| machine.node().shards.all().to_vec());
        replicas.all(|replica| {
            replica.store.state(|state| state.birth.is_none() && state.taking.is_none() && !state.is_frozen())
        })
    }

    /// The machines that are gone for good.
    pub fn lost(&self) -> Vec<usize> {
        (0..self.count()).filter(|n| self.machine(*n).is_lost()).collect()
    }

    /// Looks again and again until it is so.
    pub async fn until<F: Future<Output = bool>>(&self, what: &str, limit: Duration, look: impl Fn() -> F) {
        let begin = Instant::now();
        let so = async {
            while !look().await {
                sleep(LOOK_EVERY).await;
            }
        };
        if timeout(limit, so).await.is_err() {
            panic!("settling in time: not so after {:?}: {what}\n{}", begin.elapsed(), self.describe());
        }
    }

    /// Cuts the link between two machines, or mends it.
    pub fn part(&self, one: usize, other: usize, cut: bool) {
        self.net.partition(&self.machine(one).address, &self.machine(other).address, cut);
    }

    /// Cuts the power of all machines in the same instant.
    pub fn cut_all(&self) {
        for n in 0..self.count() {
            self.machine(n).cut();
        }
    }

    /// Starts all that is down, in a drawn order and at drawn moments. Returns when all serve.
    pub async fn start_all(self: &Rc<Self>) {
        self.start_all_but(None).await;
    }

    /// As [`World::start_all`], without one.
    pub async fn start_all_but(self: &Rc<Self>, missing: Option<usize>) {
        let starts: Vec<_> = (0..self.count())
            .filter(|n| !self.machine(*n).is_running() && Some(*n) != missing)
            .map(|n| {
                let (machine, wait_ms) = (self.machine(n), self.chance.between(0, 1500));
                tokio::task::spawn_local(async move {
                    sleep(Duration::from_millis(wait_ms)).await;
                    machine.start().await
                })
            })
            .collect();
        for start in starts {
            let started = timeout(SETTLE_LIMIT, start).await;
            let started = started.unwrap_or_else(|_| panic!("a node does not come up\n{}", self.describe()));
            assert!(started.unwrap(), "nobody has cut it again");
        }
    }

    /// Waits until all replicas of every shard have applied the same entries; their digests must be equal. Returns them.
    /// What is lost is not asked.
    pub async fn equal_digests(&self, client: &Client) -> Vec<(ShardId, Vec<u8>)> {
        let found = RefCell::new(Vec::new());
        let lost: Vec<NodeId> = self.lost().into_iter().map(|n| self.machine(n).id()).collect();
        self.until("all replicas have applied the same", SETTLE_LIMIT, || async {
            found.borrow_mut().clear();
            let Ok(map) = client.refresh().await else { return false };
            for shard in map.shards() {
                let mut told = Vec::new();
                for replica in shard.replicas.iter().filter(|one| !lost.contains(&one.node)) {
                    match client.digest(replica.node, shard.shard).await {
                        Ok(digest) => told.push(digest),
                        Err(_) => return false,
                    }
                }
                if told.iter().any(|digest| digest.applied_index != told[0].applied_index) {
                    return false;
                }
                for digest in &told {
                    assert_eq!(
                        digest.digest, told[0].digest,
                        "equal replicas: those of {} differ at one index",
                        shard.shard
                    );
                }
                found.borrow_mut().push((shard.shard, told[0].digest.to_vec()));
            }
            true
        })
        .await;
        found.into_inner()
    }

    /// How far a machine has purged its log of a shard, and the last entry in it.
    pub fn log_of(&self, n: usize, shard: ShardId) -> (u64, u64) {
        let node = self.machine(n).node();
        let Some(replica) = node.shards.get(shard) else { return (0, 0) };
        let state = node.wal.group(GroupId(replica.id.0)).state();
        (state.purged.map_or(0, |point| point.index), state.last.map_or(0, |point| point.index))
    }

    /// Waits until a machine has applied what its shards' leaders had when it was asked.
    pub async fn wait_until_caught_up(&self, n: usize) {
        for shard in 0..(SPLIT_AT.len() as u64 + 2) {
            let leader = self.wait_for_leader(ShardId(shard)).await;
            let (_, target) = self.log_of(leader, ShardId(shard));
            self.until("it catches up", SETTLE_LIMIT, || async {
                let replica = self.machine(n).node().shards.get(ShardId(shard));
                replica.is_some_and(|replica| replica.applied().borrow().index >= target)
            })
            .await;
        }
    }

    /// The machine that leads a shard, by what the running nodes say; the highest term counts.
    pub fn leader_of(&self, shard: ShardId) -> Option<usize> {
        let running = (0..self.count()).filter(|n| self.machine(*n).is_running());
        let leading = running.filter_map(|n| {
            let leadership = self.machine(n).node().shards.get(shard)?.group.leadership();
            leadership.here.then_some((leadership.term, n))
        });
        leading.max().map(|(_, n)| n)
    }

    pub async fn wait_for_leader(&self, shard: ShardId) -> usize {
        self.until("somebody leads", SETTLE_LIMIT, || async { self.leader_of(shard).is_some() }).await;
        self.leader_of(shard).expect("just waited for")
    }

    /// Has one machine lead all shards, the meta shard too.
    pub async fn lead_all(&self, n: usize) {
        for shard in (0..SPLIT_AT.len() as u64 + 2).map(ShardId) {
            self.until("it leads", Duration::from_secs(60), || async {
                let leader = self.wait_for_leader(shard).await;
                if leader != n {
                    let to = self.machine(n).node().shards.get(shard).expect("it is here").id;
                    let replica = self.machine(leader).node().shards.get(shard).expect("it leads");
                    replica.group.transfer_leadership(to, Duration::from_secs(3)).await;
                }
                self.leader_of(shard) == Some(n)
            })
            .await;
        }
    }

    /// What each disk was told to write so far.
    pub fn disks(&self) -> Vec<Passage> {
        (0..self.count()).map(|n| self.machine(n).disk.borrow().changed()).collect()
    }

    /// True time, milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        EPOCH_MS + self.begin.elapsed().as_millis() as u64
    }

    /// A drawn duration between two numbers of milliseconds.
    pub fn draw_ms(&self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.chance.between(low, high))
    }

    /// What the nodes say of themselves, for messages.
    pub fn describe(&self) -> String {
        let mut text = format!("at {:?}\n", self.begin.elapsed());
        for n in 0..self.count() {
            let machine = self.machine(n);
            if !machine.is_running() {
                text += &format!("{}: down or starting\n", machine.address);
                continue;
            }
            let cluster = machine.node().view.now();
            let members: Vec<NodeId> = cluster.map.members().map(|node| node.id).collect();
            let jobs: Vec<_> = cluster.map.jobs().collect();
            text += &format!("{} knows {members:?} and jobs {jobs:?}\n", machine.address);
            for replica in machine.node().shards.all().iter() {
                let status = replica.group.status();
                text += &format!(
                    "{} {} {}: {} term {} leader {:?} applied {} last {} members {:?} failure {:?}\n",
                    machine.address,
                    replica.shard,
                    replica.id,
                    status.state,
                    status.leadership.term,
                    status.leadership.node,
                    status.applied.index,
                    status.last_index,
                    status.membership.configs.iter().map(|set| set.replicas.clone()).collect::<Vec<_>>(),
                    status.failure
                );
            }
        }
        text
    }

    /// Everybody dies.
    pub fn end(&self) {
        self.cut_all();
    }
}

/// True if the shards of a map have all keys, each once.
fn is_complete(map: &nodenomad::client::map::ClusterMap) -> bool {
    let mut ranges: Vec<_> = map.shards().map(|shard| &shard.range).collect();
    ranges.sort_by(|one, other| one.start.cmp(&other.start));
    let joined = ranges.windows(2).all(|pair| pair[0].end.as_ref() == Some(&pair[1].start));
    joined && ranges.len() > 1 && ranges.last().is_some_and(|last| last.end.is_none())
}
