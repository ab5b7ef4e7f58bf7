//! Clients that ask for what was, let keys expire, and fill a set.
//!
//! | judged | how |
//! |---|---|
//! | *history* | a read at the stamp of an acknowledged write finds that write; two reads at one timestamp find the same |
//! | *ceiling* | what is written after a read at a timestamp was answered is stamped above it |
//! | *expiry* | what was seen expired stays so; nothing is gone long before its time, or there long after it |
//! | *set* | a scan finds every element whose addition was acknowledged before, and none that nobody has added |
//!
//! Keys are written once, but for those whose past is asked for. Every value is a number, as those of `work` are.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use futures_util::TryStreamExt;
use nodenomad::client::{Cas, Client, PutOptions, RangeQuery, ReadOptions, Row};
use nodenomad::model::id::ShardId;
use nodenomad::model::key::{Key, KeyRange};
use nodenomad::model::time::Timestamp;
use nodenomad::net::chance::Chance;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::simulated::World;
use crate::simulated::machine::EPOCH_MS;

/// Keys whose past is asked for.
const PAST_KEYS: u64 = 4;
/// Clients at work.
const HANDS: u32 = 3;
/// The longest pause of a client, milliseconds.
const PAUSE_MS: u64 = 40;
/// Times to live, milliseconds.
const TTL_MS: (u64, u64) = (200, 2500);
/// A key that is to go within this time, or was, is watched.
const NEAR: Duration = Duration::from_millis(150);
/// So many reads.
const WATCHES: u32 = 8;
/// How far ahead of what it has seen a client asks, milliseconds: less than what a node believes.
const AHEAD_MS: u64 = 480;
/// How far ahead of the true time it asks if it wants to go as far as most clocks allow.
const NEARLY_MS: u64 = 450;
/// How far the cluster's clock may be off the true one, milliseconds: what a clock is off at first, what it jumps, and
/// what others ahead may pull it along.
const CLOCK_OFF_MS: u64 = 1100;
/// Of the past and of what expires, so many are remembered.
const REMEMBERED: usize = 40;

/// A key that expires.
#[derive(Clone, Copy)]
struct Mortal {
    /// Of its write: when it was asked for, and acknowledged.
    begun: Instant,
    done: Instant,
    ttl: Duration,
    /// When somebody had seen it gone.
    gone: Option<Instant>,
}

/// What all of them have been told.
pub struct Times {
    next: Cell<u64>,
    stop: Cell<bool>,
    /// Each has a set of its own: what is late from the one before harms nobody.
    round: Cell<u64>,
    pub done: Cell<u64>,
    /// Key, timestamp, and the value to be found at it.
    past: RefCell<Vec<(String, Timestamp, Option<String>)>>,
    /// The highest timestamp that anything of each shard was read at.
    read_at: RefCell<Floors>,
    mortal: RefCell<BTreeMap<String, Mortal>>,
    tried: RefCell<BTreeSet<String>>,
    added: RefCell<BTreeSet<String>>,
}

struct Hand {
    times: Rc<Times>,
    client: Client,
    chance: Chance,
    promised: Rc<Notify>,
    /// When the simulated world began.
    begin: Instant,
}

impl Times {
    pub fn new() -> Rc<Times> {
        Rc::new(Times {
            next: Cell::new(0),
            stop: Cell::new(false),
            round: Cell::new(1),
            done: Cell::new(0),
            past: RefCell::default(),
            read_at: RefCell::default(),
            mortal: RefCell::default(),
            tried: RefCell::default(),
            added: RefCell::default(),
        })
    }

    pub async fn start(self: &Rc<Self>, world: &World) -> Vec<JoinHandle<()>> {
        self.stop.set(false);
        let mut working = Vec::new();
        for number in 0..HANDS {
            let client = world.client(&format!("times-{number}")).await;
            let hand = self.hand(world, client);
            working.push(tokio::task::spawn_local(hand.run()));
        }
        working
    }

    /// Ends the work; then the whole set is read once more.
    pub async fn stop(self: &Rc<Self>, world: &World, working: Vec<JoinHandle<()>>) {
        self.stop.set(true);
        for one in working {
            one.await.expect("clients do not panic");
        }
        let hand = self.hand(world, world.client("times").await);
        assert!(
            hand.scan_set().await,
            "settling in time: the set can be read in the end\n{}",
            world.describe()
        );
    }

    /// Goes on with another set; what was is remembered only as far as nothing may be written there.
    pub fn forget(&self) {
        self.past.take();
        self.mortal.take();
        self.tried.take();
        self.added.take();
        self.round.set(self.round.get() + 1);
    }

    /// What the names of the elements of the set have in them.
    fn set(&self) -> String {
        format!("/set{}-", self.round.get())
    }

    fn hand(self: &Rc<Self>, world: &World, client: Client) -> Hand {
        let (chance, promised, begin) = (world.chance.fork(), world.promised.clone(), world.begin);
        Hand { times: self.clone(), client, chance, promised, begin }
    }

    fn next(&self) -> u64 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }
}

/// One of the values at random, with its place; they are never none.
fn any<T: Clone>(all: &[T], chance: &Chance) -> Option<T> {
    (!all.is_empty()).then(|| all[chance.between(0, all.len() as u64) as usize].clone())
}

/// The highest timestamps that were read at. No write to the same key, or the same shard, that begins after that may be stamped
/// at or below.
#[derive(Clone, Default)]
struct Floors {
    keys: BTreeMap<String, Timestamp>,
    shards: BTreeMap<ShardId, Timestamp>,
}

impl Floors {
    fn raise(&mut self, shard: Option<ShardId>, key: &str, at: Timestamp) {
        let of_shard = shard.map(|shard| self.shards.entry(shard).or_default());
        for floor in of_shard.into_iter().chain([self.keys.entry(key.to_owned()).or_default()]) {
            *floor = at.max(*floor);
        }
    }

    /// `shard`: the one that the write was done in, where that is sure.
    fn check(&self, shard: Option<ShardId>, key: &str, stamp: Timestamp) {
        let of_shard = shard.and_then(|shard| self.shards.get(&shard));
        for floor in of_shard.into_iter().chain(self.keys.get(key)) {
            assert!(
                stamp > *floor,
                "ceiling: its shard, or it, was read at {floor} before {key} was written, at {stamp}"
            );
        }
    }
}

fn letter(n: u64) -> char {
    char::from(b'a' + (n * 7 % 26) as u8)
}

impl Hand {
    async fn run(self) {
        while !self.times.stop.get() {
            let done = match self.chance.between(0, 100) {
                0..20 => self.write_past().await,
                20..40 => self.read_past().await,
                40..50 => self.read_ahead().await,
                50..62 => self.write_mortal().await,
                62..78 => self.watch_mortal().await,
                78..96 => self.add().await,
                _ => self.scan_set().await,
            };
            self.times.done.set(self.times.done.get() + u64::from(done));
            sleep(Duration::from_millis(self.chance.between(0, PAUSE_MS))).await;
        }
    }

    /// Where a key is, as the client has it from its last answer.
    fn shard_of(&self, key: &str) -> Option<ShardId> {
        let key = Key::from_name(key.as_bytes()).expect("a key");
        let map = self.client.map();
        map.shards().find(|route| route.range.contains(&key)).map(|route| route.shard)
    }

    fn past_key(&self) -> String {
        let n = self.chance.between(0, PAST_KEYS);
        format!("{}/past-{n}", letter(n))
    }

    async fn write_past(&self) -> bool {
        let (key, value) = (self.past_key(), self.times.next().to_string());
        let (floors, before) = (self.times.read_at.borrow().clone(), self.shard_of(&key));
        let Ok(stamp) = self.client.put(key.as_bytes(), value.clone()).await else { return false };
        floors.check(before.filter(|shard| self.shard_of(&key) == Some(*shard)), &key, stamp);
        self.remember(key, stamp, Some(value));
        true
    }

    fn remember(&self, key: String, at: Timestamp, value: Option<String>) {
        let mut past = self.times.past.borrow_mut();
        past.push((key, at, value));
        if past.len() > REMEMBERED {
            let n = self.chance.between(0, REMEMBERED as u64) as usize;
            past.swap_remove(n);
        }
    }

    /// The value of a key at a timestamp; `None` if nobody says.
    async fn at(&self, key: &str, at: Timestamp) -> Option<Option<String>> {
        let options = ReadOptions { at: Some(at), ..ReadOptions::default() };
        let found = self.client.get_with(key.as_bytes(), &options).await.ok()?;
        self.times.read_at.borrow_mut().raise(self.shard_of(key), key, at);
        Some(found.map(|value| String::from_utf8_lossy(&value.value).into_owned()))
    }

    async fn read_past(&self) -> bool {
        let wanted = any(&self.times.past.borrow(), &self.chance);
        let Some((key, at, value)) = wanted else { return false };
        let Some(found) = self.at(&key, at).await else { return false };
        assert!(found == value, "history: {key} at {at} was {value:?} and is {found:?}");
        true
    }

    /// Reads at a time that has not come yet.
    async fn read_ahead(&self) -> bool {
        let key = self.past_key();
        let seen = self.client.seen().ms();
        let at = match self.chance.between(0, 2) {
            0 => seen + self.chance.between(1, AHEAD_MS),
            _ => (seen + 1).max(EPOCH_MS + self.begin.elapsed().as_millis() as u64 + NEARLY_MS),
        };
        let at = Timestamp::from_ms(at);
        let Some(found) = self.at(&key, at).await else { return false };
        self.promised.notify_waiters();
        self.remember(key, at, found);
        true
    }

    async fn write_mortal(&self) -> bool {
        let n = self.times.next();
        let key = format!("{}/mortal-{n}", letter(n));
        let (begun, ttl) = (Instant::now(), Duration::from_millis(self.chance.between(TTL_MS.0, TTL_MS.1)));
        let options = PutOptions { ttl: Some(ttl), condition: None };
        let Ok(Cas::Done { .. }) = self.client.put_with(key.as_bytes(), "1", &options).await else {
            return false;
        };
        let mut mortal = self.times.mortal.borrow_mut();
        mortal.insert(key, Mortal { begun, done: Instant::now(), ttl, gone: None });
        if mortal.len() > REMEMBERED {
            let oldest = mortal.iter().min_by_key(|(_, mortal)| mortal.done + mortal.ttl);
            let oldest = oldest.map(|(key, _)| key.clone()).expect("there are some");
            mortal.remove(&oldest);
        }
        true
    }

    /// Watches one that is about to go, until a little after.
    async fn watch_mortal(&self) -> bool {
        let keys: Vec<String> = {
            let mortal = self.times.mortal.borrow();
            let near = mortal.iter().filter(|(_, mortal)| {
                let (now, end) = (Instant::now(), mortal.done + mortal.ttl);
                now + NEAR > end && end + NEAR > now
            });
            near.map(|(key, _)| key.clone()).collect()
        };
        let Some(key) = any(&keys, &self.chance) else { return false };
        let mut answered = false;
        for _ in 0..WATCHES {
            answered |= self.read_mortal(&key).await;
            sleep(Duration::from_millis(self.chance.between(0, PAUSE_MS))).await;
        }
        answered
    }

    async fn read_mortal(&self, key: &str) -> bool {
        let begin = Instant::now();
        let Ok(found) = self.client.get(key.as_bytes()).await else { return false };
        let mut mortals = self.times.mortal.borrow_mut();
        let Some(mortal) = mortals.get_mut(key) else { return false };
        let (end, off) = (Instant::now(), Duration::from_millis(CLOCK_OFF_MS));
        if found.is_some() {
            assert!(
                mortal.gone.is_none_or(|gone| gone >= begin),
                "expiry: {key} was gone {:?} before it was read, and is back",
                mortal.gone.map(|gone| begin - gone)
            );
            let late = begin.saturating_duration_since(mortal.done + mortal.ttl);
            assert!(late < off, "expiry: {key} is there {late:?} after it was to go");
        } else {
            let early = (mortal.begun + mortal.ttl).saturating_duration_since(end);
            assert!(early < off, "expiry: {key} is gone {early:?} before its time");
            mortal.gone = Some(mortal.gone.map_or(end, |gone| gone.min(end)));
        }
        true
    }

    async fn add(&self) -> bool {
        let n = self.times.next();
        let key = format!("{}{}{n}", letter(n), self.times.set());
        self.times.tried.borrow_mut().insert(key.clone());
        let (floors, before) = (self.times.read_at.borrow().clone(), self.shard_of(&key));
        let Ok(stamp) = self.client.put(key.as_bytes(), "1").await else { return false };
        floors.check(before.filter(|shard| self.shard_of(&key) == Some(*shard)), &key, stamp);
        self.times.added.borrow_mut().insert(key);
        true
    }

    async fn scan_set(&self) -> bool {
        let sure = self.times.added.borrow().clone();
        let all = KeyRange {
            start: Key::from_name(b"a").expect("a key"),
            end: Some(Key::from_name(b"~").expect("a key")),
        };
        let rows: Result<Vec<Row>, _> = self.client.range(RangeQuery::new(all)).try_collect().await;
        let Ok(rows) = rows else { return false };
        let names = rows.iter().map(|row| String::from_utf8_lossy(&row.key).into_owned());
        let set = self.times.set();
        let found: Vec<String> = names.filter(|name| name.contains(&set)).collect();
        assert!(found.is_sorted_by(|a, b| a < b), "set: a scan shows elements twice or in another order");
        let found: BTreeSet<String> = found.into_iter().collect();
        let missing: Vec<&String> = sure.difference(&found).collect();
        assert!(missing.is_empty(), "set: a scan misses {missing:?}");
        let tried = self.times.tried.borrow();
        let strange: Vec<&String> = found.difference(&tried).collect();
        assert!(strange.is_empty(), "set: a scan shows {strange:?}, which nobody has added");
        true
    }
}
