//! Plans: which changes of placement to make next.
//!
//! [`plan`] looks at the map and at who is silent, and proposes jobs, the most urgent first: at most one a shard, and no
//! more at a time than the cluster should be copying. Called again after each change it leads to where everything is as
//! it should be, and then proposes nothing.
//!
//! *User shards* have `replicas` replicas, or one on every node if there are fewer nodes. Voters are 1, 3 or 5, so with
//! two nodes there is one voter and one learner. Where to: `assign`.
//! *The meta shard* has a replica on every member node, of which one, three or five vote, in different zones if possible;
//! the others learn. It is never dropped from a member.
//! *A silent node* is replaced after the limit if there is a node to take its place; if not, its replicas stay, since it
//! may come back and fewer voters would make nothing safer. A node that left is not waited for.
//! *A damaged replica* is replaced by a fresh one on its own node, which is there and has the room.
//!
//! *Evening out* ([`rebalance()`]) comes last, when nothing else is to be done: a node that has joined fills itself.
//!
//! Moves between two sound nodes (a drain's, and those that even out) are *migrations*: they have stages, are verified and
//! can be watched and stopped, and there are at most `max_concurrent_migrations` of them at a time.
//!
//! Promises: the same map, settings and silences give the same plan. No proposal leads to an even number of voters. Does
//! not carry anything out (`job`).
//!
//! ## Invariants and what guards each
//!
//! - No proposal leads to an even number of voters: guarded by the assertion in `job`,
//!   `tests::plans_come_to_an_end_and_a_sound_state`.
//! - Plans come to an end, and then all is as it should be: guarded by `tests::plans_come_to_an_end_and_a_sound_state`.
//! - The meta shard is never dropped from a member: guarded by `tests::a_draining_node_keeps_only_its_meta_replica`,
//!   `tests::plans_come_to_an_end_and_a_sound_state`.
//! - Without a node to take its place a silent one is not given up: guarded by
//!   `tests::without_a_spare_node_nothing_is_given_up`, `tests::a_silent_node_is_replaced_after_the_limit`.
//! - No more is copied at a time than allowed, and to nobody who is silent: guarded by `tests::jobs_under_way_count`,
//!   `tests::nothing_is_copied_to_a_node_that_does_not_answer`.

mod meta;
mod rebalance;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use meta::stays_elected;
pub use rebalance::{is_uneven, rebalance};

use super::assign::{Balance, Site};
use super::config::Settings;
use super::id::{NodeId, ReplicaId, ShardId};
use super::map::{ClusterMap, Node, NodeState, Replica, Role, Shard};
use super::wire::{Course, JobPhase, JobRecord, ReplicaRecord, ReplicaRole};

/// Jobs on user shards at one time.
pub const JOBS_MAX: usize = 16;
/// Of these, how many may copy to the same node, and how many migrations may copy from one.
pub const JOBS_PER_NODE_MAX: usize = 4;
/// Moves that even out, as long as they can be undone: others can be asked for beside them, of which there may be more.
pub const KEPT_MAX: usize = 32;
/// A node silent for longer than this is nowhere to copy to, in milliseconds.
pub const TARGET_SILENT_MAX_MS: u64 = 10_000;
/// Most voters of the meta shard.
pub const META_VOTERS_MAX: usize = 5;

/// What is heard of nodes and replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Liveness {
    /// How long each node has been silent, in milliseconds, counted from the meta leader's own election on. A node that
    /// is not listed was heard just now.
    pub silence_ms: BTreeMap<NodeId, u64>,
    /// Replicas whose nodes say that what they hold is not what was written.
    pub damaged: BTreeSet<ReplicaId>,
    /// What each node's disk has room for, its reserve left alone, in bytes; of a node not listed nothing is known.
    pub room_bytes: BTreeMap<NodeId, u64>,
    /// What a replica of each shard holds, about, in bytes.
    pub stored_bytes: BTreeMap<ShardId, u64>,
}

/// How much may be done at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Jobs on user shards.
    pub jobs: usize,
    /// Of these, migrations.
    pub migrations: usize,
    /// Migrations, those counted that only wait for somebody to undo them.
    pub kept: usize,
    /// Jobs that copy to the same node, and migrations away from it.
    pub jobs_per_node: usize,
}

/// A change worth making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub shard: ShardId,
    /// Where a new replica is to be made.
    pub add: Option<NodeId>,
    /// The replica to go.
    pub remove: Option<ReplicaId>,
    /// Of the replicas there are, those to vote in the end; with the new one, if it votes, an odd number.
    pub voters: BTreeSet<ReplicaId>,
    /// True if the new one is to vote.
    pub add_votes: bool,
    pub reason: Reason,
}

/// What a change is good for, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The meta shard follows the nodes.
    Meta,
    /// A replica whose id was retired is a member: a step came late.
    Retired,
    /// What a replica holds is damaged: it has been set aside and is made anew where it was.
    Damaged,
    /// A node is silent past the limit.
    Repair,
    /// A node left.
    Leave,
    /// A node is draining.
    Drain,
    /// Learners can be voters.
    Promote,
    /// There are fewer replicas than there should be.
    Grow,
    /// There are more replicas than there should be.
    Shrink,
    /// A node holds more or less than its share, or replicas are not apart.
    Rebalance,
    /// Somebody said so (`migration`).
    Move,
}

impl Liveness {
    pub fn silent_ms(&self, node: NodeId) -> u64 {
        self.silence_ms.get(&node).copied().unwrap_or(0)
    }

    /// What a shard needs and a node has no room for: both in bytes. `None`: it has, or nobody knows.
    pub fn lacks_room(&self, node: NodeId, shard: ShardId) -> Option<(u64, u64)> {
        let (needed, free) = (self.stored_bytes.get(&shard)?, self.room_bytes.get(&node)?);
        (free < needed).then_some((*needed, *free))
    }
}

impl Limits {
    /// Those of a cluster with these settings.
    pub fn of(settings: &Settings) -> Limits {
        let migrations = usize::try_from(settings.max_concurrent_migrations).expect("a setting is small");
        Limits { jobs: JOBS_MAX, migrations, kept: KEPT_MAX, jobs_per_node: JOBS_PER_NODE_MAX }
    }

    /// None: to see where it leads.
    pub const NONE: Limits =
        Limits { jobs: usize::MAX, migrations: usize::MAX, kept: usize::MAX, jobs_per_node: usize::MAX };
}

impl Reason {
    /// True if what is moved for it goes from one sound node to another.
    pub fn migrates(self) -> bool {
        matches!(self, Reason::Drain | Reason::Rebalance | Reason::Move)
    }
}

impl Proposal {
    /// True if a replica moves from one sound node to another.
    pub fn is_migration(&self) -> bool {
        self.reason.migrates() && self.add.is_some() && self.remove.is_some()
    }

    /// The record of the job that makes this change. `replica` is the id reserved for the new replica, if there is one.
    pub fn job(&self, id: u64, replica: ReplicaId, now_ms: u64) -> JobRecord {
        let role = if self.add_votes { ReplicaRole::RoleVoter } else { ReplicaRole::RoleLearner };
        let add = self.add.map(|node| ReplicaRecord { replica: replica.0, node: node.0, role: role.into() });
        let mut voters: Vec<u64> = self.voters.iter().map(|voter| voter.0).collect();
        voters.extend(add.iter().filter(|_| self.add_votes).map(|add| add.replica));
        assert!(voters.len() % 2 == 1, "a plan never aims at {} voters", voters.len());
        JobRecord {
            id,
            shard: self.shard.0,
            add,
            remove: self.remove.map_or(0, |replica| replica.0),
            reason: self.reason.to_string(),
            started_at_ms: now_ms,
            phase: JobPhase::JobLearn.into(),
            voters,
            split: None,
            merge: None,
            migration: None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Meta => "meta",
            Reason::Retired => "retired",
            Reason::Damaged => "damaged",
            Reason::Repair => "repair",
            Reason::Leave => "leave",
            Reason::Drain => "drain",
            Reason::Promote => "promote",
            Reason::Grow => "grow",
            Reason::Shrink => "shrink",
            Reason::Rebalance => "rebalance",
            Reason::Move => "move",
        })
    }
}

/// True of a job whose voters are those aimed at: what is left is to remove what is not needed any more.
pub fn is_past_voters(job: &JobRecord) -> bool {
    matches!(job.phase(), JobPhase::JobRemove | JobPhase::JobDone)
}

/// True for a move that somebody asked for and that copies nothing: it stands still, or waits for somebody to undo it.
fn only_waits(job: &JobRecord) -> bool {
    job.migration
        .as_ref()
        .is_some_and(|migration| is_past_voters(job) || migration.course() == Course::Paused)
}

/// What each node should hold, as plans have it, beside what it will hold once all under way is done.
pub fn balance(map: &ClusterMap, settings: &Settings, liveness: &Liveness) -> Balance {
    Planner::new(map, settings, liveness, Limits::NONE).balance
}

/// The replicas of a shard that may stay where they are.
pub fn sound(map: &ClusterMap, settings: &Settings, liveness: &Liveness, shard: &Shard) -> usize {
    Planner::new(map, settings, liveness, Limits::NONE).sound(shard).count()
}

/// Whether a change may be started now, beside the jobs under way and within the limits of the settings.
pub fn may_start(map: &ClusterMap, settings: &Settings, liveness: &Liveness, proposal: &Proposal) -> bool {
    let planner = Planner::new(map, settings, liveness, Limits::of(settings));
    let is_free = proposal.add.is_none_or(|node| !planner.is_busy(node));
    is_free && planner.running < planner.limits.jobs && planner.may_start(proposal)
}

/// The changes to start now, the most urgent first, besides the jobs under way; not those that only even out.
pub fn plan(map: &ClusterMap, settings: &Settings, liveness: &Liveness) -> Vec<Proposal> {
    plan_within(map, settings, liveness, Limits::of(settings))
}

/// The same with other limits.
pub fn plan_within(
    map: &ClusterMap,
    settings: &Settings,
    liveness: &Liveness,
    limits: Limits,
) -> Vec<Proposal> {
    let mut planner = Planner::new(map, settings, liveness, limits);
    let idle = |shard: &&Shard| map.job(shard.id).is_none();
    let meta = map.shard(ShardId::META).filter(idle).and_then(|shard| planner.meta(shard));
    let users = map.shards().filter(|shard| shard.id != ShardId::META).filter(idle);
    let mut needy: Vec<(Reason, usize, &Shard)> = users
        .filter_map(|shard| planner.need(shard).map(|reason| (reason, planner.sound(shard).count(), shard)))
        .collect();
    // Of equally urgent ones, those first that have the least left.
    needy.sort_by_key(|(reason, sound, shard)| (*reason, *sound, shard.id));
    let mut proposals: Vec<Proposal> = meta.into_iter().collect();
    for (_, _, shard) in needy {
        if planner.running >= limits.jobs {
            break;
        }
        if let Some(proposal) = planner.user(shard).filter(|proposal| planner.may_start(proposal)) {
            planner.start(&proposal);
            proposals.push(proposal);
        }
    }
    proposals
}

struct Planner<'a> {
    map: &'a ClusterMap,
    liveness: &'a Liveness,
    silent_after_ms: u64,
    /// As set; `balance` knows how many there can be.
    replicas: usize,
    /// Nodes that may hold user shards.
    sites: Vec<Site>,
    balance: Balance,
    limits: Limits,
    /// Jobs on user shards.
    running: usize,
    /// Of these, migrations.
    migrating: usize,
    /// Migrations, those counted that only wait.
    kept: usize,
    incoming: BTreeMap<NodeId, usize>,
    /// Migrations only.
    outgoing: BTreeMap<NodeId, usize>,
}

impl<'a> Planner<'a> {
    fn new(map: &'a ClusterMap, settings: &Settings, liveness: &'a Liveness, limits: Limits) -> Planner<'a> {
        let silent_after_ms = settings.silent_after_ms;
        let fit =
            |node: &&Node| node.state == NodeState::Member && liveness.silent_ms(node.id) <= silent_after_ms;
        let site = |node: &Node| Site { node: node.id, zone: node.zone.clone(), weight: node.weight };
        let users = || map.shards().filter(|shard| shard.id != ShardId::META);
        let replicas = usize::try_from(settings.replicas).expect("a setting is small");
        let sites: Vec<Site> = map.nodes().filter(fit).map(site).collect();
        let mut balance = Balance::new(sites.clone(), users().count(), replicas);
        users().flat_map(|shard| &shard.replicas).for_each(|replica| balance.add(replica.node));
        let mut planner = Planner {
            map,
            liveness,
            silent_after_ms,
            replicas,
            sites,
            balance,
            limits,
            running: 0,
            migrating: 0,
            kept: 0,
            incoming: BTreeMap::new(),
            outgoing: BTreeMap::new(),
        };
        for job in map.jobs().filter(|job| job.shard != ShardId::META.0) {
            let runs = usize::from(!only_waits(job));
            planner.running += runs;
            if let Some(migration) = &job.migration {
                planner.migrating += runs;
                planner.kept += 1;
                let source = migration.source.iter().map(|source| NodeId(source.node));
                source.for_each(|node| *planner.outgoing.entry(node).or_default() += runs);
            }
            let shard = map.shard(ShardId(job.shard));
            let listed = |id: u64| shard.is_some_and(|shard| shard.replica(ReplicaId(id)).is_some());
            if let Some(add) = job.add.as_ref().filter(|add| !listed(add.replica)) {
                planner.coming(NodeId(add.node));
            }
            let gone = shard.and_then(|shard| shard.replica(ReplicaId(job.remove)));
            gone.into_iter().for_each(|replica| planner.balance.take(replica.node));
        }
        planner
    }

    fn coming(&mut self, node: NodeId) {
        self.balance.add(node);
        *self.incoming.entry(node).or_default() += 1;
    }

    fn start(&mut self, proposal: &Proposal) {
        self.running += 1;
        proposal.add.into_iter().for_each(|node| self.coming(node));
        let gone = self.gone(proposal);
        gone.into_iter().for_each(|node| self.balance.take(node));
        if proposal.is_migration() {
            self.migrating += 1;
            self.kept += 1;
            gone.into_iter().for_each(|node| *self.outgoing.entry(node).or_default() += 1);
        }
    }

    /// Where the replica is that goes.
    fn gone(&self, proposal: &Proposal) -> Option<NodeId> {
        Some(self.map.shard(proposal.shard)?.replica(proposal.remove?)?.node)
    }

    /// Whether there are not too many migrations for another one.
    fn may_start(&self, proposal: &Proposal) -> bool {
        let sends = |node: NodeId| self.outgoing.get(&node).copied().unwrap_or(0);
        let is_free = |node: NodeId| sends(node) < self.limits.jobs_per_node;
        let limits = self.limits;
        let fits = self.migrating < limits.migrations
            && (proposal.reason != Reason::Rebalance || self.kept < limits.kept);
        !proposal.is_migration() || fits && self.gone(proposal).is_none_or(is_free)
    }

    /// Why a replica should not be where it is; `None`: it may stay.
    fn fault(&self, replica: &Replica) -> Option<Reason> {
        if self.map.is_retired(replica.id) {
            return Some(Reason::Retired);
        }
        let state = self.map.node(replica.node).map_or(NodeState::Left, |node| node.state);
        match state {
            NodeState::Left => Some(Reason::Leave),
            _ if self.liveness.silent_ms(replica.node) > self.silent_after_ms => Some(Reason::Repair),
            _ if self.liveness.damaged.contains(&replica.id) => Some(Reason::Damaged),
            NodeState::Draining => Some(Reason::Drain),
            NodeState::Member => None,
        }
    }

    fn sound<'s>(&'s self, shard: &'s Shard) -> impl Iterator<Item = &'s Replica> {
        shard.replicas.iter().filter(|replica| self.fault(replica).is_none())
    }

    /// The replicas that should not be where they are, the most urgent first.
    fn faults<'s>(&self, shard: &'s Shard) -> Vec<(Reason, &'s Replica)> {
        let faults = shard.replicas.iter().filter_map(|replica| Some((self.fault(replica)?, replica)));
        let mut faults: Vec<_> = faults.collect();
        faults.sort_by_key(|(reason, replica)| (*reason, replica.id));
        faults
    }

    /// The most urgent thing to do about a user shard, cheaply: perhaps nothing can be done about it.
    fn need(&self, shard: &Shard) -> Option<Reason> {
        if let Some((reason, _)) = self.faults(shard).first() {
            return Some(*reason);
        }
        match shard.replicas.len().cmp(&self.balance.replicas()) {
            std::cmp::Ordering::Less => Some(Reason::Grow),
            std::cmp::Ordering::Greater => Some(Reason::Shrink),
            std::cmp::Ordering::Equal => self.promotion(shard).map(|_| Reason::Promote),
        }
    }

    fn user(&self, shard: &Shard) -> Option<Proposal> {
        let sound: Vec<&Replica> = self.sound(shard).collect();
        let faults = self.faults(shard);
        if !faults.is_empty() {
            return faults.into_iter().find_map(|(reason, out)| self.replace(shard, &sound, reason, out));
        }
        let nodes: Vec<NodeId> = sound.iter().map(|replica| replica.node).collect();
        match sound.len().cmp(&self.balance.replicas()) {
            std::cmp::Ordering::Less => {
                let add = self.target(shard, &nodes)?;
                let (voters, add_votes) = self.elect(&sound, Some(add), odd(sound.len() + 1));
                let (shard, add) = (shard.id, Some(add));
                Some(Proposal { shard, add, remove: None, voters, add_votes, reason: Reason::Grow })
            }
            std::cmp::Ordering::Greater => {
                let node = self.balance.fullest(&nodes)?;
                let rest: Vec<&Replica> =
                    sound.iter().copied().filter(|replica| replica.node != node).collect();
                self.without(shard, &rest, shard.replica_on(node)?, Reason::Shrink)
            }
            std::cmp::Ordering::Equal => self.promotion(shard),
        }
    }

    /// Replaces a replica that cannot stay, or does without it.
    fn replace(&self, shard: &Shard, sound: &[&Replica], reason: Reason, out: &Replica) -> Option<Proposal> {
        let nodes: Vec<NodeId> = sound.iter().map(|replica| replica.node).collect();
        let missing = sound.len() < self.balance.replicas();
        let target = match reason {
            Reason::Retired => None,
            Reason::Damaged if self.is_ready(out.node) => Some(out.node),
            _ if missing => self.target(shard, &nodes),
            _ => None,
        };
        let Some(add) = target else {
            // A silent node may come back, and fewer voters would make nothing safer.
            let wait = matches!(reason, Reason::Repair | Reason::Damaged) && sound.len() < self.replicas;
            let room_later = missing && reason != Reason::Retired && self.best(shard, &nodes).is_some();
            return if wait || room_later { None } else { self.without(shard, sound, out, reason) };
        };
        // The newcomer takes the place of the one that goes; if that left an even number, they are chosen anew.
        let mut voters: BTreeSet<ReplicaId> = shard.voters().map(|replica| replica.id).collect();
        let mut add_votes = voters.remove(&out.id);
        if (voters.len() + usize::from(add_votes)).is_multiple_of(2) {
            (voters, add_votes) = self.elect(sound, Some(add), odd(sound.len() + 1));
        }
        let (shard, add, remove) = (shard.id, Some(add), Some(out.id));
        Some(Proposal { shard, add, remove, voters, add_votes, reason })
    }

    /// Drops a replica without a successor.
    fn without(&self, shard: &Shard, rest: &[&Replica], out: &Replica, reason: Reason) -> Option<Proposal> {
        let mut voters: BTreeSet<ReplicaId> = shard.voters().map(|replica| replica.id).collect();
        voters.remove(&out.id);
        if voters.len().is_multiple_of(2) {
            voters = self.elect(rest, None, odd(rest.len())).0;
        }
        let proposal =
            Proposal { shard: shard.id, add: None, remove: Some(out.id), voters, add_votes: false, reason };
        (proposal.voters.len() % 2 == 1).then_some(proposal)
    }

    /// Makes voters of learners (or the reverse) where nothing is to be copied.
    fn promotion(&self, shard: &Shard) -> Option<Proposal> {
        let all: Vec<&Replica> = shard.replicas.iter().collect();
        let (voters, _) = self.elect(&all, None, odd(all.len()));
        let now: BTreeSet<ReplicaId> = shard.voters().map(|replica| replica.id).collect();
        let (shard, reason) = (shard.id, Reason::Promote);
        let differs = voters != now && !voters.is_empty();
        differs.then_some(Proposal { shard, add: None, remove: None, voters, add_votes: false, reason })
    }

    /// Where one more replica of a shard goes that stays on `nodes`. A node that is busy or silent just now is passed
    /// over, unless the others would break zones: then it is worth waiting for.
    fn target(&self, shard: &Shard, nodes: &[NodeId]) -> Option<NodeId> {
        let choice = self.best(shard, nodes)?;
        let free = |node: NodeId| !self.is_busy(node) && self.takes(shard, node);
        if free(choice) {
            return Some(choice);
        }
        let other = self.balance.pick(shard.ring_position, nodes, free)?;
        let breaks = |node: NodeId| self.balance.crowded(&[nodes, &[node]].concat()).is_some();
        (breaks(choice) || !breaks(other)).then_some(other)
    }

    /// Where it would go if everybody had time.
    fn best(&self, shard: &Shard, nodes: &[NodeId]) -> Option<NodeId> {
        self.balance.pick(shard.ring_position, nodes, |node| shard.replica_on(node).is_none())
    }

    fn is_busy(&self, node: NodeId) -> bool {
        self.incoming.get(&node).is_some_and(|jobs| *jobs >= self.limits.jobs_per_node)
    }

    /// Whether a replica can be made anew on its own node, now.
    fn is_ready(&self, node: NodeId) -> bool {
        let is_member = self.map.node(node).is_some_and(|known| known.state == NodeState::Member);
        is_member && !self.is_busy(node) && self.liveness.silent_ms(node) <= TARGET_SILENT_MAX_MS
    }

    fn takes(&self, shard: &Shard, node: NodeId) -> bool {
        self.liveness.silent_ms(node) <= TARGET_SILENT_MAX_MS
            && shard.replica_on(node).is_none()
            && self.liveness.lacks_room(node, shard.id).is_none()
    }

    /// Chooses `count` voters among replicas and a newcomer: in as many zones as possible, then those that vote now.
    fn elect(&self, from: &[&Replica], add: Option<NodeId>, count: usize) -> (BTreeSet<ReplicaId>, bool) {
        let zone = |node: NodeId| self.map.node(node).map_or("", |node| node.zone.as_str());
        let known = from.iter().map(|r| (zone(r.node), r.role != Role::Voter, Some(r.id)));
        let mut left: Vec<(&str, bool, Option<ReplicaId>)> = known.collect();
        left.extend(add.map(|node| (zone(node), true, None)));
        let mut crowd: BTreeMap<&str, usize> = BTreeMap::new();
        let mut chosen = Vec::new();
        for _ in 0..count.min(left.len()) {
            // The newcomer sorts behind all others of its kind: its id will be the highest.
            let order = |(zone, learner, id): &(&str, bool, Option<ReplicaId>)| {
                (crowd.get(zone).copied().unwrap_or(0), *learner, id.is_none(), *id)
            };
            let best = (0..left.len()).min_by_key(|i| order(&left[*i])).expect("one is left");
            let (zone, _, id) = left.swap_remove(best);
            *crowd.entry(zone).or_default() += 1;
            chosen.push(id);
        }
        (chosen.iter().flatten().copied().collect(), chosen.contains(&None))
    }
}

/// The largest odd number up to `count`; 0 for 0.
fn odd(count: usize) -> usize {
    count - usize::from(count > 0 && count.is_multiple_of(2))
}

#[cfg(test)]
pub(super) mod tests;
