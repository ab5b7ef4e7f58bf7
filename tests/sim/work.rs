//! What clients do meanwhile, and what they were told.
//!
//! Each operation is noted with its outcome: done, failed (nothing changed; not noted as having happened) or unknown. An
//! operation is never tried again here: what the client library does inside one is its own affair. Values are never
//! written twice, so that each tells who wrote it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use futures_util::TryStreamExt;
use nodenomad::client::{Cas, Client, Error, ErrorOutcome, Expected, RangeQuery, Value};
use nodenomad::model::history::{Action, Operation, Swapped, Verdict, judge};
use nodenomad::model::key::{Key, KeyRange};
use nodenomad::net::chance::Chance;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::simulated::World;

/// Keys that hold values: few, so that they are fought for; spread over all shards.
const REGISTERS: u64 = 9;
/// Keys that hold numbers.
const COUNTERS: u64 = 3;
/// Of a hundred operations these are reads.
const READS_BELOW: u64 = 35;
/// The longest pause of a client, milliseconds.
const PAUSE_MS: u64 = 60;
/// Most filler of a value, bytes; and of one in three, which takes more than two sectors.
const FILLER_MAX: u64 = 900;
const LARGE_FILLER_MAX: u64 = 4000;

/// What all clients of a run have done.
pub struct Work {
    world: Rc<World>,
    begin: Instant,
    histories: RefCell<BTreeMap<String, Vec<Operation>>>,
    next_value: Cell<u64>,
    pub done: Cell<u64>,
    pub failed: Cell<u64>,
    pub unknown: Cell<u64>,
    stop: Cell<bool>,
    /// Each has its own keys: what is late from the one before harms nobody.
    round: Cell<u64>,
}

/// One client.
struct Hand {
    work: Rc<Work>,
    client: Client,
    number: u32,
    chance: Chance,
    /// What it last saw in each register.
    seen: BTreeMap<String, Option<u64>>,
}

impl Work {
    pub fn new(world: &Rc<World>) -> Rc<Work> {
        Rc::new(Work {
            world: world.clone(),
            begin: Instant::now(),
            histories: RefCell::default(),
            next_value: Cell::new(0),
            done: Cell::new(0),
            failed: Cell::new(0),
            unknown: Cell::new(0),
            stop: Cell::new(false),
            round: Cell::new(1),
        })
    }

    /// Puts `count` clients to work, each with a session of its own.
    pub async fn start(self: &Rc<Self>, count: u32) -> Vec<JoinHandle<()>> {
        self.stop.set(false);
        let mut working = Vec::new();
        for number in 0..count {
            let client = self.world.client(&format!("worker-{number}")).await;
            let (work, chance) = (self.clone(), self.world.chance.fork());
            let hand = Hand { work, client, number, chance, seen: BTreeMap::new() };
            working.push(tokio::task::spawn_local(hand.run()));
        }
        working
    }

    /// Ends the work; what is under way is waited for.
    pub async fn stop(&self, working: Vec<JoinHandle<()>>) {
        self.stop.set(true);
        for one in working {
            one.await.expect("clients do not panic");
        }
    }

    /// Reads every key once more; all must be answered.
    pub async fn read_all(self: &Rc<Self>) {
        let client = self.world.client("reader").await;
        let (work, chance) = (self.clone(), self.world.chance.fork());
        let mut hand = Hand { work, client, number: u32::MAX, chance, seen: BTreeMap::new() };
        let failed = self.failed.get();
        for key in self.registers().chain(self.counters()) {
            hand.get(key).await;
        }
        hand.scan().await;
        assert_eq!(self.failed.get(), failed, "every key can be read in the end");
    }

    /// Judges every key's history. Returns how many operations there were, and how many keys could not be decided.
    pub fn judge(&self) -> (usize, usize) {
        let (mut operations, mut undecided) = (0, 0);
        for (key, history) in self.histories.borrow().iter() {
            operations += history.len();
            match judge(history) {
                Verdict::Linearizable => {}
                Verdict::Undecided => undecided += 1,
                Verdict::Impossible { operation, state } => {
                    let wrong = history[operation];
                    let near = |other: &&Operation| {
                        other.end.is_none_or(|end| end + 2_000_000_000 > wrong.begin)
                            && other.begin < wrong.end.unwrap_or(u64::MAX)
                    };
                    let around: Vec<_> = history.iter().filter(near).collect();
                    panic!(
                        "linearizability: of {key} {wrong:?} is explained by no order; at best it held {state:?}; \
                         around it:\n{around:#?}"
                    );
                }
            }
        }
        (operations, undecided)
    }

    /// Goes on with other keys; of those so far nothing is remembered.
    pub fn forget(&self) {
        self.histories.take();
        self.round.set(self.round.get() + 1);
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    /// Keys of values.
    fn registers(&self) -> impl Iterator<Item = String> + use<> {
        let round = self.round.get();
        (0..REGISTERS)
            .map(move |n| format!("{}/register-{round}", char::from(b'a' + (n * 26 / REGISTERS) as u8)))
    }

    fn counters(&self) -> impl Iterator<Item = String> + use<> {
        let round = self.round.get();
        (0..COUNTERS)
            .map(move |n| format!("{}/counter-{round}", char::from(b'a' + (n * 26 / COUNTERS) as u8)))
    }
}

/// All keys that anybody here writes.
fn everything() -> KeyRange {
    KeyRange { start: Key::from_name(b"a").expect("a key"), end: Some(Key::from_name(b"~").expect("a key")) }
}

/// Deletes whatever is there.
pub async fn delete_all(client: &Client) {
    let rows: Result<Vec<_>, Error> = client.range(RangeQuery::new(everything())).try_collect().await;
    for row in rows.unwrap_or_else(|error| panic!("all can be read in the end: {error}")) {
        let deleted = client.delete(&row.key).await;
        deleted.unwrap_or_else(|error| panic!("{:?} can be deleted in the end: {error}", row.key));
    }
}

fn value_bytes(value: u64) -> Vec<u8> {
    let most = if value.is_multiple_of(3) { LARGE_FILLER_MAX } else { FILLER_MAX };
    format!("{value}:{}", "v".repeat((value.wrapping_mul(7919) % most) as usize)).into_bytes()
}

fn number_of(value: &[u8]) -> u64 {
    let text = std::str::from_utf8(value).expect("only text was written");
    text.split(':').next().and_then(|number| number.parse().ok()).expect("it begins with a number")
}

impl Hand {
    async fn run(mut self) {
        while !self.work.stop.get() {
            let register =
                self.work.registers().nth(self.chance.between(0, REGISTERS) as usize).expect("it is one");
            // Some only read: they do not learn from writes that fail who leads.
            let kinds = if self.number % 3 == 2 { READS_BELOW } else { 100 };
            match self.chance.between(0, kinds) {
                0..READS_BELOW => self.get(register).await,
                READS_BELOW..60 => self.put(register).await,
                60..75 => self.cas(register).await,
                75..80 => self.delete(register).await,
                80..95 => {
                    let n = self.chance.between(0, COUNTERS) as usize;
                    self.incr(self.work.counters().nth(n).expect("it is one")).await;
                }
                _ => self.scan().await,
            }
            sleep(Duration::from_millis(self.chance.between(0, PAUSE_MS))).await;
        }
    }

    async fn get(&mut self, key: String) {
        let begin = self.work.now();
        let got = self.client.get(key.as_bytes()).await;
        let found = got.map(|found| self.look(&key, found));
        self.tell(key, begin, found, |found| Action::Get { found }, None);
    }

    async fn put(&mut self, key: String) {
        let (value, begin) = (self.next_value(), self.work.now());
        let put = self.client.put(key.as_bytes(), value_bytes(value)).await;
        self.tell(key, begin, put, |_| Action::Put { value }, Some(Action::Put { value }));
    }

    async fn delete(&mut self, key: String) {
        let begin = self.work.now();
        let deleted = self.client.delete(key.as_bytes()).await;
        let action = |existed| Action::Delete { existed };
        self.tell(key, begin, deleted, |existed| action(Some(existed)), Some(action(None)));
    }

    async fn cas(&mut self, key: String) {
        let expected = self.seen.get(&key).copied().flatten();
        let wanted = expected.map_or(Expected::Absent, |value| Expected::Value(value_bytes(value).into()));
        let (value, begin) = (self.next_value(), self.work.now());
        let swapped = self.client.cas(key.as_bytes(), wanted, value_bytes(value)).await;
        let action = |told| Action::Cas { expected, value, told };
        let told = swapped.map(|swapped| match swapped {
            Cas::Done { .. } => Swapped::Done,
            Cas::Failed { found } => Swapped::Failed { found: self.look(&key, found) },
        });
        self.tell(key, begin, told, action, Some(action(Swapped::Unknown)));
    }

    async fn incr(&mut self, key: String) {
        let (by, begin) = (1 + self.chance.between(0, 3) as i64, self.work.now());
        let counted = self.client.incr(key.as_bytes(), by).await;
        let action = |sum| Action::Incr { by, sum };
        self.tell(key, begin, counted, |sum| action(Some(sum)), Some(action(None)));
    }

    /// Reads all keys at once: of each, what was there or that nothing was.
    async fn scan(&mut self) {
        let begin = self.work.now();
        let rows: Result<Vec<_>, Error> =
            self.client.range(RangeQuery::new(everything())).try_collect().await;
        let rows = rows.map(|rows| {
            rows.iter().map(|row| (row.key.to_vec(), number_of(&row.value))).collect::<BTreeMap<_, _>>()
        });
        match rows {
            Err(error) => {
                self.tell(String::new(), begin, Err::<(), _>(error), |()| Action::Get { found: None }, None)
            }
            Ok(rows) => {
                for key in self.work.registers().chain(self.work.counters()) {
                    let found = rows.get(key.as_bytes()).copied();
                    self.tell(key, begin, Ok(()), |()| Action::Get { found }, None);
                }
            }
        }
    }

    fn next_value(&self) -> u64 {
        self.work.next_value.set(self.work.next_value.get() + 1);
        self.work.next_value.get()
    }

    fn look(&mut self, key: &str, found: Option<Value>) -> Option<u64> {
        let found = found.map(|found| number_of(&found.value));
        self.seen.insert(key.to_owned(), found);
        found
    }

    /// Notes how an operation came out. `unknown`: what may have happened if nobody knows.
    fn tell<T>(
        &self,
        key: String,
        begin: u64,
        answer: Result<T, Error>,
        action: impl FnOnce(T) -> Action,
        unknown: Option<Action>,
    ) {
        let work = &self.work;
        let (action, end) = match answer {
            Ok(answer) => {
                work.done.set(work.done.get() + 1);
                (action(answer), Some(work.now()))
            }
            Err(error) => {
                let is_unknown = error.outcome() == ErrorOutcome::Unknown;
                let count = if is_unknown { &work.unknown } else { &work.failed };
                count.set(count.get() + 1);
                work.world.trace.note(&format!("{} {key} {:?}", self.number, error.outcome()));
                let Some(action) = unknown.filter(|_| is_unknown) else { return };
                (action, None)
            }
        };
        work.world.trace.note(&format!("{} {key} {action:?}", self.number));
        let operation = Operation { client: self.number, begin, end, action };
        work.histories.borrow_mut().entry(key).or_default().push(operation);
    }
}
