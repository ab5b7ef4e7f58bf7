//! Everything that a store shows at one moment, key by key, whatever is flushed, swept or forgotten by then.
//!
//! Promises: what is applied meanwhile is not in it; versions that no read at or above the watermark asked for can see are
//! left out, whether they are gone yet or not.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::model::key::{Key, KeyRange};
use crate::model::row::Version;
use crate::model::time::Timestamp;
use crate::model::wire;

use super::engine::{EngineError, History, Picture};
use super::error::StoreError;
use super::handle::{Applier, Shared, Store};
use super::memtable::Memtable;
use super::record;

/// A version, and when it was replaced if that is not evident from another one.
pub(super) type Seen = (Version, Timestamp);

/// Everything there is at one moment.
pub(super) struct Frame {
    pub applied: wire::LogId,
    pub state: wire::ShardState,
    pub range: Option<KeyRange>,
    active: Memtable,
    frozen: Option<Arc<Memtable>>,
    picture: Arc<dyn Picture>,
}

impl Store {
    pub(super) fn frame(&self) -> Result<Frame, StoreError> {
        let applier = self.shared.applier.lock();
        self.shared.check_usable()?;
        let nothing = || StoreError::Unfit("nothing was applied yet".into());
        Ok(self.shared.frame(&applier, applier.applied.ok_or_else(nothing)?))
    }
}

impl Shared {
    /// All that is visible. `applied`: the last entry of it.
    pub(super) fn frame(&self, applier: &Applier, applied: wire::LogId) -> Frame {
        let seen = self.seen.read();
        Frame {
            applied,
            state: applier.state.to_wire(),
            range: applier.state.range.clone(),
            active: seen.active.clone(),
            frozen: seen.frozen.clone(),
            picture: seen.picture.clone(),
        }
    }
}

impl Frame {
    /// Calls `see` with each key of a range in order, and its versions that a read at or above `watermark` can see, newest first, if
    /// there are any, until it breaks off.
    pub fn each(
        &self,
        range: &KeyRange,
        watermark: Timestamp,
        mut see: impl FnMut(&Key, &[Seen]) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let mut sources = self.sources(range)?;
        let mut heap = BinaryHeap::new();
        for source in 0..sources.len() {
            advance(&mut sources, source, &mut heap)?;
        }
        let mut versions: Vec<Seen> = Vec::new();
        while let Some(Reverse(Row { key, version, until, source })) = heap.pop() {
            versions.push((version, until));
            advance(&mut sources, source, &mut heap)?;
            if heap.peek().is_some_and(|next| next.0.key == key) {
                continue;
            }
            needed(&mut versions, watermark);
            if !versions.is_empty() && see(&key, &versions).is_break() {
                return Ok(());
            }
            versions.clear();
        }
        Ok(())
    }

    /// All versions of all keys of a range, each source in order of key, with the time they were replaced if that is
    /// not evident from another version.
    fn sources(&self, range: &KeyRange) -> Result<Vec<History<'_>>, EngineError> {
        let mut sources = self.picture.history(range)?;
        let latest = self.picture.scan(range, false)?;
        sources.push(Box::new(latest.map(|row| row.map(|(key, version)| (key, version, Timestamp::MAX)))));
        for table in [Some(&self.active), self.frozen.as_deref()].into_iter().flatten() {
            let rows: Vec<_> = table.range(range).collect();
            let rows = rows
                .into_iter()
                .flat_map(|(key, versions)| versions.iter().map(move |version| (key, version)));
            sources.push(Box::new(
                rows.map(|(key, version)| Ok((key.clone(), version.clone(), Timestamp::MAX))),
            ));
        }
        Ok(sources)
    }
}

/// One version from one source.
struct Row {
    key: Key,
    version: Version,
    until: Timestamp,
    source: usize,
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (&self.key, self.source).cmp(&(&other.key, other.source))
    }
}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Row {}

fn advance(
    sources: &mut [History<'_>],
    source: usize,
    heap: &mut BinaryHeap<Reverse<Row>>,
) -> Result<(), EngineError> {
    if let Some((key, version, until)) = sources[source].next().transpose()? {
        heap.push(Reverse(Row { key, version, until, source }));
    }
    Ok(())
}

/// Leaves of a key's versions those that a read at or above the watermark can see, newest first.
fn needed(versions: &mut Vec<Seen>, watermark: Timestamp) {
    versions.sort_unstable_by_key(|(version, _)| Reverse(version.stamp));
    // A row of a history run may have been replaced by something that is gone by now.
    versions.retain(|(version, until)| version.stamp > watermark || *until > watermark);
    // What was given away and has come back is among the history of before, too: sweeps leave that to the watermark.
    versions.dedup_by_key(|(version, _)| version.stamp);
    let above = versions.partition_point(|(version, _)| version.stamp > watermark);
    let at = versions.get(above).is_some_and(|(version, _)| !record::is_void(version, watermark));
    versions.truncate(above + usize::from(at));
}
