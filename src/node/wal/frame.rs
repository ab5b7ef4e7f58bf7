//! Bytes of the log: segment headers, batches, frames. Nothing here touches a file.
//!
//! ```text
//! segment  := header (512 B) batch*              each batch begins at a multiple of 512
//! header   := "NNWAL002" number u64 seed u32 previous_end u64 crc u32
//! batch    := len u32 crc u32 head_crc u32 begin u64 previous u64 flags u32 own u32 before u32
//!             frame* own_groups u64* groups_before u64* padding
//! frame    := len u32 group u64 kind u8 payload
//! ```
//!
//! All numbers little-endian. `crc` of a batch covers everything but itself and is seeded with the segment's seed, so what
//! an earlier life of a recycled segment left behind never counts as a batch of this one. `head_crc` covers what is left of
//! the batch without its frames: whose frames are damaged can be told although they cannot be read, and each batch also says
//! whose frames were in the batch before it.

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::net::trouble::{Bug, planted};

/// What a batch is aligned to: a torn write damages whole sectors, never a part of one already synced.
pub const SECTOR: u64 = 512;
/// Bytes before the first frame of a batch.
pub const BATCH_HEADER: usize = 40;
/// Bytes that a group takes in a batch beside its frames.
pub const GROUP_BYTES: usize = 8;
/// Bytes of a frame before its payload.
pub const FRAME_HEADER: usize = 13;
/// Bytes of a point before what follows it in a payload.
pub const POINT_BYTES: usize = 16;

const MAGIC: &[u8; 8] = b"NNWAL002";
const HEADER_LEN: usize = 32;
/// The batch states every group.
const CHECKPOINT: u32 = 1;
/// The batch before it does.
const AFTER_CHECKPOINT: u32 = 2;

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub number: u64,
    pub seed: u32,
    /// Where the segment before this one ended, so that a cut end there is noticed; 0: there was none.
    pub previous_end: u64,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An entry; drops what the group has at and above its index.
    Entry = 1,
    /// A copy of an entry made so that an old segment can go; drops nothing.
    Rewritten = 2,
    Vote = 3,
    Truncate = 4,
    Purge = 5,
    Destroy = 6,
    /// In a checkpoint: all that is known of a group but its entries.
    State = 7,
}

/// One frame of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub group: u64,
    pub kind: Kind,
    pub payload: Bytes,
    /// Where the payload begins, in the segment.
    pub offset: u64,
}

/// Whose frames a batch holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Concerned {
    pub groups: Vec<u64>,
    /// It states every group and nothing else; it names none.
    pub checkpoint: bool,
}

/// What can be read of a batch without its frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub begin: u64,
    pub end: u64,
    /// Where the batch before this one begins; of the first of a segment, where the segment before ended.
    pub previous: u64,
    pub own: Concerned,
    pub before: Concerned,
}

/// What stands at a place where a batch may begin.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Batch {
        head: Head,
        frames: Vec<Frame>,
    },
    /// A batch whose frames are not all there.
    Broken(Head),
    /// Nothing that this life of the segment has written.
    Nothing,
}

impl Header {
    /// The header of segment `number`.
    ///
    /// The number is never used twice, so its checksum seeds every life of a file differently.
    pub fn new(number: u64, previous_end: u64) -> Header {
        Header { number, seed: crc32c::crc32c(&number.to_le_bytes()), previous_end }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SECTOR as usize);
        bytes.extend_from_slice(MAGIC);
        bytes.put_u64_le(self.number);
        bytes.put_u32_le(self.seed);
        bytes.put_u64_le(self.previous_end);
        bytes.put_u32_le(crc32c::crc32c(&bytes));
        bytes.resize(SECTOR as usize, 0);
        bytes
    }

    /// `None` for anything that is not a whole header.
    pub fn decode(bytes: &[u8]) -> Option<Header> {
        let (body, mut crc) = bytes.get(..HEADER_LEN)?.split_at(HEADER_LEN - 4);
        if &body[..8] != MAGIC || crc.get_u32_le() != crc32c::crc32c(body) {
            return None;
        }
        let mut rest = &body[8..];
        Some(Header { number: rest.get_u64_le(), seed: rest.get_u32_le(), previous_end: rest.get_u64_le() })
    }
}

/// A batch being put together.
#[derive(Default)]
pub struct BatchBuilder {
    bytes: BytesMut,
    begin: u64,
    previous: u64,
    before: Concerned,
    groups: BTreeSet<u64>,
    checkpoint: bool,
}

impl BatchBuilder {
    /// A batch that will begin at `begin` of its segment, behind the one at `previous` that concerned `before`, in the
    /// `memory` of an earlier one.
    pub fn new(mut memory: BytesMut, begin: u64, previous: u64, before: Concerned) -> BatchBuilder {
        memory.clear();
        memory.put_bytes(0, BATCH_HEADER);
        let bytes = memory;
        BatchBuilder { bytes, begin, previous, before, groups: BTreeSet::new(), checkpoint: false }
    }

    /// The same, for one that will state every group.
    pub fn checkpoint(begin: u64, previous: u64, before: Concerned) -> BatchBuilder {
        BatchBuilder { checkpoint: true, ..BatchBuilder::new(BytesMut::new(), begin, previous, before) }
    }

    /// Adds a frame whose payload is `parts` in a row; returns where its payload will be in the segment.
    pub fn push(&mut self, group: u64, kind: Kind, parts: &[&[u8]]) -> u64 {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        self.bytes.put_u32_le(len as u32);
        self.bytes.put_u64_le(group);
        self.bytes.put_u8(kind as u8);
        let offset = self.begin + self.bytes.len() as u64;
        parts.iter().for_each(|part| self.bytes.put_slice(part));
        if !self.checkpoint {
            self.groups.insert(group);
        }
        offset
    }

    /// Bytes it will have, without padding.
    pub fn len(&self) -> usize {
        self.bytes.len() + (self.groups.len() + self.before.groups.len()) * GROUP_BYTES
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.len() == BATCH_HEADER && !self.checkpoint
    }

    /// Whose frames it holds.
    pub fn concerned(&self) -> Concerned {
        Concerned { groups: self.groups.iter().copied().collect(), checkpoint: self.checkpoint }
    }

    /// The bytes to write at `begin`, padded to whole sectors.
    pub fn finish(mut self, seed: u32) -> BytesMut {
        let len = self.len() as u32;
        let mut flags = if self.checkpoint { CHECKPOINT } else { 0 };
        flags |= if self.before.checkpoint { AFTER_CHECKPOINT } else { 0 };
        self.groups.iter().chain(&self.before.groups).for_each(|group| self.bytes.put_u64_le(*group));
        let mut head = &mut self.bytes[..BATCH_HEADER];
        head.put_u32_le(len);
        head.put_u64_le(0); // the checksums come last
        head.put_u64_le(self.begin);
        head.put_u64_le(self.previous);
        head.put_u32_le(flags);
        head.put_u32_le(self.groups.len() as u32);
        head.put_u32_le(self.before.groups.len() as u32);
        let lists = (self.groups.len() + self.before.groups.len()) * GROUP_BYTES;
        let head_crc = head_crc(seed, &self.bytes, lists);
        self.bytes[8..12].copy_from_slice(&head_crc.to_le_bytes());
        let crc = batch_crc(seed, &self.bytes);
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(SECTOR as usize), 0);
        self.bytes
    }
}

/// Over the length and everything behind the checksum itself.
fn batch_crc(seed: u32, batch: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &batch[0..4]), &batch[8..])
}

/// Over everything but the checksums and the frames.
fn head_crc(seed: u32, batch: &[u8], lists: usize) -> u32 {
    let head = crc32c::crc32c_append(crc32c::crc32c_append(seed, &batch[0..4]), &batch[12..BATCH_HEADER]);
    crc32c::crc32c_append(head, &batch[batch.len() - lists..])
}

/// What stands at `begin` of a segment whose content is `segment`.
pub fn read_batch(segment: &Bytes, begin: u64, seed: u32) -> Found {
    let Some((head, batch)) = read_head(segment, begin, seed) else { return Found::Nothing };
    let crc = u32::from_le_bytes(batch[4..8].try_into().expect("four bytes"));
    if crc != batch_crc(seed, &batch) && !planted(Bug::TornTail) {
        return Found::Broken(head);
    }
    let lists = (head.own.groups.len() + head.before.groups.len()) * GROUP_BYTES;
    match read_frames(&batch.slice(..batch.len() - lists), begin) {
        Some(frames) => Found::Batch { head, frames },
        None => Found::Broken(head),
    }
}

fn read_head(segment: &Bytes, begin: u64, seed: u32) -> Option<(Head, Bytes)> {
    let at = usize::try_from(begin).ok()?;
    let mut fixed = segment.get(at..at.checked_add(BATCH_HEADER)?)?;
    let len = fixed.get_u32_le() as usize;
    let _crc = fixed.get_u32_le();
    let stated_crc = fixed.get_u32_le();
    let stated_begin = fixed.get_u64_le();
    let previous = fixed.get_u64_le();
    let flags = fixed.get_u32_le();
    let (own, before) = (fixed.get_u32_le() as usize, fixed.get_u32_le() as usize);
    let lists = own.checked_add(before)?.checked_mul(GROUP_BYTES)?;
    let end = at.checked_add(len)?;
    if stated_begin != begin || end > segment.len() || len < BATCH_HEADER.checked_add(lists)? {
        return None;
    }
    let batch = segment.slice(at..end);
    if stated_crc != head_crc(seed, &batch, lists) {
        return None;
    }
    let mut rest = &batch[len - lists..];
    let mut list = |count: usize| -> Vec<u64> { (0..count).map(|_| rest.get_u64_le()).collect() };
    let own = Concerned { groups: list(own), checkpoint: flags & CHECKPOINT != 0 };
    let before = Concerned { groups: list(before), checkpoint: flags & AFTER_CHECKPOINT != 0 };
    let end = (end as u64).next_multiple_of(SECTOR);
    Some((Head { begin, end, previous, own, before }, batch))
}

fn read_frames(batch: &Bytes, begin: u64) -> Option<Vec<Frame>> {
    let mut frames = Vec::new();
    let mut at = BATCH_HEADER;
    while at < batch.len() {
        let mut head = batch.get(at..at + FRAME_HEADER)?;
        let len = head.get_u32_le() as usize;
        let group = head.get_u64_le();
        let kind = Kind::from_number(head.get_u8())?;
        at += FRAME_HEADER;
        batch.get(at..at.checked_add(len)?)?;
        frames.push(Frame { group, kind, payload: batch.slice(at..at + len), offset: begin + at as u64 });
        at += len;
    }
    Some(frames)
}

impl Kind {
    fn from_number(number: u8) -> Option<Kind> {
        use Kind::*;
        [Entry, Rewritten, Vote, Truncate, Purge, Destroy, State]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// An entry's or a point's first bytes: index, term.
pub fn point_payload(term: u64, index: u64) -> [u8; POINT_BYTES] {
    let mut bytes = [0; POINT_BYTES];
    let mut rest = &mut bytes[..];
    rest.put_u64_le(index);
    rest.put_u64_le(term);
    bytes
}

/// Reads it back: term, index, the rest.
pub fn parse_point(payload: &Bytes) -> Option<(u64, u64, Bytes)> {
    let mut head = payload.get(..POINT_BYTES)?;
    let index = head.get_u64_le();
    Some((head.get_u64_le(), index, payload.slice(POINT_BYTES..)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payloads() -> impl Strategy<Value = Vec<(u64, Vec<u8>)>> {
        prop::collection::vec((0..5u64, prop::collection::vec(any::<u8>(), 0..300)), 1..20)
    }

    proptest! {
        #[test]
        fn what_was_built_is_read(payloads in payloads(), seed in any::<u32>(), flip in any::<prop::sample::Index>()) {
            let before = Concerned { groups: vec![3, 9], checkpoint: false };
            let mut builder = BatchBuilder::new(BytesMut::new(), 1024, 512, before.clone());
            for (group, payload) in &payloads {
                builder.push(*group, Kind::Entry, &[payload]);
            }
            let (own, len) = (builder.concerned(), builder.len());
            let bytes = builder.finish(seed);
            prop_assert_eq!(bytes.len() % SECTOR as usize, 0);
            prop_assert_eq!(bytes.len(), len.next_multiple_of(SECTOR as usize));
            let mut segment = vec![0; 1024];
            segment.extend_from_slice(&bytes);
            let whole = Bytes::from(segment.clone());
            let Found::Batch { frames, head } = read_batch(&whole, 1024, seed) else { panic!() };
            let end = 1024 + bytes.len() as u64;
            prop_assert_eq!(&head, &Head { begin: 1024, end, previous: 512, own, before });
            prop_assert_eq!(frames.len(), payloads.len());
            for (frame, (group, payload)) in frames.iter().zip(&payloads) {
                prop_assert_eq!(frame.group, *group);
                prop_assert_eq!(&frame.payload[..], &payload[..]);
                prop_assert_eq!(&whole[frame.offset as usize..][..payload.len()], &payload[..]);
            }
            // Another life of the segment or another place: no batch.
            prop_assert_eq!(read_batch(&whole, 1024, seed ^ 1), Found::Nothing);
            prop_assert_eq!(read_batch(&whole.slice(512..), 512, seed), Found::Nothing);
            // One flipped bit: no batch, and if its head can still be read, that is what it was.
            segment[1024 + flip.index(len)] ^= 1;
            match read_batch(&segment.into(), 1024, seed) {
                Found::Broken(found) => prop_assert_eq!(found, head),
                found => prop_assert_eq!(found, Found::Nothing),
            }
        }

        #[test]
        fn garbage_is_nothing(bytes in prop::collection::vec(any::<u8>(), 0..2000), seed in any::<u32>()) {
            prop_assert_eq!(read_batch(&bytes.clone().into(), 0, seed), Found::Nothing);
            prop_assert_eq!(Header::decode(&bytes), None);
        }
    }

    #[test]
    fn a_damaged_frame_leaves_its_group_readable() {
        let mut builder =
            BatchBuilder::new(BytesMut::new(), 512, 0, Concerned { groups: Vec::new(), checkpoint: true });
        builder.push(7, Kind::Entry, &[&[1; 1000]]);
        builder.push(9, Kind::Vote, &[&[2; 1000]]);
        let mut segment = vec![0; 512];
        segment.extend_from_slice(&builder.finish(1));
        segment[512 + BATCH_HEADER..2560].fill(0);
        let Found::Broken(head) = read_batch(&segment.into(), 512, 1) else { panic!() };
        assert_eq!(head.own, Concerned { groups: vec![7, 9], checkpoint: false });
        assert!(head.before.checkpoint);
    }

    #[test]
    fn a_header_is_read_back() {
        let header = Header::new(7, 4096);
        assert_eq!(Header::decode(&header.encode()), Some(header));
    }
}
