//! A read transaction of a shard's redb file, kept open with its tables.
//!
//! Opening a transaction and its tables costs as much as a few reads, so one is kept and shared until the next flush
//! replaces it. Promises: everything read through it is of one transaction. Does not write.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use redb::{ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};

use crate::model::evaluate::ShardState;
use crate::model::key::{Key, KeyRange};
use crate::model::row::Version;
use crate::model::time::Timestamp;
use crate::model::wire;

use super::engine::{EngineError, History, Picture, Scan};
use super::record::{self, Head};

/// Key to its newest version.
pub const LATEST: TableDefinition<&[u8], &[u8]> = TableDefinition::new("latest");
/// Two records: the head, and the whole replicated state.
pub const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// Where the head is in `META`.
pub const HEAD: &str = "head";
/// Where the replicated state is in `META`: apart from the head, since it may be large and is rarely read.
pub const STATE: &str = "state";

/// A key of a history run: the row's key and the complement of its stamp, so that newer versions come first.
pub type RunKey = (&'static [u8], u64);

/// The name of a run's table.
pub fn run_name(id: u64) -> String {
    format!("history-{id}")
}

/// The file at one moment.
pub struct FilePicture {
    head: Head,
    meta: ReadOnlyTable<&'static str, &'static [u8]>,
    latest: ReadOnlyTable<&'static [u8], &'static [u8]>,
    /// Oldest first.
    runs: Vec<Run>,
}

struct Run {
    replaced_max: Timestamp,
    table: ReadOnlyTable<RunKey, &'static [u8]>,
}

impl FilePicture {
    /// Takes a picture of the last transaction.
    pub fn take(database: &redb::Database) -> Result<Arc<FilePicture>, EngineError> {
        let transaction = database.begin_read()?;
        let meta = transaction.open_table(META)?;
        let head = {
            let stored = meta.get(HEAD)?.ok_or_else(|| EngineError::Damaged("no head record".into()))?;
            Head::decode(stored.value())
                .map_err(|error| EngineError::Damaged(format!("the head record: {error}")))?
        };
        if head.format != record::FORMAT {
            let found = head.format;
            return Err(EngineError::Damaged(format!("form {found} of the file is unknown to this program")));
        }
        let mut runs = Vec::with_capacity(head.runs.len());
        for run in &head.runs {
            let name = run_name(run.id);
            let table = transaction.open_table(TableDefinition::new(&name))?;
            runs.push(Run { replaced_max: Timestamp(run.replaced_max), table });
        }
        Ok(Arc::new(FilePicture { latest: transaction.open_table(LATEST)?, meta, runs, head }))
    }
}

impl Picture for FilePicture {
    fn head(&self) -> &Head {
        &self.head
    }

    fn state(&self) -> Result<ShardState, EngineError> {
        let stored = self.meta.get(STATE)?.ok_or_else(|| EngineError::Damaged("no state record".into()))?;
        let state = wire::ShardState::decode(stored.value())
            .map_err(|error| EngineError::Damaged(format!("the state record: {error}")))?;
        Ok(record::shard_state(state)?)
    }

    fn get(&self, key: &Key, at: Option<Timestamp>) -> Result<Option<Version>, EngineError> {
        let Some(stored) = self.latest.get(key.as_bytes())? else { return Ok(None) };
        let newest = record::decode(stored.value())?;
        match at {
            Some(at) if newest.stamp > at => self.replaced(key, at),
            _ => Ok(Some(newest)),
        }
    }

    fn replaced(&self, key: &Key, at: Timestamp) -> Result<Option<Version>, EngineError> {
        for run in self.runs.iter().filter(|run| run.replaced_max > at) {
            let versions = (key.as_bytes(), !at.0)..=(key.as_bytes(), u64::MAX);
            if let Some(row) = ReadableTable::range(&run.table, versions)?.next() {
                let (version, until) = record::decode_replaced(row?.1.value())?;
                // A tombstone in between may have been swept since.
                if until > at {
                    return Ok(Some(version));
                }
            }
        }
        Ok(None)
    }

    fn scan<'a>(&'a self, range: &KeyRange, reverse: bool) -> Result<Scan<'a>, EngineError> {
        if range.is_empty() {
            return Ok(Box::new(std::iter::empty()));
        }
        let start = Bound::Included(range.start.as_bytes());
        let end = range.end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(end.as_bytes()));
        let rows = ReadableTable::range::<&[u8]>(&self.latest, (start, end))?;
        type Stored<'a> = redb::AccessGuard<'a, &'static [u8]>;
        let decode = |row: redb::Result<(Stored<'_>, Stored<'_>)>| {
            let (key, stored) = row?;
            Ok((stored_key(key.value())?, record::decode(stored.value())?))
        };
        Ok(match reverse {
            true => Box::new(rows.rev().map(decode)),
            false => Box::new(rows.map(decode)),
        })
    }

    fn history<'a>(&'a self, range: &KeyRange) -> Result<Vec<History<'a>>, EngineError> {
        let mut runs: Vec<History<'a>> = Vec::new();
        for run in self.runs.iter().filter(|_| !range.is_empty()) {
            let start = Bound::Included((range.start.as_bytes(), 0));
            let end = range.end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded((end.as_bytes(), 0)));
            let rows = ReadableTable::range::<(&[u8], u64)>(&run.table, (start, end))?;
            runs.push(Box::new(rows.map(|row| {
                let (key, stored) = row?;
                let (version, until) = record::decode_replaced(stored.value())?;
                Ok((stored_key(key.value().0)?, version, until))
            })));
        }
        Ok(runs)
    }
}

fn stored_key(bytes: &[u8]) -> Result<Key, EngineError> {
    Key::from_internal(Bytes::copy_from_slice(bytes))
        .map_err(|error| EngineError::Damaged(format!("a key in the file: {error}")))
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for EngineError {
            fn from(error: $error) -> Self {
                match redb::Error::from(error) {
                    redb::Error::Io(error) => EngineError::from(error),
                    error @ (redb::Error::Corrupted(_)
                    | redb::Error::RepairAborted
                    | redb::Error::UpgradeRequired(_)
                    | redb::Error::TableTypeMismatch { .. }
                    | redb::Error::TableIsMultimap(_)
                    | redb::Error::TypeDefinitionChanged { .. }
                    | redb::Error::TableDoesNotExist(_)) => EngineError::Damaged(error.to_string()),
                    error => EngineError::Disk(error.into()),
                }
            }
        }
    )*};
}

from_redb!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::CursorError,
    redb::DatabaseError,
    redb::SetDurabilityError
);
