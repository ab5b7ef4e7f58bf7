//! One client of a bench: one operation after the other, each checked as it is answered.
//!
//! Promises: every value read is checked against its key; with a ledger, a linearizable read is never older than what was
//! acknowledged before it began, or it counts as a wrong answer. Does not: retry (the client library does, inside a call).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;

use crate::client::{Cas, Client, Consistency, ErrorOutcome, Expected, RangeQuery, ReadOptions, Row, Value};
use crate::cmd::bench::choice::{Choice, Growth};
use crate::cmd::bench::keys::{Family, Keys};
use crate::cmd::bench::ledger::Ledger;
use crate::cmd::bench::pace::Pace;
use crate::cmd::bench::tally::{Ended, Tally};
use crate::cmd::bench::value::{self, Origin, Values};
use crate::cmd::bench::workload::{Kind, Workload};
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
        Operator { client, shared, chance, choice, name: Vec::new(), origin }
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
            if shared.pace.counts(begun) {
                tally.record(kind, ended, took);
            }
            if shared.ledger.as_ref().is_some_and(Ledger::is_full) {
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
        let shared = &self.shared;
        shared.keys.name(Family::Values, key, &mut self.name);
        let floor = shared.ledger.as_ref().map_or(Timestamp::ZERO, |ledger| ledger.seen(key));
        let found = self.client.get_with(&self.name, &shared.reading).await;
        let found = found.map_err(|error| Ended::by(&error))?;
        self.check(key, floor, found.as_ref())
    }

    async fn put(&mut self, key: u64) -> Result<(), Ended> {
        let (value, origin) = self.next_value(key);
        let written = self.client.put(&self.name, value).await;
        self.wrote(key, origin, written.map(|stamp| Cas::Done { stamp }))
    }

    /// Expects what was last seen or, if nothing was, that the key is there.
    async fn cas(&mut self, key: u64) -> Result<(), Ended> {
        let (value, origin) = self.next_value(key);
        let seen = self.shared.ledger.as_ref().map_or(Timestamp::ZERO, |ledger| ledger.seen(key));
        let expected = if seen == Timestamp::ZERO { Expected::Present } else { Expected::Stamp(seen) };
        let written = self.client.cas(&self.name, expected, value).await;
        self.wrote(key, origin, written)
    }

    async fn incr(&mut self, number: u64) -> Result<(), Ended> {
        let shared = &self.shared;
        shared.keys.name(Family::Numbers, number, &mut self.name);
        let counted = self.client.incr(&self.name, 1).await;
        match (counted, &shared.ledger) {
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
        let shared = &self.shared;
        let length = match shared.workload.scans_vary() {
            true => self.chance.between(1, shared.scan_length + 1),
            false => shared.scan_length,
        };
        let (range, options) = (shared.keys.from(Family::Values, key), shared.reading);
        let query = RangeQuery { range, limit: Some(length), reverse: false, options };
        let (mut rows, mut first) = (self.client.range(query), true);
        while let Some(row) = rows.next().await {
            let Row { key: name, value, .. } = row.map_err(|error| Ended::by(&error))?;
            let Some(number) = shared.keys.number(Family::Values, &name) else { continue };
            if first && number != key {
                break;
            }
            first = false;
            value::check(&value, number)
                .map_err(|damage| self.wrong(format!("the value of k{number}: {damage}")))?;
        }
        match first {
            true => self.absent(key),
            false => Ok(()),
        }
    }

    /// The name is left in `name`.
    fn next_value(&mut self, key: u64) -> (bytes::Bytes, Origin) {
        self.shared.keys.name(Family::Values, key, &mut self.name);
        self.origin.sequence += 1;
        (self.shared.values.make(key, self.origin), self.origin)
    }

    /// Notes how a write came out.
    fn wrote(
        &self,
        key: u64,
        origin: Origin,
        written: Result<Cas, crate::client::Error>,
    ) -> Result<(), Ended> {
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
