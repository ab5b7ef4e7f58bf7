//! Clients at work in the background, and what they are judged by.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use nodenomad::client::{Client, ErrorOutcome};
use nodenomad::net::chance::Chance;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::clients::{Links, free_client};
use crate::language::form::Args;
use crate::language::size_bytes;
use crate::simulated::{Ledger, World};
use crate::stage::{Wrong, duration, wrong};

/// The longest pause between two operations, unless a script says otherwise, milliseconds.
const PAUSE_MS: u64 = 40;
/// Keys on all shards.
const COUNTERS: [&str; 3] = ["a-count", "k-count", "z-count"];
/// How often each sum is asked for in the end.
const TRIES: u32 = 4;

/// Clients that write numbers and read them.
pub struct Load {
    pub ledger: Rc<Ledger>,
    workers: RefCell<Vec<JoinHandle<()>>>,
}

fn pause_ms(args: &Args) -> u64 {
    args.optional("pause").map_or(PAUSE_MS, |pause| duration(pause).as_millis() as u64)
}

fn number(args: &Args) -> u64 {
    args.text("NUMBER").parse().expect("the parser has seen it")
}

impl Load {
    pub async fn start(world: &World, links: &mut Links, args: &Args) -> Load {
        let client = free_client(world, links, "load").await;
        let ledger = Ledger::new(world.now_ms());
        let bytes = args.optional("size").and_then(size_bytes).unwrap_or(200);
        ledger.value_bytes.set(bytes as usize);
        let workers = ledger.start(&client, &world.chance, number(args), pause_ms(args));
        Load { ledger, workers: RefCell::new(workers) }
    }

    /// What a worker has ended for, which it does for nothing but a wrong answer.
    pub fn found_wrong(&self) -> Option<String> {
        let mut workers = self.workers.borrow_mut();
        let ended = workers.iter().position(JoinHandle::is_finished)?;
        let panic = workers.swap_remove(ended).now_or_never()?.err()?.into_panic();
        let text = panic.downcast_ref::<String>().cloned();
        Some(text.unwrap_or_else(|| "an answer that cannot be: see the panic above".to_owned()))
    }

    pub async fn end(self, client: &Client) -> Result<(), Wrong> {
        self.ledger.stop(self.workers.take()).await;
        self.ledger.verify(client).await;
        match self.ledger.acknowledged() {
            0 => wrong("a load that is real", "not one write was acknowledged"),
            _ => Ok(()),
        }
    }
}

/// Clients that increment.
pub struct Counting {
    tally: Rc<Tally>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Tally {
    stop: Cell<bool>,
    acknowledged: RefCell<BTreeMap<&'static str, BTreeSet<i64>>>,
    unknown: RefCell<BTreeMap<&'static str, i64>>,
    /// Sums that were told twice: two increments became one.
    twice: RefCell<Vec<String>>,
}

impl Counting {
    pub async fn start(world: &World, links: &mut Links, args: &Args) -> Counting {
        let tally = Rc::new(Tally::default());
        let mut workers = Vec::new();
        for n in 0..number(args) {
            let client = free_client(world, links, &format!("count-{n}")).await;
            let work = tally.clone().work(client, world.chance.fork(), pause_ms(args));
            workers.push(tokio::task::spawn_local(work));
        }
        Counting { tally, workers }
    }

    pub fn acknowledged(&self) -> u64 {
        self.tally.acknowledged.borrow().values().map(|sums| sums.len() as u64).sum()
    }

    pub async fn end(self, client: &Client) -> Result<(), Wrong> {
        self.tally.stop.set(true);
        for worker in self.workers {
            worker.await.expect("workers do not panic");
        }
        if let Some(sum) = self.tally.twice.borrow().first() {
            return wrong("each increment has a sum of its own", format!("two came to {sum}"));
        }
        for key in COUNTERS {
            let least = self.tally.acknowledged.borrow().get(key).map_or(0, |sums| sums.len() as i64);
            let most = least + self.tally.unknown.borrow().get(key).copied().unwrap_or(0);
            let found = sum(client, key).await;
            if !found.is_some_and(|found| (least..=most).contains(&found)) {
                let expected = format!("{key}: from {least} to {most}");
                return wrong(expected, found.map_or("no answer".to_owned(), |found| found.to_string()));
            }
            if least == 0 {
                return wrong(format!("increments of {key}"), "not one was acknowledged");
            }
        }
        Ok(())
    }
}

async fn sum(client: &Client, key: &str) -> Option<i64> {
    for _ in 0..TRIES {
        if let Ok(found) = client.get(key.as_bytes()).await {
            return found.map_or(Some(0), |found| std::str::from_utf8(&found.value).ok()?.parse().ok());
        }
    }
    None
}

impl Tally {
    async fn work(self: Rc<Self>, client: Client, chance: Chance, pause_ms: u64) {
        while !self.stop.get() {
            let key = COUNTERS[chance.between(0, COUNTERS.len() as u64) as usize];
            match client.incr(key.as_bytes(), 1).await {
                Ok(sum) => {
                    if !self.acknowledged.borrow_mut().entry(key).or_default().insert(sum) {
                        self.twice.borrow_mut().push(format!("{key} {sum}"));
                    }
                }
                Err(error) if error.outcome() == ErrorOutcome::Unknown => {
                    *self.unknown.borrow_mut().entry(key).or_default() += 1;
                }
                Err(_) => {}
            }
            sleep(Duration::from_millis(chance.between(0, pause_ms + 1))).await;
        }
    }
}
