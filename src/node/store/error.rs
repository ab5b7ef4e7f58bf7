//! Why a store did not do what was asked, by what the caller can do about it.

use std::path::PathBuf;

use crate::model::evaluate::ApplyError;
use crate::model::time::Timestamp;
use crate::model::wire;

use super::engine::{BoxError, EngineError};

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The log holds what this replica cannot follow. It must stop.
    #[error("an entry of the log cannot be applied")]
    Apply(#[source] ApplyError<EngineError>),
    /// The file does not hold what was written. The replica must be replaced.
    #[error("the shard file {path} is damaged")]
    Damaged {
        path: PathBuf,
        #[source]
        source: BoxError,
    },
    /// A write failed, now or before; nothing is known of the file. The process must stop.
    #[error("the shard's storage has failed")]
    Failed(#[source] BoxError),
    /// A copy of the shard's file could not be written or read; the store itself is as it was.
    #[error("a copy of the shard's file could not be made or read")]
    Copy(#[source] BoxError),
    /// The log could not be synced, so nothing was flushed.
    #[error("the log could not be made durable before a flush")]
    Log(#[source] BoxError),
    /// The timestamp asked for is below the watermark. Read at a later one.
    #[error("history at and below {watermark} has been forgotten")]
    Forgotten { watermark: Timestamp },
    /// A received file is sound, but not the one that was expected; nothing has changed.
    #[error("the received file does not fit: {0}")]
    Unfit(String),
    /// A received file ends before what this replica has applied; nothing has changed.
    #[error("the received file ends at log index {offered}; {applied} is applied", offered = offered.index, applied = applied.index)]
    Stale { offered: wire::LogId, applied: wire::LogId },
    /// The store was closed.
    #[error("the shard's storage is closed")]
    Closed,
}

/// A write failed earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a write to the shard's file failed earlier")]
pub struct FailedEarlier;
