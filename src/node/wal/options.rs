//! How a log is kept.

use std::io;
use std::sync::Arc;

use super::GroupId;

/// Size of a segment, in bytes.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Bytes of entries in one job, as a part of a segment. An entry larger than that is refused, which stops its group: the
/// largest write that is let in must be smaller.
pub(super) const JOB_SEGMENT_SHARE: u64 = 3;
/// A segment that is made while somebody waits is this part of the usual size: it is soon made, and many starts find room
/// on a full disk; each still takes some.
pub(super) const SMALL_SHARE: u64 = 16;
/// More than the heads of a segment and its first batches take, in bytes.
pub(super) const HEADS_MAX_BYTES: usize = 64 << 10;

/// Told the first failure of the log.
pub type FailureHook = Arc<dyn Fn(&io::Error) + Send + Sync>;

/// How the log is kept.
#[derive(Clone)]
pub struct WalOptions {
    /// Size of a segment file.
    pub segment_bytes: u64,
    /// Newest entries kept in memory, over all groups.
    pub cache_bytes: usize,
    /// Free segment files kept for use, where the disk has room. With fewer than a flush usually frees, segments are made
    /// anew, and the zeros they begin with are as many bytes as all that the log takes.
    pub spare_segments: usize,
    /// Groups that the log must know if it ever was used: if damage may concern anybody, it concerns them.
    pub known: Vec<GroupId>,
    /// Groups of which nobody else has anything: damage that concerns one of them is refused, and the files are left as they
    /// are.
    pub sole: Vec<GroupId>,
    /// Called once when the log has failed.
    pub on_failure: Option<FailureHook>,
}

impl WalOptions {
    /// The largest entry, in bytes.
    pub fn record_max_bytes(&self) -> u64 {
        self.segment_bytes / JOB_SEGMENT_SHARE
    }
}

impl Default for WalOptions {
    fn default() -> WalOptions {
        WalOptions {
            segment_bytes: SEGMENT_BYTES,
            cache_bytes: 64 << 20,
            spare_segments: 8,
            known: Vec::new(),
            sole: Vec::new(),
            on_failure: None,
        }
    }
}
