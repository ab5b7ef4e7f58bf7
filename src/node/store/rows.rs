//! Rows of a memtable, each at a place that it keeps.
//!
//! Promises: adding one never moves another and never looks at all there are, so it takes the same time however many there
//! are. Who adds rows holds up whoever applies or reads; a vector that grew, and a hash table beside it that looked at
//! every key again, took up to half a second of that (traced while five million keys were loaded).

use hashbrown::HashTable;

use crate::model::key::Key;

use super::versions::Versions;

/// Rows whose memory is taken at once.
const CHUNK: usize = 1024;
/// Parts of the table of places; a part that is full grows by itself, and looks at no row for that.
const PARTS: usize = 64;

/// A row: a key and its versions.
pub type Row = (Key, Versions);

/// In order of their coming; never removed.
#[derive(Clone, Default)]
pub struct Rows {
    /// All full but the last.
    chunks: Vec<Vec<Row>>,
}

/// Where rows are, by the hashes of their keys.
#[derive(Clone)]
pub struct Places {
    parts: Vec<HashTable<Place>>,
}

#[derive(Clone, Copy)]
struct Place {
    row: u32,
    tag: u32,
}

impl Rows {
    pub fn len(&self) -> usize {
        let full = self.chunks.len().saturating_sub(1) * CHUNK;
        full + self.chunks.last().map_or(0, Vec::len)
    }

    pub fn get(&self, row: u32) -> &Row {
        &self.chunks[row as usize / CHUNK][row as usize % CHUNK]
    }

    pub fn get_mut(&mut self, row: u32) -> &mut Row {
        &mut self.chunks[row as usize / CHUNK][row as usize % CHUNK]
    }

    /// Adds a row; its place.
    pub fn push(&mut self, row: Row) -> u32 {
        let place = u32::try_from(self.len()).expect("the memory of a node holds fewer rows");
        match self.chunks.last_mut().filter(|chunk| chunk.len() < CHUNK) {
            Some(chunk) => chunk.push(row),
            None => {
                // The first one grows: most shards of a node have few rows in memory.
                let mut chunk = Vec::with_capacity(if self.chunks.is_empty() { 0 } else { CHUNK });
                chunk.push(row);
                self.chunks.push(chunk);
            }
        }
        place
    }
}

impl Default for Places {
    fn default() -> Places {
        Places { parts: (0..PARTS).map(|_| HashTable::new()).collect() }
    }
}

impl Places {
    /// The row with this hash for which `is_it` holds. It is hardly ever asked of another.
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag(hash);
        let found = self.parts[part(hash)].find(spread(tag), |place| place.tag == tag && is_it(place.row));
        found.map(|place| place.row)
    }

    /// Adds a row that is not there.
    pub fn insert(&mut self, hash: u64, row: u32) {
        let place = Place { row, tag: tag(hash) };
        self.parts[part(hash)].insert_unique(spread(place.tag), place, |place| spread(place.tag));
    }
}

/// So much of the hash that another key's row is hardly ever looked at; it also chooses the place in a part.
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The part, by bits that the tag has not.
fn part(hash: u64) -> usize {
    hash as usize % PARTS
}

/// The hash table goes by the lowest and the highest bits. Multiplying by an odd number (2^64 over the golden ratio) is
/// Fibonacci hashing: Knuth, The Art of Computer Programming, volume 3, section 6.4.
fn spread(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::row::Version;
    use crate::model::time::Timestamp;

    fn row(n: u64) -> Row {
        (Key::from_name(&n.to_be_bytes()).unwrap(), Versions::new(Version::tombstone(Timestamp(n))))
    }

    #[test]
    fn rows_stay_where_they_are() {
        let mut rows = Rows::default();
        let mut first = None;
        for n in 0..3 * CHUNK + 1 {
            assert_eq!((rows.len(), rows.push(row(n as u64))), (n, n as u32));
            if n == CHUNK {
                first = Some(std::ptr::from_ref(rows.get(CHUNK as u32)));
            }
        }
        assert!((0..rows.len()).all(|n| rows.get(n as u32).1.newest().stamp.0 == n as u64));
        assert_eq!(first, Some(std::ptr::from_ref(rows.get(CHUNK as u32))));
    }

    /// Also where hashes are alike in what chooses the part, or in all of the tag.
    #[test]
    fn every_row_is_found_by_its_hash() {
        let hashes = |n: u64| [n, n << 32, n << 6, n.wrapping_mul(0x2545_F491_4F6C_DD1D), ((n % 7) << 32) | n];
        for kind in 0..5 {
            let mut places = Places::default();
            let count = 5000;
            for n in 0..count {
                let hash = hashes(n)[kind];
                assert_eq!(places.find(hash, |row| u64::from(row) == n), None);
                places.insert(hash, n as u32);
            }
            for n in 0..count {
                assert_eq!(places.find(hashes(n)[kind], |row| u64::from(row) == n), Some(n as u32));
            }
        }
    }
}
