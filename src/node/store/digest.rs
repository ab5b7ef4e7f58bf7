//! A digest of what a shard holds, for comparing replicas.
//!
//! Promises: replicas that applied the same entries have the same digest, whatever each has flushed, swept, copied or
//! forgotten; replicas that a read at or above the watermark could tell apart have different ones. Does not compare.
//!
//! What is hashed: the replicated state, then each key of the shard in order that has a version above the watermark or a
//! live one at it, with the versions above, newest first, and the one at it.
//!
//! An entry of the log can ask all replicas for one, so that they speak of the same moment ([`Store::word`]).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use prost::Message;

use crate::model::key::{Key, KeyRange};
use crate::model::row::Version;
use crate::model::time::Timestamp;
use crate::model::verify::Word;
use crate::model::wire;

use super::engine::{EngineError, History, Picture};
use super::error::StoreError;
use super::handle::{Applier, Shared, Store};
use super::memtable::Memtable;
use super::record;

/// What a shard held at one log entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    pub applied: wire::LogId,
    pub digest: [u8; 32],
    /// Keys that were hashed.
    pub keys: u64,
}

/// Everything there is at one moment.
struct Frame {
    applied: wire::LogId,
    state: wire::ShardState,
    range: Option<KeyRange>,
    active: Memtable,
    frozen: Option<Arc<Memtable>>,
    picture: Arc<dyn Picture>,
}

impl Store {
    /// The digest as of the entry that was last applied when this is *called* (not: first polled). Entries may be
    /// applied meanwhile; the call itself takes the time of copying the memtable's tree.
    ///
    /// # Errors
    /// `Unfit` if nothing was applied yet; otherwise those of [`Store::get`].
    pub fn digest(&self) -> impl Future<Output = Result<Digest, StoreError>> + Send + use<> {
        let shared = self.shared.clone();
        let frame = self.frame();
        async move {
            let frame = frame?;
            let digest = shared.exec.behind(move || frame.digest()).await;
            digest.map_err(|error| shared.sort(error))
        }
    }

    fn frame(&self) -> Result<Frame, StoreError> {
        let applier = self.shared.applier.lock();
        self.shared.check_usable()?;
        let nothing = || StoreError::Unfit("nothing was applied yet".into());
        Ok(self.shared.frame(&applier, applier.applied.ok_or_else(nothing)?))
    }

    /// What this replica has to say about the last entry that asked it for a digest.
    pub fn word(&self) -> Word {
        // In this order: a question it has met is never told with less applied than that.
        let word = *self.shared.word.lock();
        let applied_index = self.shared.seen.read().applied.map_or(0, |applied| applied.index);
        Word { applied_index, ..word }
    }
}

impl Shared {
    /// All that is visible. `applied`: the last entry of it.
    fn frame(&self, applier: &Applier, applied: wire::LogId) -> Frame {
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

    /// Has a digest made of what is visible now, as the entry `asked` wants: in the background, since what is applied
    /// meanwhile is not in it.
    pub(super) fn answer(self: &Arc<Shared>, applier: &Applier, asked: wire::LogId) {
        *self.word.lock() = Word { asked_index: asked.index, ..Word::default() };
        let (frame, shared) = (self.frame(applier, asked), self.clone());
        self.exec.spawn(async move {
            let digest = shared.exec.behind(move || frame.digest()).await;
            let mut word = shared.word.lock();
            match digest.map_err(|error| shared.sort(error)) {
                _ if word.asked_index != asked.index => {} // it was asked again
                Ok(made) => word.digest = Some(made.digest),
                // It has no answer and will have none.
                Err(_) => *word = Word::default(),
            }
        });
    }
}

impl Frame {
    fn digest(&self) -> Result<Digest, EngineError> {
        let watermark = Timestamp(self.state.watermark);
        let mut hasher = blake3::Hasher::new();
        put(&mut hasher, &self.state.encode_to_vec());
        let mut keys = 0;
        let mut sources = self.sources()?;
        let mut heap = BinaryHeap::new();
        for source in 0..sources.len() {
            advance(&mut sources, source, &mut heap)?;
        }
        let mut versions: Vec<(Version, Timestamp)> = Vec::new();
        let mut stored = Vec::new();
        while let Some(Reverse(Row { key, version, until, source })) = heap.pop() {
            versions.push((version, until));
            advance(&mut sources, source, &mut heap)?;
            if heap.peek().is_none_or(|next| next.0.key != key) {
                needed(&mut versions, watermark);
                if !versions.is_empty() {
                    keys += 1;
                    put(&mut hasher, key.as_bytes());
                    hasher.update(&(versions.len() as u64).to_be_bytes());
                }
                for (version, _) in versions.drain(..) {
                    stored.clear();
                    record::encode(&version, &mut stored);
                    put(&mut hasher, &stored);
                }
            }
        }
        Ok(Digest { applied: self.applied, digest: hasher.finalize().into(), keys })
    }

    /// All versions of all keys of the shard, each source in order of key, with the time they were replaced if that is
    /// not evident from another version.
    fn sources(&self) -> Result<Vec<History<'_>>, EngineError> {
        let Some(range) = &self.range else { return Ok(Vec::new()) };
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
fn needed(versions: &mut Vec<(Version, Timestamp)>, watermark: Timestamp) {
    versions.sort_unstable_by_key(|(version, _)| Reverse(version.stamp));
    // A row of a history run may have been replaced by something that is gone by now.
    versions.retain(|(version, until)| version.stamp > watermark || *until > watermark);
    let above = versions.partition_point(|(version, _)| version.stamp > watermark);
    let at = versions.get(above).is_some_and(|(version, _)| !record::is_void(version, watermark));
    versions.truncate(above + usize::from(at));
}

fn put(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_be_bytes());
    hasher.update(bytes);
}
