//! Room in the log of one seat: what is asked before entries come.

use openraft::EntryPayload;

use crate::node::raft::types::{Entry, MEMBERSHIP_BYTES_MAX, entry_bytes_max};
use crate::node::wal::{Admitted, NoHeadroom};

use super::{Group, MembershipError};

impl Group {
    /// Leave to take these in. Blank ones alone are let in always: without them there is no new leader, and nothing is read.
    pub(super) fn admit_entries(&self, entries: &[Entry]) -> Result<Option<Admitted>, NoHeadroom> {
        if entries.iter().all(|entry| matches!(entry.payload, EntryPayload::Blank)) {
            return Ok(None);
        }
        self.log.admit(entries.iter().map(entry_bytes_max).sum()).map(Some)
    }

    /// Leave to change members.
    pub(super) fn admit_change(&self) -> Result<Admitted, MembershipError> {
        let admitted = self.log.admit(2 * MEMBERSHIP_BYTES_MAX);
        admitted.map_err(|error| MembershipError::Refused(error.to_string()))
    }
}
