//! What clients were told, against which everything found later is judged.
//!
//! Each key has one writer, which writes 1, 2, 3, ... and never the same number twice. So at any moment a linearizable read
//! must find at least what was acknowledged before the read began and at most what was tried before it ended.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use nodenomad::client::Client;
use nodenomad::client::ErrorOutcome;
use nodenomad::model::time::Timestamp;
use nodenomad::net::chance::Chance;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::trace::Trace;

/// How far a stamp may lie from true time, milliseconds: the clock bound and what the clocks are off.
const STAMP_BOUND_MS: u64 = 700;
/// Keys of one writer.
const KEYS: u64 = 6;

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    acknowledged: u64,
    tried: u64,
    stamp: Timestamp,
}

/// Shared by all writers and readers of a world.
pub struct Ledger {
    known: RefCell<BTreeMap<String, Known>>,
    trace: Trace,
    begin: Instant,
    /// The epoch of the world's true time.
    begin_ms: u64,
    acknowledged: Cell<u64>,
    last_acknowledged: Cell<Instant>,
    stop: Cell<bool>,
    pub value_bytes: Cell<usize>,
}

/// What one client does.
#[derive(Clone)]
pub struct Hand {
    pub client: Client,
    pub chance: Chance,
    pub name: String,
    /// Its longest pause between two operations, milliseconds.
    pub pause_ms: u64,
}

impl Ledger {
    pub fn new(begin_ms: u64) -> Rc<Ledger> {
        Rc::new(Ledger {
            known: RefCell::default(),
            trace: Trace::new(),
            begin: Instant::now(),
            begin_ms,
            acknowledged: Cell::new(0),
            last_acknowledged: Cell::new(Instant::now()),
            stop: Cell::new(false),
            value_bytes: Cell::new(200),
        })
    }

    /// Starts writers that also read what others wrote.
    pub fn start(
        self: &Rc<Self>,
        client: &Client,
        chance: &Chance,
        count: u64,
        pause_ms: u64,
    ) -> Vec<JoinHandle<()>> {
        let hand = |writer: u64| Hand {
            client: client.clone(),
            chance: chance.fork(),
            // Of two ledgers of one world each has keys of its own.
            name: format!("writer-{}-{writer}", self.begin_ms % 1_000_000),
            pause_ms,
        };
        (0..count).map(|writer| tokio::task::spawn_local(self.clone().work(hand(writer)))).collect()
    }

    /// Ends all work; what is under way is waited for.
    pub async fn stop(&self, workers: Vec<JoinHandle<()>>) {
        self.stop.set(true);
        for worker in workers {
            worker.await.expect("writers do not panic");
        }
        self.stop.set(false);
    }

    async fn work(self: Rc<Self>, hand: Hand) {
        while !self.stop.get() {
            match hand.chance.between(0, 4) {
                0 => drop(self.read_any(&hand).await),
                _ => drop(self.write(&hand).await),
            }
            if hand.pause_ms > 0 {
                sleep(Duration::from_millis(hand.chance.between(0, hand.pause_ms))).await;
            }
        }
    }

    /// Writes the next number to one of the writer's own keys; true if it was acknowledged.
    pub async fn write(&self, hand: &Hand) -> bool {
        let n = hand.chance.between(0, KEYS);
        // Spread over all shards.
        let letter = char::from(b'a' + (n * 26 / KEYS) as u8);
        self.write_key(hand, format!("{letter}/{}/{n}", hand.name)).await
    }

    pub async fn write_key(&self, hand: &Hand, key: String) -> bool {
        let number = {
            let mut known = self.known.borrow_mut();
            let known = known.entry(key.clone()).or_default();
            known.tried += 1;
            known.tried
        };
        let value = format!(
            "{number}:{}",
            "v".repeat(hand.chance.between(0, self.value_bytes.get() as u64 + 1) as usize)
        );
        let put = hand.client.put(key.as_bytes(), value.into_bytes()).await;
        let outcome = match &put {
            Ok(stamp) => {
                self.acknowledge(&key, number, *stamp);
                format!("done at {stamp}")
            }
            Err(error) => format!("{:?}", error.outcome()),
        };
        self.note(&format!("put {key} {number} {outcome}"));
        if let Err(error) = &put
            && error.outcome() == ErrorOutcome::Failed
        {
            let why = (error.exit_code(), error.trouble());
            assert_eq!(why.0, 3, "a write fails only for want of time: {why:?}");
        }
        put.is_ok()
    }

    fn acknowledge(&self, key: &str, number: u64, stamp: Timestamp) {
        let mut known = self.known.borrow_mut();
        let known = known.get_mut(key).expect("it was tried");
        assert!(stamp > known.stamp, "stamps of {key} rise: {stamp} after {}", known.stamp);
        let now_ms = self.begin_ms + self.begin.elapsed().as_millis() as u64;
        assert!(stamp.ms() <= now_ms + STAMP_BOUND_MS, "{key} is stamped {} ms ahead", stamp.ms() - now_ms);
        (known.acknowledged, known.stamp) = (number, stamp);
        self.acknowledged.set(self.acknowledged.get() + 1);
        self.last_acknowledged.set(Instant::now());
    }

    async fn read_any(&self, hand: &Hand) -> bool {
        if self.known.borrow().is_empty() {
            return false;
        }
        let key = self.any_key(&hand.chance);
        self.read(&hand.client, &key).await
    }

    /// A drawn key among those written.
    pub fn any_key(&self, chance: &Chance) -> String {
        let known = self.known.borrow();
        let n = chance.between(0, known.len() as u64) as usize;
        known.keys().nth(n).expect("below its length").clone()
    }

    /// Reads a key linearizably and judges what is found; true if there was an answer.
    pub async fn read(&self, client: &Client, key: &str) -> bool {
        let floor = self.known.borrow()[key].acknowledged;
        let begin = self.begin.elapsed();
        let got = client.get(key.as_bytes()).await;
        let tried = self.known.borrow()[key].tried;
        let found = match &got {
            Ok(None) => Some(0),
            Ok(Some(value)) => {
                let text = std::str::from_utf8(&value.value).unwrap();
                Some(text.split(':').next().unwrap().parse::<u64>().unwrap())
            }
            Err(_) => None,
        };
        self.note(&format!("get {key} {found:?}"));
        let Some(found) = found else { return false };
        let during = format!("from {begin:?} to {:?}", self.begin.elapsed());
        assert!(found >= floor, "{key}, read {during}: {floor} was acknowledged before, {found} is there");
        assert!(found <= tried, "{key}, read {during}: {found} was never written");
        true
    }

    /// Reads every key; all must be answered.
    pub async fn verify(&self, client: &Client) {
        let keys: Vec<String> = self.known.borrow().keys().cloned().collect();
        for key in keys {
            let mut answered = self.read(client, &key).await;
            for _ in 0..3 {
                answered = answered || self.read(client, &key).await;
            }
            assert!(answered, "nobody answers for {key}");
        }
    }

    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.get()
    }

    /// How long ago the last write was acknowledged.
    pub fn quiet(&self) -> Duration {
        self.last_acknowledged.get().elapsed()
    }

    /// Waits until `more` writes have been acknowledged; how long it took.
    pub async fn wait_for(&self, more: u64, limit: Duration) -> Duration {
        let (begin, target) = (Instant::now(), self.acknowledged() + more);
        while self.acknowledged() < target {
            assert!(begin.elapsed() < limit, "no {more} writes in {limit:?}");
            sleep(Duration::from_millis(5)).await;
        }
        begin.elapsed()
    }

    /// Adds a line to the trace.
    pub fn note(&self, line: &str) {
        self.trace.note(line);
    }

    /// The first error that a writer was told, if any was.
    pub fn told_errors(&self) -> Option<String> {
        let errors = [ErrorOutcome::Failed, ErrorOutcome::Unknown].map(|outcome| format!(" {outcome:?}"));
        let trace = self.trace();
        let told = trace.lines().find(|line| errors.iter().any(|error| line.ends_with(error.as_str())));
        told.map(str::to_owned)
    }

    /// All lines so far.
    pub fn trace(&self) -> String {
        self.trace.text()
    }
}
