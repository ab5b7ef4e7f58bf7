//! Applying committed log entries, in memory.
//!
//! Promises: entries are evaluated in log order by the rules of the model; readers see the rows of an entry together with
//! its log id and all it changed, or nothing of it. Nothing is waited for but reads of the file. Does not write to disk.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;

use crate::model::evaluate::{ApplyError, Rows};
use crate::model::id::ShardId;
use crate::model::key::Key;
use crate::model::row::Version;
use crate::model::wire;
use crate::net::trouble::{Bug, planted};

use super::engine::EngineError;
use super::error::{FailedEarlier, StoreError};
use super::handle::{Applier, Shared, Store, summary};

/// Rows that become visible together, unless one entry has more: bounds how long readers wait.
const VISIBLE_ROWS_MAX: usize = 256;

/// A committed entry of the shard's log.
#[derive(Clone, Debug)]
pub struct Committed {
    pub log_id: wire::LogId,
    pub payload: Payload,
}

/// What an entry says.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Nothing; a new leader's first.
    Blank,
    /// An encoded `wire::Entry`.
    Normal(Bytes),
    /// Who the members are from here on.
    Membership(wire::Membership),
}

/// What an entry has led to.
enum Effect {
    /// How its writes came out.
    Outcomes(Vec<wire::Outcome>),
    /// It asks for a digest of what is there now.
    Question,
}

/// The rows as evaluation sees them: what is not yet visible, over what is.
struct Overlay<'a> {
    shared: &'a Shared,
    written: Vec<(Key, Version)>,
    index: RefCell<Index>,
}

/// Where among the rows written the newest of a key is. Blind writes alone never need it, so it lags behind.
#[derive(Default)]
struct Index {
    newest: BTreeMap<Key, usize>,
    indexed: usize,
}

impl Store {
    /// Applies entries, which follow the last applied one without a gap. The outcomes of each entry's writes, in order.
    ///
    /// # Errors
    /// After any error the store refuses to go on: `Apply` for an entry that cannot be applied, and the errors of
    /// [`Store::get`].
    pub fn apply(&self, entries: Vec<Committed>) -> Result<Vec<Vec<wire::Outcome>>, StoreError> {
        let shared = &self.shared;
        let mut applier = shared.applier.lock();
        shared.check_usable()?;
        let mut overlay = Overlay { shared, written: Vec::new(), index: RefCell::default() };
        let mut outcomes = Vec::with_capacity(entries.len());
        for entry in entries {
            let log_id = entry.log_id;
            match applier.apply(entry, &mut overlay) {
                Ok(Effect::Outcomes(outcome)) => outcomes.push(outcome),
                Ok(Effect::Question) => {
                    outcomes.push(Vec::new());
                    overlay.show(&applier);
                    shared.answer(&applier, log_id);
                }
                Err(error) => {
                    // The state may have changed by half an entry.
                    shared.fail(FailedEarlier);
                    return Err(StoreError::Apply(error));
                }
            }
            if overlay.written.len() >= VISIBLE_ROWS_MAX {
                overlay.show(&applier);
            }
        }
        overlay.show(&applier);
        shared.tell_birth(&mut applier);
        Ok(outcomes)
    }
}

impl Applier {
    fn apply(&mut self, entry: Committed, rows: &mut Overlay<'_>) -> Result<Effect, ApplyError<EngineError>> {
        let (next, given) = (self.applied.map_or(0, |applied| applied.index + 1), entry.log_id.index);
        assert!(given == next, "entry {given} is to be applied where {next} is next");
        let effect = match entry.payload {
            Payload::Blank => Effect::Outcomes(Vec::new()),
            Payload::Normal(bytes) => {
                let mut entry = wire::Entry::decode(bytes).map_err(|_| ApplyError::Malformed)?;
                if planted(Bug::EpochAtReceipt)
                    && let Some(wire::entry::Kind::Batch(batch)) = &mut entry.kind
                {
                    batch.writes.iter_mut().for_each(|write| write.epoch = 0);
                }
                if planted(Bug::CopyDiffers) && !rows.shared.votes(&self.membership) {
                    differ(&mut entry);
                }
                let asks = matches!(entry.kind, Some(wire::entry::Kind::Verify(_)));
                let outcomes = self.state.apply(entry, rows)?;
                if asks { Effect::Question } else { Effect::Outcomes(outcomes) }
            }
            Payload::Membership(membership) => {
                self.set_membership(membership);
                Effect::Outcomes(Vec::new())
            }
        };
        self.applied = Some(entry.log_id);
        Ok(effect)
    }

    /// The epoch rises when other members are settled on, not while they are changing.
    fn set_membership(&mut self, membership: wire::Membership) {
        if membership.configs.len() == 1 {
            if self.uniform.as_ref().map(members) != Some(members(&membership)) {
                self.state.members_changed();
            }
            self.uniform = Some(membership.clone());
        }
        self.membership = membership;
    }
}

/// Changes a byte of each value that is put.
fn differ(entry: &mut wire::Entry) {
    let Some(wire::entry::Kind::Batch(batch)) = &mut entry.kind else { return };
    let operations = batch.writes.iter_mut().flat_map(|write| &mut write.operations);
    for operation in operations {
        if let Some(wire::operation::Change::Put(put)) = &mut operation.change
            && let Some(first) = put.value.first()
        {
            put.value = [&[first ^ 1][..], &put.value[1..]].concat().into();
        }
    }
}

/// Voters and members, in an order of their own.
fn members(membership: &wire::Membership) -> (BTreeSet<u64>, BTreeSet<(u64, u64)>) {
    let voters = membership.configs.iter().flat_map(|config| config.replicas.iter().copied());
    (voters.collect(), membership.members.iter().map(|member| (member.replica, member.node)).collect())
}

impl Overlay<'_> {
    /// Lets readers see what was written and the state that came of it.
    fn show(&mut self, applier: &Applier) {
        *self.index.get_mut() = Index::default();
        let mut seen = self.shared.seen.write();
        seen.active.write(&mut self.written, applier.state.watermark);
        seen.count_memory();
        seen.state = summary(&applier.state);
        seen.applied = applier.applied;
        seen.repeats = applier.state.repeats.size();
        if seen.membership != applier.membership {
            seen.membership = applier.membership.clone();
        }
    }
}

impl Shared {
    /// Has the shard made that was split off from this one, if its replica is not there yet.
    pub(super) fn tell_birth(&self, applier: &mut Applier) {
        let birth = applier.state.birth_id();
        if std::mem::replace(&mut applier.told_birth, birth) != birth && birth != 0 {
            self.options.births.notify_one();
        }
    }

    /// True if this replica votes, or nobody knows; and of the cluster's own shard in any case.
    fn votes(&self, membership: &wire::Membership) -> bool {
        if self.shard == ShardId::META {
            return true;
        }
        let name = self.dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let own = name.rsplit_once("-r").and_then(|(_, id)| id.parse().ok());
        own.is_none_or(|own: u64| membership.configs.iter().any(|set| set.replicas.contains(&own)))
    }
}

impl Rows for Overlay<'_> {
    type Error = EngineError;

    fn newest(&self, key: &Key) -> Result<Option<Version>, EngineError> {
        let mut index = self.index.borrow_mut();
        while let Some((written, _)) = self.written.get(index.indexed) {
            let n = index.indexed;
            index.newest.insert(written.clone(), n);
            index.indexed += 1;
        }
        let fresh = index.newest.get(key).map(|&n| &self.written[n].1);
        if let Some(version) = fresh {
            return Ok(Some(version.clone()));
        }
        let picture = {
            let seen = self.shared.seen.read();
            if let Some(version) = seen.in_memory(key, None) {
                return Ok(Some(version.clone()));
            }
            seen.picture.clone()
        };
        picture.get(key, None)
    }

    fn write(&mut self, key: Key, version: Version) {
        self.written.push((key, version));
    }
}
