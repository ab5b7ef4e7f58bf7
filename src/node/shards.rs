//! The replicas on this node, by shard.
//!
//! A replica whose data is not what was written is *set aside*: it is closed, a file `damaged` in its directory says why, and
//! from then on it is not opened again, whatever a later look finds. What it has stays until its id is retired, that is
//! until another replica has taken its place. One that is its shard's only voter is never set aside: none can take its place.
//!
//! ## Invariants and what guards each
//!
//! - A shard has one replica here, opened by one at a time; another must be gone first: guarded by
//!   `sim_node::a_shard_has_one_replica_on_a_node`.
//! - What a removal left behind does not take the place of the shard's replica, and what was set aside is known as such
//!   whatever else is there: guarded by `sim_node::a_directory_left_behind_takes_nobodys_place`,
//!   `sim_node::a_disk_that_cannot_be_read_gives_no_wrong_answer`.
//! - A replica that is not the one meant is not found: guarded by
//!   `sim_node::strangers_and_messages_for_nobody_change_nothing`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::model::id::{ReplicaId, ShardId};

use super::disk::Disk;
use super::member::{read_file, write_file};
use super::raft::counts::RaftCounts;
use super::raft::group::Roused;
use super::replica::{
    Born, Replica, ReplicaCounts, ReplicaError, ReplicaParts, directory, is_sole, is_unborn, parse_directory,
};
use super::store::{FILE_NAME, OpenFile, Store};
use super::wal::{GroupId, WalError};

/// Replicas a node holds at most.
pub const REPLICAS_MAX: usize = 4096;
/// How often the first leader of a shard that was split off asks for votes, and how long it waits for them.
const CAMPAIGNS_MAX: usize = 20;
const CAMPAIGN_EVERY: Duration = Duration::from_millis(50);

/// In the directory of a replica that was set aside: why.
const DAMAGED_FILE: &str = "damaged";

/// A replica that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    pub shard: ShardId,
    pub id: ReplicaId,
    pub why: String,
}

/// Shared; cheap to clone.
#[derive(Clone)]
pub struct Shards {
    parts: ReplicaParts,
    damaged: Arc<RwLock<BTreeMap<ReplicaId, Damaged>>>,
    open: Arc<RwLock<Open>>,
    /// One opening or closing at a time: two of the same replica would share its file.
    changing: Arc<tokio::sync::Mutex<()>>,
}

/// The replicas that are open.
#[derive(Default)]
struct Open {
    by_shard: BTreeMap<ShardId, Arc<Replica>>,
    /// The same, for whoever goes through all of them: some do many times a second.
    all: Arc<Vec<Arc<Replica>>>,
}

/// The replicas that have a directory on this disk, made if there is none.
pub fn listed(disk: &dyn Disk) -> io::Result<Vec<(ShardId, ReplicaId)>> {
    let root = directory(ShardId(0), ReplicaId(0));
    let root = root.parent().expect("replicas have a directory of their own");
    disk.create_dir(root)?;
    let mut replicas = Vec::new();
    for name in disk.list(root)? {
        match parse_directory(&name) {
            Some(replica) => replicas.push(replica),
            None => tracing::warn!(name, "not a replica's directory; left alone"),
        }
    }
    Ok(replicas)
}

/// Why a replica was set aside, if it was.
pub fn set_aside_for(disk: &dyn Disk, shard: ShardId, id: ReplicaId) -> io::Result<Option<String>> {
    let why = read_file(disk, &directory(shard, id).join(DAMAGED_FILE))?;
    Ok(why.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

impl Open {
    fn change<R>(&mut self, change: impl FnOnce(&mut BTreeMap<ShardId, Arc<Replica>>) -> R) -> R {
        let changed = change(&mut self.by_shard);
        self.all = Arc::new(self.by_shard.values().cloned().collect());
        changed
    }
}

impl Shards {
    pub fn new(parts: ReplicaParts) -> Shards {
        Shards { parts, damaged: Arc::default(), open: Arc::default(), changing: Arc::default() }
    }

    /// Opens every replica that has a directory here, but for those that are damaged.
    pub async fn open_all(&self) -> Result<(), ReplicaError> {
        let mut listed = listed(&*self.parts.disk).map_err(WalError::from)?;
        for group in self.parts.wal.damaged_groups() {
            // Its end was what the log has lost.
            if listed.iter().all(|(_, replica)| replica.0 != group.0) {
                self.parts.wal.group(group).destroy().await?;
            }
        }
        // First those that have a log: a removal or a making that was cut short may have left a directory of the same shard.
        let logged: BTreeSet<u64> = self.parts.wal.groups().into_iter().map(|group| group.0).collect();
        listed.sort_by_key(|(_, replica)| !logged.contains(&replica.0));
        for (shard, replica) in listed {
            if !self.take_back(shard, replica).await? {
                self.open(shard, replica).await?;
            }
        }
        Ok(())
    }

    /// Removes the directory of a replica of a split shard whose making was cut short; it is made again. False: it is no such.
    async fn take_back(&self, shard: ShardId, id: ReplicaId) -> Result<bool, ReplicaError> {
        let (disk, dir) = (&*self.parts.disk, directory(shard, id));
        let log = self.parts.wal.group(GroupId(id.0)).state();
        let is_cut_short = log.purged.is_some()
            && is_unborn(&log)
            && !disk.exists(&dir.join(FILE_NAME)).map_err(WalError::from)?
            && set_aside_for(disk, shard, id).map_err(WalError::from)?.is_none();
        if is_cut_short {
            Store::destroy(disk, &dir)?;
        }
        Ok(is_cut_short)
    }

    /// Makes and opens the replica of the shard that was split off from `parent`, if it is to be here and is not. Harmless if
    /// done twice.
    pub async fn bear(&self, parent: &Replica, child: ShardId, id: ReplicaId) -> Result<(), ReplicaError> {
        if self.get(child).is_some() || self.damaged.read().contains_key(&id) {
            return Ok(());
        }
        let one = self.changing.lock().await;
        let aside = set_aside_for(&*self.parts.disk, child, id).map_err(WalError::from)?;
        let file = match aside {
            Some(_) => None,
            None => match parent.bear(&self.parts, child, id).await? {
                Born::There(file) => file,
                Born::Lost => {
                    self.parts.disk.create_dir(&directory(child, id)).map_err(WalError::from)?;
                    self.note_damage(child, id, "its file is gone").map_err(WalError::from)?;
                    None
                }
            },
        };
        let born = self.open_now(child, id, file).await?;
        drop(one);
        if let Some(born) = born.filter(|_| parent.group.leadership().here) {
            self.parts.exec.spawn(until_led(born));
        }
        Ok(())
    }

    /// Told when a shard here is split.
    pub fn births(&self) -> Arc<Notify> {
        self.parts.store.births.clone()
    }

    /// The replica, opened (and made, if it is not there); `None` if it is damaged. Another replica of the same shard must
    /// be gone first.
    pub async fn open(&self, shard: ShardId, id: ReplicaId) -> Result<Option<Arc<Replica>>, ReplicaError> {
        let _one = self.changing.lock().await;
        self.open_now(shard, id, None).await
    }

    /// The same, to be called by whoever holds the lock. `file`: its file, if that is open.
    async fn open_now(
        &self,
        shard: ShardId,
        id: ReplicaId,
        file: Option<OpenFile>,
    ) -> Result<Option<Arc<Replica>>, ReplicaError> {
        if let Some(why) = set_aside_for(&*self.parts.disk, shard, id).map_err(WalError::from)? {
            self.damaged.write().insert(id, Damaged { shard, id, why });
            return Ok(None);
        }
        if let Some(replica) = self.get(shard) {
            return Ok(Some(replica).filter(|replica| replica.id == id));
        }
        if self.open.read().all.len() >= REPLICAS_MAX {
            tracing::error!(%shard, "this node holds {REPLICAS_MAX} replicas; no more are opened");
            return Ok(None);
        }
        let opened = match file {
            Some(file) => Replica::open_made(&self.parts, shard, id, file).await,
            None => Replica::open(&self.parts, shard, id).await,
        };
        match opened {
            Ok(replica) => {
                let applied = replica.applied().borrow().index;
                tracing::info!(%shard, replica = %id, applied, "replica opened");
                self.open.write().change(|open| open.insert(shard, replica.clone()));
                Ok(Some(replica))
            }
            Err(error) if error.is_damage() => {
                if is_sole(&*self.parts.disk, shard, id).map_err(WalError::from)? {
                    return Err(ReplicaError::Sole { shard, replica: id, source: error.into() });
                }
                self.note_damage(shard, id, &chain(&error)).map_err(WalError::from)?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Closes a replica that turned out to be damaged; it is never opened again. False if nobody else votes in its shard:
    /// then it is left as it is.
    pub async fn set_aside(&self, replica: &Arc<Replica>, why: &str) -> io::Result<bool> {
        let _one = self.changing.lock().await;
        if self.exactly(replica.shard, replica.id).is_none() {
            return Ok(true);
        }
        if is_sole(&*self.parts.disk, replica.shard, replica.id)? {
            return Ok(false);
        }
        self.note_damage(replica.shard, replica.id, why)?;
        self.open.write().change(|open| open.remove(&replica.shard));
        replica.group.shutdown().await;
        replica.store.close().await;
        Ok(true)
    }

    fn note_damage(&self, shard: ShardId, id: ReplicaId, why: &str) -> io::Result<()> {
        tracing::error!(%shard, replica = %id, why, "replica damaged; it is set aside, to be made anew from its peers");
        let path = directory(shard, id).join(DAMAGED_FILE);
        write_file(&*self.parts.disk, Path::new(&path), why.as_bytes())?;
        self.damaged.write().insert(id, Damaged { shard, id, why: why.to_owned() });
        Ok(())
    }

    /// Whether a group here may wait for its leader's word.
    pub fn roused(&self) -> &Roused {
        &self.parts.roused
    }

    /// What the groups here have counted.
    pub fn raft_counts(&self) -> &RaftCounts {
        &self.parts.raft_counts
    }

    /// What the replicas here have counted together.
    pub fn counts(&self) -> &ReplicaCounts {
        &self.parts.counts
    }

    /// The replicas that were set aside, in order of id.
    pub fn damaged(&self) -> Vec<Damaged> {
        self.damaged.read().values().cloned().collect()
    }

    /// Closes a replica and removes all it has here.
    pub async fn destroy(&self, shard: ShardId, id: ReplicaId) -> Result<(), ReplicaError> {
        let _one = self.changing.lock().await;
        let replica = self.get(shard).filter(|replica| replica.id == id);
        if let Some(replica) = replica {
            self.open.write().change(|open| open.remove(&shard));
            replica.group.shutdown().await;
            replica.store.close().await;
        }
        Replica::destroy(&self.parts, shard, id).await?;
        self.damaged.write().remove(&id);
        tracing::info!(%shard, replica = %id, "replica removed");
        Ok(())
    }

    /// Closes all; flushes what fits, given the bytes in memory.
    pub async fn close_all(&self, fits: impl AsyncFn(u64) -> bool) {
        let _one = self.changing.lock().await;
        let open = self.open.write().change(std::mem::take);
        for replica in open.into_values() {
            let flush = fits(replica.store.memtable_bytes() as u64).await;
            replica.close(flush).await;
        }
    }

    /// This node's replica of a shard.
    pub fn get(&self, shard: ShardId) -> Option<Arc<Replica>> {
        self.open.read().by_shard.get(&shard).cloned()
    }

    /// This node's replica of a shard, if it is the one meant.
    pub fn exactly(&self, shard: ShardId, id: ReplicaId) -> Option<Arc<Replica>> {
        self.get(shard).filter(|replica| replica.id == id)
    }

    /// All, in order of shard.
    pub fn all(&self) -> Arc<Vec<Arc<Replica>>> {
        self.open.read().all.clone()
    }
}

/// An error and what caused it, in a line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}
/// Has a replica ask for votes until somebody leads: the others may not be there yet, and would be asked again much later.
async fn until_led(born: Arc<Replica>) {
    for _ in 0..CAMPAIGNS_MAX {
        born.group.campaign().await;
        tokio::time::sleep(CAMPAIGN_EVERY).await;
        if born.group.leadership().node.is_some() {
            return;
        }
    }
}
