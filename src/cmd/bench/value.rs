//! Values that tell where they are from.
//!
//! | bytes | what, little-endian |
//! |---|---|
//! | 0..4 | CRC-32C of the key's number (8 bytes) and of all that follows |
//! | 4..8 | the run, drawn at random |
//! | 8..10 | the writer |
//! | 10..16 | the writer's sequence |
//! | 16.. | filler that does not compress |
//!
//! Promises: a value that was cut, mixed up with another key's or damaged is found out. Does not: protect against somebody
//! who does it on purpose.

use bytes::Bytes;

use crate::net::chance::Chance;

/// Bytes of a value that are not filler.
pub const HEADER_BYTES: usize = 16;
/// The writer that loads.
pub const LOADER: u16 = u16::MAX;
/// Sequences have six bytes.
const SEQUENCE_END: u64 = 1 << 48;
/// The filler of values begins at so many places, so that neighbours differ.
const FILLER_STARTS: usize = 1 << 16;

/// Which write made a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub run: u32,
    pub writer: u16,
    /// Below 2^48.
    pub sequence: u64,
}

/// Why a value is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("it is too short")]
    Short,
    #[error("its checksum does not match, or it is another key's")]
    Checksum,
}

/// Makes values of one size.
pub struct Values {
    bytes: usize,
    filler: Vec<u8>,
}

impl Values {
    /// `bytes` must be at least [`HEADER_BYTES`].
    pub fn new(bytes: usize, chance: &Chance) -> Values {
        assert!(bytes >= HEADER_BYTES, "the header has room");
        let words = (bytes + FILLER_STARTS).div_ceil(8);
        Values { bytes, filler: (0..words).flat_map(|_| chance.number().to_le_bytes()).collect() }
    }

    pub fn make(&self, key: u64, origin: Origin) -> Bytes {
        assert!(origin.sequence < SEQUENCE_END, "nobody writes for so long");
        let mut value = Vec::with_capacity(self.bytes);
        value.extend_from_slice(&[0; 4]);
        value.extend_from_slice(&origin.run.to_le_bytes());
        value.extend_from_slice(&origin.writer.to_le_bytes());
        value.extend_from_slice(&origin.sequence.to_le_bytes()[..6]);
        // Any spread will do; this is Fibonacci hashing of what differs, of which the high bits are good.
        let spread = (key ^ origin.sequence.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let start = (spread >> (64 - FILLER_STARTS.ilog2())) as usize;
        value.extend_from_slice(&self.filler[start..start + self.bytes - HEADER_BYTES]);
        let checksum = checksum(key, &value[4..]);
        value[..4].copy_from_slice(&checksum.to_le_bytes());
        value.into()
    }
}

/// Which write made this value of this key.
pub fn check(value: &[u8], key: u64) -> Result<Origin, Damage> {
    if value.len() < HEADER_BYTES {
        return Err(Damage::Short);
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    if number(&value[..4]) != u64::from(checksum(key, &value[4..])) {
        return Err(Damage::Checksum);
    }
    Ok(Origin {
        run: number(&value[4..8]) as u32,
        writer: number(&value[8..10]) as u16,
        sequence: number(&value[10..HEADER_BYTES]),
    })
}

fn checksum(key: u64, rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&key.to_le_bytes()), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin = Origin { run: 7, writer: 3, sequence: 1 << 40 };

    #[test]
    fn a_value_tells_where_it_is_from() {
        for bytes in [HEADER_BYTES, HEADER_BYTES + 1, 256, 100_000] {
            let value = Values::new(bytes, &Chance::from_seed(1)).make(42, ORIGIN);
            assert_eq!((value.len(), check(&value, 42)), (bytes, Ok(ORIGIN)));
        }
    }

    #[test]
    fn damage_is_found_out() {
        let values = Values::new(64, &Chance::from_seed(1));
        let value = values.make(42, ORIGIN);
        for at in 0..value.len() {
            let mut damaged = value.to_vec();
            damaged[at] ^= 0x10;
            assert_eq!(check(&damaged, 42), Err(Damage::Checksum), "at {at}");
        }
        assert_eq!(check(&value[..63], 42), Err(Damage::Checksum));
        assert_eq!(check(&value[..HEADER_BYTES - 1], 42), Err(Damage::Short));
        assert_eq!(check(&value, 43), Err(Damage::Checksum));
    }

    #[test]
    fn values_differ() {
        let values = Values::new(64, &Chance::from_seed(1));
        let next = Origin { sequence: ORIGIN.sequence + 1, ..ORIGIN };
        assert_ne!(values.make(1, ORIGIN)[HEADER_BYTES..], values.make(1, next)[HEADER_BYTES..]);
    }
}
