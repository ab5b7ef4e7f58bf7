//! Which segment is the newest, and how far it reaches at least: a file beside the segments, so that what is gone from the
//! end of the log is missed.
//!
//! Written, durable, once a segment has its checkpoint and before anything else goes into it, and when the log is closed.
//! One sector, overwritten in place: it is there whole as before or as after.

use std::io;
use std::path::Path;

use bytes::{Buf, BufMut};

use crate::node::disk::Disk;

use super::frame::SECTOR;

const FILE: &str = "newest";
const MAGIC: &[u8; 8] = b"NNWALNEW";
const LEN: usize = 28;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newest {
    /// There is none.
    Absent,
    /// It cannot be read.
    Damaged,
    /// The segment's number, and bytes of it that were synced.
    Reaches(u64, u64),
}

/// What it says in `dir`.
pub fn read(disk: &dyn Disk, dir: &Path) -> io::Result<Newest> {
    let path = dir.join(FILE);
    if !disk.exists(&path)? {
        return Ok(Newest::Absent);
    }
    let file = disk.open(&path, false)?;
    let mut bytes = [0; LEN];
    if file.len()? < SECTOR {
        return Ok(Newest::Damaged);
    }
    file.read_at(0, &mut bytes)?;
    let (body, mut crc) = bytes.split_at(LEN - 4);
    match crc.get_u32_le() == crc32c::crc32c(body) && &body[..8] == MAGIC {
        true => Ok(Newest::Reaches((&body[8..]).get_u64_le(), (&body[16..]).get_u64_le())),
        false => Ok(Newest::Damaged),
    }
}

/// Makes it say that segment `number` is there up to `end`, durably.
pub fn write(disk: &dyn Disk, dir: &Path, number: u64, end: u64) -> io::Result<()> {
    let path = dir.join(FILE);
    let is_new = !disk.exists(&path)?;
    let mut bytes = Vec::with_capacity(SECTOR as usize);
    bytes.put_slice(MAGIC);
    bytes.put_u64_le(number);
    bytes.put_u64_le(end);
    bytes.put_u32_le(crc32c::crc32c(&bytes));
    bytes.resize(SECTOR as usize, 0);
    let file = disk.open(&path, true)?;
    file.write_at(0, &bytes)?;
    file.sync_data()?;
    if is_new { disk.sync_dir(dir) } else { Ok(()) }
}
