//! How a log entry changes a shard: the one place where commands are judged.
//!
//! Every replica calls [`ShardState::apply`] with the same entries in the same order and must come to the same result,
//! so everything here is a function of the state, the rows and the entry. Time is the entry's own stamp.
//!
//! ## Invariants and what guards each
//!
//! - Stamps rise strictly in log order; bounds and epoch are judged here, not where a write came in: guarded by
//!   `tests::stamps_rise_and_bounds_hold`, `tests::a_repeat_is_recognised_before_the_epoch_is_judged`.
//! - Ceiling, watermark and epoch never fall: guarded by `tests::ceiling_watermark_and_highest_stamp_never_fall`.
//! - A refused write changes nothing but the repeat table's bookkeeping: guarded by
//!   `tests::a_condition_that_fails_changes_nothing`, `tests::ceiling_watermark_and_highest_stamp_never_fall`.
//! - Time is the entry's own: guarded by `tests::what_has_expired_is_absent_by_the_entrys_own_time`.
//! - A split takes effect at the epoch it was made for or never, and what it gives away stays as it is until it is
//!   settled: guarded by `tests::a_split_gives_away_the_upper_keys_once`.
//! - What stands still for a merge takes no write and promises nothing new; what takes over keeps every promise of the other:
//!   guarded by `model::merge::tests::what_is_frozen_changes_no_more`,
//!   `model::merge::tests::what_is_taken_over_keeps_its_promises`.
//! - An entry of rules that are unknown here stops the replica: guarded by
//!   `tests::an_entry_of_later_rules_stops_the_replica`.
//! - All replicas come to the same, whatever each has flushed: guarded by
//!   `node::store::tests::versions::the_digest_does_not_depend_on_what_was_flushed_when`,
//!   `sim_cluster::a_power_cut_of_all_loses_nothing`.

mod merging;

use std::sync::Arc;

use bytes::Bytes;

use super::id::{NodeId, ReplicaId, ShardId};
use super::key::{Key, KeyRange};
use super::repeat::{RepeatTable, Verdict};
use super::row::Version;
use super::time::Timestamp;
use super::wire::{self, Operation, Outcome, Refusal, Write, condition, operation, outcome};

pub use merging::{Taking, to_row};

/// The newest rules this program knows. An entry with a higher number stops the replica.
pub const RULES: u32 = 1;
/// Operations in one write.
pub const OPERATIONS_MAX: usize = 1024;

/// Everything replicated of a shard but its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardState {
    pub shard: ShardId,
    /// `None` until the genesis entry is applied.
    pub range: Option<KeyRange>,
    /// Rises with every change of bounds or members; what a command was routed by.
    pub epoch: u64,
    pub highest_stamp: Timestamp,
    /// No read was served above it.
    pub ceiling: Timestamp,
    /// History at and below it may be forgotten.
    pub watermark: Timestamp,
    pub repeats: RepeatTable,
    /// What was split off, until it is settled. Its rows stay among this shard's, out of bounds, and the watermark stays.
    pub birth: Option<Box<Birth>>,
    /// The merge that it stands still for; 0: none.
    pub frozen_by: u64,
    /// Merges up to this one have no effect here any more.
    pub attempts_over: u64,
    pub taking: Option<Arc<Taking>>,
}

/// A shard that was split off from another.
#[derive(Clone, Debug, PartialEq)]
pub struct Birth {
    /// Its state before its first entry.
    pub child: ShardState,
    /// Its first members: one on each node that had a member of its parent.
    pub membership: wire::Membership,
}

impl Birth {
    /// The replica of it that is made on a node, if one is.
    pub fn on(&self, node: NodeId) -> Option<ReplicaId> {
        let member = self.membership.members.iter().find(|member| member.node == node.0);
        member.map(|member| ReplicaId(member.replica))
    }
}

/// The rows of a shard, as evaluation sees them.
pub trait Rows {
    type Error;

    /// The newest version of `key`, deleted or expired ones included.
    fn newest(&self, key: &Key) -> Result<Option<Version>, Self::Error>;

    /// Adds a version, which is newer than all others of its key.
    fn write(&mut self, key: Key, version: Version);
}

/// Why an entry cannot be applied at all. The replica stops.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError<E> {
    #[error("the log holds an entry of rules version {found}; this program knows {RULES}")]
    UnknownRules { found: u32 },
    #[error("the log holds an entry that cannot be read")]
    Malformed,
    #[error("reading a row failed")]
    Rows(#[source] E),
}

impl ShardState {
    /// A shard before its first entry.
    pub fn new(shard: ShardId) -> ShardState {
        ShardState {
            shard,
            range: None,
            epoch: 0,
            highest_stamp: Timestamp::ZERO,
            ceiling: Timestamp::ZERO,
            watermark: Timestamp::ZERO,
            repeats: RepeatTable::default(),
            birth: None,
            frozen_by: 0,
            attempts_over: 0,
            taking: None,
        }
    }

    /// The state whose stored form this is.
    pub fn from_wire(stored: wire::ShardState) -> Result<ShardState, super::key::KeyError> {
        let range = match stored.exists {
            false => None,
            true => {
                let end =
                    Some(stored.end).filter(|end| !end.is_empty()).map(Key::from_internal).transpose()?;
                Some(KeyRange::new(Key::from_internal(stored.start)?, end))
            }
        };
        Ok(ShardState {
            shard: ShardId(stored.shard),
            range,
            epoch: stored.epoch,
            highest_stamp: Timestamp(stored.highest_stamp),
            ceiling: Timestamp(stored.ceiling),
            watermark: Timestamp(stored.watermark),
            repeats: RepeatTable::from_wire(stored.clients, Timestamp(stored.forgotten)),
            birth: stored.birth.map(|birth| birth_from_wire(*birth)).transpose()?.map(Box::new),
            frozen_by: stored.frozen_by,
            attempts_over: stored.attempts_over,
            taking: stored.taking.map(|taking| Taking::from_wire(*taking)).transpose()?.map(Arc::new),
        })
    }

    /// The stored form.
    pub fn to_wire(&self) -> wire::ShardState {
        let end = self.range.as_ref().and_then(|range| range.end.as_ref());
        wire::ShardState {
            shard: self.shard.0,
            start: self.range.as_ref().map(|range| range.start.to_bytes()).unwrap_or_default(),
            end: end.map(Key::to_bytes).unwrap_or_default(),
            epoch: self.epoch,
            exists: self.range.is_some(),
            highest_stamp: self.highest_stamp.0,
            ceiling: self.ceiling.0,
            watermark: self.watermark.0,
            forgotten: self.repeats.forgotten().0,
            clients: self.repeats.to_wire(),
            birth: self.birth.as_ref().map(|birth| {
                let membership = Some(birth.membership.clone());
                Box::new(wire::Birth { child: Some(Box::new(birth.child.to_wire())), membership })
            }),
            frozen_by: self.frozen_by,
            attempts_over: self.attempts_over,
            taking: self.taking.as_ref().map(|taking| Box::new(taking.to_wire())),
        }
    }

    /// Applies one entry; answers each of its writes, in order.
    pub fn apply<R: Rows>(
        &mut self,
        entry: wire::Entry,
        rows: &mut R,
    ) -> Result<Vec<Outcome>, ApplyError<R::Error>> {
        if entry.rules > RULES {
            return Err(ApplyError::UnknownRules { found: entry.rules });
        }
        match entry.kind.ok_or(ApplyError::Malformed)? {
            wire::entry::Kind::Genesis(genesis) => self.apply_genesis(genesis).map(|()| Vec::new()),
            wire::entry::Kind::Batch(batch) => self.apply_batch(batch, rows),
            wire::entry::Kind::Verify(_) => Ok(Vec::new()),
            wire::entry::Kind::Split(split) => self.apply_split(split).map(|()| Vec::new()),
            wire::entry::Kind::Settled(settled) => {
                self.birth.take_if(|birth| birth.child.shard.0 == settled.child);
                Ok(Vec::new())
            }
            wire::entry::Kind::Ingest(ingest) => self.apply_ingest(ingest, rows).map(|()| Vec::new()),
            wire::entry::Kind::Freeze(freeze) => {
                self.apply_freeze(freeze.attempt);
                Ok(Vec::new())
            }
            wire::entry::Kind::TakeOver(take) => {
                self.apply_take_over(take.attempt);
                Ok(Vec::new())
            }
            wire::entry::Kind::Forgo(forgo) => {
                self.apply_forgo(forgo.attempt);
                Ok(Vec::new())
            }
        }
    }

    /// Notes that the shard's members have changed for good (not: are changing).
    pub fn members_changed(&mut self) {
        self.epoch += 1;
    }

    /// True if nobody needs rows that are out of the shard's bounds: neither a shard that was split off nor a merge.
    pub fn is_settled(&self) -> bool {
        self.birth.is_none() && self.taking.is_none()
    }

    /// The shard that was split off and is not settled; 0: none.
    pub fn birth_id(&self) -> u64 {
        self.birth.as_ref().map_or(0, |birth| birth.child.shard.0)
    }

    /// The first replicas of that shard.
    pub fn birth_replicas(&self) -> Vec<u64> {
        let members = self.birth.iter().flat_map(|birth| &birth.membership.members);
        members.map(|member| member.replica).collect()
    }

    /// True if a read at `at` may still be answered.
    pub fn remembers(&self, at: Timestamp) -> bool {
        at >= self.watermark
    }

    fn apply_genesis<E>(&mut self, genesis: wire::Genesis) -> Result<(), ApplyError<E>> {
        if self.range.is_some() {
            return Ok(()); // proposed twice by a bootstrap that was interrupted
        }
        let key = |bytes: Bytes| Key::from_internal(bytes).map_err(|_| ApplyError::Malformed);
        let end = Some(genesis.end).filter(|end| !end.is_empty()).map(key).transpose()?;
        self.range = Some(KeyRange::new(key(genesis.start)?, end));
        self.highest_stamp = self.highest_stamp.max(Timestamp(genesis.stamp));
        Ok(())
    }

    /// One that comes twice, or late, meets another epoch; one that cannot be raises the epoch and does nothing else, as one
    /// without a key is to.
    fn apply_split<E>(&mut self, split: wire::Split) -> Result<(), ApplyError<E>> {
        let Some(range) = self.range.as_mut().filter(|_| split.epoch == self.epoch) else { return Ok(()) };
        let is_free = self.birth.is_none() && self.taking.is_none() && self.frozen_by == 0;
        let at = Some(split.at).filter(|at| !at.is_empty() && is_free);
        let at = at.map(Key::from_internal).transpose().map_err(|_| ApplyError::Malformed)?;
        if let Some(at) = at.filter(|at| *at > range.start && range.contains(at)) {
            let end = range.end.replace(at.clone());
            let child = ShardState {
                shard: ShardId(split.child),
                range: Some(KeyRange::new(at, end)),
                epoch: split.epoch + 1,
                repeats: self.repeats.clone(),
                birth: None,
                taking: None,
                ..*self
            };
            let membership = split.membership.unwrap_or_default();
            self.birth = Some(Box::new(Birth { child, membership }));
        }
        self.epoch += 1;
        Ok(())
    }

    fn apply_batch<R: Rows>(
        &mut self,
        batch: wire::Batch,
        rows: &mut R,
    ) -> Result<Vec<Outcome>, ApplyError<R::Error>> {
        let mut outcomes = Vec::with_capacity(batch.writes.len());
        for (n, write) in batch.writes.into_iter().enumerate() {
            outcomes.push(self.apply_write(write, Timestamp(batch.stamp).plus(n as u64), rows)?);
        }
        if self.is_frozen() {
            return Ok(outcomes);
        }
        self.ceiling = self.ceiling.max(Timestamp(batch.ceiling));
        // History up to the newest version must stay readable at "now".
        if self.birth.is_none() {
            self.watermark = self.watermark.max(Timestamp(batch.watermark).min(self.highest_stamp));
        }
        Ok(outcomes)
    }

    fn apply_write<R: Rows>(
        &mut self,
        write: Write,
        stamp: Timestamp,
        rows: &mut R,
    ) -> Result<Outcome, ApplyError<R::Error>> {
        if let Some(identity) = &write.identity {
            match self.repeats.judge(identity) {
                Verdict::Fresh => {}
                Verdict::Repeat(outcome) => return Ok(outcome),
                Verdict::Refused(reason) => return Ok(self.refusal(reason)),
            }
        }
        let outcome = match self.refuse(&write, stamp) {
            Some(reason) => self.refusal(reason),
            None => self.evaluate(&write.operations, stamp, rows).map_err(ApplyError::Rows)?,
        };
        if matches!(outcome.kind, Some(outcome::Kind::Applied(_))) {
            self.highest_stamp = stamp;
        }
        if let Some(identity) = &write.identity {
            self.repeats.note(identity, stamp, &outcome);
        }
        Ok(outcome)
    }

    /// Why the write must not be evaluated, whatever the rows hold.
    fn refuse(&self, write: &Write, stamp: Timestamp) -> Option<Refusal> {
        let Some(range) = self.range.as_ref().filter(|_| !self.is_frozen()) else {
            return Some(Refusal::OutOfBounds);
        };
        if write.epoch != 0 && write.epoch != self.epoch {
            return Some(Refusal::WrongEpoch);
        }
        if stamp <= self.highest_stamp {
            return Some(Refusal::StaleStamp);
        }
        if check(write).is_err() {
            return Some(Refusal::Invalid);
        }
        let inside = |operation: &Operation| {
            Key::from_internal(operation.key.clone()).is_ok_and(|key| range.contains(&key))
        };
        (!write.operations.iter().all(inside)).then_some(Refusal::OutOfBounds)
    }

    fn refusal(&self, reason: Refusal) -> Outcome {
        let refused = wire::Refused { reason: reason.into(), epoch: self.epoch };
        Outcome { stamp: 0, kind: Some(outcome::Kind::Refused(refused)) }
    }

    fn evaluate<R: Rows>(
        &self,
        operations: &[Operation],
        stamp: Timestamp,
        rows: &mut R,
    ) -> Result<Outcome, R::Error> {
        let mut changes = Vec::with_capacity(operations.len());
        let mut results = Vec::with_capacity(operations.len());
        for (n, operation) in operations.iter().enumerate() {
            let key = Key::from_internal(operation.key.clone()).expect("refuse() has parsed every key");
            let found = match needs_old_value(operation) {
                true => rows.newest(&key)?.filter(|version| version.live_at(stamp).is_some()),
                false => None,
            };
            if !holds(operation.condition.as_ref(), found.as_ref()) {
                return Ok(condition_failed(n, found));
            }
            let mut result = wire::Result { existed: found.is_some(), number: 0 };
            let version = match change(operation, stamp, found.as_ref(), &mut result) {
                Ok(version) => version,
                Err(reason) => return Ok(self.refusal(reason)),
            };
            results.push(result);
            changes.extend(version.map(|version| (key, version)));
        }
        for (key, version) in changes {
            rows.write(key, version);
        }
        Ok(Outcome { stamp: stamp.0, kind: Some(outcome::Kind::Applied(wire::Applied { results })) })
    }
}

fn birth_from_wire(stored: wire::Birth) -> Result<Birth, super::key::KeyError> {
    let child = ShardState::from_wire(*stored.child.unwrap_or_default())?;
    Ok(Birth { child, membership: stored.membership.unwrap_or_default() })
}

/// Why a write is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    #[error("a write has 1 to {OPERATIONS_MAX} operations")]
    Count,
    #[error(transparent)]
    Key(#[from] super::key::KeyError),
    #[error("a write names each key once")]
    KeyTwice,
    #[error("an operation without a change")]
    NoChange,
}

/// Judges the form of a write; what needs no state. Called where a write comes in and again at apply.
pub fn check(write: &Write) -> Result<(), WriteError> {
    if write.operations.is_empty() || write.operations.len() > OPERATIONS_MAX {
        return Err(WriteError::Count);
    }
    for operation in &write.operations {
        Key::from_internal(operation.key.clone())?;
        if operation.change.is_none() {
            return Err(WriteError::NoChange);
        }
    }
    if write.operations.len() > 1 {
        let mut keys: Vec<_> = write.operations.iter().map(|operation| &operation.key).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(WriteError::KeyTwice);
        }
    }
    Ok(())
}

/// A blind put must not cost a read.
fn needs_old_value(operation: &Operation) -> bool {
    operation.condition.is_some() || !matches!(operation.change, Some(operation::Change::Put(_)))
}

fn holds(condition: Option<&wire::Condition>, found: Option<&Version>) -> bool {
    match condition.and_then(|condition| condition.kind.as_ref()) {
        None => true,
        Some(condition::Kind::Absent(absent)) => *absent == found.is_none(),
        Some(condition::Kind::Value(value)) => {
            found.and_then(|version| version.value.as_ref()) == Some(value)
        }
        Some(condition::Kind::Stamp(stamp)) => found.map(|version| version.stamp.0) == Some(*stamp),
    }
}

fn condition_failed(operation: usize, found: Option<Version>) -> Outcome {
    let failed = wire::ConditionFailed {
        operation: operation as u32,
        present: found.is_some(),
        stamp: found.as_ref().map_or(0, |version| version.stamp.0),
        value: found.and_then(|version| version.value).unwrap_or_default(),
        value_left_out: false,
    };
    Outcome { stamp: 0, kind: Some(outcome::Kind::ConditionFailed(failed)) }
}

/// The version an operation makes, if it makes one.
fn change(
    operation: &Operation,
    stamp: Timestamp,
    found: Option<&Version>,
    result: &mut wire::Result,
) -> Result<Option<Version>, Refusal> {
    match operation.change.as_ref().expect("check() has seen a change") {
        operation::Change::Check(_) => Ok(None),
        operation::Change::Delete(_) => Ok(found.map(|_| Version::tombstone(stamp))),
        operation::Change::Put(put) => {
            let expires_at =
                (put.ttl_ms > 0).then(|| Timestamp::from_ms(stamp.ms().saturating_add(put.ttl_ms)));
            Ok(Some(Version { stamp, expires_at, value: Some(put.value.clone()) }))
        }
        operation::Change::Increment(increment) => {
            let old = match found.and_then(|version| version.value.as_ref()) {
                None => 0,
                Some(value) => parse_number(value).ok_or(Refusal::NotANumber)?,
            };
            result.number = old.checked_add(increment.by).ok_or(Refusal::Overflow)?;
            let value = Some(Bytes::from(result.number.to_string()));
            Ok(Some(Version { stamp, expires_at: found.and_then(|version| version.expires_at), value }))
        }
    }
}

/// A number is its decimal text, as `kv incr` and people write it.
fn parse_number(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
