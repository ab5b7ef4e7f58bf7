//! What passed a simulated seam, in short: two runs whose numbers are equal moved the same bytes in the same order.

use std::fmt;

/// How many pieces, and a checksum over all of them in their order.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Passage {
    pub pieces: u64,
    pub checksum: u32,
}

impl Passage {
    /// Adds a piece: whence, whither or when in numbers, and what.
    pub fn note(&mut self, place: &[u64], bytes: &[u8]) {
        self.pieces += 1;
        for number in place {
            self.checksum = crc32c::crc32c_append(self.checksum, &number.to_le_bytes());
        }
        self.checksum = crc32c::crc32c_append(self.checksum, bytes);
    }
}

impl fmt::Debug for Passage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:08x}", self.pieces, self.checksum)
    }
}
