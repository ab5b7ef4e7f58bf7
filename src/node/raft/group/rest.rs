//! Whether a replica's clock runs: the state of rest of one seat, and what ends it.
//!
//! A group at rest has its ticks off: nobody heartbeats and nobody asks for votes. Nothing else differs, and no rule of
//! Raft is bent: what is asked of a resting replica is answered as ever, so rest can cost time, never an answer that is
//! wrong. Who goes to rest when is agreed on between machines; see [`crate::node::pulse`].
//!
//! | state | ticks | who | left by |
//! |---|---|---|---|
//! | awake | on | all | a leader unused for long falls quiet; a follower agrees to sleep |
//! | quiet | off | leader | all others agreed: asleep; one did not, or a use: awake |
//! | asleep | off | all | leader: a use, a ballot, somebody's call. Follower: its leader's word, a ballot, or rousing |
//! | rousing | off | follower | its leader's word, or the moment it waits for: awake |
//!
//! A follower that is roused waits for its leader before its ticks go on: its lease ran out long ago, so its first tick
//! would be a candidacy.
//!
//! ## Invariants and what guards each
//!
//! - A use ends every rest, and only a quiet leader falls asleep: guarded by `tests::a_use_in_between_keeps_a_leader_awake`.
//! - Nobody rests who could not be woken: a leader only with an idle log that all others hold, in a term that is not new:
//!   guarded by `tests::only_the_idle_fall_quiet`.
//! - A roused follower waits for its leader, but not for ever: guarded by
//!   `tests::a_roused_follower_waits_for_its_leader_first`.
//! - The first write after sleep is not refused for want of a lease, and no leader is deposed by a sleeper's or a
//!   newcomer's pre-vote: guarded by `sim_idle::groups_fall_asleep_and_the_first_write_wakes_one`,
//!   `sim_idle::a_follower_restarted_while_its_group_sleeps_deposes_nobody`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::model::id::{NodeId, ReplicaId};

use super::{Group, Leadership};

/// How long a roused follower waits for its leader's word.
const ROUSE_WAIT: Duration = Duration::from_millis(400);
/// Between the candidacies of a group's followers whose leader is gone: time to be elected in.
const RANK_WAIT: Duration = Duration::from_millis(700);

/// What decides whether the ticks of one replica run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    state: State,
    /// The last use of it as a leader, or the beginning of its term.
    used_at: Instant,
    term: u64,
    /// Its ticks are off whatever the state: see [`super::silence`].
    silent: bool,
}

/// Whether any group of this node may be waiting for its leader's word: hundreds would be looked at ten times a second for
/// the few that do.
#[derive(Debug, Default)]
pub struct Roused {
    waits: AtomicBool,
    noted: Notify,
}

impl Roused {
    /// A group waits.
    pub fn note(&self) {
        self.waits.store(true, Ordering::Release);
        self.noted.notify_one();
    }

    /// Resolves once one has begun to wait, or was said to go on; at least once for all since it was last awaited.
    pub async fn noted(&self) {
        self.noted.notified().await;
    }

    /// True if one has begun to since this was asked last, or was said to go on.
    pub fn take(&self) -> bool {
        self.waits.swap(false, Ordering::AcqRel)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Awake,
    Quiet,
    Asleep,
    Rousing { until: Instant },
}

/// What a replica knows that matters for its rest.
#[derive(Clone, Debug)]
pub struct RestView {
    pub leadership: Leadership,
    /// The last index of its log; also what is applied, if `settled`.
    pub last_index: u64,
    /// It has stopped for good.
    pub failed: bool,
    /// Nothing is under way: all of the log is applied, the members are not changing, and, at a leader, all others hold
    /// all of it.
    pub settled: bool,
    /// The other members of the group.
    pub others: Vec<(ReplicaId, NodeId)>,
}

impl Rest {
    pub(super) fn new(now: Instant) -> Rest {
        Rest { state: State::Awake, used_at: now, term: 0, silent: false }
    }

    pub(super) fn set_silent(&mut self, silent: bool) {
        self.silent = silent;
    }

    fn ticks(&self) -> bool {
        self.state == State::Awake && !self.silent
    }

    /// It is used as a leader. Returns true if it was at rest.
    fn used(&mut self, now: Instant) -> bool {
        self.used_at = now;
        let rested = self.state != State::Awake;
        self.state = State::Awake;
        rested
    }

    /// A leader that has not been used for `after` falls quiet. Returns true if it is quiet and was before.
    fn fall_quiet(&mut self, now: Instant, after: Duration, term: u64, settled: bool) -> bool {
        if self.term != term {
            (self.term, self.used_at) = (term, now);
        }
        match self.state {
            State::Quiet if settled => return true,
            State::Quiet => _ = self.used(now),
            State::Awake if settled && now.duration_since(self.used_at) >= after => self.state = State::Quiet,
            _ => {}
        }
        false
    }

    /// All others have agreed, or not. Whoever was used meanwhile stays awake.
    fn others_agreed(&mut self, now: Instant, all: bool) {
        match (self.state, all) {
            (State::Quiet, true) => self.state = State::Asleep,
            (State::Quiet, false) => _ = self.used(now),
            _ => {}
        }
    }

    /// A follower at rest waits until then for its leader's word; the first that rouses it decides.
    fn rouse(&mut self, until: Instant) {
        if self.state == State::Asleep {
            self.state = State::Rousing { until };
        }
    }

    /// Ends a wait that is over.
    fn look(&mut self, now: Instant) {
        if matches!(self.state, State::Rousing { until } if until <= now) {
            self.state = State::Awake;
        }
    }
}

impl Group {
    pub(super) fn rest<R>(&self, change: impl FnOnce(&mut Rest) -> R) -> R {
        let mut rest = self.rest.lock();
        let before = rest.ticks();
        let result = change(&mut rest);
        if rest.ticks() != before {
            // Under the lock, so that the switch stands as the state says.
            self.raft.runtime_config().tick(rest.ticks());
        }
        result
    }

    /// True unless it is at rest. A silent seat may be awake.
    pub(super) fn is_awake(&self) -> bool {
        self.rest.lock().state == State::Awake
    }

    /// True while it sleeps: no ticks, and everybody else in the group had agreed.
    pub fn is_asleep(&self) -> bool {
        matches!(self.rest.lock().state, State::Asleep | State::Rousing { .. })
    }

    /// What its clock does, in a word.
    pub fn rest_name(&self) -> &'static str {
        match self.rest.lock().state {
            State::Awake => "awake",
            State::Quiet => "quiet",
            State::Asleep => "asleep",
            State::Rousing { .. } => "rousing",
        }
    }

    /// Notes that it is used as a leader; returns true if that ended a rest. A follower's rest goes on.
    pub(super) fn used(&self) -> bool {
        {
            let mut rest = self.rest.lock();
            if rest.ticks() {
                return rest.used(Instant::now());
            }
        }
        self.leadership().here && self.rest(|rest| rest.used(Instant::now()))
    }

    /// A word from whoever leads.
    pub(super) fn heard_leader(&self) {
        self.rest(|rest| {
            if !rest.ticks() {
                rest.used(Instant::now());
            }
        });
    }

    /// Wakes a leader at rest, so that all others wake; has a follower at rest wait for its leader for a while.
    pub async fn rouse(&self) {
        if self.leadership().here {
            if self.used() {
                // It only fails when the group has stopped.
                let _ = self.raft.trigger().heartbeat().await;
            }
        } else {
            self.rouse_at(Instant::now() + ROUSE_WAIT);
        }
    }

    /// The leader of a sleeping follower is gone: it will be a candidate after `wait`, or later if others come first.
    pub fn rouse_for_election(&self, wait: Duration) {
        let view = self.rest_view();
        let leader = view.leadership.replica;
        let mut voters: Vec<u64> = {
            let metrics = self.metrics.borrow_watched();
            metrics.membership_config.voter_ids().filter(|voter| Some(ReplicaId(*voter)) != leader).collect()
        };
        voters.sort_unstable();
        let place = voters.iter().position(|voter| *voter == self.replica.0).unwrap_or(voters.len());
        // Turned by the shard, so that not one machine inherits all.
        let rank = (place as u64 + self.shard.0) % (voters.len() as u64).max(1);
        self.rouse_at(Instant::now() + wait + RANK_WAIT * rank as u32);
    }

    fn rouse_at(&self, until: Instant) {
        self.rest(|rest| rest.rouse(until));
        self.roused.note();
    }

    /// A ballot came. Returns true if it found this replica asleep under a leader that lives.
    pub(super) async fn woken_by_ballot(&self, leader_lives: bool) -> bool {
        let slept = match self.rest.lock().state {
            State::Awake => return false,
            State::Quiet | State::Asleep => true,
            // Its leader was called before.
            State::Rousing { .. } => false,
        };
        self.rouse().await;
        slept && leader_lives
    }

    /// Falls quiet if it leads, is settled and has not been used for `after`. Returns true if it was quiet before.
    pub fn fall_quiet(&self, view: &RestView, after: Duration) -> bool {
        let settled = view.settled && view.leadership.here;
        self.rest(|rest| rest.fall_quiet(Instant::now(), after, view.leadership.term, settled))
    }

    /// A quiet leader learns whether all others have agreed to sleep.
    pub fn others_agreed(&self, all: bool) {
        self.rest(|rest| rest.others_agreed(Instant::now(), all));
    }

    /// A leader asks this replica to sleep. It agrees if it follows that leader and has all that the leader has.
    pub fn agree_to_sleep(&self, from: NodeId, leader: ReplicaId, term: u64, last_index: u64) -> bool {
        let view = self.rest_view();
        let known = Leadership { term, replica: Some(leader), node: Some(from), here: false };
        let agrees = view.leadership == known && view.settled && view.last_index == last_index;
        if agrees {
            self.rest(|rest| rest.state = State::Asleep);
        }
        agrees
    }

    /// Ends a wait that is over. Returns true if this replica waits for its leader's word; nobody need look before
    /// [`Roused`] says so.
    pub fn look_at_rest(&self) -> bool {
        self.rest(|rest| {
            rest.look(Instant::now());
            matches!(rest.state, State::Rousing { .. })
        })
    }

    pub fn rest_view(&self) -> RestView {
        let leadership = self.leadership();
        let applied_index = self.applied.borrow().index;
        let metrics = self.metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let others: Vec<_> = membership
            .nodes()
            .filter(|(replica, _)| **replica != self.replica.0)
            .map(|(replica, seat)| (ReplicaId(*replica), NodeId(seat.node)))
            .collect();
        let last_index = metrics.last_log_index.unwrap_or(0);
        let holds_all = |replica: &ReplicaId| {
            let matched = metrics.replication.as_ref().and_then(|all| all.get(&replica.0));
            matched.and_then(Option::as_ref).is_some_and(|matched| matched.index == last_index)
        };
        let failed = metrics.running_state.is_err();
        let settled = !failed
            && applied_index == last_index
            && membership.get_joint_config().len() == 1
            && (!leadership.here || others.iter().all(|(replica, _)| holds_all(replica)));
        RestView { leadership, last_index, failed, settled, others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(10);

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn only_the_idle_fall_quiet() {
        let start = Instant::now();
        let mut rest = Rest::new(start);
        // The term is new to it: counted from here.
        assert!(!rest.fall_quiet(after(start, 60), AFTER, 1, true));
        assert!(!rest.fall_quiet(after(start, 69), AFTER, 1, true) && rest.ticks());
        assert!(
            !rest.fall_quiet(after(start, 71), AFTER, 1, false) && rest.ticks(),
            "something is under way"
        );
        assert!(!rest.fall_quiet(after(start, 71), AFTER, 1, true) && !rest.ticks());
        assert!(rest.fall_quiet(after(start, 72), AFTER, 1, true), "heartbeats have stopped for a while");
        assert!(!rest.fall_quiet(after(start, 73), AFTER, 1, false) && rest.ticks());
        assert!(!rest.fall_quiet(after(start, 82), AFTER, 1, true) && rest.ticks(), "counted anew");
    }

    #[test]
    fn a_use_in_between_keeps_a_leader_awake() {
        let start = Instant::now();
        for used in [false, true] {
            for all in [false, true] {
                let mut rest = Rest::new(start);
                rest.fall_quiet(start, Duration::ZERO, 1, true);
                assert!(!rest.ticks());
                if used {
                    assert!(rest.used(start));
                }
                rest.others_agreed(start, all);
                assert_eq!(rest.state == State::Asleep, all && !used);
                assert_eq!(rest.ticks(), used || !all);
                rest.used(start);
                assert!(rest.ticks());
            }
        }
    }

    #[test]
    fn a_roused_follower_waits_for_its_leader_first() {
        let start = Instant::now();
        let mut rest = Rest { state: State::Asleep, ..Rest::new(start) };
        rest.look(after(start, 100));
        assert!(!rest.ticks(), "nobody has roused it");
        rest.rouse(after(start, 2));
        rest.rouse(after(start, 9));
        rest.look(after(start, 1));
        assert!(!rest.ticks());
        rest.look(after(start, 2));
        assert!(rest.ticks());
        rest.rouse(after(start, 9));
        assert!(rest.ticks(), "who is awake stays so");
    }
}
