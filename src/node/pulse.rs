//! # Sleep: idle groups cost nothing
//!
//! A group that nobody uses sends heartbeats and counts down elections all the same; with hundreds of groups that is a
//! quarter of a core. So a group that has been idle for `hibernate_after_ms` sleeps: its replicas' ticks are off
//! ([`crate::node::raft::group`] has the states of one replica). What the ticks did for each group, finding a dead leader,
//! is done once for each pair of machines: by the pulse, a call twice a second between machines that share a shard.
//!
//! ## Falling asleep
//!
//! 1. A leader that is unused for long, with all of its log applied and held by all members and no change of members
//!    under way, falls *quiet*: its ticks stop.
//! 2. At the next pulse no heartbeat is under way any more. It asks all other members to sleep, one message a machine for
//!    all groups. Whoever follows this leader in this term and has applied exactly its log stops its ticks and agrees.
//! 3. If all have agreed in that exchange, the leader sleeps. If one has not, or the leader was used meanwhile, it is
//!    awake, and its next heartbeat wakes those that had agreed.
//!
//! All of it takes less than two pulses, and no follower's patience with a leader (1.5 s) runs out meanwhile. The meta
//! shard never sleeps.
//!
//! ## Waking
//!
//! - *Use*: a write, a read round, a step of placement, a transfer of leadership. The leader's ticks go on; its lease has
//!   run out, so a ReadIndex round comes first, which renews it and wakes the followers: their ticks go on once they have
//!   its heartbeat, so no election is due.
//! - *A ballot*: somebody thinks the leader gone. If this replica leads, or hears its leader's machine, it refuses a
//!   pre-vote once (all leases have run out, so by the rules it would grant it), wakes, and calls for the leader. From
//!   then on Raft decides.
//! - *Silence*: the leader's machine has answered no pulse for [`SILENT_AFTER`]. Its sleeping followers are roused, a few at
//!   a time and one of each group first, and elect as ever. Nobody needs to ask for anything. Its own pulses are no
//!   answer: it may be heard and hear nobody.
//! - *A disk that hangs*: its machine neither sends nor answers the pulse, so that it is silent ([`crate::node::stall`]).
//! - *A new incarnation*: a machine's process is another than before. Sleeping leaders with members there wake, so that
//!   these learn who leads and what is committed; sleeping followers of a leader there are roused.
//! - *A group that failed*: its machine lives, so it tells the others' machines to rouse them.
//!
//! ## What may go wrong
//!
//! - An answer is lost, somebody is partly asleep: a leader that is awake wakes everybody with a heartbeat; a leader that
//!   sleeps is woken by the first pre-vote of whoever is awake, and heartbeats.
//! - The leader's machine is slow and counts as silent: its followers' pre-votes reach it, it wakes and refuses.
//! - The pulse stops at a machine: it counts as silent, as above; with nobody falling asleep, all is as without sleep.
//! - Two machines do not hear each other, a third hears both: it refuses the first pre-vote and calls for the leader,
//!   whose heartbeats renew its lease; the leader stays.
//!
//! ## Invariants and what guards each
//!
//! - Whatever sleeps is woken by what matters, and no acknowledged write is lost over it: guarded by
//!   `sim_idle::groups_fall_asleep_and_the_first_write_wakes_one`, `sim_idle::power_cuts_and_partitions_between_naps_lose_nothing`.
//! - A dead machine's sleeping groups elect new leaders within 5 s, asked or not: guarded by
//!   `sim_idle::the_leader_of_sleeping_groups_dies`, `sim_idle::the_leader_of_sleeping_groups_restarts_at_once`,
//!   `sim_idle::a_deaf_leader_of_sleeping_groups_is_replaced`.
//! - A healthy leader is not deposed by a follower that restarts or is cut off from it: guarded by
//!   `sim_idle::a_follower_restarted_while_its_group_sleeps_deposes_nobody`,
//!   `sim_idle::a_link_that_is_cut_while_all_sleep_deposes_nobody`.
//! - Nobody sleeps without its leader's word, or behind its leader: guarded by
//!   `sim_idle::nobody_sleeps_at_the_word_of_another`.
//!
//! Relies on the control connection's order: a heartbeat sent before a pulse arrives before it. Does not decide anything
//! that Raft decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::model::config::Settings;
use crate::model::id::{NodeId, ReplicaId, ShardId};
use crate::net::exec::Exec;
use crate::net::kind;
use crate::net::peers::Peers;
use crate::net::transport::Class;
use crate::net::trouble::{Point, trouble};
use crate::net::wire::{Pulse, PulseReply, Rouse, Sleep};

use super::replica::Replica;
use super::room::Room;
use super::shards::Shards;
use super::stall;
use super::wal::Wal;

/// From one pulse to the next.
const PULSE_EVERY: Duration = Duration::from_millis(500);
/// How often it is looked at who waits for its leader's word, while somebody does.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a pulse's answer may take.
const ANSWER_LIMIT: Duration = Duration::from_millis(400);
/// A machine that has answered nothing for this long counts as dead to those who sleep.
pub const SILENT_AFTER: Duration = Duration::from_millis(1500);
/// Between two groups that are roused because a machine is silent; and the most that adds up to.
const STAGGER: Duration = Duration::from_millis(3);
const STAGGER_MAX: Duration = Duration::from_millis(1500);
/// Machines that are remembered.
const NODES_MAX: usize = 10_000;

/// The pulse of this machine. Shared; cheap to clone.
#[derive(Clone)]
pub struct Pulses(Arc<Parts>);

struct Parts {
    node: NodeId,
    incarnation: u64,
    shards: Shards,
    wal: Wal,
    room: Arc<Room>,
    heard: Mutex<BTreeMap<NodeId, Heard>>,
}

#[derive(Clone, Copy)]
struct Heard {
    /// When it answered last, or was looked for first.
    at: Instant,
    /// 0: nothing was heard yet; it was only looked for.
    incarnation: u64,
    /// Its disk has room for what others have none for, by its last answer.
    has_room: bool,
}

impl Heard {
    /// Silence counts from now.
    fn never() -> Heard {
        Heard { at: Instant::now(), incarnation: 0, has_room: false }
    }
}

/// Replicas to be roused, by machine.
type Calls = BTreeMap<NodeId, Vec<Rouse>>;

/// What goes to other machines next.
#[derive(Default)]
struct Outgoing {
    messages: BTreeMap<NodeId, Pulse>,
    /// Quiet leaders, and how many others they ask.
    quiet: Vec<(Arc<Replica>, usize)>,
}

impl Pulses {
    /// `incarnation` is drawn anew for every start.
    pub fn new(node: NodeId, incarnation: u64, shards: Shards, wal: Wal, room: Arc<Room>) -> Pulses {
        Pulses(Arc::new(Parts {
            node,
            incarnation: incarnation.max(1),
            shards,
            wal,
            room,
            heard: Mutex::default(),
        }))
    }

    /// True unless a machine has been silent for long.
    pub fn lives(&self, node: NodeId) -> bool {
        node == self.0.node
            || self.0.heard.lock().get(&node).is_none_or(|heard| heard.at.elapsed() < SILENT_AFTER)
    }

    /// True if a machine lives, and has room on its disk for what others have none for.
    pub fn has_room(&self, node: NodeId) -> bool {
        self.lives(node) && self.0.heard.lock().get(&node).is_some_and(|heard| heard.has_room)
    }

    /// Takes in another machine's pulse. While the disk hangs here, this machine is to count as silent.
    pub async fn answer(&self, from: NodeId, pulse: Pulse) -> PulseReply {
        if stall::stalled(&self.0.wal).is_some() {
            return PulseReply::default();
        }
        self.meet(from, pulse.incarnation).await;
        for rouse in pulse.rouse {
            if let Some(replica) = self.0.shards.exactly(ShardId(rouse.shard), ReplicaId(rouse.replica)) {
                replica.group.rouse().await;
            }
        }
        let agrees = |sleep: &Sleep| {
            let replica = self.0.shards.exactly(ShardId(sleep.shard), ReplicaId(sleep.replica));
            let group =
                replica.filter(|replica| replica.shard != ShardId::META).map(|replica| replica.group.clone());
            let leader = ReplicaId(sleep.leader);
            group.is_some_and(|group| group.agree_to_sleep(from, leader, sleep.term, sleep.last_index))
        };
        let asleep = pulse.sleep.iter().filter(|sleep| agrees(sleep)).map(|sleep| sleep.shard).collect();
        PulseReply { incarnation: self.0.incarnation, asleep, has_room: self.0.room.is_roomy() }
    }

    /// A machine has answered: it lives.
    async fn hear(&self, from: NodeId, incarnation: u64, has_room: bool) {
        if let Some(heard) = self.0.heard.lock().get_mut(&from) {
            (heard.at, heard.has_room) = (Instant::now(), has_room);
        }
        self.meet(from, incarnation).await;
    }

    /// A machine is heard. That says which process it is, not whether it hears anybody.
    async fn meet(&self, from: NodeId, incarnation: u64) {
        let before = {
            let mut heard = self.0.heard.lock();
            if heard.len() >= NODES_MAX && !heard.contains_key(&from) {
                return;
            }
            let heard = heard.entry(from).or_insert(Heard::never());
            std::mem::replace(&mut heard.incarnation, incarnation)
        };
        if before != 0 && before != incarnation {
            self.began_anew(from).await;
        }
    }

    /// The process of a machine is another than before: it knows of no sleep.
    async fn began_anew(&self, node: NodeId) {
        for replica in self.0.shards.all().iter() {
            let view = replica.group.rest_view();
            if view.leadership.here && view.others.iter().any(|(_, other)| *other == node) {
                replica.group.rouse().await;
            } else if view.leadership.node == Some(node) {
                replica.group.rouse_for_election(Duration::ZERO);
            }
        }
    }

    /// Works for ever.
    pub async fn run(self, peers: Peers, exec: Exec, settings: watch::Receiver<Settings>) {
        let mut ticks = tokio::time::interval(PULSE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut exchange = None::<tokio::task::JoinHandle<()>>;
        loop {
            let somebody_waits = async {
                self.0.shards.roused().noted().await;
                tokio::time::sleep(LOOK_EVERY).await;
            };
            let is_pulse = tokio::select! {
                biased;
                _ = ticks.tick() => true,
                () = somebody_waits => false,
            };
            if stall::stalled(&self.0.wal).is_some() {
                continue;
            }
            let mut calls = self.look();
            let under_way = exchange.as_ref().is_some_and(|exchange| !exchange.is_finished());
            if is_pulse && !under_way {
                let after_ms = settings.borrow().hibernate_after_ms;
                let after_ms = if trouble(Point::EarlySleep) { 1 } else { after_ms };
                let after = (after_ms > 0).then(|| Duration::from_millis(after_ms));
                let outgoing = self.prepare(after, &mut calls).await;
                exchange = Some(exec.spawn(self.clone().exchange(peers.clone(), outgoing)));
            }
            for (node, rouse) in calls {
                let pulse = Pulse { incarnation: self.0.incarnation, rouse, ..Pulse::default() };
                let (pulses, peers) = (self.clone(), peers.clone());
                exec.spawn(async move { drop(pulses.tell(&peers, node, pulse).await) });
            }
        }
    }

    /// Ends what is over. Returns the leaders that are called for.
    fn look(&self) -> Calls {
        let mut calls = Calls::new();
        if !self.0.shards.roused().take() {
            return calls;
        }
        for replica in self.0.shards.all().iter() {
            if !replica.group.look_at_rest() {
                continue;
            }
            self.0.shards.roused().note();
            let leadership = replica.group.leadership();
            if let (Some(node), Some(leader)) = (leadership.node, leadership.replica)
                && self.lives(node)
            {
                calls.entry(node).or_default().push(Rouse { shard: replica.shard.0, replica: leader.0 });
            }
        }
        calls
    }

    /// What the next pulse carries, and what silence means to those who sleep here. `sleep_after`: `None` is never.
    async fn prepare(&self, sleep_after: Option<Duration>, calls: &mut Calls) -> Outgoing {
        let mut outgoing = Outgoing::default();
        let mut roused = 0;
        for replica in self.0.shards.all().iter().filter(|replica| replica.shard != ShardId::META) {
            let view = replica.group.rest_view();
            for (_, node) in &view.others {
                outgoing.messages.entry(*node).or_insert_with(|| self.pulse());
            }
            if replica.group.is_asleep() {
                if view.failed {
                    for (other, node) in &view.others {
                        let rouse = Rouse { shard: replica.shard.0, replica: other.0 };
                        calls.entry(*node).or_default().push(rouse);
                    }
                } else if sleep_after.is_none() && view.leadership.here {
                    replica.group.rouse().await;
                } else if view.leadership.node.is_none_or(|leader| !self.lives(leader)) {
                    replica.group.rouse_for_election((STAGGER * roused).min(STAGGER_MAX));
                    roused += 1;
                }
                continue;
            }
            // Who is quiet must go on to one end or the other.
            if replica.group.fall_quiet(&view, sleep_after.unwrap_or(Duration::MAX)) {
                for (other, node) in &view.others {
                    let message = outgoing.messages.get_mut(node).expect("made above");
                    message.sleep.push(Sleep {
                        shard: replica.shard.0,
                        replica: other.0,
                        leader: replica.id.0,
                        term: view.leadership.term,
                        last_index: view.last_index,
                    });
                }
                outgoing.quiet.push((replica.clone(), view.others.len()));
            }
        }
        self.look_for(outgoing.messages.keys().copied().collect());
        outgoing
    }

    /// Silence counts from the first look.
    fn look_for(&self, nodes: BTreeSet<NodeId>) {
        let mut heard = self.0.heard.lock();
        heard.retain(|node, _| nodes.contains(node));
        for node in nodes {
            heard.entry(node).or_insert(Heard::never());
        }
    }

    fn pulse(&self) -> Pulse {
        Pulse { incarnation: self.0.incarnation, ..Pulse::default() }
    }

    async fn exchange(self, peers: Peers, outgoing: Outgoing) {
        let told = outgoing.messages.into_iter().map(|(node, pulse)| self.tell(&peers, node, pulse));
        let mut agreed: BTreeMap<u64, usize> = BTreeMap::new();
        for reply in join_all(told).await.into_iter().flatten() {
            for shard in reply.asleep {
                *agreed.entry(shard).or_default() += 1;
            }
        }
        for (replica, asked) in outgoing.quiet {
            let all = agreed.get(&replica.shard.0).copied().unwrap_or(0) == asked;
            replica.group.others_agreed(all);
        }
    }

    async fn tell(&self, peers: &Peers, node: NodeId, pulse: Pulse) -> Option<PulseReply> {
        let answer = tokio::time::timeout(ANSWER_LIMIT, async {
            let caller = peers.caller(node, Class::Control).await.ok()?;
            caller.call(kind::PULSE, pulse.encode_to_vec().into()).await.ok()
        });
        // Whoever does not answer is silent; that is what is found out here.
        let reply = PulseReply::decode(answer.await.ok()??).ok()?;
        if reply.incarnation == 0 {
            return None; // its disk hangs
        }
        self.hear(node, reply.incarnation, reply.has_room).await;
        Some(reply)
    }
}
