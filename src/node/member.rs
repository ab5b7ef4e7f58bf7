//! What makes a data directory a member of a cluster: written once, when it is bootstrapped or has joined.
//!
//! `member.json` is written last, atomically: a directory without it is not initialised, whatever else it holds, and the
//! step that makes it can be repeated.
//!
//! ## Invariants and what guards each
//!
//! - What was saved is there whole after a power cut: guarded by `tests::what_was_saved_survives_a_power_cut`.
//! - A member that has served never serves again without its log: guarded by
//!   `sim_node::a_node_whose_data_is_gone_does_not_start`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::model::id::{NodeId, ReplicaId};

use super::disk::Disk;

/// Its name, in a data directory.
pub const FILE: &str = "member.json";
/// Largest small file read whole, in bytes.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// A membership, as `member.json` holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub cluster_id: String,
    pub node: NodeId,
    /// This node's replica of the meta shard.
    pub meta_replica: ReplicaId,
    /// Without identities, on loopback only.
    pub insecure: bool,
    /// The members last known: where to find the cluster before the map is there, or when this node has lost its own.
    pub seeds: Vec<Seed>,
    /// True once it has served. From then on its log must be there: see [`super::running`].
    #[serde(default)]
    pub opened: bool,
    /// Only while the cluster is being begun, on its first node: where its first shards are split.
    pub bootstrap: Option<Bootstrap>,
}

/// A member known from the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    pub node: NodeId,
    pub quic: String,
}

/// How the cluster begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    pub split_at: Vec<Vec<u8>>,
}

impl Member {
    /// The membership of this directory, if it has one.
    pub fn load(disk: &Arc<dyn Disk>) -> io::Result<Option<Member>> {
        let Some(bytes) = read_file(&**disk, Path::new(FILE))? else { return Ok(None) };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Makes this directory a member's, durably.
    pub fn save(&self, disk: &Arc<dyn Disk>) -> io::Result<()> {
        let bytes = serde_json::to_vec_pretty(self).expect("a membership has a JSON form");
        write_file(&**disk, Path::new(FILE), &bytes)
    }
}

/// The membership of a running node, which changes as it learns where the others are.
pub struct Standing {
    disk: Arc<dyn Disk>,
    member: Mutex<Member>,
}

impl Standing {
    pub fn new(disk: Arc<dyn Disk>, member: Member) -> Standing {
        Standing { disk, member: Mutex::new(member) }
    }

    pub fn now(&self) -> Member {
        self.member.lock().clone()
    }

    /// Changes it, durably; nothing is written if it is as it was.
    pub fn change(&self, change: impl FnOnce(&mut Member)) -> io::Result<()> {
        let mut member = self.member.lock();
        let mut changed = member.clone();
        change(&mut changed);
        if changed != *member {
            changed.save(&self.disk)?;
            *member = changed;
        }
        Ok(())
    }
}

/// Reads a small file whole; `None` if it is not there.
pub fn read_file(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    if !disk.exists(path)? {
        return Ok(None);
    }
    let file = disk.open(path, false)?;
    let bytes = file.len()?;
    if bytes > FILE_MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is too large", path.display())));
    }
    let mut buffer = vec![0; bytes as usize];
    file.read_at(0, &mut buffer)?;
    Ok(Some(buffer))
}

/// Writes a small file atomically and durably.
pub fn write_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let file = disk.open(&fresh, true)?;
    file.set_len(0)?;
    file.write_at(0, bytes)?;
    file.sync_data()?;
    disk.rename(&fresh, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new("")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::chance::Chance;
    use crate::node::disk::sim::SimDisk;

    #[test]
    fn what_was_saved_survives_a_power_cut() {
        for seed in 0..32 {
            let sim = SimDisk::new();
            let disk: Arc<dyn Disk> = Arc::new(sim.clone());
            assert_eq!(Member::load(&disk).unwrap(), None);
            let mut member = Member {
                cluster_id: "c".to_owned(),
                node: NodeId(1),
                meta_replica: ReplicaId(1),
                insecure: true,
                seeds: vec![Seed { node: NodeId(2), quic: "there:1".to_owned() }],
                opened: false,
                bootstrap: Some(Bootstrap::default()),
            };
            member.save(&disk).unwrap();
            (member.opened, member.bootstrap) = (true, None);
            member.save(&disk).unwrap();
            let after: Arc<dyn Disk> = Arc::new(sim.power_cut(&Chance::from_seed(seed)));
            assert_eq!(Member::load(&after).unwrap(), Some(member));
        }
    }
}
