//! Who speaks to the cluster, what they can reach, and what comes of what they ask.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::TryStreamExt;
use nodenomad::client::{
    Cas, Client, Consistency, Error, ErrorOutcome, Expected, PutOptions, RangeQuery, ReadOptions, Value,
};
use nodenomad::model::key::{Key, KeyRange};

use crate::language::form::{Args, node};
use crate::language::outcome::Outcome;
use crate::language::table::Act;
use crate::simulated::World;
use crate::stage::duration;

/// The clients of a story.
pub struct Clients {
    /// Reaches everybody.
    pub any: Client,
    /// By machine: what reaches whatever the machine reaches.
    beside: Vec<Client>,
    /// By machine: what reaches the machine and nobody else.
    only: Vec<Client>,
}

/// What is cut: the network is told all of it anew after each change.
#[derive(Default)]
pub struct Links {
    /// From and to.
    pub blocked: BTreeSet<(usize, usize)>,
    /// Machines from which nothing reaches any client.
    pub unheard: BTreeSet<usize>,
    /// Addresses of clients.
    free: Vec<String>,
    beside: Vec<String>,
    only: Vec<String>,
}

impl Clients {
    pub async fn new(world: &World, links: &mut Links) -> Clients {
        let any = free_client(world, links, "any").await;
        let mut clients = Clients { any, beside: Vec::new(), only: Vec::new() };
        for _ in 0..world.count() {
            clients.add(world, links).await;
        }
        clients
    }

    /// Those of the next machine.
    pub async fn add(&mut self, world: &World, links: &mut Links) {
        let n = self.only.len();
        let (address, client) = world.client_of(&format!("beside-{}", n + 1), &[n]).await;
        links.beside.push(address);
        self.beside.push(client);
        let (address, client) = world.client_of(&format!("only-{}", n + 1), &[n]).await;
        links.only.push(address);
        self.only.push(client);
        links.apply(world);
    }

    /// The one that a step names.
    pub fn of(&self, args: &Args) -> &Client {
        let nth = |name| args.optional(name).and_then(node).map(|n| n - 1);
        match (nth("via"), nth("only")) {
            (Some(n), _) => &self.beside[n],
            (_, Some(n)) => &self.only[n],
            _ => &self.any,
        }
    }
}

/// A client that reaches everybody.
pub async fn free_client(world: &World, links: &mut Links, name: &str) -> Client {
    let all: Vec<usize> = (0..world.count()).collect();
    let (address, client) = world.client_of(name, &all).await;
    links.free.push(address);
    links.apply(world);
    client
}

impl Links {
    pub fn apply(&self, world: &World) {
        let address = |n: usize| world.machine(n).address.clone();
        let block = |from: &str, to: &str, blocked| world.net.partition_one_way(from, to, blocked);
        for n in 0..world.count() {
            let node = address(n);
            let unheard = self.unheard.contains(&n);
            for other in (0..world.count()).filter(|other| *other != n) {
                block(&node, &address(other), self.blocked.contains(&(n, other)));
            }
            for client in &self.free {
                block(&node, client, unheard);
            }
            for (at, client) in self.beside.iter().enumerate() {
                block(&node, client, unheard || self.blocked.contains(&(n, at)));
                block(client, &node, self.blocked.contains(&(at, n)));
            }
            for (at, client) in self.only.iter().enumerate() {
                block(&node, client, unheard || n != at);
                block(client, &node, n != at);
            }
        }
    }
}

/// Does what a step asks for, once.
pub async fn perform(client: &Client, act: Act, args: &Args) -> Outcome {
    let key = args.text("KEY").as_bytes();
    let done = match act {
        Act::Put => {
            let ttl: Option<Duration> = args.optional("ttl").map(duration);
            let options = PutOptions { ttl, condition: None };
            client.put_with(key, args.text("VALUE").to_owned(), &options).await.map(|_| Outcome::Ok)
        }
        Act::Get => {
            let consistency = match (args.has("stale"), args.has("session")) {
                (true, _) => Consistency::Stale,
                (_, true) => Consistency::Session,
                _ => Consistency::Linearizable,
            };
            let options = ReadOptions { consistency, at: None };
            client.get_with(key, &options).await.map(|found| found.map_or(Outcome::Absent, value))
        }
        Act::Delete => {
            let there = |there| if there { Outcome::Ok } else { Outcome::Absent };
            client.delete(key).await.map(there)
        }
        Act::Cas => {
            let (old, new) = (&args.nth("VALUE", 0)[0], args.nth("VALUE", 1)[0].text.clone());
            let expected = match old.is("absent") {
                true => Expected::Absent,
                false => Expected::Value(old.text.clone().into()),
            };
            client.cas(key, expected, new).await.map(|came| match came {
                Cas::Done { .. } => Outcome::Ok,
                Cas::Failed { found } => Outcome::Found(found.map(|found| text(&found.value))),
            })
        }
        Act::Incr => {
            let by = args.optional("NUMBER").map_or(1, |by| by.parse().expect("the parser has seen it"));
            client.incr(key, by).await.map(|sum| Outcome::Value(sum.to_string()))
        }
        Act::Scan => scan(client, key, args.nth("KEY", 1)[0].text.as_bytes()).await,
    };
    done.unwrap_or_else(|error| failed(&error))
}

async fn scan(client: &Client, from: &[u8], to: &[u8]) -> Result<Outcome, Error> {
    let range = KeyRange { start: Key::from_name(from)?, end: Some(Key::from_name(to)?) };
    let rows: Vec<_> = client.range(RangeQuery::new(range)).try_collect().await?;
    Ok(Outcome::Rows(rows.iter().map(|row| format!("{}={}", text(&row.key), text(&row.value))).collect()))
}

fn value(found: Value) -> Outcome {
    Outcome::Value(text(&found.value))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An error in a script's words.
pub fn failed(error: &Error) -> Outcome {
    if error.outcome() == ErrorOutcome::Unknown {
        return Outcome::Unknown;
    }
    let reason = match error {
        Error::Unreachable(_) => "unreachable",
        Error::TimedOut(_) => "timeout",
        Error::Conflict(_) => "conflict",
        Error::Forbidden(_) => "forbidden",
        Error::Invalid(_) => "invalid",
        Error::Full(_) => "full",
        Error::NotFound(_) => "missing",
        Error::TooOld(_) => "old",
        Error::Damaged(_) => "damaged",
        Error::Internal(_) | Error::Unknown(_) => "internal",
    };
    Outcome::Error(Some(reason.to_owned()))
}
