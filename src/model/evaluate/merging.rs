//! What entries of a merge do to the two shards ([`crate::model::merge`] has the protocol).
//!
//! Each carries the number of the attempt. One whose attempt is over does nothing, so none that comes late does harm; and so does
//! none that comes twice.

use std::sync::Arc;

use bytes::Bytes;

use crate::model::key::Key;
use crate::model::row::Version;
use crate::model::time::Timestamp;
use crate::model::wire;

use super::{ApplyError, Rows, ShardState};

/// What has come of a shard that is to be taken over. Its rows are among this shard's, out of bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Taking {
    pub attempt: u64,
    /// The last key that came.
    pub after: Bytes,
    /// All else of that shard, once all rows have come.
    pub rest: Option<ShardState>,
}

impl Taking {
    pub(super) fn from_wire(stored: wire::Taking) -> Result<Taking, crate::model::key::KeyError> {
        let rest = stored.rest.map(|rest| ShardState::from_wire(*rest)).transpose()?;
        Ok(Taking { attempt: stored.attempt, after: stored.after, rest })
    }

    pub(super) fn to_wire(&self) -> wire::Taking {
        let rest = self.rest.as_ref().map(|rest| Box::new(rest.to_wire()));
        wire::Taking { attempt: self.attempt, after: self.after.clone(), rest }
    }
}

impl ShardState {
    /// True while nothing may be written here, nor anything new promised to readers.
    pub fn is_frozen(&self) -> bool {
        self.frozen_by != 0
    }

    pub(super) fn apply_freeze(&mut self, attempt: u64) {
        if attempt > self.attempts_over && self.range.is_some() {
            self.frozen_by = attempt;
        }
    }

    pub(super) fn apply_forgo(&mut self, attempt: u64) {
        self.attempts_over = self.attempts_over.max(attempt);
        if self.frozen_by <= attempt {
            self.frozen_by = 0;
        }
        self.taking.take_if(|taking| taking.attempt <= attempt);
    }

    /// Takes rows in that follow those that have come.
    pub(super) fn apply_ingest<R: Rows>(
        &mut self,
        ingest: wire::Ingest,
        rows: &mut R,
    ) -> Result<(), ApplyError<R::Error>> {
        let follows = match &self.taking {
            None => ingest.after.is_empty(),
            Some(taking) => {
                (taking.attempt, &taking.after) == (ingest.attempt, &ingest.after) && taking.rest.is_none()
            }
        };
        if ingest.attempt <= self.attempts_over || !follows {
            return Ok(());
        }
        let mut after = ingest.after;
        for row in ingest.rows {
            let key = Key::from_internal(row.key).map_err(|_| ApplyError::Malformed)?;
            after = key.to_bytes();
            for version in row.versions {
                rows.write(key.clone(), from_row(version));
            }
        }
        let rest = ingest.rest.map(ShardState::from_wire).transpose();
        let rest = rest.map_err(|_| ApplyError::Malformed)?;
        self.taking = Some(Arc::new(Taking { attempt: ingest.attempt, after, rest }));
        Ok(())
    }

    /// The keys that have come are this shard's.
    pub(super) fn apply_take_over(&mut self, attempt: u64) {
        let is_due = attempt > self.attempts_over;
        let taking =
            self.taking.take_if(|taking| is_due && taking.attempt == attempt && taking.rest.is_some());
        let Some(taken) = taking else { return };
        let rest = taken.rest.as_ref().expect("it was looked at");
        let (Some(range), Some(gone)) = (&mut self.range, &rest.range) else { return };
        assert_eq!(range.end.as_ref(), Some(&gone.start), "neighbours are merged");
        range.end = gone.end.clone();
        self.attempts_over = attempt;
        self.epoch = self.epoch.max(rest.epoch) + 1;
        self.ceiling = self.ceiling.max(rest.ceiling);
        // What was promised to readers over there is kept by refusing stamps at and below it, whoever leads here.
        self.highest_stamp = self.highest_stamp.max(rest.highest_stamp).max(rest.ceiling);
        self.watermark = self.watermark.max(rest.watermark);
        self.repeats.absorb(&rest.repeats);
    }
}

/// A version as it travels.
pub fn to_row(version: &Version) -> wire::RowVersion {
    wire::RowVersion {
        stamp: version.stamp.0,
        expires_at: version.expires_at.map_or(0, |at| at.0),
        value: version.value.clone().unwrap_or_default(),
        deleted: version.value.is_none(),
    }
}

fn from_row(row: wire::RowVersion) -> Version {
    Version {
        stamp: Timestamp(row.stamp),
        expires_at: (row.expires_at != 0).then_some(Timestamp(row.expires_at)),
        value: (!row.deleted).then_some(row.value),
    }
}
