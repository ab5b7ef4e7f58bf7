//! Real files below one directory, which this process has to itself.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::{Disk, DiskFile};

const LOCK: &str = "LOCK";

/// A directory of the file system.
pub struct RealDisk {
    root: PathBuf,
    /// Held as long as the disk: its lock keeps other processes out.
    _lock: File,
}

impl RealDisk {
    /// Opens a directory, making it if absent. `ResourceBusy` if another process has it.
    pub fn open(root: PathBuf) -> io::Result<RealDisk> {
        std::fs::create_dir_all(&root)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(root.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => Ok(RealDisk { root, _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                let text = "another process uses this directory";
                Err(io::Error::new(io::ErrorKind::ResourceBusy, text))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn at(&self, path: &Path) -> io::Result<PathBuf> {
        match path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            true => Ok(self.root.join(path)),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, "a path that leaves the directory")),
        }
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        // Keys and data are for nobody else on the machine.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(create).mode(0o600);
        Ok(Arc::new(RealFile(options.open(self.at(path)?)?)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut made = PathBuf::new();
        for part in path.components() {
            let above = made.clone();
            made.push(part);
            match std::fs::create_dir(self.at(&made)?) {
                Ok(()) => self.sync_dir(&above)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(self.at(dir)?)?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.at(path)?.try_exists()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(self.at(from)?, self.at(to)?)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(self.at(path)?)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        match std::fs::remove_dir_all(self.at(path)?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let from = RealFile(File::open(self.at(from)?)?);
        let to = RealFile(File::create(self.at(to)?)?);
        if shares_blocks(&from.0, &to.0) {
            return Ok(());
        }
        let bytes = from.len()?;
        let mut buffer = vec![0; COPY_PART_BYTES];
        let mut done = 0;
        while done < bytes {
            let part = &mut buffer[..COPY_PART_BYTES.min((bytes - done) as usize)];
            from.read_at(done, part)?;
            to.write_at(done, part)?;
            done += part.len() as u64;
            // All at once, at the end or when the system sees fit, and every sync of the log would stand behind it.
            to.write_back()?;
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(self.at(dir)?)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        use std::os::unix::ffi::OsStrExt;
        let path = std::ffi::CString::new(self.root.as_os_str().as_bytes())?;
        let mut room = std::mem::MaybeUninit::<libc::statvfs>::uninit();
        // SAFETY: `path` is a string that ends in zero, `room` has space for the answer.
        match unsafe { libc::statvfs(path.as_ptr(), room.as_mut_ptr()) } {
            0 => {
                // SAFETY: the call has filled it in.
                let room = unsafe { room.assume_init() };
                Ok(room.f_bavail * room.f_frsize)
            }
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Makes the second file one that shares the blocks of the first until one of them is written, where the file system can (XFS,
/// Btrfs); true if it could.
#[cfg(target_os = "linux")]
fn shares_blocks(from: &File, to: &File) -> bool {
    use std::os::fd::AsRawFd;
    // SAFETY: both files are open; no memory is handed over.
    unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE, from.as_raw_fd()) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn shares_blocks(_: &File, _: &File) -> bool {
    false
}

/// Bytes of a copy that the device is given at once.
const COPY_PART_BYTES: usize = 1 << 20;

struct RealFile(File);

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    #[cfg(target_os = "linux")]
    fn write_back(&self) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let how = libc::SYNC_FILE_RANGE_WAIT_BEFORE
            | libc::SYNC_FILE_RANGE_WRITE
            | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        // SAFETY: the file is open; no memory is handed over. A length of 0 means: to the end.
        match unsafe { libc::sync_file_range(self.0.as_raw_fd(), 0, 0, how) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_and_paths_stay_inside() {
        let home = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(home.path().join("data")).unwrap();
        let second = RealDisk::open(home.path().join("data")).map(|_| ()).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::ResourceBusy);
        assert!(disk.open(Path::new("../x"), true).is_err());
        assert!(disk.open(Path::new("/x"), true).is_err());
        drop(disk);
        RealDisk::open(home.path().join("data")).unwrap();
    }

    #[test]
    fn files_keep_what_is_written_at_places() {
        let home = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(home.path().to_owned()).unwrap();
        disk.create_dir(Path::new("a/b")).unwrap();
        let file = disk.open(Path::new("a/b/c"), true).unwrap();
        file.write_at(5, b"xy").unwrap();
        let mut bytes = [1; 7];
        file.read_at(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"\0\0\0\0\0xy");
        assert_eq!(file.read_at(6, &mut bytes).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        disk.copy(Path::new("a/b/c"), Path::new("a/b/d")).unwrap();
        assert_eq!(disk.list(Path::new("a/b")).unwrap(), ["c", "d"]);
        disk.remove_dir(Path::new("a")).unwrap();
        assert!(!disk.exists(Path::new("a/b/c")).unwrap());
        assert!(disk.free_bytes().unwrap() > 0);
    }
}
