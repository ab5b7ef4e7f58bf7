//! One client of a bench: one operation after the other, each checked as it is answered.
//!
//! Promises: every value read is checked against its key; with a ledger, a linearizable read is never older than what was
//! acknowledged before it began, or it counts as a wrong answer. Does not: retry (the client library does, inside a call).

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use parking_lot::Mutex;

use crate::client::{
    Cas, Client, Consistency, Error, ErrorOutcome, Expected, RangeQuery, ReadOptions, Row, Value,
};
use crate::cmd::bench::choice::{Choice, Growth};
use crate::cmd::bench::history::{self, History};
use crate::cmd::bench::keys::{Family, Keys};
use crate::cmd::bench::ledger::Ledger;
use crate::cmd::bench::pace::Pace;
use crate::cmd::bench::tally::{Ended, Tally};
use crate::cmd::bench::value::{self, Origin, Values};
use crate::cmd::bench::workload::{Kind, Workload};
use crate::model::history::{Action, Swapped};
use crate::model::time::Timestamp;
use crate::net::chance::Chance;

/// Pause of a client after a failure, so that a dead cluster is not hammered.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

/// What the clients of a run share.
pub struct Shared {
    pub workload: Workload,
    pub keys: Keys,
    /// How many keys are chosen from.
    pub key_count: u64,
    pub values: Values,
    pub growth: Growth,
    /// True if the keys chosen from are there.
    pub loaded: bool,
    pub pace: Pace,
    pub reading: ReadOptions,
    pub scan_length: u64,
    /// Kept for workloads that need it and runs that are verified.
    pub ledger: Option<Ledger>,
    /// Kept for runs that are checked.
    pub history: Option<History>,
    pub run: u32,
    pub live: Live,
}

/// What the whole run has come to so far, warm-up included.
#[derive(Default)]
pub struct Live {
    pub answered: AtomicU64,
    pub failed: AtomicU64,
    /// Answers that were wrong: how many, and one of them.
    wrong: Mutex<(u64, Option<String>)>,
}

/// One client.
pub struct Operator {
    client: Client,
    shared: Arc<Shared>,
    chance: Chance,
    choice: Choice,
    name: Vec<u8>,
    origin: Origin,
    /// What it last saw in each key, in runs that are checked.
    held: HashMap<u64, Origin>,
}

impl Shared {
    /// True if no more can be kept account of.
    pub fn is_full(&self) -> bool {
        self.ledger.as_ref().is_some_and(Ledger::is_full)
            || self.history.as_ref().is_some_and(History::is_full)
    }
}

impl Live {
    /// Answers that were wrong: how many, and one of them.
    pub fn wrong(&self) -> (u64, Option<String>) {
        self.wrong.lock().clone()
    }

    fn note(&self, what: &str) {
        let mut wrong = self.wrong.lock();
        wrong.0 += 1;
        wrong.1.get_or_insert_with(|| what.to_owned());
    }
}

impl Operator {
    /// `writer`: its number among the clients of the run.
    pub fn new(client: Client, shared: Arc<Shared>, chance: Chance, writer: u16) -> Operator {
        let choice = Choice::new(shared.workload.distribution(), shared.key_count);
        let origin = Origin { run: shared.run, writer, sequence: 0 };
        Operator { client, shared, chance, choice, name: Vec::new(), origin, held: HashMap::new() }
    }

    /// Works until the run is over.
    pub async fn work(mut self) -> Tally {
        let (mut tally, shared) = (Tally::default(), Arc::clone(&self.shared));
        while let Some(begun) = shared.pace.next().await {
            let kind = shared.workload.draw(&self.chance);
            let ended = self.operate(kind).await;
            let (took, answered) = (begun.elapsed(), ended.is_answered());
            let live = if answered { &shared.live.answered } else { &shared.live.failed };
            live.fetch_add(1, Ordering::Relaxed);
            if let Some(after) = shared.pace.measured_after(begun) {
                tally.record(kind, ended, after, took);
            }
            if shared.is_full() {
                shared.pace.stop();
            }
            if !answered && !shared.pace.is_open_loop() {
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
        tally
    }

    async fn operate(&mut self, kind: Kind) -> Ended {
        if kind == Kind::Insert {
            return self.insert().await;
        }
        let key = self.choice.key(&self.shared.growth, &self.chance);
        let ended = match kind {
            Kind::Get => self.get(key).await,
            Kind::Put => self.put(key).await,
            Kind::Cas => self.cas(key).await,
            Kind::Incr => self.incr(key).await,
            Kind::Scan => self.scan(key).await,
            Kind::Rmw => match self.get(key).await {
                Ok(()) => self.put(key).await,
                failed => failed,
            },
            Kind::Insert => unreachable!("it was taken care of"),
        };
        ended.err().unwrap_or(Ended::Done)
    }

    async fn insert(&mut self) -> Ended {
        let key = self.shared.growth.next();
        match self.put(key).await {
            Ok(()) => {
                self.shared.growth.done(key);
                Ended::Done
            }
            Err(ended) => {
                self.shared.growth.not_done(key);
                ended
            }
        }
    }

    async fn get(&mut self, key: u64) -> Result<(), Ended> {
        self.shared.keys.name(Family::Values, key, &mut self.name);
        let floor = self.shared.ledger.as_ref().map_or(Timestamp::ZERO, |ledger| ledger.seen(key));
        let begin = self.now();
        let found = self.client.get_with(&self.name, &self.shared.reading).await;
        let found = found.map_err(|error| Ended::by(&error))?;
        self.note_read(key, begin, found.as_ref().map(|found| &found.value));
        self.check(key, floor, found.as_ref())
    }

    async fn put(&mut self, key: u64) -> Result<(), Ended> {
        let (value, origin) = self.next_value(key);
        let begin = self.now();
        let written = self.client.put(&self.name, value).await.map(|stamp| Cas::Done { stamp });
        self.note_write(key, begin, &written, |value, _| Action::Put { value });
        self.wrote(key, origin, written)
    }

    /// Expects what was last seen or, if nothing was, that the key is there.
    async fn cas(&mut self, key: u64) -> Result<(), Ended> {
        let (value, origin) = self.next_value(key);
        let seen = self.shared.ledger.as_ref().map_or(Timestamp::ZERO, |ledger| ledger.seen(key));
        let held = self.held.get(&key).copied();
        let expected = match held {
            // Two writes of a key may carry one value only if they are one write.
            Some(held) => Expected::Value(self.shared.values.make(key, held)),
            None if self.shared.history.is_some() => Expected::Absent,
            None if seen == Timestamp::ZERO => Expected::Present,
            None => Expected::Stamp(seen),
        };
        let begin = self.now();
        let written = self.client.cas(&self.name, expected, value).await;
        let expected = held.zip(self.shared.history.as_ref()).map(|(held, history)| history.number(held));
        self.note_write(key, begin, &written, |value, told| Action::Cas { expected, value, told });
        self.wrote(key, origin, written)
    }

    async fn incr(&mut self, number: u64) -> Result<(), Ended> {
        self.shared.keys.name(Family::Numbers, number, &mut self.name);
        let begin = self.now();
        let counted = self.client.incr(&self.name, 1).await;
        self.note_count(number, begin, &counted);
        match (counted, &self.shared.ledger) {
            (Ok(sum), Some(ledger)) => ledger.count(number, sum),
            (Err(error), ledger) => {
                if let (ErrorOutcome::Unknown, Some(ledger)) = (error.outcome(), ledger) {
                    ledger.doubt_count(number);
                }
                return Err(Ended::by(&error));
            }
            (Ok(_), None) => {}
        }
        Ok(())
    }

    async fn scan(&mut self, key: u64) -> Result<(), Ended> {
        let shared = Arc::clone(&self.shared);
        let length = match shared.workload.scans_vary() {
            true => self.chance.between(1, shared.scan_length + 1),
            false => shared.scan_length,
        };
        let (range, options) = (shared.keys.from(Family::Values, key), shared.reading);
        let query = RangeQuery { range, limit: Some(length), reverse: false, options };
        let (mut rows, mut first) = (self.client.range(query), true);
        let (begin, is_checked) = (self.now(), shared.history.is_some());
        let (mut next, mut left) = (key, length);
        while let Some(row) = rows.next().await {
            let Row { key: name, value, .. } = row.map_err(|error| Ended::by(&error))?;
            let Some(number) = shared.keys.number(Family::Values, &name) else { continue };
            if first && number != key && !is_checked {
                break;
            }
            first = false;
            if is_checked {
                self.note_gap(next..number, length, begin);
                self.note_read(number, begin, Some(&value));
                (next, left) = (number + 1, left - 1);
            }
            value::check(&value, number)
                .map_err(|damage| self.wrong(format!("the value of k{number}: {damage}")))?;
        }
        // Fewer than asked for: there are no more.
        if left > 0 && is_checked {
            self.note_gap(next..shared.key_count, length, begin);
        }
        match first {
            true => self.absent(key),
            false => Ok(()),
        }
    }

    /// The name is left in `name`.
    fn next_value(&mut self, key: u64) -> (Bytes, Origin) {
        self.shared.keys.name(Family::Values, key, &mut self.name);
        self.origin.sequence += 1;
        (self.shared.values.make(key, self.origin), self.origin)
    }

    /// When an operation begins that is to be noted.
    fn now(&self) -> u64 {
        self.shared.history.as_ref().map_or(0, History::now)
    }

    /// Notes that a scan found none of these keys; of a wide gap only the beginning, so that notes stay bounded.
    fn note_gap(&mut self, gap: Range<u64>, length: u64, begin: u64) {
        gap.take(length as usize).for_each(|absent| self.note_read(absent, begin, None));
    }

    /// Notes what a key was found to hold.
    fn note_read(&mut self, key: u64, begin: u64, found: Option<&Bytes>) {
        let Some(history) = &self.shared.history else { return };
        let found = look(&mut self.held, history, key, found);
        history.answered((Family::Values, key), self.origin.writer, begin, Action::Get { found });
    }

    /// Notes how a write of the last value came out.
    fn note_write(
        &mut self,
        key: u64,
        begin: u64,
        written: &Result<Cas, Error>,
        action: impl Fn(u64, Swapped) -> Action,
    ) {
        let Some(history) = &self.shared.history else { return };
        let (name, writer, value) = ((Family::Values, key), self.origin.writer, history.number(self.origin));
        match written {
            Ok(Cas::Done { .. }) => {
                history.answered(name, writer, begin, action(value, Swapped::Done));
                self.held.insert(key, self.origin);
            }
            Ok(Cas::Failed { found }) => {
                let found = look(&mut self.held, history, key, found.as_ref().map(|found| &found.value));
                history.answered(name, writer, begin, action(value, Swapped::Failed { found }));
            }
            Err(error) if error.outcome() == ErrorOutcome::Unknown => {
                history.unknown(name, writer, begin, action(value, Swapped::Unknown));
            }
            Err(_) => {}
        }
    }

    fn note_count(&self, number: u64, begin: u64, counted: &Result<i64, Error>) {
        let Some(history) = &self.shared.history else { return };
        let (name, writer) = ((Family::Numbers, number), self.origin.writer);
        let action = |sum| Action::Incr { by: 1, sum };
        match counted {
            Ok(sum) => history.answered(name, writer, begin, action(Some(*sum))),
            Err(error) if error.outcome() == ErrorOutcome::Unknown => {
                history.unknown(name, writer, begin, action(None));
            }
            Err(_) => {}
        }
    }

    /// Judges how a write came out.
    fn wrote(&self, key: u64, origin: Origin, written: Result<Cas, Error>) -> Result<(), Ended> {
        let ledger = self.shared.ledger.as_ref();
        match written {
            Ok(Cas::Done { stamp }) => {
                if let Some(ledger) = ledger {
                    ledger.acknowledge(key, stamp, origin);
                }
                Ok(())
            }
            Ok(Cas::Failed { found: Some(found) }) => {
                if let Some(ledger) = ledger {
                    ledger.see(key, found.stamp);
                }
                Err(Ended::ConditionFailed)
            }
            Ok(Cas::Failed { found: None }) => self.absent(key).and(Err(Ended::ConditionFailed)),
            Err(error) => {
                if let (ErrorOutcome::Unknown, Some(ledger)) = (error.outcome(), ledger) {
                    ledger.doubt(key, origin);
                }
                Err(Ended::by(&error))
            }
        }
    }

    /// Checks what a read found. `floor`: what it must not be older than.
    fn check(&self, key: u64, floor: Timestamp, found: Option<&Value>) -> Result<(), Ended> {
        let Some(found) = found else { return self.absent(key) };
        value::check(&found.value, key)
            .map_err(|damage| self.wrong(format!("the value of k{key}: {damage}")))?;
        let Some(ledger) = &self.shared.ledger else { return Ok(()) };
        if self.shared.reading.consistency == Consistency::Linearizable && found.stamp < floor {
            return Err(self.wrong(format!("k{key} was read as of {}, after {floor} was known", found.stamp)));
        }
        ledger.see(key, found.stamp);
        Ok(())
    }

    /// A key is absent: fine for a read that may be behind, wrong if it was loaded.
    fn absent(&self, key: u64) -> Result<(), Ended> {
        let shared = &self.shared;
        if shared.loaded && shared.reading.consistency == Consistency::Linearizable {
            return Err(self.wrong(format!("k{key} is absent, although it was loaded")));
        }
        Ok(())
    }

    fn wrong(&self, what: String) -> Ended {
        self.shared.live.note(&what);
        Ended::wrong(what)
    }
}

/// What stands for the value that a key was found to hold; it is remembered.
fn look(held: &mut HashMap<u64, Origin>, history: &History, key: u64, found: Option<&Bytes>) -> Option<u64> {
    let Some(found) = found else {
        held.remove(&key);
        return None;
    };
    match value::check(found, key) {
        Ok(origin) => {
            held.insert(key, origin);
            Some(history.number(origin))
        }
        Err(_) => Some(history::FOREIGN),
    }
}
