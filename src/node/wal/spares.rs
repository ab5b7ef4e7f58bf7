//! Files that are free to become segments: old segments that hold nothing any more, and one that is made ahead.
//!
//! Filling a file of a segment's size with zeros keeps a disk busy for long, and who writes to the log would wait. So the
//! next one is made behind, piece by piece, while the segment before it is written; each piece is followed by a rest as
//! long as it took, so that half of the disk is left to the log. Who needs a segment when none is ready makes a small one;
//! a start that finds no room for that takes one of the ballast ([`super::ballast`]).
//!
//! Promises: a file that is handed out is durable, zeros included; old segments go in order, so that what a crash leaves of
//! them is a gapless run. Relies on names that begin with `spare-` being removed at every start.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::net::exec::Exec;
use crate::node::disk::{Disk, lacks_room};

use super::ballast::Ballast;
use super::zeros;

/// A file that is made while somebody waits.
const NOW: &str = "spare-now";
/// A file that is made behind.
const AHEAD: &str = "spare-ahead";

/// A file that holds nothing.
pub struct Spare {
    pub path: PathBuf,
    pub bytes: u64,
}

/// All of them. Only the committer touches it.
pub struct Spares {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// The usual size of a segment.
    segment_bytes: u64,
    /// Oldest first.
    old: VecDeque<Spare>,
    /// Until the log is open.
    ballast: Option<Arc<Ballast>>,
    /// When this goes, nothing is made behind any more.
    wanted: mpsc::Sender<()>,
    ahead: Arc<Mutex<Option<PathBuf>>>,
}

impl Spares {
    pub fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        segment_bytes: u64,
        old: VecDeque<Spare>,
        ballast: Arc<Ballast>,
        exec: Exec,
    ) -> Spares {
        let (wanted, requests) = mpsc::channel(1);
        let ahead = Arc::default();
        let maker = Maker { disk: disk.clone(), dir: dir.clone(), bytes: segment_bytes, exec };
        exec.spawn(maker.run(requests, Arc::clone(&ahead)));
        Spares { disk, dir, segment_bytes, old, ballast: Some(ballast), wanted, ahead }
    }

    /// The log is open: the ballast is for the next start.
    pub fn opened(&mut self) {
        self.ballast = None;
    }

    /// True if a file of a segment's usual size is ready.
    pub fn is_ready(&self) -> bool {
        self.old.iter().any(|spare| spare.bytes == self.segment_bytes) || self.ahead.lock().is_some()
    }

    /// Has one made behind. Harmless while one is being made.
    pub fn make_ahead(&self) {
        // Full: it was asked for already. Closed: the process is ending.
        let _ = self.wanted.try_send(());
    }

    /// An old segment that holds nothing any more, newer than all before.
    pub fn add(&mut self, spare: Spare) {
        self.old.push_back(spare);
    }

    /// Removes the oldest that are more than `keep`.
    pub fn shrink(&mut self, keep: usize) -> io::Result<()> {
        while self.old.len() > keep {
            self.remove_oldest()?;
        }
        Ok(())
    }

    /// A file to be used now. If none is ready, a new one of `small_bytes`.
    pub fn take(&mut self, small_bytes: u64) -> io::Result<PathBuf> {
        while let Some(oldest) = self.old.front() {
            if oldest.bytes == self.segment_bytes {
                return Ok(self.old.pop_front().expect("it was just looked at").path);
            }
            // It was made in haste, or is damaged.
            self.remove_oldest()?;
        }
        if let Some(path) = self.ahead.lock().take() {
            return Ok(path);
        }
        match self.make_now(small_bytes) {
            Err(error) if lacks_room(&error) => {
                let ballast = self.ballast.as_ref().and_then(|ballast| ballast.take(small_bytes));
                ballast
                    .inspect(|_| {
                        tracing::warn!("the disk is full: a segment of the log is made of its ballast")
                    })
                    .ok_or(error)
            }
            made => made,
        }
    }

    fn make_now(&self, bytes: u64) -> io::Result<PathBuf> {
        let path = self.dir.join(NOW);
        let made = zeros::make(&*self.disk, &path, bytes).and_then(|()| self.disk.sync_dir(&self.dir));
        if made.is_err() {
            // Best effort: half a file must not take the room that another way to a segment needs.
            let _ = self.disk.remove(&path);
        }
        made.map(|()| path)
    }

    /// One after the other, so that what a crash leaves of them is still a gapless run.
    fn remove_oldest(&mut self) -> io::Result<()> {
        if let Some(oldest) = self.old.pop_front() {
            self.disk.remove(&oldest.path)?;
            self.disk.sync_dir(&self.dir)?;
        }
        Ok(())
    }
}

/// Makes files behind.
struct Maker {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    bytes: u64,
    exec: Exec,
}

impl Maker {
    async fn run(self, mut requests: mpsc::Receiver<()>, made: Arc<Mutex<Option<PathBuf>>>) {
        while requests.recv().await.is_some() {
            if made.lock().is_some() {
                continue;
            }
            match self.make(&requests).await {
                Ok(path) => *made.lock() = path,
                // Who needs a segment makes one, and learns of it then.
                Err(error) => tracing::warn!(%error, "no segment of the log could be made ahead"),
            }
        }
    }

    /// `None` if nobody wants it any more.
    async fn make(&self, requests: &mpsc::Receiver<()>) -> io::Result<Option<PathBuf>> {
        let path = self.dir.join(AHEAD);
        let (disk, name) = (self.disk.clone(), path.clone());
        let file = self.exec.blocking(move || disk.open(&name, true)).await?;
        let (mut at, bytes) = (0, self.bytes);
        while at < bytes {
            if requests.is_closed() {
                return Ok(None);
            }
            let (file, begin) = (file.clone(), Instant::now());
            let piece =
                move || zeros::fill(&*file, at, bytes).and_then(|piece| file.sync_data().map(|()| piece));
            at += self.exec.blocking(piece).await?;
            tokio::time::sleep(begin.elapsed()).await;
        }
        let (disk, dir) = (self.disk.clone(), self.dir.clone());
        self.exec.blocking(move || disk.sync_dir(&dir)).await?;
        Ok(Some(path))
    }
}
