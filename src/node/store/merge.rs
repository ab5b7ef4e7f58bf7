//! What a merge asks of a store: some of what it holds, to be taken over by another, and whether two hold the same.
//!
//! Rows that come to a store before their keys are the shard's lie among the others, out of bounds, where nobody sees them and
//! sweeps leave them alone. They must meet no rows of an earlier time there: so none may be taken in before every replica is tidy
//! (`replica::tidy`).

use std::ops::ControlFlow;

use crate::model::evaluate::to_row;
use crate::model::key::{Key, KeyRange};
use crate::model::time::Timestamp;
use crate::model::wire;

use super::error::StoreError;
use super::handle::{Seen, Store};
use super::record;

impl Store {
    /// The rows behind `after` (all if that is `None`), about so many bytes of them but those of one key at least; with the last ones
    /// all else that is replicated.
    ///
    /// # Errors
    /// As of [`Store::digest`].
    pub async fn leftover(&self, after: Option<Key>, chunk_bytes: usize) -> Result<wire::Ingest, StoreError> {
        let frame = self.frame()?;
        let shared = self.shared.clone();
        let chunk = shared.exec.blocking(move || {
            let Some(own) = frame.range.clone() else { return Ok(wire::Ingest::default()) };
            let start = after.as_ref().map_or(own.start, Key::successor);
            let watermark = Timestamp(frame.state.watermark);
            let (mut rows, mut bytes, mut is_all) = (Vec::new(), 0, true);
            frame.each(&KeyRange::new(start, own.end), watermark, |key, versions| {
                if bytes >= chunk_bytes {
                    is_all = false;
                    return ControlFlow::Break(());
                }
                let versions: Vec<_> = versions.iter().rev().map(|(version, _)| to_row(version)).collect();
                bytes += versions.iter().map(|of| key.as_bytes().len() + of.value.len()).sum::<usize>();
                rows.push(wire::Row { key: key.to_bytes(), versions });
                ControlFlow::Continue(())
            })?;
            let after = after.map(|after| after.to_bytes()).unwrap_or_default();
            let rest = is_all.then_some(frame.state);
            Ok(wire::Ingest { attempt: 0, after, rows, rest })
        });
        chunk.await.map_err(|error| self.shared.sort(error))
    }

    /// A digest of the rows of a range, also where it is out of bounds, as reads at and above a watermark would see them: the one
    /// given or the shard's own, whichever is higher. With it, which that was.
    ///
    /// # Errors
    /// As of [`Store::digest`].
    pub async fn compare(
        &self,
        range: KeyRange,
        watermark: Timestamp,
    ) -> Result<([u8; 32], Timestamp), StoreError> {
        let frame = self.frame()?;
        let watermark = watermark.max(Timestamp(frame.state.watermark));
        let digest = self.shared.exec.blocking(move || frame.digest_rows(&range, watermark));
        Ok((digest.await.map_err(|error| self.shared.sort(error))?, watermark))
    }

    /// True if there are rows that are not the shard's, or were not when the file was written last: what it gave away, what was to
    /// be taken over and was not, or is yet to be.
    pub fn holds_foreign(&self) -> bool {
        let seen = self.shared.seen.read();
        let Some(own) = &seen.state.range else { return false };
        seen.picture.head().has_foreign
            || seen.has_moved_bounds(own)
            || seen.state.taking.is_some()
            || seen.has_foreign_in_memory(own)
    }

    /// True if sweeps cannot clear anything away before the next flush: by the file the shard has other bounds, or a split or
    /// merge is not over that is.
    pub fn holds_sweeps_up(&self) -> bool {
        let seen = self.shared.seen.read();
        let is_settled = seen.state.is_settled();
        let flushed = seen.picture.head().state.as_ref();
        let is_behind = is_settled && !flushed.is_none_or(record::is_settled);
        is_behind || seen.state.range.as_ref().is_some_and(|own| seen.has_moved_bounds(own))
    }
}

impl Seen {
    fn has_moved_bounds(&self, own: &KeyRange) -> bool {
        let end = own.end.as_ref().map(Key::as_bytes).unwrap_or_default();
        let flushed = self.picture.head().state.as_ref().filter(|state| state.exists);
        flushed.is_some_and(|state| state.start != own.start.as_bytes() || state.end != end)
    }

    fn has_foreign_in_memory(&self, own: &KeyRange) -> bool {
        let below = KeyRange::new(Key::FIRST, Some(own.start.clone()));
        let above = own.end.clone().map(|end| KeyRange::new(end, None));
        let tables = [Some(&self.active), self.frozen.as_deref()];
        let has = |range: &KeyRange| tables.iter().flatten().any(|table| table.range(range).next().is_some());
        has(&below) || above.is_some_and(|above| has(&above))
    }
}
