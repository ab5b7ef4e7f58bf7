//! Many writes at once: a stream of puts and deletes, cut into bounded writes by shard and sent in parallel.
//!
//! Promises: each write (at most [`WRITE_OPERATIONS_MAX`] operations, [`WRITE_MAX_BYTES`]) is atomic and lies in one
//! shard; operations on the same key take effect in the order given; memory is bounded, a producer that is too fast
//! waits. After the first failure nothing more is sent.
//! Does not: make the whole atomic. A reader may see one write and not yet another, and after an error some may be done:
//! the error is then [`Error::Unknown`], and since nothing here depends on what was there before, doing it all again is
//! right unless somebody else writes the same keys.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::task::JoinHandle;

use super::error::{Error, ErrorOutcome, Trouble};
use super::kv::{self, Client};
use super::write::Written;
use crate::model::id::ShardId;
use crate::model::key::Key;
use crate::model::time::Timestamp;
use crate::model::wire::{Operation, operation};

/// Operations in one write.
pub const WRITE_OPERATIONS_MAX: usize = 256;
/// Keys and values in one write, bytes, unless a single one is larger.
pub const WRITE_MAX_BYTES: usize = 1 << 20;
/// Writes of one batch under way at once.
pub const WRITES_IN_FLIGHT_MAX: usize = 16;
/// Operations gathered before they are cut into writes. Many, so that each shard's part is large.
pub const GATHERED_MAX: usize = 4096;
/// Keys and values gathered before they are cut into writes, bytes.
pub const GATHERED_MAX_BYTES: usize = 8 << 20;

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchOperation {
    Put { key: Bytes, value: Bytes, ttl: Option<Duration> },
    Delete { key: Bytes },
}

/// What a batch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchSummary {
    /// Operations given.
    pub operations: u64,
    /// Of them: never sent, since a later one on the same key overtook them.
    pub overtaken: u64,
    /// Operations applied.
    pub applied: u64,
    /// Writes they travelled in.
    pub writes: u64,
    /// Of the last write; zero if there was none.
    pub stamp: Timestamp,
}

/// A batch that is given piece by piece.
///
/// Dropping it abandons what was not sent; what is under way ends by itself.
pub struct Batcher {
    client: Client,
    gathered: BTreeMap<Key, Operation>,
    gathered_bytes: usize,
    /// Cut, but not begun yet: empty unless a `push` was cancelled.
    ready: VecDeque<Vec<(Key, Operation)>>,
    flying: FuturesUnordered<JoinHandle<Part>>,
    flying_keys: BTreeSet<Key>,
    summary: BatchSummary,
    failed: Option<Error>,
    doubt: bool,
}

/// What became of a piece of a batch.
struct Part {
    keys: Vec<Key>,
    summary: BatchSummary,
    failed: Option<Error>,
}

impl Client {
    /// Does all of these, in writes of bounded size. See the file's promises: atomic per write only.
    ///
    /// # Errors
    /// What stopped it. If some of it may be done the error is [`Error::Unknown`].
    pub async fn batch(&self, operations: Vec<BatchOperation>) -> Result<BatchSummary, Error> {
        let mut batcher = self.batcher();
        let mut checked = Vec::with_capacity(operations.len());
        for operation in operations {
            checked.push(operation.into_wire()?); // before anything is sent
        }
        for operation in checked {
            if batcher.push_checked(operation).await.is_err() {
                break; // `finish` says the same
            }
        }
        batcher.finish().await
    }

    /// Begins a batch that is given piece by piece.
    pub fn batcher(&self) -> Batcher {
        Batcher {
            client: self.clone(),
            gathered: BTreeMap::new(),
            gathered_bytes: 0,
            ready: VecDeque::new(),
            flying: FuturesUnordered::new(),
            flying_keys: BTreeSet::new(),
            summary: BatchSummary::default(),
            failed: None,
            doubt: false,
        }
    }
}

impl Batcher {
    /// Adds an operation. Waits while too much is under way; an answer means only that it was taken. Cancelling it loses
    /// nothing: once polled, the operation is taken.
    ///
    /// # Errors
    /// The operation is malformed (the batch goes on without it), or an earlier one failed: then call
    /// [`Batcher::finish`], which says how much is done.
    pub async fn push(&mut self, operation: BatchOperation) -> Result<(), Error> {
        let operation = operation.into_wire()?;
        self.push_checked(operation).await
    }

    async fn push_checked(&mut self, operation: Operation) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.summary.operations += 1;
        self.gathered_bytes += weight(&operation);
        let key = Key::from_internal(operation.key.clone())?;
        if let Some(overtaken) = self.gathered.insert(key, operation) {
            self.gathered_bytes -= weight(&overtaken);
            self.summary.overtaken += 1;
        }
        if self.gathered.len() >= GATHERED_MAX || self.gathered_bytes >= GATHERED_MAX_BYTES {
            self.send().await;
        }
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Sends what is gathered and waits for all that is under way.
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.send().await;
        while self.land().await {}
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Sends the rest, waits for all and says what was done.
    ///
    /// # Errors
    /// As [`Client::batch`].
    pub async fn finish(mut self) -> Result<BatchSummary, Error> {
        let Err(error) = self.flush().await else { return Ok(self.summary) };
        if self.summary.applied == 0 && !self.doubt {
            return Err(error);
        }
        let (applied, operations) = (self.summary.applied, self.summary.operations);
        Err(Error::Unknown(Trouble::Partial { applied, operations, source: Box::new(error) }))
    }

    /// Cuts what is gathered into writes and starts them all.
    async fn send(&mut self) {
        self.gathered_bytes = 0;
        self.ready.extend(cut(&self.client, std::mem::take(&mut self.gathered)));
        while let Some(part) = self.ready.front() {
            if self.flying.len() >= WRITES_IN_FLIGHT_MAX || self.overlaps(part) {
                self.land().await;
                continue;
            }
            if self.failed.is_some() {
                return self.ready.clear();
            }
            let part = self.ready.pop_front().expect("there is a front");
            self.flying_keys.extend(part.iter().map(|(key, _)| key.clone()));
            let client = self.client.clone();
            self.flying.push(self.client.0.exec.spawn(async move { client.write_part(part).await }));
        }
    }

    /// Two writes of the same key at once could come out in either order.
    fn overlaps(&self, part: &[(Key, Operation)]) -> bool {
        !self.flying_keys.is_empty() && part.iter().any(|(key, _)| self.flying_keys.contains(key))
    }

    /// Waits for one write; false if none is under way.
    async fn land(&mut self) -> bool {
        let Some(landed) = self.flying.next().await else { return false };
        let Ok(part) = landed else {
            self.doubt = true;
            self.failed.get_or_insert(Error::Unknown(Trouble::Abandoned));
            return true;
        };
        for key in &part.keys {
            self.flying_keys.remove(key);
        }
        self.summary.applied += part.summary.applied;
        self.summary.writes += part.summary.writes;
        self.summary.stamp = self.summary.stamp.max(part.summary.stamp);
        if let Some(error) = part.failed {
            self.doubt |= error.outcome() == ErrorOutcome::Unknown;
            self.failed.get_or_insert(error);
        }
        true
    }
}

impl Client {
    /// Writes one piece: one write, or more if its shard was split meanwhile.
    async fn write_part(&self, part: Vec<(Key, Operation)>) -> Part {
        let (keys, operations): (Vec<_>, Vec<_>) = part.into_iter().unzip();
        let mut part = Part { keys, summary: BatchSummary::default(), failed: None };
        let mut left = operations.as_slice();
        while !left.is_empty() {
            match self.0.write(left).await {
                Ok(Written::Applied { stamp, results }) => {
                    left = &left[results.len()..];
                    part.summary.applied += results.len() as u64;
                    part.summary.writes += 1;
                    part.summary.stamp = part.summary.stamp.max(stamp);
                }
                Ok(Written::ConditionFailed(_)) => {
                    let what = "an unconditional write failed its condition";
                    part.failed = Some(Error::Internal(Trouble::Senseless { what }));
                    break;
                }
                Err(error) => {
                    part.failed = Some(error);
                    break;
                }
            }
        }
        part
    }
}

impl BatchOperation {
    fn into_wire(self) -> Result<Operation, Error> {
        match self {
            BatchOperation::Put { key, value, ttl } => kv::put(&key, value, ttl),
            BatchOperation::Delete { key } => kv::delete(&key),
        }
    }
}

fn weight(operation: &Operation) -> usize {
    let value = match &operation.change {
        Some(operation::Change::Put(put)) => put.value.len(),
        _ => 0,
    };
    operation.key.len() + value
}

/// Consecutive operations of one shard, within the bounds of one write.
fn cut(client: &Client, gathered: BTreeMap<Key, Operation>) -> Vec<Vec<(Key, Operation)>> {
    let map = client.map();
    let mut parts: Vec<Vec<(Key, Operation)>> = Vec::new();
    let mut current: Option<(Option<ShardId>, usize)> = None; // shard and bytes of the last part
    for (key, operation) in gathered {
        let shard = map.route(&key).map(|route| route.shard);
        let bytes = weight(&operation);
        match (&mut current, parts.last_mut()) {
            (Some((same, total)), Some(part))
                if *same == shard
                    && part.len() < WRITE_OPERATIONS_MAX
                    && *total + bytes <= WRITE_MAX_BYTES =>
            {
                *total += bytes;
                part.push((key, operation));
            }
            _ => {
                current = Some((shard, bytes));
                parts.push(vec![(key, operation)]);
            }
        }
    }
    parts
}
