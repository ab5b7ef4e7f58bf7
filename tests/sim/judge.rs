//! What must hold at every moment, looked at from outside while the world goes on.
//!
//! | judged | how |
//! |---|---|
//! | *election safety* | of a shard and term, never two replicas that lead |
//! | *log matching*: no committed entry changes | what was once applied at an index of a shard is the same entry everywhere, for ever |
//! | *monotone applied* | for a replica as long as its process lives |
//! | *ranges* tile the key space | all replicas of a shard know the same range in the same epoch, no two shards have a key in common, and none is left out |
//! | *monotone terms* | likewise: what was not on disk yet may be lost with it |
//! | *epoch* | no write takes effect among other members than it was made for (`epochs`) |

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nodenomad::model::id::{ReplicaId, ShardId};
use nodenomad::model::key::KeyRange;
use nodenomad::model::map::ClusterMap;
use nodenomad::model::time::Timestamp;
use nodenomad::node::meta::view::Cluster;
use nodenomad::node::replica::Replica;
use nodenomad::node::running::Node;
use nodenomad::node::wal::GroupId;
use tokio::time::sleep;

use crate::epochs::Epochs;
use crate::simulated::World;

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Entries compared at one look at one replica, at most, in bytes.
const READ_MAX_BYTES: usize = 1 << 20;

/// A machine, and how often it was started.
type Process = (usize, u64);

/// Looks again and again.
#[derive(Default)]
pub struct Judge {
    /// Who led a shard in a term.
    leaders: RefCell<HashMap<(ShardId, u64), ReplicaId>>,
    /// The entries of each shard: term and checksum.
    entries: RefCell<HashMap<(ShardId, u64), (u64, u32)>>,
    /// How far each replica's log was compared, and what it had applied; by process.
    applied: RefCell<HashMap<(Process, ReplicaId), (u64, u64)>>,
    terms: RefCell<HashMap<(Process, ReplicaId), u64>>,
    epochs: Epochs,
    /// Each shard's range in the newest epoch that was seen, and whether it stood still for a merge.
    newest: RefCell<BTreeMap<ShardId, (u64, KeyRange, bool)>>,
    /// Shards that were in a map, and that are no more.
    listed: RefCell<BTreeSet<ShardId>>,
    gone: RefCell<BTreeSet<ShardId>>,
    /// The version of the newest map that was seen.
    version: Cell<Timestamp>,
    pub looks: Cell<u64>,
    pub compared: Cell<u64>,
}

impl Judge {
    /// Never ends.
    pub async fn watch(self: Rc<Self>, world: Rc<World>) {
        loop {
            sleep(LOOK_EVERY).await;
            self.look(&world);
        }
    }

    pub fn look(&self, world: &World) {
        self.looks.set(self.looks.get() + 1);
        // Also in the trace: whatever is sent or stored otherwise than in the run before shows within a look.
        world.trace.note(&format!("sent {:?} stored {:?}", world.net.written(), world.disks()));
        for n in (0..world.count()).filter(|n| world.machine(*n).is_running()) {
            let machine = world.machine(n);
            self.look_at((n, machine.starts()), &machine.node());
        }
        self.check_ranges(world);
    }

    /// Forgets what was compared so far, and who is dead; not whose terms these are.
    pub fn forget(&self, world: &World) {
        self.entries.take();
        let lives = |(n, starts): &Process| world.machine(*n).starts() == *starts;
        self.applied.borrow_mut().retain(|(process, _), _| lives(process));
        self.terms.borrow_mut().retain(|(process, _), _| lives(process));
    }

    fn look_at(&self, process: Process, node: &Node) {
        for replica in node.shards.all().iter() {
            let (shard, id) = (replica.shard, replica.id);
            let status = replica.group.status();
            let term = status.leadership.term;
            if status.leadership.here {
                let leader = *self.leaders.borrow_mut().entry((shard, term)).or_insert(id);
                assert_eq!(leader, id, "election safety: two replicas of {shard} lead in term {term}");
            }
            let before = self.terms.borrow_mut().insert((process, id), term).unwrap_or(0);
            assert!(before <= term, "monotone terms: {id} of {shard} was in {before} and is in {term}");
            let mut applied = self.applied.borrow_mut();
            let (compared, last) = applied.entry((process, id)).or_default();
            assert!(
                *last <= status.applied.index,
                "monotone applied: {id} of {shard} had applied {last} and takes it back"
            );
            *last = status.applied.index;
            if *compared < *last {
                *compared = self.compare(node, replica, *compared + 1, *last).unwrap_or(*last);
            }
            self.epochs.catch_up(replica);
        }
    }

    /// How far was compared; `None` if the log no longer has it.
    fn compare(&self, node: &Node, replica: &Replica, from: u64, to: u64) -> Option<u64> {
        let (shard, id) = (replica.shard, replica.id);
        let log = node.wal.group(GroupId(id.0));
        let purged = log.state().purged.map_or(0, |point| point.index);
        let records = log.read(from.max(purged + 1)..to + 1, READ_MAX_BYTES).ok()?;
        for record in &records {
            let (at, told) = (record.point.index, (record.point.term, crc32c::crc32c(&record.bytes)));
            let known = *self.entries.borrow_mut().entry((shard, at)).or_insert(told);
            assert_eq!(
                known, told,
                "log matching: {id} has applied another entry at {at} of {shard} than others before"
            );
            self.epochs.follow(replica, record);
            self.compared.set(self.compared.get() + 1);
        }
        records.last().map(|record| record.point.index)
    }
}

impl Judge {
    fn check_ranges(&self, world: &World) {
        let mut ranges: BTreeMap<(ShardId, u64), (KeyRange, bool)> = BTreeMap::new();
        let (mut newest_map, mut is_settled) = (None, true);
        for n in (0..world.count()).filter(|n| world.machine(*n).is_running()) {
            let node = world.machine(n).node();
            let view = node.view.now();
            if newest_map.as_ref().is_none_or(|known: &Arc<Cluster>| known.map.version() < view.map.version())
            {
                newest_map = Some(view);
            }
            for replica in node.shards.all().iter() {
                let (range, epoch, moves, frozen) = replica.store.state(|state| {
                    let moves = state.birth.is_some() || state.taking.is_some() || state.is_frozen();
                    (state.range.clone(), state.epoch, moves, state.is_frozen())
                });
                is_settled &= !moves;
                let Some(range) = range else { continue };
                let known = ranges.entry((replica.shard, epoch)).or_insert_with(|| (range.clone(), frozen));
                assert!(
                    known.0 == range,
                    "ranges: {} of {} has {range:?} in epoch {epoch}, others {known:?}",
                    replica.id,
                    replica.shard
                );
                known.1 |= frozen;
            }
        }
        let there: BTreeSet<ShardId> = ranges.keys().map(|(shard, _)| *shard).collect();
        let map = newest_map.as_ref().map(|cluster| &cluster.map);
        map.into_iter().for_each(|map| self.note_merged(map));
        // What nobody is left to have is not missed.
        let listed = map.iter().flat_map(|map| map.shards()).map(|shard| shard.id);
        let all = is_settled && !there.is_empty() && listed.collect::<BTreeSet<_>>() == there;
        // Of each shard as it was in its newest epoch: who has been there may be down, and others not there yet.
        let mut newest = self.newest.borrow_mut();
        for ((shard, epoch), (range, frozen)) in ranges {
            if newest.get(&shard).is_none_or(|(known, _, _)| *known <= epoch) {
                newest.insert(shard, (epoch, range, frozen));
            }
        }
        newest.retain(|shard, _| !self.gone.borrow().contains(shard));
        let mut sorted: Vec<_> = newest.iter().collect();
        sorted.sort_by(|(_, (_, one, _)), (_, (_, other, _))| one.start.cmp(&other.start));
        for pair in sorted.windows(2) {
            let [(one, (epoch, range, _)), (other, (_, next, frozen))] = pair else { continue };
            let end = range.end.as_ref();
            let fits = end.is_some_and(|end| *end == next.start || !all && *end < next.start);
            // It has been taken over, and the map does not say so yet.
            let is_taken = *frozen && range.end == next.end;
            // A split that was not seen, since whoever had applied it went down at once.
            let unseen = map.is_none_or(|map| {
                map.shard(**other).is_none() || map.shard(**one).is_some_and(|known| known.epoch > *epoch)
            });
            assert!(fits || is_taken || unseen, "ranges: {one} has {range:?}, {other} has {next:?}");
        }
        let ends = !all || sorted.last().is_some_and(|(_, (_, range, _))| range.end.is_none());
        assert!(ends, "ranges: the last keys belong to nobody");
    }

    /// What was listed and is not any more was merged into another.
    fn note_merged(&self, map: &ClusterMap) {
        if map.version() < self.version.get() {
            return;
        }
        self.version.set(map.version());
        let now: BTreeSet<ShardId> = map.shards().map(|shard| shard.id).collect();
        let mut listed = self.listed.borrow_mut();
        self.gone.borrow_mut().extend(listed.difference(&now));
        listed.extend(now);
    }
}
