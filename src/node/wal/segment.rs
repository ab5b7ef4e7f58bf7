//! Segment files: made full of zeros, used, and used again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::node::disk::{Disk, DiskFile};

use super::frame::{Header, SECTOR};
use super::spares::Spare;

/// Read at once.
const CHUNK: usize = 1 << 20;

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

/// What a file with a segment's name is.
pub enum Opened {
    Segment(Segment),
    /// Its header cannot be read; the one it must have had, but for where the segment before ended.
    Headless(Segment),
    /// A file on its way from one segment to the next: nobody needs what is in it.
    Spare(Spare),
}

/// Opens the file of this name.
pub fn open(disk: &dyn Disk, dir: &Path, number: u64) -> io::Result<Opened> {
    let file = disk.open(&path(dir, number), false)?;
    let bytes = file.len()?;
    let mut head = vec![0; SECTOR.min(bytes) as usize];
    read_what_can_be(&*file, 0, &mut head)?;
    Ok(match Header::decode(&head) {
        Some(header) if header.number == number => Opened::Segment(Segment { header, file, bytes }),
        Some(_) => Opened::Spare(Spare { path: path(dir, number), bytes }),
        None => Opened::Headless(Segment { header: Header::new(number, 0), file, bytes }),
    })
}

impl Segment {
    /// All of it; zeros where the device says that it cannot be read.
    pub fn content(&self) -> io::Result<Bytes> {
        let mut content = vec![0; self.bytes as usize];
        for (n, chunk) in content.chunks_mut(CHUNK).enumerate() {
            read_what_can_be(&*self.file, (n * CHUNK) as u64, chunk)?;
        }
        Ok(content.into())
    }
}

/// Reads, leaving zeros where the device says that it cannot be read: that is damage, and is seen to be when checked.
fn read_what_can_be(file: &dyn DiskFile, offset: u64, to: &mut [u8]) -> io::Result<()> {
    match file.read_at(offset, to) {
        Err(error) if error.raw_os_error() == Some(libc::EIO) => {}
        read => return read,
    }
    for (n, piece) in to.chunks_mut(SECTOR as usize).enumerate() {
        match file.read_at(offset + n as u64 * SECTOR, piece) {
            Err(error) if error.raw_os_error() == Some(libc::EIO) => piece.fill(0),
            read => read?,
        }
    }
    Ok(())
}
