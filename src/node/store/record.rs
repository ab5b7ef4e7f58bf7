//! The stored forms: a version in a table of the shard's file, and the file's head record.
//!
//! Promises: what was encoded decodes to the same; bytes that no encoder wrote give an error, never a panic. Does not
//! touch a file.

use bytes::Bytes;

use crate::model::evaluate::ShardState;
use crate::model::key::KeyRange;
use crate::model::row::Version;
use crate::model::time::Timestamp;
use crate::model::wire;

/// The form of the file this program writes, and the only one it reads.
pub const FORMAT: u32 = 1;

const HAS_VALUE: u8 = 1;
const EXPIRES: u8 = 2;
const STAMP_BYTES: usize = 8;

/// Why stored bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored record cannot be read: {0}")]
pub struct BadRecord(pub &'static str);

/// The one record that says what else the file holds; it is rewritten by every transaction.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Head {
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// The replicated state without the repeat table; the whole of it is a record of its own.
    #[prost(message, optional, tag = "2")]
    pub state: Option<wire::ShardState>,
    /// The last log entry whose effect is in the file.
    #[prost(message, optional, tag = "3")]
    pub applied: Option<wire::LogId>,
    #[prost(message, optional, tag = "4")]
    pub membership: Option<wire::Membership>,
    /// The last membership that was not joint: what the next one is compared with.
    #[prost(message, optional, tag = "5")]
    pub uniform: Option<wire::Membership>,
    #[prost(message, optional, tag = "6")]
    pub tally: Option<Tally>,
    /// The history runs, oldest first.
    #[prost(message, repeated, tag = "7")]
    pub runs: Vec<RunHead>,
    #[prost(uint64, tag = "8")]
    pub next_run: u64,
    /// There may be rows outside the shard's bounds, left from a split.
    #[prost(bool, tag = "9")]
    pub has_foreign: bool,
}

/// What the table of newest versions holds. Exact.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Tally {
    #[prost(uint64, tag = "1")]
    pub rows: u64,
    #[prost(uint64, tag = "2")]
    pub tombstones: u64,
    /// Rows that a sweep may one day remove: tombstones and those with an expiry.
    #[prost(uint64, tag = "3")]
    pub mortal: u64,
    /// Of keys and values.
    #[prost(uint64, tag = "4")]
    pub bytes: u64,
    /// Of the keys of the last flush, how many in a thousand were new to the file.
    #[prost(uint64, tag = "5")]
    pub new_permille: u64,
}

/// One history run: a table of versions that have been replaced.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct RunHead {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// The highest timestamp by which a row in it was replaced.
    #[prost(fixed64, tag = "2")]
    pub replaced_max: u64,
    #[prost(uint64, tag = "3")]
    pub rows: u64,
    /// Of keys and values.
    #[prost(uint64, tag = "4")]
    pub bytes: u64,
}

impl Head {
    /// The head of a file nothing was flushed to.
    pub fn new(state: &wire::ShardState) -> Head {
        Head { format: FORMAT, state: Some(without_clients(state)), ..Head::default() }
    }

    /// The replicated state as it was at the applied entry, its repeat table left out.
    pub fn summary(&self) -> Result<ShardState, BadRecord> {
        let stored = self.state.clone().ok_or(BadRecord("no shard state"))?;
        shard_state(wire::ShardState { forgotten: 0, ..stored })
    }

    /// The shard's bounds, if there may be rows outside of them that nobody needs any more.
    pub fn own_bounds(&self) -> Result<Option<KeyRange>, BadRecord> {
        let settled = self.state.as_ref().is_some_and(is_settled);
        Ok(if self.has_foreign && settled { self.summary()?.range } else { None })
    }

    /// The watermark that drops and sweeps of this file go by.
    pub fn watermark(&self) -> Timestamp {
        self.state.as_ref().map_or(Timestamp::ZERO, |state| Timestamp(state.watermark))
    }
}

impl Tally {
    /// Counts a row that was put into the table.
    pub fn add(&mut self, key_bytes: usize, version: &Version) {
        self.rows += 1;
        self.tombstones += u64::from(version.value.is_none());
        self.mortal += u64::from(is_mortal(version));
        self.bytes += row_bytes(key_bytes, version);
    }

    /// Counts a row that went from the table.
    pub fn remove(&mut self, key_bytes: usize, version: &Version) {
        self.rows -= 1;
        self.tombstones -= u64::from(version.value.is_none());
        self.mortal -= u64::from(is_mortal(version));
        self.bytes -= row_bytes(key_bytes, version);
    }
}

/// The state whose stored form this is.
pub fn shard_state(stored: wire::ShardState) -> Result<ShardState, BadRecord> {
    ShardState::from_wire(stored).map_err(|_| BadRecord("a bound of the shard"))
}

/// True if nobody needs rows that are out of the shard's bounds: neither a shard that is split off nor a merge.
pub fn is_settled(state: &wire::ShardState) -> bool {
    state.birth.is_none() && state.taking.is_none()
}

/// The stored form of a state, but for its repeat table's rows.
pub fn without_clients(state: &wire::ShardState) -> wire::ShardState {
    let birth = state.birth.as_ref().map(|birth| {
        let child = birth.child.as_ref().map(|child| Box::new(without_clients(child)));
        Box::new(wire::Birth { child, membership: birth.membership.clone() })
    });
    wire::ShardState {
        shard: state.shard,
        start: state.start.clone(),
        end: state.end.clone(),
        epoch: state.epoch,
        exists: state.exists,
        highest_stamp: state.highest_stamp,
        ceiling: state.ceiling,
        watermark: state.watermark,
        forgotten: state.forgotten,
        clients: Vec::new(),
        birth,
        frozen_by: state.frozen_by,
        attempts_over: state.attempts_over,
        taking: state.taking.as_ref().map(|taking| {
            let rest = taking.rest.as_ref().map(|rest| Box::new(without_clients(rest)));
            Box::new(wire::Taking { rest, ..(**taking).clone() })
        }),
    }
}

/// Bytes of a key and a value.
pub fn row_bytes(key_bytes: usize, version: &Version) -> u64 {
    (key_bytes + version.value.as_ref().map_or(0, Bytes::len)) as u64
}

/// True if the version says or will say that the key is gone.
pub fn is_mortal(version: &Version) -> bool {
    version.value.is_none() || version.expires_at.is_some()
}

/// True if the version, as a key's newest, says nothing that its absence would not say to a read at or above
/// `watermark`.
pub fn is_void(version: &Version, watermark: Timestamp) -> bool {
    version.stamp <= watermark && version.live_at(watermark).is_none()
}

/// Appends the stored form of a version.
pub fn encode(version: &Version, to: &mut Vec<u8>) {
    let mut flags = 0;
    flags |= if version.value.is_some() { HAS_VALUE } else { 0 };
    flags |= if version.expires_at.is_some() { EXPIRES } else { 0 };
    to.push(flags);
    to.extend_from_slice(&version.stamp.0.to_be_bytes());
    if let Some(end) = version.expires_at {
        to.extend_from_slice(&end.0.to_be_bytes());
    }
    to.extend_from_slice(version.value.as_deref().unwrap_or_default());
}

/// The version whose stored form this is.
pub fn decode(stored: &[u8]) -> Result<Version, BadRecord> {
    let (&flags, rest) = stored.split_first().ok_or(BadRecord("an empty row"))?;
    if flags & !(HAS_VALUE | EXPIRES) != 0 {
        return Err(BadRecord("unknown flags"));
    }
    let (stamp, rest) = split_stamp(rest)?;
    let (expires_at, rest) = match flags & EXPIRES {
        0 => (None, rest),
        _ => split_stamp(rest).map(|(end, rest)| (Some(end), rest))?,
    };
    let value = match flags & HAS_VALUE {
        0 if !rest.is_empty() => return Err(BadRecord("a tombstone with a value")),
        0 => None,
        _ => Some(Bytes::copy_from_slice(rest)),
    };
    Ok(Version { stamp, expires_at, value })
}

/// Appends the stored form of a version that was replaced at `until`.
pub fn encode_replaced(version: &Version, until: Timestamp, to: &mut Vec<u8>) {
    to.extend_from_slice(&until.0.to_be_bytes());
    encode(version, to);
}

/// The replaced version, and when it was replaced.
pub fn decode_replaced(stored: &[u8]) -> Result<(Version, Timestamp), BadRecord> {
    let (until, rest) = split_stamp(stored)?;
    Ok((decode(rest)?, until))
}

fn split_stamp(stored: &[u8]) -> Result<(Timestamp, &[u8]), BadRecord> {
    match stored.split_first_chunk::<STAMP_BYTES>() {
        Some((stamp, rest)) => Ok((Timestamp(u64::from_be_bytes(*stamp)), rest)),
        None => Err(BadRecord("a row that ends within a timestamp")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version() -> impl Strategy<Value = Version> {
        let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..20));
        (any::<u64>(), prop::option::of(any::<u64>()), value).prop_map(|(stamp, end, value)| Version {
            stamp: Timestamp(stamp),
            expires_at: end.map(Timestamp),
            value: value.map(Bytes::from),
        })
    }

    proptest! {
        #[test]
        fn a_stored_version_loses_nothing(version in version(), until in any::<u64>()) {
            let mut bytes = Vec::new();
            encode_replaced(&version, Timestamp(until), &mut bytes);
            prop_assert_eq!(decode_replaced(&bytes), Ok((version, Timestamp(until))));
        }

        #[test]
        fn foreign_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(version) = decode(&bytes) {
                let mut again = Vec::new();
                encode(&version, &mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
