//! A simulated disk: in memory, and it forgets what was not synced.
//!
//! Every file has a content that is on the disk and a list of writes that are not yet; every directory entry likewise. A
//! power cut keeps each unsynced write wholly, in part (the first sectors of it, or any) or not at all, each on its own, and
//! each unsynced name or not; chance decides. From that moment on everything that is done through the old handles fails, so that
//! destructors of the node that died cannot tidy up.
//!
//! Does not simulate: slowness (the threads seam does), a disk that lies about a sync.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile};
use crate::net::chance::Chance;
use crate::net::passage::Passage;
use content::Content;

mod content;

/// What is written whole or not at all, in bytes.
const SECTOR: usize = 512;
/// "Input/output error" where the operating system is Linux or macOS.
const EIO: i32 = 5;

/// A disk. Clones are the same disk, until the power is cut.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    /// Handles of an earlier power-on do nothing any more.
    life: u64,
}

/// What a program asks of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    Read,
    Write,
    /// Of a file or of a directory.
    Sync,
}

/// What becomes of what was not synced when the power goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// Chance decides of each write and each name, each on its own.
    #[default]
    Drawn,
    /// All of it is lost.
    All,
    /// All of it is kept, but for the end of each file's last write.
    Torn,
    /// All of it is kept, but for one sector of each file's last write, often in the middle.
    Holed,
}

/// What becomes of one write.
#[derive(Clone, Copy)]
enum Fate {
    Lost,
    /// Its first sectors are kept.
    CutShort,
    /// Some of its sectors are kept.
    Holed,
    /// All of its sectors are kept but one.
    OneGone,
    Kept,
}

impl Fate {
    fn draw(chance: &Chance) -> Fate {
        match chance.between(0, 3) {
            0 => Fate::Lost,
            1 if chance.between(0, 2) == 0 => Fate::Holed,
            1 => Fate::CutShort,
            _ => Fate::Kept,
        }
    }
}

#[derive(Default)]
struct State {
    life: u64,
    files: BTreeMap<u64, FileState>,
    next_file: u64,
    /// Files that have lost a name, and may be nobody's any more.
    unnamed: BTreeSet<u64>,
    /// Names as programs see them, and as they are on the disk.
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    dirs: BTreeSet<PathBuf>,
    /// How many of them fail from now on.
    failing: BTreeMap<Act, u32>,
    capacity_bytes: Option<u64>,
    /// All that was written or synced so far.
    changed: Passage,
    /// So many more writes and syncs are done, and none after them.
    acts_left: Option<u32>,
    /// The first that is not done is a sync.
    stops_at_sync: bool,
}

#[derive(Default)]
struct FileState {
    now: Content,
    durable: Content,
    pending: Vec<Pending>,
    /// Open ones, dead ones too.
    handles: usize,
}

enum Pending {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> SimDisk {
        SimDisk { state: Arc::default(), life: 0 }
    }

    /// Cuts the power. This handle and its clones are dead; the disk as it is found afterwards is returned.
    pub fn power_cut(&self, chance: &Chance) -> SimDisk {
        self.power_cut_with(Loss::Drawn, chance)
    }

    /// The same, saying what is lost.
    pub fn power_cut_with(&self, loss: Loss, chance: &Chance) -> SimDisk {
        let mut state = self.state.lock();
        state.life += 1;
        state.acts_left = None;
        state.lose_names(loss, chance);
        for file in state.files.values_mut() {
            file.lose(loss, chance);
        }
        let named: BTreeSet<u64> = state.names.values().copied().collect();
        state.files.retain(|id, _| named.contains(id));
        state.unnamed.clear();
        SimDisk { state: self.state.clone(), life: state.life }
    }

    /// A process dies and the machine does not: its handles are dead, and all it wrote is there, synced or not.
    pub fn process_death(&self) -> SimDisk {
        let mut state = self.state.lock();
        state.life += 1;
        SimDisk { state: self.state.clone(), life: state.life }
    }

    /// Another disk with the same on it.
    pub fn copy_of(&self) -> SimDisk {
        let state = self.state.lock();
        let files = state.files.iter().map(|(id, file)| (*id, FileState::of(file.now.clone())));
        let copy = State {
            files: files.collect(),
            next_file: state.next_file,
            names: state.names.clone(),
            durable_names: state.names.clone(),
            dirs: state.dirs.clone(),
            ..State::default()
        };
        SimDisk { state: Arc::new(Mutex::new(copy)), life: 0 }
    }

    /// The disk as it is after the last power cut, for whoever holds a dead handle.
    pub fn after_cut(&self) -> SimDisk {
        SimDisk { state: self.state.clone(), life: self.state.lock().life }
    }

    /// All that was written or synced so far.
    pub fn changed(&self) -> Passage {
        self.state.lock().changed
    }

    /// After so many more writes and syncs none is done any more, until the power is cut: that this happens in the middle
    /// of something takes no more than the right number.
    pub fn stop_after(&self, acts: u32) {
        let mut state = self.state.lock();
        (state.acts_left, state.stops_at_sync) = (Some(acts), false);
    }

    /// The same, and what is not done any more begins with a sync: all that it was to follow is written.
    pub fn stop_at_sync(&self, acts: u32) {
        let mut state = self.state.lock();
        (state.acts_left, state.stops_at_sync) = (Some(acts), true);
    }

    /// A disk of its own that holds what this one would if the power went now and nothing unsynced stayed, below a directory.
    pub fn durable(&self, dir: &Path) -> SimDisk {
        let state = self.state.lock();
        let (mut copy, mut named) = (State { dirs: state.dirs.clone(), ..State::default() }, BTreeMap::new());
        for (path, id) in state.durable_names.iter().filter(|(path, _)| path.starts_with(dir)) {
            let content = state.files.get(id).map(|file| file.durable.clone()).unwrap_or_default();
            copy.files.insert(*id, FileState::of(content));
            named.insert(path.clone(), *id);
        }
        (copy.names, copy.next_file) = (named.clone(), state.next_file);
        copy.durable_names = named;
        SimDisk { state: Arc::new(Mutex::new(copy)), life: 0 }
    }

    /// The next `count` of these fail with the system's input/output error.
    pub fn fail(&self, act: Act, count: u32) {
        self.state.lock().failing.insert(act, count);
    }

    /// From now on the disk takes no more than it holds and so many bytes.
    pub fn leave_free(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.capacity_bytes = Some(state.used_bytes() + bytes);
    }

    /// From now on the disk takes no more than this.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity_bytes = Some(bytes);
    }

    /// What the files on it hold.
    pub fn used_bytes(&self) -> u64 {
        self.state.lock().used_bytes()
    }

    /// Flips one bit of a file, on the disk and in memory.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u32) {
        let mut state = self.state.lock();
        let id = *state.names.get(path).expect("the file exists");
        let file = state.files.get_mut(&id).expect("a name has a file");
        for content in [&mut file.now, &mut file.durable] {
            let mut byte = [0];
            if content.read(offset, &mut byte).is_ok() {
                content.write(offset, &[byte[0] ^ (1 << bit)]);
            }
        }
    }

    fn alive(&self) -> io::Result<parking_lot::MutexGuard<'_, State>> {
        let state = self.state.lock();
        match state.life == self.life {
            true => Ok(state),
            false => Err(io::Error::other("the power was cut")),
        }
    }
}

impl Default for SimDisk {
    fn default() -> SimDisk {
        SimDisk::new()
    }
}

impl State {
    /// What has no name any more, on the disk either, takes no room.
    fn used_bytes(&self) -> u64 {
        let named: BTreeSet<u64> = self.names.values().chain(self.durable_names.values()).copied().collect();
        named.iter().filter_map(|id| self.files.get(id)).map(|file| file.now.len).sum()
    }

    /// A file is gone once it has no name, on the disk neither, and nobody has it open.
    fn forget_unnamed(&mut self) {
        if self.unnamed.is_empty() {
            return;
        }
        let named: BTreeSet<u64> = self.names.values().chain(self.durable_names.values()).copied().collect();
        let State { files, unnamed, .. } = self;
        unnamed.retain(|id| !named.contains(id) && files.get(id).is_some_and(|file| file.handles > 0));
        files.retain(|id, file| file.handles > 0 || named.contains(id));
    }

    fn check_works(&mut self, act: Act) -> io::Result<()> {
        if let Some(left) = self.acts_left.as_mut().filter(|_| act != Act::Read) {
            if *left == 0 && (act == Act::Sync || !self.stops_at_sync) {
                self.stops_at_sync = false;
                return Err(io::Error::from_raw_os_error(EIO));
            }
            *left = left.saturating_sub(1);
        }
        match self.failing.get_mut(&act) {
            Some(count) if *count > 0 => {
                *count -= 1;
                Err(io::Error::from_raw_os_error(EIO))
            }
            _ => Ok(()),
        }
    }

    fn check_room(&self, more: u64) -> io::Result<()> {
        match self.capacity_bytes {
            Some(capacity) if self.used_bytes() + more > capacity => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    /// Each name that differs from the disk's is as before or as after.
    fn lose_names(&mut self, loss: Loss, chance: &Chance) {
        let paths: BTreeSet<PathBuf> = self.names.keys().chain(self.durable_names.keys()).cloned().collect();
        for path in paths {
            let (now, durable) = (self.names.get(&path).copied(), self.durable_names.get(&path).copied());
            let lost = || match loss {
                Loss::Drawn => chance.between(0, 2) == 0,
                Loss::All => true,
                Loss::Torn | Loss::Holed => false,
            };
            if now != durable && lost() {
                match durable {
                    Some(id) => drop(self.names.insert(path, id)),
                    None => drop(self.names.remove(&path)),
                }
            }
        }
        self.durable_names = self.names.clone();
    }
}

impl FileState {
    /// One that is on the disk.
    fn of(content: Content) -> FileState {
        FileState { now: content.clone(), durable: content, ..FileState::default() }
    }

    fn lose(&mut self, loss: Loss, chance: &Chance) {
        let pending = std::mem::take(&mut self.pending);
        let last = pending.iter().rposition(|one| matches!(one, Pending::Write { .. }));
        for (n, pending) in pending.into_iter().enumerate() {
            let fate = match loss {
                Loss::Drawn => Fate::draw(chance),
                Loss::All => Fate::Lost,
                Loss::Torn if Some(n) == last => Fate::CutShort,
                Loss::Holed if Some(n) == last => Fate::OneGone,
                Loss::Torn | Loss::Holed => Fate::Kept,
            };
            match (pending, fate) {
                (_, Fate::Lost) => {}
                (Pending::SetLen(len), _) => self.durable.set_len(len),
                (Pending::Write { offset, bytes }, Fate::Holed) => {
                    for (n, sector) in bytes.chunks(SECTOR).enumerate().filter(|_| chance.between(0, 4) > 0) {
                        self.durable.write(offset + (n * SECTOR) as u64, sector);
                    }
                }
                (Pending::Write { offset, bytes }, Fate::OneGone) => {
                    let gone = chance.between(0, bytes.len().div_ceil(SECTOR) as u64) as usize;
                    for (n, sector) in bytes.chunks(SECTOR).enumerate().filter(|(n, _)| *n != gone) {
                        self.durable.write(offset + (n * SECTOR) as u64, sector);
                    }
                }
                (Pending::Write { offset, bytes }, Fate::CutShort) => {
                    let sectors = bytes.len().div_ceil(SECTOR) as u64;
                    let kept = (chance.between(0, sectors + 1) as usize * SECTOR).min(bytes.len());
                    self.durable.write(offset, &bytes[..kept]);
                }
                (Pending::Write { offset, bytes }, Fate::Kept) => self.durable.write(offset, &bytes),
            }
        }
        self.now = self.durable.clone();
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.alive()?;
        let id = match state.names.get(path) {
            Some(id) => *id,
            None if create => {
                let id = state.next_file;
                state.next_file += 1;
                state.files.insert(id, FileState::default());
                state.names.insert(path.to_owned(), id);
                id
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        state.files.get_mut(&id).expect("a name has a file").handles += 1;
        Ok(Arc::new(SimFile { disk: self.clone(), id }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.alive()?.dirs.insert(path.to_owned());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.alive()?;
        let below = state.names.keys().chain(&state.dirs);
        let names: BTreeSet<String> = below
            .filter_map(|path| path.strip_prefix(dir).ok()?.components().next())
            .map(|name| name.as_os_str().to_string_lossy().into_owned())
            .collect();
        Ok(names.into_iter().collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.alive()?;
        Ok(state.names.contains_key(path) || state.dirs.contains(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        let id = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        let replaced = state.names.insert(to.to_owned(), id);
        state.unnamed.extend(replaced);
        state.forget_unnamed();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        let id = state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.unnamed.insert(id);
        state.forget_unnamed();
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        let State { names, unnamed, .. } = &mut *state;
        unnamed.extend(names.extract_if(.., |name, _| name.starts_with(path)).map(|(_, id)| id));
        state.forget_unnamed();
        state.dirs.retain(|name| !name.starts_with(path));
        Ok(())
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let source = self.open(from, false)?;
        let mut bytes = vec![0; source.len()? as usize];
        source.read_at(0, &mut bytes)?;
        let target = self.open(to, true)?;
        target.set_len(0)?;
        target.write_at(0, &bytes)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        state.check_works(Act::Sync)?;
        let inside = |path: &Path| path.parent() == Some(dir);
        let State { names, durable_names, dirs, unnamed, .. } = &mut *state;
        // With a directory below, all that was in it is gone.
        let removed = |path: &Path| {
            let mut above = path.ancestors().skip(1).take_while(|above| *above != dir);
            path.starts_with(dir) && above.any(|above| !dirs.contains(above))
        };
        unnamed
            .extend(durable_names.extract_if(.., |path, _| inside(path) || removed(path)).map(|(_, id)| id));
        durable_names
            .extend(names.iter().filter(|(path, _)| inside(path)).map(|(path, id)| (path.clone(), *id)));
        state.forget_unnamed();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.alive()?;
        Ok(state.capacity_bytes.map_or(1 << 40, |capacity| capacity.saturating_sub(state.used_bytes())))
    }
}

struct SimFile {
    disk: SimDisk,
    id: u64,
}

impl SimFile {
    /// Notes that something is tried. The inner error: the disk does not do it.
    fn attempt(&self, act: Act, offset: u64, bytes: &[u8]) -> io::Result<io::Result<()>> {
        let mut state = self.disk.alive()?;
        state.changed.note(&[self.id, act as u64, offset], bytes);
        Ok(state.check_works(act))
    }

    fn with<R>(&self, work: impl FnOnce(&mut FileState) -> io::Result<R>) -> io::Result<R> {
        let mut state = self.disk.alive()?;
        work(state.files.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if let Some(file) = state.files.get_mut(&self.id) {
            file.handles -= 1;
            state.forget_unnamed();
        }
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|file| Ok(file.now.len))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.disk.alive()?.check_works(Act::Read)?;
        self.with(|file| file.now.read(offset, buffer))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let works = self.attempt(Act::Write, offset, bytes)?;
        if let Err(error) = works {
            // Nobody knows how much of it is there.
            let half = &bytes[..bytes.len() / 2];
            self.with(|file| {
                file.now.write(offset, half);
                file.pending.push(Pending::Write { offset, bytes: half.to_vec() });
                Ok(())
            })?;
            return Err(error);
        }
        let grows = (offset + bytes.len() as u64).saturating_sub(self.len()?);
        self.disk.alive()?.check_room(grows)?;
        self.with(|file| {
            file.now.write(offset, bytes);
            file.pending.push(Pending::Write { offset, bytes: bytes.to_vec() });
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let grows = len.saturating_sub(self.len()?);
        self.disk.alive()?.check_room(grows)?;
        self.with(|file| {
            file.now.set_len(len);
            file.pending.push(Pending::SetLen(len));
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.attempt(Act::Sync, 0, &[])??;
        self.with(|file| {
            for pending in std::mem::take(&mut file.pending) {
                match pending {
                    Pending::Write { offset, bytes } => file.durable.write(offset, &bytes),
                    Pending::SetLen(len) => file.durable.set_len(len),
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
