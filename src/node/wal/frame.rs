//! Bytes of the log: segment headers, batches, frames. Nothing here touches a file.
//!
//! ```text
//! segment  := header (512 B) batch*              each batch begins at a multiple of 512
//! header   := "NNWAL001" number u64 seed u32 previous_end u64 crc u32
//! batch    := len u32 crc u32 begin u64 synced_before u64 frame* padding
//! frame    := len u32 group u64 kind u8 payload
//! ```
//!
//! All numbers little-endian. `crc` of a batch covers everything behind it and is seeded with the segment's seed, so what
//! an earlier life of a recycled segment left behind never counts as a batch of this one.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::LogPoint;

/// What a batch is aligned to: a torn write damages whole sectors, never a part of one already synced.
pub const SECTOR: u64 = 512;
/// Bytes before the first frame of a batch.
pub const BATCH_HEADER: usize = 24;

/// Index and term.
const POINT_BYTES: usize = 16;
const MAGIC: &[u8; 8] = b"NNWAL001";
const HEADER_LEN: usize = 32;

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

/// What stands at a place where a batch may begin.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Batch {
        begin: u64,
        synced_before: u64,
        end: u64,
        frames: Vec<Frame>,
    },
    /// Nothing that this life of the segment has written whole.
    Nothing,
}

impl Header {
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
}

impl BatchBuilder {
    /// A batch that will begin at `begin` of its segment.
    pub fn new(begin: u64) -> BatchBuilder {
        let mut builder = BatchBuilder { bytes: BytesMut::new(), begin };
        builder.restart(begin);
        builder
    }

    /// Becomes an empty batch that will begin at `begin`, in the memory it has.
    pub fn restart(&mut self, begin: u64) {
        self.begin = begin;
        self.bytes.clear();
        self.bytes.put_bytes(0, BATCH_HEADER);
    }

    /// Adds a frame of an entry or a point; returns where what follows the point will be in the segment.
    pub fn push_point(&mut self, group: u64, kind: Kind, point: LogPoint, rest: &[u8]) -> u64 {
        self.head(group, kind, POINT_BYTES + rest.len());
        self.bytes.put_u64_le(point.index);
        self.bytes.put_u64_le(point.term);
        let offset = self.begin + self.bytes.len() as u64;
        self.bytes.put_slice(rest);
        offset
    }

    /// Adds a frame; returns where its payload will be in the segment.
    pub fn push(&mut self, group: u64, kind: Kind, payload: &[u8]) -> u64 {
        self.head(group, kind, payload.len());
        let offset = self.begin + self.bytes.len() as u64;
        self.bytes.put_slice(payload);
        offset
    }

    fn head(&mut self, group: u64, kind: Kind, payload_bytes: usize) {
        self.bytes.put_u32_le(payload_bytes as u32);
        self.bytes.put_u64_le(group);
        self.bytes.put_u8(kind as u8);
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.len() == BATCH_HEADER
    }

    /// The bytes to write at `begin`, padded to whole sectors.
    pub fn finish(&mut self, seed: u32, synced_before: u64) -> &[u8] {
        let len = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&len.to_le_bytes());
        self.bytes[8..16].copy_from_slice(&self.begin.to_le_bytes());
        self.bytes[16..24].copy_from_slice(&synced_before.to_le_bytes());
        let crc = batch_crc(seed, &self.bytes);
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(SECTOR as usize), 0);
        &self.bytes
    }
}

/// Over the length and everything behind the checksum itself.
fn batch_crc(seed: u32, batch: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &batch[0..4]), &batch[8..])
}

/// What stands at `begin` of a segment whose content is `segment`.
pub fn read_batch(segment: &Bytes, begin: u64, seed: u32) -> Found {
    let Some(rest) = usize::try_from(begin).ok().and_then(|begin| segment.get(begin..)) else {
        return Found::Nothing;
    };
    if rest.len() < BATCH_HEADER {
        return Found::Nothing;
    }
    let len = u32::from_le_bytes(rest[0..4].try_into().expect("four bytes")) as usize;
    if len <= BATCH_HEADER || len > rest.len() {
        return Found::Nothing;
    }
    let batch = &rest[..len];
    let crc = u32::from_le_bytes(batch[4..8].try_into().expect("four bytes"));
    let stated = u64::from_le_bytes(batch[8..16].try_into().expect("eight bytes"));
    if crc != batch_crc(seed, batch) || stated != begin {
        return Found::Nothing;
    }
    let synced_before = u64::from_le_bytes(batch[16..24].try_into().expect("eight bytes"));
    let at = begin as usize;
    match read_frames(&segment.slice(at..at + len), begin) {
        Some(frames) => {
            Found::Batch { begin, synced_before, end: (begin + len as u64).next_multiple_of(SECTOR), frames }
        }
        None => Found::Nothing,
    }
}

fn read_frames(batch: &Bytes, begin: u64) -> Option<Vec<Frame>> {
    let mut frames = Vec::new();
    let mut at = BATCH_HEADER;
    while at < batch.len() {
        let mut head = batch.get(at..at + 13)?;
        let len = head.get_u32_le() as usize;
        let group = head.get_u64_le();
        let kind = Kind::from_number(head.get_u8())?;
        at += 13;
        batch.get(at..at.checked_add(len)?)?;
        frames.push(Frame { group, kind, payload: batch.slice(at..at + len), offset: begin + at as u64 });
        at += len;
    }
    Some(frames)
}

impl Kind {
    fn from_number(number: u8) -> Option<Kind> {
        use Kind::*;
        [Entry, Rewritten, Vote, Truncate, Purge, Destroy].into_iter().find(|kind| *kind as u8 == number)
    }
}

/// Reads the payload of an entry or a point: index and term, then what follows. Returns term, index, the rest.
pub fn parse_point(payload: &Bytes) -> Option<(u64, u64, Bytes)> {
    let mut head = payload.get(..POINT_BYTES)?;
    let index = head.get_u64_le();
    Some((head.get_u64_le(), index, payload.slice(POINT_BYTES..)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_built_is_read(payloads in prop::collection::vec((any::<u64>(), prop::collection::vec(any::<u8>(), 0..300)), 1..20),
                                  seed in any::<u32>(), flip in any::<prop::sample::Index>()) {
            let mut builder = BatchBuilder::new(1024);
            for (group, payload) in &payloads {
                builder.push(*group, Kind::Entry, payload);
            }
            let bytes = builder.finish(seed, 512);
            prop_assert_eq!(bytes.len() % SECTOR as usize, 0);
            let mut segment = vec![0; 1024];
            segment.extend_from_slice(bytes);
            let whole = Bytes::from(segment.clone());
            let Found::Batch { frames, synced_before, .. } = read_batch(&whole, 1024, seed) else { panic!() };
            prop_assert_eq!(synced_before, 512);
            prop_assert_eq!(frames.len(), payloads.len());
            for (frame, (group, payload)) in frames.iter().zip(&payloads) {
                prop_assert_eq!(frame.group, *group);
                prop_assert_eq!(&frame.payload[..], &payload[..]);
                prop_assert_eq!(&whole[frame.offset as usize..][..payload.len()], &payload[..]);
            }
            // Another life of the segment, another place, one flipped bit: no batch.
            prop_assert_eq!(read_batch(&whole, 1024, seed ^ 1), Found::Nothing);
            prop_assert_eq!(read_batch(&whole.slice(512..), 512, seed), Found::Nothing);
            let used = u32::from_le_bytes(segment[1024..1028].try_into().unwrap()) as usize;
            segment[1024 + flip.index(used)] ^= 1;
            prop_assert_eq!(read_batch(&segment.into(), 1024, seed), Found::Nothing);
        }

        #[test]
        fn garbage_is_nothing(bytes in prop::collection::vec(any::<u8>(), 0..2000), seed in any::<u32>()) {
            prop_assert_eq!(read_batch(&bytes.clone().into(), 0, seed), Found::Nothing);
            prop_assert_eq!(Header::decode(&bytes), None);
        }
    }

    #[test]
    fn a_header_is_read_back() {
        let header = Header { number: 7, seed: 99, previous_end: 4096 };
        assert_eq!(Header::decode(&header.encode()), Some(header));
    }
}
