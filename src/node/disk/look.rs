//! A directory that is only looked at: what is written stays in memory.
//!
//! So that whatever reads a node's files, and repairs them while it opens them, can be used on files that must stay as they
//! are. Promises: no file is made, changed or removed, and no lock is taken. Does not see names that were written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile};

const PAGE: u64 = 4096;

/// A directory of the file system.
pub struct LookDisk(pub PathBuf);

struct LookFile {
    file: File,
    written: Mutex<Written>,
}

/// What the file is like with all that was written.
struct Written {
    len: u64,
    /// Bytes of the file that count; behind them there are zeros.
    from_file: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE as usize]>>,
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "files that are only looked at stay as they are")
}

impl Disk for LookDisk {
    fn open(&self, path: &Path, _create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = File::open(self.0.join(path))?;
        let len = file.metadata()?.len();
        let written = Mutex::new(Written { len, from_file: len, pages: BTreeMap::new() });
        Ok(Arc::new(LookFile { file, written }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if self.exists(path)? { Ok(()) } else { Err(refused()) }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(self.0.join(dir))?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.join(path).try_exists()
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(refused())
    }

    /// Says that it was done: what is left over harms nobody who only looks.
    fn remove(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove_dir(&self, _path: &Path) -> io::Result<()> {
        Err(refused())
    }

    fn copy(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(refused())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(0)
    }
}

impl LookFile {
    fn page(&self, written: &Written, n: u64) -> io::Result<Box<[u8; PAGE as usize]>> {
        if let Some(page) = written.pages.get(&n) {
            return Ok(page.clone());
        }
        let mut page = Box::new([0; PAGE as usize]);
        let there = written.from_file.saturating_sub(n * PAGE).min(PAGE) as usize;
        self.file.read_exact_at(&mut page[..there], n * PAGE)?;
        Ok(page)
    }
}

impl DiskFile for LookFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written.lock().len)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let written = self.written.lock();
        if offset + buffer.len() as u64 > written.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let start = (at % PAGE) as usize;
            let count = (PAGE as usize - start).min(buffer.len() - done);
            let page = self.page(&written, at / PAGE)?;
            buffer[done..done + count].copy_from_slice(&page[start..start + count]);
            done += count;
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut written = self.written.lock();
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let start = (at % PAGE) as usize;
            let count = (PAGE as usize - start).min(bytes.len() - done);
            let mut page = self.page(&written, at / PAGE)?;
            page[start..start + count].copy_from_slice(&bytes[done..done + count]);
            written.pages.insert(at / PAGE, page);
            done += count;
        }
        written.len = written.len.max(offset + bytes.len() as u64);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.written.lock();
        if len < written.len {
            // The page that is cut keeps its beginning, and zeros follow should the file grow again.
            let cut = (len % PAGE) as usize;
            let mut page = self.page(&written, len / PAGE)?;
            page[cut..].fill(0);
            written.pages.split_off(&(len / PAGE));
            written.pages.insert(len / PAGE, page);
            written.from_file = written.from_file.min(len);
        }
        written.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_the_file_stays() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("a"), [7; 10_000]).unwrap();
        let disk = LookDisk(home.path().to_owned());
        let file = disk.open(Path::new("a"), false).unwrap();
        file.write_at(4090, &[1; 20]).unwrap();
        file.set_len(5000).unwrap();
        file.set_len(9000).unwrap();
        let mut bytes = vec![9; 9000];
        file.read_at(0, &mut bytes).unwrap();
        let expected = |at: usize| match at {
            4090..4110 => 1,
            0..5000 => 7,
            _ => 0,
        };
        assert!((0..9000).all(|at| bytes[at] == expected(at)));
        assert!(file.read_at(8990, &mut [0; 11]).is_err());
        assert_eq!(std::fs::read(home.path().join("a")).unwrap(), [7; 10_000]);
        assert!(disk.rename(Path::new("a"), Path::new("b")).is_err());
    }
}
