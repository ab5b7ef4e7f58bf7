//! What a memtable holds of one key.
//!
//! Promises: at least one version, in order of their stamps; forgets those that no read at or above a watermark can see.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::model::row::Version;
use crate::model::time::Timestamp;

/// Memory that a version takes beside its value's bytes.
const VERSION_OVERHEAD_BYTES: usize = 80;

/// The versions of one key; never empty.
#[derive(Clone)]
pub struct Versions {
    newest: Version,
    /// Oldest first. Most keys have none, and then a pointer is all it takes.
    #[expect(clippy::box_collection, reason = "24 bytes less for every key")]
    older: Option<Box<VecDeque<Version>>>,
}

impl Versions {
    pub fn new(newest: Version) -> Versions {
        Versions { newest, older: None }
    }

    /// The newest version.
    pub fn newest(&self) -> &Version {
        &self.newest
    }

    /// The newest version stamped at or below `at`; `None`: at any time.
    pub fn pick(&self, at: Option<Timestamp>) -> Option<&Version> {
        match at {
            Some(at) if self.newest.stamp > at => {
                let older = self.older.as_ref()?;
                let later = older.partition_point(|version| version.stamp <= at);
                older.get(later.checked_sub(1)?)
            }
            _ => Some(&self.newest),
        }
    }

    /// All versions, newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Version> {
        std::iter::once(&self.newest).chain(self.older.iter().flat_map(|older| older.iter().rev()))
    }

    /// Adds one, newer than all.
    pub fn push(&mut self, version: Version) {
        let replaced = std::mem::replace(&mut self.newest, version);
        self.older.get_or_insert_default().push_back(replaced);
    }

    /// Adds those of the same key that are older than all.
    pub fn push_older(&mut self, elder: &Versions) {
        let older = self.older.get_or_insert_default();
        for version in elder.iter() {
            older.push_front(version.clone());
        }
    }

    /// Drops what was replaced at or below `watermark`; the bytes that this freed.
    pub fn forget(&mut self, watermark: Timestamp) -> usize {
        let Some(older) = &mut self.older else { return 0 };
        let mut freed = 0;
        while let Some(oldest) = older.front() {
            let replaced_at = older.get(1).unwrap_or(&self.newest).stamp;
            if replaced_at > watermark {
                return freed;
            }
            freed += version_bytes(oldest);
            older.pop_front();
        }
        self.older = None;
        freed
    }
}

/// Memory that a version takes, in bytes.
pub fn version_bytes(version: &Version) -> usize {
    VERSION_OVERHEAD_BYTES + version.value.as_ref().map_or(0, Bytes::len)
}
