//! Files of zeros: what segments are made of, because overwriting costs half of what growing a file does.

use std::io;
use std::path::Path;

use crate::node::disk::{Disk, DiskFile};

/// Written at once.
const PIECE_BYTES: u64 = 1 << 20;

/// Makes one; what is in it is durable then, its name is not.
pub fn make(disk: &dyn Disk, path: &Path, bytes: u64) -> io::Result<()> {
    let file = disk.open(path, true)?;
    let mut at = 0;
    while at < bytes {
        at += fill(&*file, at, bytes)?;
    }
    file.sync_data()
}

/// Writes the piece at `at` of a file of `bytes`; how long it is.
pub fn fill(file: &dyn DiskFile, at: u64, bytes: u64) -> io::Result<u64> {
    let piece = PIECE_BYTES.min(bytes - at);
    file.write_at(at, &vec![0; piece as usize])?;
    Ok(piece)
}
