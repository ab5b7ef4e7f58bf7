//! A disk in memory for tests: it can break after so many writes, and be cut from its power.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::net::chance::Chance;
use crate::node::disk::{Disk, DiskFile};

const SECTOR_BYTES: usize = 512;
const COPY_PIECE_BYTES: usize = 4096;

/// A disk. Clones are the same one.
#[derive(Clone)]
pub struct RamDisk {
    names: Arc<Mutex<Names>>,
    /// Changes left until it breaks.
    left: Arc<AtomicU64>,
    during_copy: Arc<Mutex<Option<Hook>>>,
}

/// Something to do at a certain point.
type Hook = Box<dyn Fn() + Send>;

#[derive(Default)]
struct Names {
    now: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    synced: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
}

#[derive(Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

struct RamFile {
    content: Arc<Mutex<Content>>,
    left: Arc<AtomicU64>,
}

impl Default for RamDisk {
    fn default() -> Self {
        RamDisk {
            names: Arc::default(),
            left: Arc::new(AtomicU64::new(u64::MAX)),
            during_copy: Arc::default(),
        }
    }
}

impl RamDisk {
    /// Lets it break after so many changes from now.
    pub fn break_after(&self, changes: u64) {
        self.left.store(changes, Ordering::Relaxed);
    }

    /// Calls `hook` in the middle of every copy.
    pub fn during_copy(&self, hook: impl Fn() + Send + 'static) {
        *self.during_copy.lock() = Some(Box::new(hook));
    }

    /// What is on the disk after a power cut: what was synced, and some of the rest.
    pub fn cut_power(&self, seed: u64) -> RamDisk {
        let chance = Chance::from_seed(seed);
        let names = self.names.lock();
        let kept = if chance.between(0, 2) == 0 { &names.now } else { &names.synced };
        let file = |(path, content): (&PathBuf, &Arc<Mutex<Content>>)| {
            let image = content.lock().after_cut(&chance);
            let content = Content { now: image.clone(), synced: image, pending: Vec::new() };
            (path.clone(), Arc::new(Mutex::new(content)))
        };
        let now: BTreeMap<_, _> = kept.iter().map(file).collect();
        let names = Names { synced: now.clone(), now };
        RamDisk { names: Arc::new(Mutex::new(names)), ..RamDisk::default() }
    }

    /// Changes bits of the byte at `offset`.
    pub fn flip(&self, path: impl AsRef<Path>, offset: u64) {
        self.content(path.as_ref()).unwrap().lock().now[offset as usize] ^= 0x55;
    }

    fn content(&self, path: &Path) -> io::Result<Arc<Mutex<Content>>> {
        self.names.lock().now.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Content {
    fn change(&mut self, change: Change) {
        apply(&mut self.now, &change);
        self.pending.push(change);
    }

    fn after_cut(&self, chance: &Chance) -> Vec<u8> {
        let mut image = self.synced.clone();
        for change in &self.pending {
            match (chance.between(0, 3), change) {
                (0, _) => {}
                (1, Change::Write(offset, bytes)) if bytes.len() > SECTOR_BYTES => {
                    let sectors = chance.between(0, (bytes.len() / SECTOR_BYTES) as u64) as usize;
                    apply(&mut image, &Change::Write(*offset, bytes[..sectors * SECTOR_BYTES].to_vec()));
                }
                _ => apply(&mut image, change),
            }
        }
        image
    }
}

fn apply(image: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(len) => image.resize(*len, 0),
        Change::Write(offset, bytes) => {
            let end = offset + bytes.len();
            image.resize(image.len().max(end), 0);
            image[*offset..end].copy_from_slice(bytes);
        }
    }
}

fn spend(left: &AtomicU64) -> io::Result<()> {
    let spent = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| match left {
        u64::MAX => Some(left),
        _ => left.checked_sub(1),
    });
    spent.map(|_| ()).map_err(|_| io::Error::other("the disk is broken"))
}

impl Disk for RamDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut names = self.names.lock();
        if create && !names.now.contains_key(path) {
            spend(&self.left)?;
            names.now.insert(path.to_owned(), Arc::default());
        }
        let content = names.now.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(RamFile { content, left: self.left.clone() }))
    }

    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = self.names.lock();
        let inside = names.now.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.names.lock().now.contains_key(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        spend(&self.left)?;
        let mut names = self.names.lock();
        let content = names.now.remove(from).ok_or(io::ErrorKind::NotFound)?;
        names.now.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        spend(&self.left)?;
        self.names.lock().now.remove(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        spend(&self.left)?;
        self.names.lock().now.retain(|name, _| !name.starts_with(path));
        Ok(())
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        spend(&self.left)?;
        // Piece by piece, as a real disk does it: what is written meanwhile is torn.
        let (content, mut now) = (self.content(from)?, Vec::new());
        loop {
            let content = content.lock();
            let end = content.now.len().min(now.len() + COPY_PIECE_BYTES);
            match content.now.get(now.len()..end) {
                Some(piece) if !piece.is_empty() => now.extend_from_slice(piece),
                _ => break,
            }
            MutexGuard::unlock_fair(content);
        }
        self.during_copy.lock().iter().for_each(|hook| hook());
        let pending = vec![Change::Length(now.len()), Change::Write(0, now.clone())];
        let content = Content { now, synced: Vec::new(), pending };
        self.names.lock().now.insert(to.to_owned(), Arc::new(Mutex::new(content)));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        spend(&self.left)?;
        let mut names = self.names.lock();
        let Names { now, synced } = &mut *names;
        synced.retain(|path, _| path.parent() != Some(dir));
        let inside = now.iter().filter(|(path, _)| path.parent() == Some(dir));
        synced.extend(inside.map(|(path, content)| (path.clone(), content.clone())));
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl DiskFile for RamFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().now.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let content = self.content.lock();
        let start = usize::try_from(offset).unwrap();
        let part = content.now.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(part);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        spend(&self.left)?;
        self.content.lock().change(Change::Write(offset as usize, bytes.to_vec()));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        spend(&self.left)?;
        self.content.lock().change(Change::Length(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        spend(&self.left)?;
        let mut content = self.content.lock();
        for change in std::mem::take(&mut content.pending) {
            apply(&mut content.synced, &change);
        }
        Ok(())
    }
}
