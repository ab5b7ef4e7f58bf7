//! Moves of a shard between real processes, of which one is killed at each stage: whoever it is, the move comes to its end by
//! itself, nothing is left over, and the same move, or the one back, then succeeds.
//!
//! The simulation does the same with every machine that has a part in it and with power that goes
//! (`sim_migration::every_stage_survives_every_failure`); here processes, files and sockets are real. Who only watches is
//! killed in `cli_moves`.

mod support;

use std::time::{Duration, Instant};

use nodenomad::client::Client;
use nodenomad::model::id::{NodeId, ShardId};
use nodenomad::model::migration::Stage;
use nodenomad::net::wire::admin_request::Body;
use nodenomad::net::wire::{MigrationBegin, MigrationList, MigrationStatus};
use nodenomad::node::replica::parse_directory;
use support::Cluster;
use tokio::time::sleep;

const SHARD: ShardId = ShardId(1);
/// What moves, and how fast: the transfer takes a second or more.
const VALUES: usize = 100;
const VALUE_BYTES: usize = 100_000;
const COPIED_PER_S: &str = "8MiB";
/// A move is over by then, whoever is killed.
const LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug)]
enum Victim {
    /// It leads the shard, too.
    Source,
    Target,
    MetaLeader,
}

struct Crashes {
    cluster: Cluster,
    client: Client,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stage_survives_every_kill() {
    let mut cluster = Cluster::new(4);
    let settings = [("rebalance", "0"), ("undo_window_ms", "300ms"), ("migration_bytes_per_s", COPIED_PER_S)];
    cluster.start_all_set("", &settings);
    let client = cluster.client().await;
    cluster.wait_until_whole(&client, 3).await;
    let mut crashes = Crashes { cluster, client };
    for n in 0..VALUES {
        crashes.client.put(&key(n), value(n)).await.unwrap();
    }
    let mut ends = Vec::new();
    for stage in Stage::ALL {
        for victim in [Victim::Source, Victim::Target, Victim::MetaLeader] {
            let end = crashes.kill(stage, victim).await;
            ends.push(format!("{victim:?} in {stage}: {end}"));
        }
    }
    // For whoever reads the output: which went forward and which back.
    println!("{}", ends.join("\n"));
    for n in 0..VALUES {
        assert_eq!(crashes.client.get(&key(n)).await.unwrap().unwrap().value, value(n), "{n}");
    }
    crashes.cluster.equal_digests(&crashes.client, LIMIT).await;
}

fn key(n: usize) -> Vec<u8> {
    format!("k{n:04}").into_bytes()
}

fn value(n: usize) -> Vec<u8> {
    let mut value = vec![0; VALUE_BYTES];
    blake3::Hasher::new().update(&n.to_le_bytes()).finalize_xof().fill(&mut value);
    value
}

impl Crashes {
    /// Kills somebody in a stage of a move, and starts it again; how the move ended.
    async fn kill(&mut self, stage: Stage, victim: Victim) -> String {
        let what = format!("{victim:?} killed in {stage}");
        let leader = self.cluster.leader_of(&self.client, SHARD.0).await;
        let (source, target) = (self.cluster.nodes[leader].id(), self.free().await);
        let id = self.begin(source, target).await;
        let reached = |status: &MigrationStatus| {
            rank(&status.stage) >= rank(&stage.to_string())
                && (stage != Stage::Transfer || status.bytes_done > 0)
        };
        self.wait(&what, id, reached).await;
        let n = match victim {
            Victim::Source => leader,
            Victim::Target => self.number(target),
            Victim::MetaLeader => self.cluster.leader_of(&self.client, ShardId::META.0).await,
        };
        self.cluster.nodes[n].kill();
        // Whoever leads now has begun to go on without it.
        self.wait(&what, id, |_| true).await;
        self.cluster.nodes[n].restart();
        let ended = self.wait(&what, id, |status| status.ended_at_ms != 0).await;
        assert!(matches!(ended.state.as_str(), "done" | "rolled_back"), "{what}: {ended:?}");
        self.is_clean(&what).await;
        // The same move; where it was made, the way back.
        let (from, to) = if ended.state == "done" { (target, source) } else { (source, target) };
        let again = self.begin(from, to).await;
        let done = self.wait(&what, again, |status| status.ended_at_ms != 0).await;
        assert_eq!(done.state, "done", "{what}, and again: {done:?}");
        ended.state
    }

    /// The node that does not hold the shard.
    async fn free(&self) -> u64 {
        let map = self.client.newest_map().await.unwrap();
        let here: Vec<NodeId> =
            map.shard(SHARD).unwrap().replicas.iter().map(|replica| replica.node).collect();
        let mut members = map.members().map(|(node, _)| node);
        members.find(|node| !here.contains(node)).expect("three of four hold it").0
    }

    fn number(&self, node: u64) -> usize {
        self.cluster.nodes.iter().position(|one| one.id() == node).expect("one of ours")
    }

    /// Begins a move, as soon as the one before has ended.
    async fn begin(&self, from_node: u64, to_node: u64) -> u64 {
        let begin = Instant::now();
        let wish = MigrationBegin { shard: SHARD.0, from_node, to_node, ..MigrationBegin::default() };
        loop {
            match self.client.admin(Body::MigrationBegin(wish)).await {
                Ok(answer) => return answer.migrations[0].id,
                Err(error) => assert!(begin.elapsed() < LIMIT, "{error}: {}", error.trouble()),
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until it is so with a move.
    async fn wait(&self, what: &str, id: u64, so: impl Fn(&MigrationStatus) -> bool) -> MigrationStatus {
        let begin = Instant::now();
        loop {
            let all = self.client.admin(Body::MigrationList(MigrationList {})).await;
            let found = all.ok().and_then(|all| all.migrations.into_iter().find(|status| status.id == id));
            if let Some(status) = found.clone().filter(|status| so(status)) {
                return status;
            }
            assert!(begin.elapsed() < LIMIT, "{what}: {found:?}");
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until the files of every node are those of the map's replicas, all of which vote.
    async fn is_clean(&self, what: &str) {
        let begin = Instant::now();
        loop {
            let map = self.client.newest_map().await.unwrap();
            let placed = map.shard(SHARD).unwrap().replicas.clone();
            let on_disk = self.cluster.nodes.iter().all(|node| {
                let entries = std::fs::read_dir(node.dir.join("replicas")).expect("the node has started");
                let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
                let here =
                    names.filter_map(|name| parse_directory(&name)).filter(|(shard, _)| *shard == SHARD);
                let mut here: Vec<_> = here.map(|(_, replica)| replica).collect();
                let belong = placed.iter().filter(|one| one.node.0 == node.id());
                let mut belong: Vec<_> = belong.map(|one| one.replica).collect();
                here.sort();
                belong.sort();
                here == belong
            });
            if on_disk && placed.len() == 3 && placed.iter().all(|replica| replica.voter) {
                return;
            }
            assert!(begin.elapsed() < LIMIT, "{what}: {placed:?}");
            sleep(LOOK_EVERY).await;
        }
    }
}

fn rank(stage: &str) -> usize {
    Stage::ALL.iter().position(|one| one.to_string() == stage).expect("a stage has a name")
}
