//! What must be on the disks, judged by what would be found there if all power went at that moment.
//!
//! | judged | how |
//! |---|---|
//! | *quorum on disk* | what a shard has applied, a quorum of its voters have in their logs or files |
//! | *acknowledged on disk* | what a replica has acknowledged to its leader is in its log, or its file, for good |
//! | *votes on disk* | of a term that somebody leads in, a quorum of voters know |
//! | *purged within the file* | no log is forgotten beyond what the shard's file holds |
//! | *file behind its log* | no file holds what the log beside it does not, unless it takes the log's place |
//! | *one place a replica* | a replica's id is on one machine only, whatever became of it |
//! | *one life a replica* | a replica that was given up or removed is never there again under its id |
//! | *sole on disk* | no disk says that a replica is its shard's only voter if others vote |
//! | *nobody damaged* | where no disk fails or rots, no replica is given up |
//!
//! A replica that was given up counts as having what it had: it will not vote again, and another takes its place. So does
//! one on a machine that is lost.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use nodenomad::model::id::{ReplicaId, ShardId};
use nodenomad::model::wire;
use nodenomad::node::disk::Disk;
use nodenomad::node::disk::sim::SimDisk;
use nodenomad::node::replica::{Replica, directory, is_sole};
use nodenomad::node::store::{self, FILE_NAME};
use nodenomad::node::wal::{GroupId, GroupState, inspect};
use tokio::time::sleep;

use crate::simulated::World;

/// The disks of a world, as they would be found.
pub struct Durable {
    every: Duration,
    /// Disks fail or rot in this run.
    may_be_damaged: bool,
    /// What each replica has acknowledged of what its shard has applied.
    acknowledged: RefCell<HashMap<ReplicaId, u64>>,
    /// Replicas that had a log; false: and have none any more.
    living: RefCell<BTreeMap<ReplicaId, bool>>,
    pub looks: Cell<u64>,
}

/// The logs of all machines, by replica; `None` for one that was given up.
type Logs = BTreeMap<ReplicaId, Option<GroupState>>;

impl Durable {
    pub fn new(every: Duration, may_be_damaged: bool) -> Rc<Durable> {
        Rc::new(Durable {
            every,
            may_be_damaged,
            acknowledged: RefCell::default(),
            living: RefCell::default(),
            looks: Cell::new(0),
        })
    }

    /// Never ends.
    pub async fn watch(self: Rc<Self>, world: Rc<World>) {
        loop {
            sleep(self.every).await;
            self.look(&world);
        }
    }

    pub fn look(&self, world: &World) {
        self.looks.set(self.looks.get() + 1);
        let machines: Vec<_> = (0..world.count()).map(|n| world.machine(n)).collect();
        let disks: Vec<SimDisk> =
            machines.iter().map(|machine| machine.disk.borrow().durable(Path::new(""))).collect();
        let (mut logs, mut damage) = (Logs::new(), Vec::new());
        for (machine, disk) in machines.iter().zip(&disks) {
            let report = inspect(disk, Path::new("wal"), &[]).expect("a simulated disk can be read");
            damage.extend(report.damage.into_iter().map(|damage| format!("{}: {damage}", machine.address)));
            for (id, state) in report.groups {
                let elsewhere = logs.insert(ReplicaId(id.0), state);
                assert!(elsewhere.is_none(), "one place a replica: r{} is on two machines", id.0);
            }
        }
        self.check_lives(&logs);
        let running = machines.iter().zip(&disks).filter(|(machine, _)| machine.is_running());
        let running: Vec<_> = running.map(|(machine, disk)| (machine.node(), disk)).collect();
        for (node, disk) in &running {
            damage.extend(node.shards.damaged().iter().map(|damaged| format!("given up: {damaged:?}")));
            for replica in node.shards.all().iter() {
                self.note_acknowledged(replica);
                let known = node.wal.group(GroupId(replica.id.0)).state();
                check_file(disk, replica, known, logs.get(&replica.id).copied().flatten());
            }
        }
        let all: Vec<_> = running.iter().flat_map(|(node, _)| node.shards.all().to_vec()).collect();
        let shards: BTreeSet<ShardId> = all.iter().map(|replica| replica.shard).collect();
        for shard in shards {
            let replicas: Vec<&Replica> =
                all.iter().filter(|one| one.shard == shard).map(|one| &**one).collect();
            let voters = replicas.iter().flat_map(|replica| replica.store.applied().1.configs);
            let mut voters = voters.flat_map(|set| set.replicas);
            // Of what was merged into another nobody needs anything any more, and all of it goes.
            let is_merged =
                |id| running.iter().any(|(node, _)| node.view.now().map.is_retired(ReplicaId(id)));
            if voters.all(|id| !is_merged(id)) {
                self.check_shard(shard, &replicas, &logs, &disks);
            }
        }
        // Last, for it says least.
        assert!(damage.is_empty() || self.may_be_damaged, "nobody damaged: {damage:?}");
    }

    fn check_lives(&self, logs: &Logs) {
        let mut living = self.living.borrow_mut();
        for (id, log) in logs {
            let lives = living.entry(*id).or_insert(true);
            assert!(*lives || log.is_none(), "one life a replica: {id} was given up or removed, and is back");
        }
        for (id, lives) in living.iter_mut() {
            *lives = logs.get(id).is_some_and(Option::is_some);
        }
    }

    /// What the leader knows to be on its followers' disks.
    fn note_acknowledged(&self, replica: &Replica) {
        let status = replica.group.status();
        if !status.leadership.here {
            return;
        }
        let mut acknowledged = self.acknowledged.borrow_mut();
        // Of itself it says what it has sent to its disk, which is not yet what is there.
        for (follower, matched) in status.matched.into_iter().filter(|(id, _)| *id != replica.id.0) {
            let floor = acknowledged.entry(ReplicaId(follower)).or_default();
            *floor = (*floor).max(matched.min(status.applied.index));
        }
    }

    fn check_shard(&self, shard: ShardId, replicas: &[&Replica], logs: &Logs, disks: &[SimDisk]) {
        let furthest = replicas.iter().max_by_key(|replica| replica.applied().borrow().index);
        let Some(furthest) = furthest else { return };
        let (Some(applied), membership) = furthest.store.applied() else { return };
        let has = |voter: u64, what: &dyn Fn(&GroupState) -> bool| match logs.get(&ReplicaId(voter)) {
            Some(Some(state)) => what(state),
            Some(None) => true,
            None => false,
        };
        for voter in membership.configs.iter().flat_map(|set| &set.replicas) {
            let says_so = |disk: &SimDisk| is_sole(disk, shard, ReplicaId(*voter)).is_ok_and(|sole| sole);
            assert!(
                membership.configs.iter().all(|set| set.replicas == [*voter]) || !disks.iter().any(says_so),
                "sole on disk: r{voter} of {shard} has the file, and {:?} vote",
                membership.configs
            );
        }
        // Where a file was received the log may still end before it.
        let reaches = |voter: u64, index: u64| {
            has(voter, &|state| state.last.is_some_and(|last| last.index >= index))
                || disks.iter().any(|disk| file_holds(disk, shard, ReplicaId(voter)) >= Some(index))
        };
        // A leader counts by the newest members in its log, applied or not; those of before are joined with them until that is
        // committed.
        let newer = |other: &wire::Membership| index(other) > index(&membership);
        let later = replicas.iter().map(|one| one.group.status().membership).filter(newer);
        let memberships: Vec<wire::Membership> = later.chain([membership.clone()]).collect();
        let quorum = |has: &dyn Fn(u64) -> bool| {
            let of_set = |set: &wire::VoterSet| {
                let having = set.replicas.iter().filter(|voter| has(**voter)).count();
                having > set.replicas.len() / 2
            };
            memberships.iter().any(|membership| membership.configs.iter().all(of_set))
        };
        let told = || {
            let of = |voter: &u64| {
                let file = disks.iter().filter_map(|disk| file_holds(disk, shard, ReplicaId(*voter))).max();
                format!("r{voter}: log {:?}, file {file:?}", logs.get(&ReplicaId(*voter)))
            };
            membership.configs.iter().flat_map(|set| &set.replicas).map(of).collect::<Vec<_>>().join("; ")
        };
        // What a shard begins with that was split off is on the disks of its parent's replicas.
        assert!(
            applied.index == 0 || quorum(&|voter| reaches(voter, applied.index)),
            "quorum on disk: {} of {shard} has applied {}, its voters' disks have {}",
            furthest.id,
            applied.index,
            told()
        );
        for voter in membership.configs.iter().flat_map(|set| &set.replicas) {
            let Some(floor) = self.acknowledged.borrow().get(&ReplicaId(*voter)).copied() else { continue };
            let found = logs.get(&ReplicaId(*voter));
            assert!(
                reaches(*voter, floor),
                "acknowledged on disk: r{voter} of {shard} has acknowledged {floor}, its disk has {found:?}"
            );
        }
        for leader in replicas.iter().filter(|replica| replica.group.leadership().here) {
            let term = leader.group.leadership().term;
            // So it knows all members by whom it may have been elected.
            let settled = leader.store.applied().0.is_some_and(|applied| applied.term == term);
            let knows = |state: &GroupState| state.vote.as_ref().is_some_and(|vote| vote.term >= term);
            assert!(
                !settled || applied.term != term || quorum(&|voter| has(voter, &knows)),
                "votes on disk: {} of {shard} leads in term {term}, its voters' disks have {}",
                leader.id,
                told()
            );
        }
    }
}

/// The entry that made these the members.
fn index(membership: &wire::Membership) -> Option<u64> {
    membership.log_id.map(|id| id.index)
}

/// Up to which entry a disk has a replica's file.
fn file_holds(disk: &SimDisk, shard: ShardId, id: ReplicaId) -> Option<u64> {
    let path = directory(shard, id).join(FILE_NAME);
    let (basis, _) = store::inspect(disk, &path, shard).ok()?;
    Some(basis.applied?.index)
}

/// Compares a replica's file with its log, as both are on the disk. `known`: the log as its process knows it.
fn check_file(disk: &SimDisk, replica: &Replica, known: GroupState, log: Option<GroupState>) {
    let path = directory(replica.shard, replica.id).join(FILE_NAME);
    let Some(log) = log.filter(|_| disk.exists(&path).is_ok_and(|exists| exists)) else { return };
    let (id, shard) = (replica.id, replica.shard);
    let (basis, _) =
        store::inspect(disk, &path, shard).unwrap_or_else(|error| panic!("the file of {id}: {error:?}"));
    let base = basis.applied.map(|applied| applied.index);
    let purged = log.purged.map(|purged| purged.index);
    assert!(
        purged <= base,
        "purged within the file: the log of {id} of {shard} is gone up to {purged:?}, its file holds {base:?}"
    );
    let (has, in_memory) = (log.last.map(|last| last.index), known.last.map(|last| last.index));
    let replaces_log = known.purged.map(|purged| purged.index) >= base || in_memory < base;
    assert!(
        has >= base || replaces_log,
        "file behind its log: the file of {id} of {shard} holds {base:?}, its log only {has:?}"
    );
}
