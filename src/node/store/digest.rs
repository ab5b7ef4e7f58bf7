//! A digest of what a shard holds, for comparing replicas.
//!
//! Promises: replicas that applied the same entries have the same digest, whatever each has flushed, swept, copied or
//! forgotten; replicas that a read at or above the watermark could tell apart have different ones. Does not compare.
//!
//! What is hashed: the replicated state, then each key of the shard in order that has a version above the watermark or a
//! live one at it, with the versions above, newest first, and the one at it.
//!
//! An entry of the log can ask all replicas for one, so that they speak of the same moment ([`Store::word`]).

use std::ops::ControlFlow;
use std::sync::Arc;

use prost::Message;

use crate::model::key::KeyRange;
use crate::model::time::Timestamp;
use crate::model::verify::Word;
use crate::model::wire;

use super::engine::EngineError;
use super::error::StoreError;
use super::frame::Frame;
use super::handle::{Applier, Shared, Store};
use super::record;

/// What a shard held at one log entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    pub applied: wire::LogId,
    pub digest: [u8; 32],
    /// Keys that were hashed.
    pub keys: u64,
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

    /// What this replica has to say about the last entry that asked it for a digest.
    pub fn word(&self) -> Word {
        // In this order: a question it has met is never told with less applied than that.
        let word = *self.shared.word.lock();
        let applied_index = self.shared.seen.read().applied.map_or(0, |applied| applied.index);
        Word { applied_index, ..word }
    }
}

impl Shared {
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
        let mut hasher = blake3::Hasher::new();
        put(&mut hasher, &self.state.encode_to_vec());
        let Some(range) = &self.range else {
            return Ok(Digest { applied: self.applied, digest: hasher.finalize().into(), keys: 0 });
        };
        let keys = self.hash_rows(range, Timestamp(self.state.watermark), &mut hasher)?;
        Ok(Digest { applied: self.applied, digest: hasher.finalize().into(), keys })
    }

    /// Hashes what is seen of a range at and above a watermark; how many keys that was.
    fn hash_rows(
        &self,
        range: &KeyRange,
        watermark: Timestamp,
        hasher: &mut blake3::Hasher,
    ) -> Result<u64, EngineError> {
        let (mut keys, mut stored) = (0, Vec::new());
        self.each(range, watermark, |key, versions| {
            keys += 1;
            put(hasher, key.as_bytes());
            hasher.update(&(versions.len() as u64).to_be_bytes());
            for (version, _) in versions {
                stored.clear();
                record::encode(version, &mut stored);
                put(hasher, &stored);
            }
            ControlFlow::Continue(())
        })?;
        Ok(keys)
    }

    /// A digest of the rows of a range alone, as seen at and above a watermark.
    pub(super) fn digest_rows(
        &self,
        range: &KeyRange,
        watermark: Timestamp,
    ) -> Result<[u8; 32], EngineError> {
        let mut hasher = blake3::Hasher::new();
        self.hash_rows(range, watermark, &mut hasher)?;
        Ok(hasher.finalize().into())
    }
}

fn put(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_be_bytes());
    hasher.update(bytes);
}
