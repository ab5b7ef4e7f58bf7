//! redb's storage over our disk seam, which notices when a file no longer holds what it held.
//!
//! redb checks its checksums only when a file is repaired or checked as a whole, and a page that has changed since is
//! believed: rows would be missing, or others. So the checksum of every block that was read or written since the file was
//! opened is kept (4 bytes for 4 KiB) and every later read is compared with it. What was changed while the file was closed
//! is found when it is opened, by redb's own checksums.
//!
//! Promises: what is read is what was first read or last written, or an error that is no I/O error of the device. Does not
//! lock the file; a shard's file has one owner in one process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::node::disk::DiskFile;

/// Bytes that share a checksum; redb's pages are whole blocks.
pub const BLOCK: usize = 4096;
/// After so many bytes the device is given what was written. A flush writes hundreds of MiB and would otherwise have the
/// device take them at once, at its end: every sync of the log would stand behind them.
const WRITE_BACK_BYTES: usize = 1 << 20;

/// Set once something is not what was written; never unset. Clones are one.
#[derive(Clone, Default)]
pub struct Rot(Arc<AtomicBool>);

/// Set once nothing may be written any more; never unset. Clones are one.
#[derive(Clone, Default)]
pub struct Ended(Arc<AtomicBool>);

/// Work on a file that must be done whole.
pub struct Whole(Option<Ended>);

/// One open file as redb wants it.
pub struct Backend {
    file: Arc<dyn DiskFile>,
    sums: Sums,
    rot: Rot,
    ended: Ended,
    /// Since the device was last given what was written.
    written_bytes: AtomicUsize,
}

/// CRC-32C of each block, 0 while it is not known. Clones are one. Locked while a block is written.
#[derive(Clone, Default)]
pub struct Sums(Arc<Mutex<Vec<u32>>>);

impl Rot {
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Ended {
    /// Nothing is written any more, unless the answer is told that the work is done.
    pub fn unless_done(&self) -> Whole {
        Whole(Some(self.clone()))
    }

    fn check(&self) -> io::Result<()> {
        match self.0.load(Ordering::Acquire) {
            true => Err(io::Error::other("a flush failed half-way: what it wrote must not count")),
            false => Ok(()),
        }
    }
}

impl Whole {
    pub fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if let Some(ended) = &self.0 {
            ended.0.store(true, Ordering::Release);
        }
    }
}

impl Sums {
    /// As of now.
    pub fn copy(&self) -> Vec<u32> {
        self.0.lock().clone()
    }
}

/// The checksum of a block, never 0.
pub fn block_sum(block: &[u8]) -> u32 {
    crc32c::crc32c(block).max(1)
}

impl Backend {
    pub fn new(file: Arc<dyn DiskFile>, sums: Sums, rot: Rot, ended: Ended) -> Backend {
        Backend { file, sums, rot, ended, written_bytes: AtomicUsize::new(0) }
    }

    /// Reads whole blocks and compares them with what they were.
    fn read_blocks(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_file(offset, out)?;
        let found: Vec<u32> = out.chunks(BLOCK).map(block_sum).collect();
        let first = offset as usize / BLOCK;
        let mut sums = self.sums.0.lock();
        if agree(&mut sums, first, &found) {
            return Ok(());
        }
        // Perhaps it was being written; now nobody writes.
        self.read_file(offset, out)?;
        let found: Vec<u32> = out.chunks(BLOCK).map(block_sum).collect();
        match agree(&mut sums, first, &found) {
            true => Ok(()),
            false => Err(self.rotten(format!("what is at byte {offset} is not what was written there"))),
        }
    }

    fn read_file(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out).map_err(|error| match error.raw_os_error() {
            Some(libc::EIO) => self.rotten(format!("the device cannot read what is at byte {offset}")),
            _ => error,
        })
    }

    fn rotten(&self, what: String) -> io::Error {
        self.rot.set();
        io::Error::new(io::ErrorKind::InvalidData, what)
    }
}

/// True if all that is known of these blocks is what was found; what was not known is now.
fn agree(sums: &mut Vec<u32>, first: usize, found: &[u32]) -> bool {
    let end = first + found.len();
    if sums.len() < end {
        sums.resize(end, 0);
    }
    let known = &mut sums[first..end];
    if known.iter().zip(found).any(|(known, found)| *known != 0 && known != found) {
        return false;
    }
    known.copy_from_slice(found);
    true
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backend")
    }
}

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (block, end) = (BLOCK as u64, offset + out.len() as u64);
        if offset.is_multiple_of(block) && end.is_multiple_of(block) {
            return self.read_blocks(offset, out);
        }
        // Only of the header, seldom.
        let from = offset - offset % block;
        let to = end.next_multiple_of(block).min(self.file.len()?).max(end);
        let mut whole = vec![0; (to - from) as usize];
        self.read_blocks(from, &mut whole)?;
        out.copy_from_slice(&whole[(offset - from) as usize..][..out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.ended.check()?;
        let mut sums = self.sums.0.lock();
        // A last block that is not whole changes with the length.
        sums.truncate((len.min(self.file.len()?) / BLOCK as u64) as usize);
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.ended.check()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.ended.check()?;
        self.write_blocks(offset, data)?;
        // One writer at a time; readers do not come here.
        if self.written_bytes.fetch_add(data.len(), Ordering::Relaxed) + data.len() < WRITE_BACK_BYTES {
            return Ok(());
        }
        self.written_bytes.store(0, Ordering::Relaxed);
        self.file.write_back()
    }
}

impl Backend {
    fn write_blocks(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (begin, end) = (offset as usize, offset as usize + data.len());
        let mut sums = self.sums.0.lock();
        let (first, behind) = (begin / BLOCK, end.div_ceil(BLOCK));
        if sums.len() < behind {
            sums.resize(behind, 0);
        }
        // What a block keeps must be what it was, or its rot would get a fresh checksum.
        let in_part: Vec<usize> =
            (first..behind).filter(|n| n * BLOCK < begin || (n + 1) * BLOCK > end).collect();
        for n in &in_part {
            let known = sums[*n];
            if known != 0 && self.sum_of(*n)? != known {
                return Err(self.rotten(format!("block {n} is not what was written there")));
            }
        }
        // Nothing is known of what is being written.
        sums[first..behind].fill(0);
        self.file.write_at(offset, data)?;
        for (n, sum) in sums.iter_mut().enumerate().take(behind).skip(first) {
            *sum = match in_part.contains(&n) {
                true => self.sum_of(n)?,
                false => block_sum(&data[n * BLOCK - begin..][..BLOCK]),
            };
        }
        Ok(())
    }

    /// The checksum of a block as it is in the file; the last one may be short.
    fn sum_of(&self, n: usize) -> io::Result<u32> {
        let offset = (n * BLOCK) as u64;
        let len = self.file.len()?.saturating_sub(offset).min(BLOCK as u64);
        let mut block = vec![0; len as usize];
        self.read_file(offset, &mut block)?;
        Ok(block_sum(&block))
    }
}
