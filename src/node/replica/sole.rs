//! # Whether anybody else votes in a replica's shard
//!
//! A damaged replica is set aside and made anew from its peers. One that has none must not be: what it has lost nobody else
//! has, so its node refuses to start and leaves everything as it is. Which of the two it is must be told by something that
//! the damage leaves alone and that is never out of date. The replica's own file and the meta shard's on this disk are as old
//! as their last flush; what is behind that is in the log, which may be what is damaged. So it is told by a name: as long
//! as a replica is its shard's only voter, a file named after it lies in the directory `sole`, beside those of the replicas:
//! a replica's directory that is lost would take its own word along. What is in the file does not matter.
//!
//! ## Invariants and what guards each
//!
//! - Where the file is, nobody else votes, whatever a power cut leaves: guarded by
//!   `tests::what_was_taken_away_stays_away`, `sim_sole::power_that_goes_when_the_file_is_gone_costs_nothing`,
//!   `sim_sole::a_change_that_only_the_others_know_of_brings_no_file_back`.
//! - So nobody is refused a start whose peers can help: guarded by `sim_sole::who_has_peers_starts_whatever_its_own_files_say`.
//! - Whoever has been the only voter for a second has the file, and with it a damaged one is neither set aside nor
//!   started: guarded by `tests::what_was_made_is_there_after_a_power_cut`,
//!   `sim_sole::the_file_follows_the_voters`, `sim_cluster::a_node_alone_does_not_start_on_damage`,
//!   `sim_node::a_node_whose_data_is_gone_does_not_start`.
//! - Damaged in the moment in which the file is gone and nobody else votes yet, it answers nothing and keeps all: guarded by
//!   `sim_sole::who_is_damaged_when_the_file_is_gone_answers_nothing_and_keeps_all`.
//! - It does not come back while a change of voters is under way: guarded by
//!   `tests::nothing_is_made_while_voters_change`.
//!
//! ## The protocol
//!
//! | when | what | durable before |
//! |---|---|---|
//! | a shard begins here | [`Sole::begin`] makes the file | the first entry is written |
//! | voters are to change to any that are not this replica alone | [`Sole::leave`] takes it away | raft is asked for the change |
//! | until that change has come to its end, or its caller has given up | [`Leaving`] is held | |
//! | about once a second, where the file is not there and no `Leaving` is held | [`Sole::keep`] makes it if raft's core says that this replica is sole | |
//!
//! *Sole* is what the core says of itself (`Group::is_sole`), all of it: the newest members in the log are committed, and none
//! but this replica votes; this replica leads, and an entry of its own term is committed. The core takes questions and
//! changes in the order in which they were sent, so a change whose caller gave up is in the answer, and none is sent
//! while it is asked.
//!
//! A replica that joins begins as a learner and has no file. One that is removed does not vote any
//! more, or its shard was merged into another: then its file goes first ([`forget`]).
//!
//! ## Why only this replica can bring others in
//!
//! Whoever leads has all that is committed, so also the members by which nobody but this replica votes, or newer ones
//! that were never committed and were made from these: by both it needs this replica's vote. That it does not get: this
//! replica has committed an entry of its own term by itself, so a log that ends in an entry of before is older. So it is
//! this replica that leads while the file is there, and every change of voters passes through `Replica::change_voters`.
//!
//! That is why an entry of its own term is asked for, and not only committed members: by a power cut this replica may
//! forget a joint membership that a learner has got already. That learner asks for votes; had this replica written nothing
//! since, it would give its own, and be led with the file still there.
//!
//! ## Why each crash is safe
//!
//! - After the file was made, before the first entry: the shard has not begun; beginning it again finds the file.
//! - After the first entry: the file is there, nobody else votes.
//! - While the file is taken away: it is there or not. Raft was not asked, so nobody else votes, and either is safe.
//! - After it was taken away, before the change is committed: nobody else votes, or nobody yet knows. *The file is missing
//!   although this replica is sole.* Undamaged, it is there again about a second after the next start, unless the change
//!   was carried through. Damaged before that, the replica is set aside as if it had peers: it is not opened, so it neither votes
//!   nor answers, the shard has no leader, no job can end, and so its id is never retired. The shard stands still; nothing
//!   wrong is said, and its file and whatever of its log is sound stays as it is.
//! - While the file is made: it is there or not, and this replica is sole.
//!
//! Should the disk refuse, it is not known what is on it: changes are refused, and the node stops. A disk that is full is
//! none such: nothing was made, and that is tried again.
//!
//! Relies on: [`listed`] being asked at each start, before anything else. Does not decide what becomes of a
//! damaged replica ([`crate::node::shards`]), nor know of memberships ([`crate::node::raft::group`]).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{RwLock, RwLockReadGuard};

use crate::model::id::{ReplicaId, ShardId};
use crate::model::wire;
use crate::net::exec::Exec;
use crate::node::disk::{Disk, lacks_room};
use crate::node::member::write_file;
use crate::node::raft::group::MembershipError;

use super::{Replica, parse_directory};

const DIR: &str = "sole";
/// For whoever looks into the directory.
const TEXT: &[u8] = b"This replica is the only voter of its shard: no other node has all that is in it.\n";

fn path(shard: ShardId, id: ReplicaId) -> PathBuf {
    Path::new(DIR).join(format!("{shard}-{id}"))
}

/// True if a replica of this disk is its shard's only voter.
pub fn is_sole(disk: &dyn Disk, shard: ShardId, id: ReplicaId) -> io::Result<bool> {
    disk.exists(&path(shard, id))
}

/// The replicas of this disk that are. What is found is on the disk, whatever the last process left half done.
pub fn listed(disk: &dyn Disk) -> io::Result<Vec<(ShardId, ReplicaId)>> {
    disk.create_dir(Path::new(DIR))?;
    disk.sync_dir(Path::new(""))?;
    disk.sync_dir(Path::new(DIR))?;
    Ok(disk.list(Path::new(DIR))?.iter().filter_map(|name| parse_directory(name)).collect())
}

/// Takes away the file of a replica that is removed, before anything else of it is; harmless if there is none.
pub(super) fn forget(disk: &dyn Disk, shard: ShardId, id: ReplicaId) -> io::Result<()> {
    match disk.exists(&path(shard, id))? {
        false => Ok(()),
        true => disk.remove(&path(shard, id)).and_then(|()| disk.sync_dir(Path::new(DIR))),
    }
}

/// The file of one replica. Shared; cheap to clone.
#[derive(Clone)]
pub struct Sole {
    shared: Arc<Shared>,
    exec: Exec,
}

struct Shared {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Held over what is done to the file, also by whoever did not wait for the end of it.
    there: Mutex<There>,
    /// Read by changes of voters that are under way.
    changes: RwLock<()>,
}

/// Whether the file is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    No,
    Yes,
    /// The disk has refused: perhaps.
    Unknown,
}

/// While this is held the file does not come back.
pub struct Leaving<'a> {
    _under_way: RwLockReadGuard<'a, ()>,
}

impl Shared {
    /// Makes the file, durably; harmless if it is there.
    fn make(&self) -> io::Result<()> {
        let mut there = self.there.lock();
        if *there != There::No {
            return known(*there);
        }
        let made = write_file(&*self.disk, &self.path, TEXT);
        *there = match &made {
            Ok(()) => There::Yes,
            // Nothing has the name yet, so nothing has to be taken away.
            Err(error) if lacks_room(error) && !self.disk.exists(&self.path)? => There::No,
            Err(_) => There::Unknown,
        };
        made
    }

    /// Takes the file away, durably; harmless if it is not there.
    fn take_away(&self) -> io::Result<()> {
        let mut there = self.there.lock();
        if *there != There::Yes {
            return known(*there);
        }
        *there = There::Unknown;
        self.disk.remove(&self.path)?;
        self.disk.sync_dir(Path::new(DIR))?;
        *there = There::No;
        Ok(())
    }
}

fn known(there: There) -> io::Result<()> {
    match there {
        There::Unknown => Err(io::Error::other("the disk has refused to make or remove a file in `sole`")),
        There::Yes | There::No => Ok(()),
    }
}

impl Sole {
    /// Looks whether a replica has one.
    pub fn open(disk: Arc<dyn Disk>, shard: ShardId, id: ReplicaId, exec: Exec) -> io::Result<Sole> {
        let there = if is_sole(&*disk, shard, id)? { There::Yes } else { There::No };
        let (path, there, changes) = (path(shard, id), Mutex::new(there), RwLock::new(()));
        Ok(Sole { shared: Arc::new(Shared { disk, path, there, changes }), exec })
    }

    /// Makes the file of a replica whose shard begins with it. Returns when it is on the disk.
    pub async fn begin(&self) -> io::Result<()> {
        let shared = self.shared.clone();
        self.exec.blocking(move || shared.make()).await
    }

    /// Takes the file away before others may vote. Returns when it is gone from the disk.
    pub async fn leave(&self) -> io::Result<Leaving<'_>> {
        let under_way = self.shared.changes.read().await;
        let shared = self.shared.clone();
        self.exec.blocking(move || shared.take_away()).await?;
        Ok(Leaving { _under_way: under_way })
    }

    /// Makes the file if it is not there, no change of voters is under way and `is_sole` says so.
    ///
    /// # Errors
    /// Unless the disk is full it is no longer known what is on it.
    pub async fn keep(&self, is_sole: impl Future<Output = bool>) -> io::Result<()> {
        // What is being done to it now is looked at next time.
        let Some(there) = self.shared.there.try_lock().map(|there| *there) else { return Ok(()) };
        if there != There::No {
            return known(there);
        }
        let Ok(_no_change) = self.shared.changes.try_write() else { return Ok(()) };
        match is_sole.await {
            true => self.begin().await,
            false => Ok(()),
        }
    }
}

impl Replica {
    /// Makes exactly these replicas the voters. The one way in which others come to vote.
    pub async fn change_voters(
        &self,
        voters: &[u64],
        seen: Option<&wire::LogId>,
    ) -> Result<(), MembershipError> {
        let refused = |error: io::Error| MembershipError::Refused(error.to_string());
        let others_vote = voters.iter().any(|voter| *voter != self.id.0);
        let _leaving = match others_vote {
            true => Some(self.sole.leave().await.map_err(refused)?),
            false => None,
        };
        self.group.change_voters(voters, seen).await
    }

    /// Sees to it that the file is there if nobody else votes.
    pub async fn keep_sole(&self) -> io::Result<()> {
        // The core is asked only where it may be so: of thousands of replicas hardly any is ever sole.
        match self.group.seems_sole() {
            true => self.sole.keep(self.group.is_sole()).await,
            false => self.sole.keep(std::future::ready(false)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;
    use crate::net::chance::Chance;
    use crate::node::disk::sim::{Act, Loss, SimDisk};

    const EXEC: Exec = Exec::Inline { delay: Duration::ZERO, gate: None };
    const SHARD: ShardId = ShardId(1);
    const ID: ReplicaId = ReplicaId(7);

    fn open(disk: &SimDisk) -> Sole {
        let there = listed(disk).unwrap();
        assert_eq!(there.contains(&(SHARD, ID)), is_there(disk));
        Sole::open(Arc::new(disk.clone()), SHARD, ID, EXEC).unwrap()
    }

    fn is_there(disk: &SimDisk) -> bool {
        is_sole(disk, SHARD, ID).unwrap()
    }

    /// The disk after a power cut that leaves as little as it may, or as much.
    fn cut(disk: &SimDisk, loss: Loss) -> SimDisk {
        disk.power_cut_with(loss, &Chance::from_seed(1))
    }

    /// Runs it in simulated time, on one thread.
    fn simulate<F: Future>(work: F) -> F::Output {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(work)
    }

    #[test]
    fn what_was_made_is_there_after_a_power_cut() {
        simulate(async {
            for loss in [Loss::All, Loss::Torn] {
                let disk = SimDisk::new();
                let sole = open(&disk);
                assert!(!is_there(&disk), "a replica that joins has none");
                sole.begin().await.unwrap();
                sole.begin().await.unwrap();
                let disk = cut(&disk, loss);
                assert!(is_there(&disk), "{loss:?}");
                // It is known to whoever opens it next.
                drop(open(&disk).leave().await.unwrap());
                assert!(!is_there(&disk));
            }
        });
    }

    #[test]
    fn what_was_taken_away_stays_away() {
        simulate(async {
            for loss in [Loss::All, Loss::Torn] {
                let disk = SimDisk::new();
                let sole = open(&disk);
                drop(sole.leave().await.unwrap());
                for _ in 0..2 {
                    sole.keep(async { true }).await.unwrap();
                    assert!(is_there(&disk), "it comes back");
                    drop(sole.leave().await.unwrap());
                }
                let disk = cut(&disk, loss);
                assert!(!is_there(&disk), "{loss:?}");
            }
        });
    }

    #[test]
    fn nothing_is_made_while_voters_change() {
        simulate(async {
            let disk = SimDisk::new();
            let sole = open(&disk);
            sole.begin().await.unwrap();
            let (one, other) = (sole.leave().await.unwrap(), sole.leave().await.unwrap());
            for leaving in [one, other] {
                sole.keep(async { panic!("nobody is asked") }).await.unwrap();
                assert!(!is_there(&disk));
                drop(leaving);
            }
            sole.keep(async { false }).await.unwrap();
            assert!(!is_there(&disk));
            // Who is about to leave waits for the answer, and then for the file to go.
            let (answer, asked) = tokio::sync::oneshot::channel();
            let keep = sole.keep(async { asked.await.unwrap() });
            let mut keep = std::pin::pin!(keep);
            assert!(keep.as_mut().now_or_never().is_none());
            let mut leave = std::pin::pin!(sole.leave());
            tokio::time::timeout(Duration::from_secs(1), leave.as_mut()).await.map(drop).unwrap_err();
            answer.send(true).unwrap();
            keep.await.unwrap();
            assert!(is_there(&disk));
            drop(leave.await.unwrap());
            assert!(!is_there(&disk));
        });
    }

    /// What is not known is not built upon; a full disk is no such thing.
    #[test]
    fn a_disk_that_refuses_ends_all_changes() {
        simulate(async {
            let disk = SimDisk::new();
            let sole = open(&disk);
            disk.set_capacity(0);
            for _ in 0..2 {
                let full = sole.keep(async { true }).await.unwrap_err();
                assert_eq!(full.kind(), io::ErrorKind::StorageFull);
            }
            disk.set_capacity(u64::MAX);
            sole.keep(async { true }).await.unwrap();
            disk.fail(Act::Sync, 1);
            for _ in 0..2 {
                assert!(sole.leave().await.is_err());
                assert!(sole.keep(async { true }).await.is_err());
            }
        });
    }
}
