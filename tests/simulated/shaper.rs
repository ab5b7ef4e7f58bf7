//! An operator of simulated clusters who splits and merges shards as it comes.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use nodenomad::client::{Client, RangeQuery};
use nodenomad::model::id::ShardId;
use nodenomad::model::key::{Key, KeyRange};
use nodenomad::net::wire::admin_request::Body;
use nodenomad::net::wire::{MetaGet, ShardMerge, ShardSplit, SplitReply};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::World;

/// A split or merge of small shards is over by then, whatever happens to a machine meanwhile.
pub const LIMIT: Duration = Duration::from_secs(90);

/// What the names of jobs' records begin with.
const JOBS: &[u8] = b"_/jobs/";

/// Somebody who splits shards and merges them.
pub struct Shaper {
    world: Rc<World>,
    pub client: Client,
}

impl Shaper {
    pub async fn new(world: &Rc<World>) -> Shaper {
        let client = world.client("splitter").await;
        world.configure(&client, "undo_window_ms", "1000").await;
        Shaper { world: world.clone(), client }
    }

    pub fn drawn(&self, below: usize) -> usize {
        self.world.chance.between(0, below as u64) as usize
    }

    /// A drawn split, of those that can be: in the middle, or at a drawn key.
    async fn wish(&self) -> Option<ShardSplit> {
        let map = self.client.refresh().await.ok()?;
        let users: Vec<_> = map.shards().filter(|route| route.shard != ShardId::META).collect();
        let route = users[self.drawn(users.len())];
        let letter = format!("{}{}", char::from(b'a' + self.drawn(26) as u8), self.drawn(10));
        let key = Key::from_name(letter.as_bytes()).expect("a letter is a key");
        let inside = key > route.range.start && route.range.contains(&key);
        let at = if inside { key.to_bytes() } else { Bytes::new() };
        Some(ShardSplit { shard: route.shard.0, at })
    }

    /// Begins a drawn split, again and again until one begins.
    pub async fn split(&self) -> (ShardId, SplitReply) {
        let begin = Instant::now();
        let mut last = String::new();
        loop {
            assert!(begin.elapsed() < LIMIT, "no split begins: {last}\n{}", self.world.describe());
            if let Some(wish) = self.wish().await {
                match self.client.admin(Body::ShardSplit(wish.clone())).await {
                    Ok(answer) => return (ShardId(wish.shard), answer.split.expect("it names the child")),
                    Err(error) => last = format!("{error}: {}", error.trouble()),
                }
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until nothing is done any more and nothing is left to settle; true if there is such a shard.
    pub async fn settled(&self, child: ShardId) -> bool {
        let world = &self.world;
        world
            .until("the split is settled", LIMIT, || async {
                let running =
                    (0..world.count()).map(|n| world.machine(n)).filter(|machine| machine.is_running());
                let nodes: Vec<_> = running.map(|machine| machine.node()).collect();
                let busy =
                    |node: &nodenomad::node::running::Node| node.view.now().map.jobs().next().is_some();
                let births = nodes.iter().flat_map(|node| node.shards.all().to_vec());
                let mut births = births.filter(|replica| replica.store.state(|state| state.birth.is_some()));
                // A node that has just started does not know of jobs yet.
                let jobs = MetaGet { start: Bytes::from_static(JOBS), ..MetaGet::default() };
                let jobs = self.client.admin(Body::MetaGet(jobs)).await;
                jobs.is_ok_and(|jobs| jobs.rows.is_empty())
                    && !nodes.is_empty()
                    && !nodes.iter().any(|node| busy(node))
                    && births.next().is_none()
            })
            .await;
        let map = loop {
            if let Ok(map) = self.client.refresh().await {
                break map;
            }
        };
        map.shard(child).is_some()
    }

    /// Begins a merge of drawn neighbours, again and again until one begins; `None`: there is only one shard.
    pub async fn merge(&self) -> Option<(ShardId, ShardId)> {
        let begin = Instant::now();
        let mut last = String::new();
        loop {
            assert!(begin.elapsed() < LIMIT, "no merge begins: {last}\n{}", self.world.describe());
            if let Ok(map) = self.client.refresh().await {
                let mut users: Vec<_> = map.shards().filter(|route| route.shard != ShardId::META).collect();
                users.sort_by(|one, other| one.range.start.cmp(&other.range.start));
                if users.len() < 2 {
                    return None;
                }
                let left = users[self.drawn(users.len() - 1)].shard;
                match self.client.admin(Body::ShardMerge(ShardMerge { shard: left.0 })).await {
                    Ok(answer) => return Some((left, ShardId(answer.gone))),
                    Err(error) => last = format!("{error}: {}", error.trouble()),
                }
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Readers of keys that are all there: whoever misses one has found something wrong.
pub struct Scans {
    stop: Rc<Cell<bool>>,
    readers: Vec<JoinHandle<()>>,
}

impl Scans {
    /// Writes the keys and begins to read them.
    pub async fn start(world: &Rc<World>, client: &Client) -> Scans {
        let names: Vec<String> =
            ('a'..='z').flat_map(|one| (0..10).map(move |n| format!("{one}{n}"))).collect();
        for name in &names {
            client.put(name.as_bytes(), Bytes::from_static(b"value")).await.expect("nobody fails");
        }
        let stop = Rc::new(Cell::new(false));
        let readers = (0..6).map(|n| {
            let (client, names, stop) = (client.clone(), names.clone(), stop.clone());
            let chance = world.chance.fork();
            tokio::task::spawn_local(async move {
                while !stop.get() {
                    // After a while without a write a scan reserves a ceiling, behind which a split may come.
                    sleep(Duration::from_millis(chance.between(0, 200))).await;
                    if n < 3 {
                        let all = RangeQuery::new(KeyRange::user());
                        let rows: Result<Vec<_>, _> = client.range(all).try_collect().await;
                        assert_eq!(rows.expect("nobody fails").len(), names.len(), "a scan misses keys");
                    } else {
                        let name = &names[chance.between(0, names.len() as u64) as usize];
                        let found = client.get(name.as_bytes()).await.expect("nobody fails");
                        assert!(found.is_some(), "{name} is missed");
                    }
                }
            })
        });
        let readers = readers.collect();
        Scans { stop, readers }
    }

    /// Ends it; fails if anybody has missed anything.
    pub async fn stop(self) {
        self.stop.set(true);
        for reader in self.readers {
            reader.await.expect("readers miss nothing");
        }
    }
}
