//! The engine seam: what a shard needs of the file below its memtable.
//!
//! An engine is written by one at a time and hands out *pictures*: immutable, consistent, cheap to share, and valid for
//! as long as somebody holds one (which costs the file room, so nobody holds one for long). Does not know the memtable.

use std::error::Error;
use std::io;
use std::sync::Arc;

use crate::model::evaluate::ShardState;
use crate::model::key::{Key, KeyRange};
use crate::model::row::Version;
use crate::model::time::Timestamp;
use crate::model::wire;

use super::memtable::Memtable;
use super::record::{BadRecord, Head};

/// Any error, boxed.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Rows in order of key, read from a picture.
pub type Scan<'a> = Box<dyn Iterator<Item = Result<(Key, Version), EngineError>> + Send + 'a>;
/// Replaced rows in order of key and newest first, each with the timestamp that it was replaced at.
pub type History<'a> = Box<dyn Iterator<Item = Result<(Key, Version, Timestamp), EngineError>> + Send + 'a>;

/// Why a file did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// What is in the file is not what was written.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// The disk refused; nothing is known of what it holds.
    #[error("the disk failed")]
    Disk(#[source] BoxError),
}

/// All that one flush writes down.
#[derive(Clone)]
pub struct Frozen {
    pub table: Arc<Memtable>,
    pub state: wire::ShardState,
    pub applied: wire::LogId,
    pub membership: wire::Membership,
    pub uniform: Option<wire::Membership>,
    /// Rows out of these bounds are left out.
    pub only: Option<KeyRange>,
    /// Versions up to this one are in the file.
    pub since: Timestamp,
}

/// What a sweep did.
pub struct Swept {
    /// The picture after it; `None` if it changed nothing.
    pub picture: Option<Arc<dyn Picture>>,
    /// Where the next one goes on; `None`: at the start.
    pub next: Option<Key>,
}

/// A consistent picture of the file.
pub trait Picture: Send + Sync + 'static {
    fn head(&self) -> &Head;

    /// The replicated state, whole.
    fn state(&self) -> Result<ShardState, EngineError>;

    /// The newest version of `key`, or the newest stamped at or below `at`.
    fn get(&self, key: &Key, at: Option<Timestamp>) -> Result<Option<Version>, EngineError>;

    /// The replaced version of `key` that was its newest at `at`.
    fn replaced(&self, key: &Key, at: Timestamp) -> Result<Option<Version>, EngineError>;

    /// The newest versions of the keys in `range`; `reverse`: from its end.
    fn scan<'a>(&'a self, range: &KeyRange, reverse: bool) -> Result<Scan<'a>, EngineError>;

    /// The replaced versions of the keys in `range`: one sequence a run.
    fn history<'a>(&'a self, range: &KeyRange) -> Result<Vec<History<'a>>, EngineError>;
}

/// A file that is open for writing.
pub trait Engine: Send + 'static {
    /// The file as of the last transaction.
    fn picture(&self) -> Arc<dyn Picture>;

    /// The checksum of each block of the file, 0 where it is not known.
    fn sums(&self) -> Vec<u32>;

    /// Writes all of it in one durable transaction; returns the picture after it. After an error the engine is of no
    /// further use.
    fn flush(&mut self, frozen: &Frozen) -> Result<Arc<dyn Picture>, EngineError>;

    /// To be called after each flush, once the picture before it has been let go where that is possible: what only that
    /// one needed becomes free. After an error the engine is of no further use.
    fn settle(&mut self) -> Result<(), EngineError>;

    /// Removes some of what no read at or above the file's own watermark can see, beginning at `from`.
    fn sweep(&mut self, from: Option<&Key>) -> Result<Swept, EngineError>;
}

impl From<BadRecord> for EngineError {
    fn from(error: BadRecord) -> Self {
        EngineError::Damaged(error.to_string())
    }
}

impl From<io::Error> for EngineError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                EngineError::Damaged(error.to_string())
            }
            _ => EngineError::Disk(error.into()),
        }
    }
}
