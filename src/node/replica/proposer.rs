//! Writes on their way into the log of a shard this node leads.
//!
//! While one entry is under way, the writes that come in gather into the next. Each entry is made for a term: before the
//! first one of a term the leader waits until everything before it is applied, so that its stamps lie above every
//! stamp and every ceiling in the log; an entry of an older term can never be appended to a later one.
//!
//! Each entry carries a *ceiling* a little ahead of the clock. Reads are served at timestamps up to the committed ceiling
//! only, and the next leader starts its clock above it, so no later write can slip below a read already answered.
//!
//! ## Invariants and what guards each
//!
//! - Stamps rise in log order, over all terms: guarded by `model::evaluate::tests::stamps_rise_and_bounds_hold`,
//!   `sim_node::what_was_read_at_a_timestamp_stays_after_a_restart`.
//! - A write is stamped above what its client had seen when it first tried; a client from the future is refused:
//!   guarded by `sim_node::a_write_is_stamped_above_what_its_client_has_seen`.
//! - Every write of an entry is answered with its own outcome: guarded by the assertion in `answer`.
//! - What cannot be flushed is not accepted: guarded by
//!   `node::store::tests::flushing::who_waits_for_room_goes_on_after_a_flush`.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tokio::sync::{mpsc, oneshot, watch};

use crate::model::config::Settings;
use crate::model::evaluate::RULES;
use crate::model::time::Timestamp;
use crate::model::wire::{self, Outcome, Write};
use crate::net::exec::Exec;
use crate::net::trouble::{Bug, planted};
use crate::node::clock::Clock;
use crate::node::raft::group::{ConfirmError, Group, ProposeError};
use crate::node::store::{Store, StoreStats};

use super::counts::ReplicaCounts;

/// Writes waiting for one shard's log.
pub const QUEUE_MAX: usize = 8192;
/// Writes in one entry.
const BATCH_MAX_WRITES: usize = 1024;
/// Bytes of one entry; a single larger write still goes, alone.
const BATCH_MAX_BYTES: usize = 4 << 20;
/// How far an entry's ceiling lies ahead of the clock, in milliseconds.
const CEILING_AHEAD_MS: u64 = 100;
/// History below this is kept whatever lives, in bytes a shard.
const HISTORY_FREE_BYTES: u64 = 8 << 20;

/// What a write is answered with when it has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("too many writes wait for this shard")]
    Busy,
    #[error(transparent)]
    Propose(#[from] ProposeError),
    #[error(transparent)]
    Confirm(#[from] ConfirmError),
    #[error("the timestamp it carries: {0}")]
    Clock(#[from] crate::model::time::ClockTooFarAhead),
}

enum Job {
    Write {
        write: Write,
        answer: oneshot::Sender<Result<Outcome, Rejected>>,
    },
    /// Commit a ceiling at or above this.
    Reserve {
        ceiling: Timestamp,
        answer: oneshot::Sender<Result<(), Rejected>>,
    },
    /// An entry of its own, which has no writes.
    Alone {
        kind: wire::entry::Kind,
        answer: oneshot::Sender<Result<(), Rejected>>,
    },
}

/// The way into one shard's log. Shared; cheap to clone.
#[derive(Clone)]
pub struct Proposer {
    jobs: mpsc::Sender<Job>,
    /// A lower bound of the stamps of the entry under way.
    under_way: watch::Receiver<Option<Timestamp>>,
}

struct Worker {
    group: Group,
    store: Store,
    clock: Clock,
    settings: watch::Receiver<Settings>,
    counts: Arc<ReplicaCounts>,
    under_way: watch::Sender<Option<Timestamp>>,
    /// The term for which everything earlier is known to be applied.
    ready_term: u64,
}

impl Proposer {
    /// Starts the worker; it ends when the last clone is dropped.
    pub fn start(
        group: Group,
        store: Store,
        clock: Clock,
        exec: Exec,
        settings: watch::Receiver<Settings>,
        counts: Arc<ReplicaCounts>,
    ) -> Proposer {
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let (sender, under_way) = watch::channel(None);
        let worker = Worker { group, store, clock, settings, counts, under_way: sender, ready_term: 0 };
        exec.spawn(worker.run(queue));
        Proposer { jobs, under_way }
    }

    /// Has a write evaluated by the shard.
    pub async fn write(&self, write: Write) -> Result<Outcome, Rejected> {
        self.submit(|answer| Job::Write { write, answer }).await
    }

    /// Has a ceiling at or above `ceiling` committed.
    pub async fn reserve(&self, ceiling: Timestamp) -> Result<(), Rejected> {
        self.submit(|answer| Job::Reserve { ceiling, answer }).await
    }

    /// Begins the shard.
    pub async fn genesis(&self, genesis: wire::Genesis) -> Result<(), Rejected> {
        self.order(wire::entry::Kind::Genesis(genesis)).await
    }

    /// Has an entry applied that changes no key by itself: of a split, a merge, a question for digests.
    pub async fn order(&self, kind: wire::entry::Kind) -> Result<(), Rejected> {
        self.submit(|answer| Job::Alone { kind, answer }).await
    }

    /// Writes, and the like, that wait to be gathered.
    pub fn waiting(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }

    /// Returns once no entry is under way that could be stamped at or below `at`. The clock must have been moved past
    /// `at` before.
    pub async fn settled(&self, at: Timestamp) {
        let mut under_way = self.under_way.clone();
        // An error means that the worker has ended: then nothing is under way.
        let _ = under_way.wait_for(|lowest| lowest.is_none_or(|lowest| lowest > at)).await;
    }

    async fn submit<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, Rejected>>) -> Job,
    ) -> Result<T, Rejected> {
        let (answer, receiver) = oneshot::channel();
        self.jobs.try_send(job(answer)).map_err(|_| Rejected::Busy)?;
        receiver.await.unwrap_or(Err(Rejected::Propose(ProposeError::Unknown)))
    }
}

type WriteAnswer = oneshot::Sender<Result<Outcome, Rejected>>;
type Answer = oneshot::Sender<Result<(), Rejected>>;

/// What goes into the next entry.
#[derive(Default)]
struct Gathered {
    writes: Vec<Write>,
    answers: Vec<WriteAnswer>,
    reserves: Vec<Answer>,
    ceiling: Timestamp,
    alone: Vec<(wire::entry::Kind, Answer)>,
}

impl Worker {
    async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut held: Option<Job> = None;
        loop {
            let first = match held.take() {
                Some(job) => job,
                None => match queue.recv().await {
                    Some(job) => job,
                    None => return,
                },
            };
            let mut gathered = Gathered::default();
            let mut bytes = gathered.add(first);
            while bytes < BATCH_MAX_BYTES && gathered.writes.len() < BATCH_MAX_WRITES {
                let Ok(job) = queue.try_recv() else { break };
                if bytes + job.bytes() > BATCH_MAX_BYTES {
                    held = Some(job);
                    break;
                }
                bytes += gathered.add(job);
            }
            self.propose(gathered).await;
        }
    }

    async fn propose(&mut self, mut gathered: Gathered) {
        // Back-pressure: what cannot be flushed must not be accepted.
        self.group.unless_silent(self.store.wait_for_room()).await;
        let term = match self.lead().await {
            Ok(term) => term,
            Err(rejected) => return gathered.reject(&rejected),
        };
        for (kind, answer) in std::mem::take(&mut gathered.alone) {
            let entry = wire::Entry { rules: RULES, kind: Some(kind) };
            let done = self.group.propose(term, entry.encode_to_vec().into()).await;
            let _ = answer.send(done.map(|_| ()).map_err(Rejected::from));
        }
        gathered.refuse_future(&self.clock);
        if gathered.writes.is_empty() && gathered.reserves.is_empty() {
            return;
        }
        // Announced before the stamp is taken, so that a reader that moves the clock sees either the old state or us.
        self.under_way.send_replace(Some(Timestamp::ZERO));
        let entry = self.entry(&mut gathered);
        let proposed = self.group.propose(term, entry).await;
        self.under_way.send_replace(None);
        gathered.answer(proposed);
    }

    /// The term this replica leads, with everything before it applied.
    async fn lead(&mut self) -> Result<u64, Rejected> {
        let leadership = self.group.leadership();
        if !leadership.here {
            return Err(ProposeError::NotLeader { node: leadership.node }.into());
        }
        if self.ready_term != leadership.term {
            self.group.confirm().await?;
            let (stamp, ceiling) = self.store.state(|state| (state.highest_stamp, state.ceiling));
            let ceiling = if planted(Bug::CeilingIgnored) { stamp } else { ceiling };
            self.clock.advance(stamp.max(ceiling));
            self.ready_term = leadership.term;
        }
        Ok(leadership.term)
    }

    fn entry(&self, gathered: &mut Gathered) -> Bytes {
        self.counts.entry_writes.observe(gathered.writes.len() as u64);
        let stamp = self.clock.take(gathered.writes.len().max(1) as u64);
        self.under_way.send_replace(Some(stamp));
        let ahead = Timestamp::from_ms(stamp.ms() + CEILING_AHEAD_MS);
        let wanted_ms = self.settings.borrow().retention_ms;
        let retention_ms = retention_ms(wanted_ms, &self.store.stats());
        let batch = wire::Batch {
            stamp: stamp.0,
            ceiling: ahead.max(gathered.ceiling).0,
            watermark: Timestamp::from_ms(stamp.ms().saturating_sub(retention_ms)).0,
            writes: std::mem::take(&mut gathered.writes),
        };
        wire::Entry { rules: RULES, kind: Some(wire::entry::Kind::Batch(batch)) }.encode_to_vec().into()
    }
}

/// The retention wanted, shortened so that history takes no more room than what lives.
fn retention_ms(wanted_ms: u64, stats: &StoreStats) -> u64 {
    let allowed_bytes = stats.live_bytes.max(HISTORY_FREE_BYTES);
    match stats.history_bytes > allowed_bytes {
        false => wanted_ms,
        true => (u128::from(wanted_ms) * u128::from(allowed_bytes) / u128::from(stats.history_bytes)) as u64,
    }
}

impl Job {
    fn bytes(&self) -> usize {
        match self {
            Job::Write { write, .. } => write.encoded_len(),
            Job::Reserve { .. } | Job::Alone { .. } => 0,
        }
    }
}

impl Gathered {
    fn add(&mut self, job: Job) -> usize {
        let bytes = job.bytes();
        match job {
            Job::Write { write, answer } => {
                self.writes.push(write);
                self.answers.push(answer);
            }
            Job::Reserve { ceiling, answer } => {
                self.ceiling = self.ceiling.max(ceiling);
                self.reserves.push(answer);
            }
            Job::Alone { kind, answer } => self.alone.push((kind, answer)),
        }
        bytes
    }

    /// Takes out the writes whose client claims to have seen a time that has not come.
    fn refuse_future(&mut self, clock: &Clock) {
        let mut n = 0;
        while n < self.writes.len() {
            let seen = self.writes[n].identity.as_ref().map_or(0, |identity| identity.first_seen);
            match clock.merge(Timestamp(seen)) {
                Ok(()) => n += 1,
                Err(error) => {
                    self.writes.remove(n);
                    let _ = self.answers.remove(n).send(Err(error.into()));
                }
            }
        }
    }

    fn reject(self, rejected: &Rejected) {
        for answer in self.answers {
            let _ = answer.send(Err(rejected.clone()));
        }
        for answer in self.reserves.into_iter().chain(self.alone.into_iter().map(|(_, answer)| answer)) {
            let _ = answer.send(Err(rejected.clone()));
        }
    }

    fn answer(self, proposed: Result<Vec<Outcome>, ProposeError>) {
        match proposed {
            Err(error) => self.reject(&error.into()),
            Ok(outcomes) => {
                assert_eq!(outcomes.len(), self.answers.len(), "every write of an entry has one outcome");
                for (answer, outcome) in self.answers.into_iter().zip(outcomes) {
                    let _ = answer.send(Ok(outcome));
                }
                for answer in self.reserves {
                    let _ = answer.send(Ok(()));
                }
            }
        }
    }
}
