//! Why things are as they are: in sentences, for a person who wonders.
//!
//! Says of a shard, a node or a job why it is where it is, what is being done about it, what that waits for, and what would help.
//! The reasons are asked of the same rules that decide ([`super::placement`], [`super::ring`], [`super::job`]), not
//! worked out a second time.
//!
//! Promises: nothing that waits is without a reason, and no reason that somebody can do something about is without what to type.
//! Does not decide anything.

use std::collections::BTreeMap;

use super::config::Settings;
use super::id::{MigrationId, NodeId, ReplicaId, ShardId};
use super::job::Reason as Waiting;
use super::map::{ClusterMap, NodeState, Replica, Role, Shard};
use super::migration::Stage;
use super::placement::{self, Liveness, TARGET_SILENT_MAX_MS, plan};
use super::ring::Ring;
use super::wire::{Course, JobPhase, JobRecord, MergeJob, Migration};

/// Migrations that are named one by one.
const NAMED_MAX: usize = 8;

/// What is known.
pub struct Facts<'a> {
    pub map: &'a ClusterMap,
    pub settings: &'a Settings,
    pub liveness: &'a Liveness,
    /// Who leads each shard, of those that somebody leads.
    pub leaders: BTreeMap<ShardId, NodeId>,
    /// What each job waits for, by its number.
    pub waits: BTreeMap<u64, Waiting>,
    /// In milliseconds since 1970.
    pub now_ms: u64,
}

impl Facts<'_> {
    /// Why a shard is where it is; `None`: there is no such shard.
    pub fn shard(&self, id: ShardId) -> Option<Vec<String>> {
        let shard = self.map.shard(id)?;
        let (all, voters) = (shard.replicas.len(), shard.voters().count());
        let mut told = vec![match self.leaders.get(&id) {
            Some(leader) => {
                format!("{id} has {all} replicas, of which {voters} vote, and is led from {leader}.")
            }
            None => format!(
                "{id} has {all} replicas, of which {voters} vote, and nobody is known to lead it: it neither reads nor writes. Look at nomad shard show {id}."
            ),
        }];
        let ring = self.ring();
        told.extend(shard.replicas.iter().map(|replica| self.replica(shard, replica, &ring)));
        match self.map.job(id) {
            Some(job) => told.extend(self.job(job)),
            None => told.push(self.wanted(shard)),
        }
        Some(told)
    }

    fn ring(&self) -> Ring {
        Ring::new(self.map.members().map(|node| (node.id, node.weight)))
    }

    /// Why a replica is on its node, and whether it can stay.
    fn replica(&self, shard: &Shard, replica: &Replica, ring: &Ring) -> String {
        let node = replica.node;
        let place = match ring.candidates(shard.ring_position).position(|candidate| candidate == node) {
            _ if shard.id == ShardId::META => "as on every member".to_owned(),
            None => "which is no member any more".to_owned(),
            Some(rank) if rank < shard.replicas.len() => {
                format!("which the ring has {} of {} for it", ordinal(rank + 1), ring.nodes().len())
            }
            Some(rank) => format!(
                "which the ring has only {} of {} for it: the ones before had their share, or shared a zone, or it was put there",
                ordinal(rank + 1),
                ring.nodes().len()
            ),
        };
        let learns = if replica.role == Role::Learner { "; it learns and does not vote" } else { "" };
        let state = self.map.node(node).map_or(NodeState::Left, |known| known.state);
        let silent_ms = self.liveness.silent_ms(node);
        let fault = if self.liveness.damaged.contains(&replica.id) {
            "; it is damaged, and is made anew".to_owned()
        } else if state == NodeState::Draining && shard.id != ShardId::META {
            format!("; it is to go, since {node} is drained")
        } else if silent_ms > TARGET_SILENT_MAX_MS {
            format!("; {}", self.silence(silent_ms))
        } else {
            String::new()
        };
        format!("One is on {node}, {place}{learns}{fault}.")
    }

    /// What becomes of what a silent node holds.
    fn silence(&self, silent_ms: u64) -> String {
        let (silent_s, limit_ms) = (silent_ms / 1000, self.settings.silent_after_ms);
        match limit_ms.checked_sub(silent_ms) {
            Some(left_ms) => format!(
                "its node has not been heard for {silent_s} s; in another {} s what it holds is made anew elsewhere",
                left_ms / 1000
            ),
            None => format!(
                "its node has not been heard for {silent_s} s, which is past `silent_after_ms`; what it holds is made anew elsewhere, if there is a node for it"
            ),
        }
    }

    /// What is wanted of a shard that nothing is done for.
    fn wanted(&self, shard: &Shard) -> String {
        if let Some(proposal) =
            plan(self.map, self.settings, self.liveness).iter().find(|of| of.shard == shard.id)
        {
            return format!(
                "Next, because of {}: {}.",
                proposal.reason,
                change(proposal.add, proposal.remove.and_then(|id| shard.replica(id)))
            );
        }
        let wanted = self.settings.replicas as usize;
        let sound = placement::sound(self.map, self.settings, self.liveness, shard);
        match shard.id != ShardId::META && sound < wanted {
            true => format!(
                "It should have {wanted} sound replicas and has {sound}: nothing is done about it, since there is no node for another one, or those that there are are busy or have no room. nomad node ls shows them; another node helps."
            ),
            false => "Nothing is to be done about it.".to_owned(),
        }
    }

    /// What a job does, what it waits for, and what would help.
    pub fn job(&self, job: &JobRecord) -> Vec<String> {
        let shard = ShardId(job.shard);
        let waits = self.waits.get(&job.id).copied();
        if let Some(split) = &job.split {
            let child = ShardId(split.child);
            let mut told = vec![match job.phase() {
                JobPhase::JobRemove => {
                    format!("{shard} is split: {child} has what was its upper part, and is being made of it.")
                }
                _ => format!("{shard} is being split: {child} is to have its upper part."),
            }];
            told.extend(waits.map(|waits| format!("It waits: {waits}. {}", cure(waits, None))));
            return told;
        }
        if let Some(merge) = &job.merge {
            return self.merge(merge, job.phase());
        }
        let Some(migration) = &job.migration else {
            let remove = self.map.shard(shard).and_then(|known| known.replica(ReplicaId(job.remove)));
            let add = job.add.as_ref().map(|add| NodeId(add.node));
            let mut told = vec![format!("Under way, because of {}: {}.", job.reason, change(add, remove))];
            told.extend(waits.map(|waits| format!("It waits: {waits}. {}", cure(waits, None))));
            return told;
        };
        let id = MigrationId(job.id);
        let (from, to) = ends(migration);
        let stage = Stage::of(job.phase(), true);
        let mut told = vec![format!(
            "{id} moves {shard} from {from} to {to}, {}; it is in {stage}.",
            because(&job.reason)
        )];
        told.push(match migration.course() {
            Course::Paused if migration.cut_over_at_ms == 0 => {
                format!("It is paused: nomad migrate resume {id}, or nomad migrate cancel {id}.")
            }
            Course::Back if migration.because.is_empty() => "It goes back: it was cancelled.".to_owned(),
            Course::Back => format!("It goes back: {}.", migration.because),
            Course::Undo => format!("It is being undone: {shard} is served from {from} again."),
            _ if migration.cut_over_at_ms != 0 => self.window(id, migration, to),
            _ => match waits {
                Some(waits) => format!("It waits: {waits}. {}", cure(waits, Some(id))),
                None => format!("It goes on: nomad migrate show {id} --watch."),
            },
        });
        told
    }

    fn merge(&self, merge: &MergeJob, phase: JobPhase) -> Vec<String> {
        let (left, right) = (ShardId(merge.left), ShardId(merge.right));
        let mut told = vec![match phase {
            JobPhase::JobVerify => {
                format!(
                    "{left} takes {right} over: what {right} holds goes over, and requests for its keys wait."
                )
            }
            JobPhase::JobPromote => {
                format!("{left} takes {right} over: all has gone over, and it is decided.")
            }
            JobPhase::JobRemove => format!(
                "{left} was to take {right} over, and does not: {}. Both are about to be as they were.",
                merge.because
            ),
            _ => format!("{left} is to take {right} over."),
        }];
        let waits = self.waits.get(&merge.attempt).copied();
        told.extend(waits.map(|waits| format!("It waits: {waits}. {}", cure(waits, None))));
        told
    }

    fn window(&self, id: MigrationId, migration: &Migration, to: NodeId) -> String {
        let spent_ms = self.now_ms.saturating_sub(migration.cut_over_at_ms);
        let left_s = migration.undo_window_ms.saturating_sub(spent_ms) / 1000;
        match migration.course() {
            Course::Keep => format!("It is served from {to}; what it leaves behind is being removed."),
            _ => format!(
                "It is served from {to}, and can be undone for another {left_s} s: nomad migrate undo {id}."
            ),
        }
    }

    /// Why a node has what it has; `None`: there is no such node.
    pub fn node(&self, id: NodeId) -> Option<Vec<String>> {
        let node = self.map.node(id)?;
        let silent_ms = self.liveness.silent_ms(id);
        let users = || self.map.shards().filter(|shard| shard.id != ShardId::META);
        let holds = users().filter(|shard| shard.replica_on(id).is_some()).count();
        let mut told = vec![match node.state {
            NodeState::Left => format!("{id} has left the cluster."),
            NodeState::Draining => format!("{id} is drained: it gives its shards away and gets none."),
            NodeState::Member => format!("{id} is a member."),
        }];
        if silent_ms > TARGET_SILENT_MAX_MS && node.state != NodeState::Left {
            told.push(format!("It has not been heard for {} s.", silent_ms / 1000));
            if node.state == NodeState::Member && holds > 0 {
                told.push(format!("Of its {holds} replicas: {}.", self.silence(silent_ms)));
            }
        }
        if node.state == NodeState::Member {
            told.push(self.share(id, holds));
        } else {
            told.push(self.left_over(id, holds));
        }
        let leads = self.leaders.values().filter(|leader| **leader == id).count();
        told.push(format!("It leads {leads} shards."));
        told.extend(self.moves(id));
        Some(told)
    }

    /// What a member holds beside what it should.
    fn share(&self, id: NodeId, holds: usize) -> String {
        let balance = placement::balance(self.map, self.settings, self.liveness);
        let Some(share) = balance.share(id) else {
            return format!("It holds {holds} replicas of user shards.");
        };
        let even = match (holds as u64) < share.low || (holds as u64) > share.high {
            false => "that is even enough, and nothing moves for it",
            true if self.settings.rebalance == 0 => {
                "it is not evened out, since `rebalance` is 0: nomad config set rebalance 1"
            }
            true => "it is being evened out, as far as others are sound and have time",
        };
        format!(
            "It holds {holds} replicas of user shards; its share, by weight and zones, is {:.1} ({} to {}): {even}.",
            share.exact, share.low, share.high
        )
    }

    /// What a node that goes still holds.
    fn left_over(&self, id: NodeId, holds: usize) -> String {
        if holds == 0 {
            return format!("It holds nothing of user shards; nomad node remove {id} takes it out for good.");
        }
        let under_way = self.map.jobs().filter(|job| self.leaves(job, id)).count();
        let planned = plan(self.map, self.settings, self.liveness);
        let leaves = |proposal: &&super::placement::Proposal| {
            let shard = self.map.shard(proposal.shard);
            let gone = proposal.remove.and_then(|gone| shard?.replica(gone));
            gone.is_some_and(|gone| gone.node == id)
        };
        let next = planned.iter().filter(leaves).count();
        let waits = match under_way + next {
            0 => {
                " None of them can go anywhere just now: others are silent, have no room, or have a replica of the same shard already; another node helps."
            }
            _ => "",
        };
        format!(
            "It still holds {holds} replicas of user shards; {under_way} of them are on their way out.{waits}"
        )
    }

    fn leaves(&self, job: &JobRecord, node: NodeId) -> bool {
        let shard = self.map.shard(ShardId(job.shard));
        shard.and_then(|shard| shard.replica(ReplicaId(job.remove))).is_some_and(|gone| gone.node == node)
    }

    /// The migrations that have to do with a node.
    fn moves(&self, node: NodeId) -> Vec<String> {
        let touches = |migration: &Migration| {
            let (from, to) = ends(migration);
            from == node || to == node
        };
        let all = self.map.jobs().filter(|job| job.migration.as_ref().is_some_and(touches));
        let (mut told, mut more) = (Vec::new(), 0);
        for job in all {
            match told.len() < NAMED_MAX {
                true => told.push(self.job(job).join(" ")),
                false => more += 1,
            }
        }
        told.extend((more > 0).then(|| format!("And {more} more: nomad migrate ls.")));
        told
    }
}

/// From where to where.
fn ends(migration: &Migration) -> (NodeId, NodeId) {
    let node = |of: &Option<super::wire::ReplicaRecord>| NodeId(of.as_ref().map_or(0, |of| of.node));
    (node(&migration.source), node(&migration.target))
}

/// A change of placement.
fn change(add: Option<NodeId>, remove: Option<&Replica>) -> String {
    match (add, remove) {
        (Some(to), Some(from)) if from.node == to => format!("the replica on {to} is made anew"),
        (Some(to), Some(from)) => {
            format!("a replica is made on {to} in the place of the one on {}", from.node)
        }
        (Some(to), None) => format!("a replica is made on {to}"),
        (None, Some(from)) => format!("the replica on {} is given up", from.node),
        (None, None) => "other replicas come to vote".to_owned(),
    }
}

/// What a migration is good for, by its job's word.
fn because(reason: &str) -> &'static str {
    match reason {
        "drain" => "since that node is drained",
        "rebalance" => "to even out the nodes",
        _ => "because somebody asked for it",
    }
}

/// What would help.
fn cure(waits: Waiting, id: Option<MigrationId>) -> String {
    let give_up = id.map_or(String::new(), |id| format!(", or give it up: nomad migrate cancel {id}"));
    match waits {
        Waiting::NoLeader | Waiting::NoQuorum => {
            format!("Start those of its nodes that are down (nomad node ls shows them){give_up}.")
        }
        Waiting::Silent(node) | Waiting::Gone(node) => format!("Start {node}{give_up}."),
        Waiting::Making(_) => "That passes by itself, as soon as that node is up and has time.".to_owned(),
        Waiting::Damaged(_) | Waiting::Retired(_) | Waiting::Differs(_) | Waiting::Split => {
            "What it copied is not used; it is begun anew once the shard's replicas are sound.".to_owned()
        }
        Waiting::CatchingUp { .. }
        | Waiting::Verifying
        | Waiting::Preparing
        | Waiting::Trimming(_)
        | Waiting::Uncommitted
        | Waiting::Window { .. } => "That passes by itself.".to_owned(),
        Waiting::Paused
        | Waiting::Cancelled
        | Waiting::Changed
        | Waiting::Malformed
        | Waiting::TooLarge
        | Waiting::Slow => "It ends by itself.".to_owned(),
    }
}

/// `1st`, `2nd`, `3rd`, `4th`.
fn ordinal(number: usize) -> String {
    let suffix = match (number % 10, number % 100) {
        (1, n) if n != 11 => "st",
        (2, n) if n != 12 => "nd",
        (3, n) if n != 13 => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}

#[cfg(test)]
mod tests;
