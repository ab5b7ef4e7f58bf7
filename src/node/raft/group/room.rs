//! Room in the log of one seat: what is asked before entries come.

use openraft::EntryPayload;

use crate::node::raft::types::Entry;
use crate::node::wal::{Admitted, NoHeadroom};

use super::{Group, MembershipError};

/// More than the head of an entry takes, in bytes; and more than a change of members and the entry behind it do.
const ENTRY_HEAD_BYTES: u64 = 64;
const MEMBERSHIP_BYTES: u64 = 4 << 10;

impl Group {
    /// Leave to take these in. Blank ones alone are let in always: without them there is no new leader, and nothing is read.
    pub(super) fn admit_entries(&self, entries: &[Entry]) -> Result<Option<Admitted>, NoHeadroom> {
        if entries.iter().all(|entry| matches!(entry.payload, EntryPayload::Blank)) {
            return Ok(None);
        }
        let bytes = |entry: &Entry| match &entry.payload {
            EntryPayload::Blank => ENTRY_HEAD_BYTES,
            EntryPayload::Normal(proposal) => ENTRY_HEAD_BYTES + proposal.0.len() as u64,
            EntryPayload::Membership(_) => MEMBERSHIP_BYTES,
        };
        self.log.admit(entries.iter().map(bytes).sum()).map(Some)
    }

    /// Leave to change members.
    pub(super) fn admit_change(&self) -> Result<Admitted, MembershipError> {
        let admitted = self.log.admit(2 * MEMBERSHIP_BYTES);
        admitted.map_err(|error| MembershipError::Refused(error.to_string()))
    }
}
