//! Segment files: made full of zeros, used, and used again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::node::disk::{Disk, DiskFile};

use super::frame::{Header, SECTOR};

/// Zeros written at once when a segment is made.
const ZERO_CHUNK: usize = 1 << 20;

/// An open segment.
#[derive(Clone)]
pub struct Segment {
    pub header: Header,
    pub file: Arc<dyn DiskFile>,
    pub bytes: u64,
}

/// The file of segment `number`.
pub fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("wal-{number:016}.seg"))
}

/// The number in a segment file's name.
pub fn parse(name: &str) -> Option<u64> {
    name.strip_prefix("wal-")?.strip_suffix(".seg")?.parse().ok()
}

/// Makes a file of zeros, durable, under a name that is no segment's yet.
pub fn make_spare(disk: &dyn Disk, dir: &Path, bytes: u64, n: u64) -> io::Result<PathBuf> {
    let path = dir.join(format!("spare-{n}"));
    let file = disk.open(&path, true)?;
    let zeros = vec![0; ZERO_CHUNK.min(bytes as usize)];
    let mut at = 0;
    while at < bytes {
        let len = (bytes - at).min(zeros.len() as u64) as usize;
        file.write_at(at, &zeros[..len])?;
        at += len as u64;
    }
    file.sync_data()?;
    disk.sync_dir(dir)?;
    Ok(path)
}

/// Turns a spare or an old segment's file into the segment of `header`.
///
/// The header goes first, under the old name: a file whose name and header differ is a spare. Then the name. Only when
/// both are durable is anything written behind the header.
pub fn begin(disk: &dyn Disk, dir: &Path, from: &Path, header: Header) -> io::Result<Segment> {
    let file = disk.open(from, false)?;
    let bytes = file.len()?;
    file.write_at(0, &header.encode())?;
    file.sync_data()?;
    disk.rename(from, &path(dir, header.number))?;
    disk.sync_dir(dir)?;
    Ok(Segment { header, file, bytes })
}

/// Opens the segment of this name; `None` if it is a spare.
pub fn open(disk: &dyn Disk, dir: &Path, number: u64) -> io::Result<Option<Segment>> {
    let file = disk.open(&path(dir, number), false)?;
    let bytes = file.len()?;
    if bytes < SECTOR {
        return Ok(None);
    }
    let mut head = vec![0; SECTOR as usize];
    file.read_at(0, &mut head)?;
    let header = Header::decode(&head).filter(|header| header.number == number);
    Ok(header.map(|header| Segment { header, file, bytes }))
}

impl Segment {
    /// All of it.
    pub fn content(&self) -> io::Result<Bytes> {
        let mut content = vec![0; self.bytes as usize];
        self.file.read_at(0, &mut content)?;
        Ok(content.into())
    }
}
