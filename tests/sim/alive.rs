//! Whether the cluster goes on without a machine that stays broken: mute, deaf, standing still, on a disk that hangs.
//!
//! Clients are told of the other machines only, which all hear each other. Each shard must take a write soon, and go on
//! taking them.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use nodenomad::client::Client;
use nodenomad::net::wire::{ConfigSet, admin_request};
use tokio::time::{Instant, sleep};

use crate::simulated::World;
use crate::simulated::world::SPLIT_AT;

/// The first write succeeds within this, although a leader may hear nobody, or have a full disk.
const FIRST: Duration = Duration::from_secs(10);
/// For so long writes go on, with no longer gap than this.
const GOES_ON: Duration = Duration::from_secs(20);
const GAP: Duration = Duration::from_secs(10);
/// Between two writes.
const PAUSE: Duration = Duration::from_millis(50);

/// The longest that it took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alive {
    pub first: Duration,
    pub gap: Duration,
}

impl Alive {
    /// The worse of both, each for itself.
    pub fn worse(self, other: Alive) -> Alive {
        Alive { first: self.first.max(other.first), gap: self.gap.max(other.gap) }
    }
}

/// Writes to every shard, all machines but one being in order from now on.
pub async fn check(world: &Rc<World>, outside: usize) -> Alive {
    let calm = Instant::now();
    let core: Vec<usize> = (0..world.count()).filter(|n| *n != outside).collect();
    let (_, client) = world.client_of("core", &core).await;
    // Of the meta shard, then one key a shard.
    let keys = std::iter::once("a").chain(SPLIT_AT).map(|start| Some(format!("{start}/alive")));
    let all = std::iter::once(None).chain(keys).map(|key| probe(world, &client, key, calm));
    join_all(all).await.into_iter().fold(Alive::default(), Alive::worse)
}

async fn probe(world: &World, client: &Client, key: Option<String>, calm: Instant) -> Alive {
    let shard = key.as_deref().unwrap_or("the meta shard");
    let (mut last, mut alive, mut first) = (calm, Alive::default(), None);
    while first.is_none_or(|first: Instant| first.elapsed() < GOES_ON) {
        let done = write(client, key.as_deref()).await;
        let quiet = last.elapsed();
        match first {
            None => {
                assert!(quiet < FIRST, "alive: {shard} takes no write for {quiet:?}\n{}", world.describe())
            }
            Some(_) => assert!(quiet < GAP, "alive: {shard} stops for {quiet:?}\n{}", world.describe()),
        }
        if done {
            last = Instant::now();
            match first {
                None => (alive.first, first) = (quiet, Some(last)),
                Some(_) => alive.gap = alive.gap.max(quiet),
            }
        }
        sleep(PAUSE).await;
    }
    alive
}

/// True if it was acknowledged.
async fn write(client: &Client, key: Option<&str>) -> bool {
    let Some(key) = key else {
        let set = ConfigSet { name: "retention_ms".to_owned(), value: "5m".to_owned(), reset: false };
        return client.admin(admin_request::Body::ConfigSet(set)).await.is_ok();
    };
    client.put(key.as_bytes(), "1").await.is_ok()
}
