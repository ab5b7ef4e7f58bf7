//! Moves that somebody asked for: whatever is decided about them meanwhile, and whoever crashes.

use super::super::super::migration::{Order, end, ordered};
use super::*;
use crate::model::wire::{Migration, MigrationEnd};

/// Some steps long.
const WINDOW_MS: u64 = 6 * STEP_MS;

#[rustfmt::skip]
const MOVES: &[Scenario] = &[
    Scenario { name: "of who leads", voters: &[1, 2, 3], learners: &[], dead: &[], add: 4, remove: 1, target: &[2, 3, 4] },
    Scenario { name: "of a follower", voters: &[1, 2, 3], learners: &[], dead: &[], add: 4, remove: 3, target: &[1, 2, 4] },
    Scenario { name: "of the only one", voters: &[1], learners: &[], dead: &[], add: 2, remove: 1, target: &[2] },
    Scenario { name: "of a learner", voters: &[1], learners: &[2], dead: &[], add: 3, remove: 2, target: &[1] },
    Scenario { name: "beside one that is down", voters: &[1, 2, 3], learners: &[], dead: &[], add: 4, remove: 2, target: &[1, 3, 4] },
];

/// Of the meta shard: `add` names the learner that is to vote, `remove` who votes no more.
#[rustfmt::skip]
const SWAPS: &[Scenario] = &[
    Scenario { name: "swap with who leads", voters: &[1, 2, 3], learners: &[4, 5], dead: &[], add: 4, remove: 1, target: &[2, 3, 4] },
    Scenario { name: "swap with a follower", voters: &[1, 2, 3], learners: &[4], dead: &[], add: 4, remove: 3, target: &[1, 2, 4] },
    Scenario { name: "swap with the only voter", voters: &[1], learners: &[2], dead: &[], add: 2, remove: 1, target: &[2] },
];

fn all_moves() -> impl Iterator<Item = &'static Scenario> {
    MOVES.iter().chain(SWAPS)
}

fn swaps(scenario: &Scenario) -> bool {
    scenario.learners.contains(&scenario.add)
}

impl World {
    fn moving(scenario: &Scenario) -> World {
        let mut world = World::new(scenario);
        let job = world.job.as_mut().expect("there is a job");
        let swaps = swaps(scenario);
        let source = world.record.replicas.iter().find(|replica| replica.replica == scenario.remove);
        job.migration = Some(Migration {
            source: source.copied(),
            target: if swaps { job.add.take() } else { job.add },
            voters_before: scenario.voters.to_vec(),
            undo_window_ms: WINDOW_MS,
            ..Migration::default()
        });
        if swaps {
            job.remove = 0;
        }
        world
    }

    /// An order, written at once or refused.
    fn order(&mut self, order: Order) {
        if let Some(job) = &self.job
            && let Ok(changed) = ordered(job, order, self.now_ms)
        {
            self.job = Some(changed);
        }
    }

    /// One step of a coordinator that may die at it.
    fn step(&mut self, hit: Option<Crash>, late: &mut Vec<(usize, Step, Option<LogId>)>, n: usize) {
        let Some(job) = self.job.clone() else { return };
        let seen = self.observe();
        let step = next(&job, Some(&seen));
        let log_id = seen.membership.log_id;
        let asks = !matches!(
            step,
            Step::Wait(_) | Step::Advance(_) | Step::Back(_) | Step::Finish { .. } | Step::Abandon { .. }
        );
        match (&step, hit) {
            (_, Some(Crash::Before(_))) => {}
            (_, Some(Crash::Late(_, after))) if asks => late.push((n + 1 + after, step.clone(), log_id)),
            (Step::Wait(Reason::CatchingUp { replica, .. }), _) => _ = self.matched.remove(replica),
            (Step::Wait(_), _) => {}
            _ if asks => self.ask(&step, log_id, hit),
            _ => self.write(step),
        }
        if hit.is_some() {
            self.matched.clear();
        }
        if !matches!(hit, Some(Crash::Uncommitted(..))) {
            self.time_passes();
        }
    }
}

/// Runs a move to its end; `orders` are given before those steps. Returns how many steps it took and how it ended.
fn run_move(scenario: &Scenario, orders: &[(usize, Order)], crash: Option<Crash>) -> (usize, MigrationEnd) {
    let mut world = World::moving(scenario);
    let mut late: Vec<(usize, Step, Option<LogId>)> = Vec::new();
    let mut migration = Migration::default();
    for n in 0..STEPS_MAX {
        for (_, order) in orders.iter().filter(|(at, _)| *at == n) {
            world.order(*order);
        }
        for (_, step, seen) in late.extract_if(.., |(at, _, _)| *at <= n) {
            world.ask(&step, seen, None);
        }
        let Some(job) = &world.job else {
            for (_, step, seen) in late {
                world.ask(&step, seen, None);
            }
            return (n, judge_end(scenario, &world, &migration));
        };
        migration = job.migration.clone().expect("it is a migration");
        world.step(crash.filter(|crash| crash.step() == n), &mut late, n);
    }
    panic!("{}: no end with {orders:?} and {crash:?}: {:?}", scenario.name, world.job);
}

/// It is all as it was, or all as it was to be, and the record says which.
fn judge_end(scenario: &Scenario, world: &World, migration: &Migration) -> MigrationEnd {
    assert_eq!(world.membership.configs.len(), 1, "{}", scenario.name);
    let late: BTreeSet<ReplicaId> = world.ids().intersection(&world.retired).copied().collect();
    assert!(late.is_subset(&[ReplicaId(scenario.add)].into()), "{}", scenario.name);
    let mut there = replicas(&world.membership);
    there.retain(|replica| !late.contains(&ReplicaId(replica.replica)));
    let end = end(migration, &there);
    let voters: BTreeSet<u64> = voters(&world.membership).iter().map(|id| id.0).collect();
    let ids: BTreeSet<u64> = there.iter().map(|replica| replica.replica).collect();
    let before: BTreeSet<u64> = scenario.voters.iter().copied().collect();
    let all = || scenario.voters.iter().chain(scenario.learners).copied();
    if swaps(scenario) {
        assert_eq!(ids, all().collect(), "{}: nobody comes or goes", scenario.name);
        assert!(world.retired.is_empty(), "{}", scenario.name);
        let expected =
            if end == MigrationEnd::EndDone { scenario.target.iter().copied().collect() } else { before };
        assert_eq!(voters, expected, "{}", scenario.name);
        assert_ne!(end, MigrationEnd::EndFailed, "{}", scenario.name);
        return end;
    }
    let gone = match end {
        MigrationEnd::EndDone => {
            assert_eq!(voters, scenario.target.iter().copied().collect(), "{}", scenario.name);
            assert_eq!(ids, all().filter(|id| *id != scenario.remove).chain([scenario.add]).collect());
            scenario.remove
        }
        MigrationEnd::EndRolledBack | MigrationEnd::EndUndone => {
            assert_eq!((voters, ids), (before, all().collect()), "{}", scenario.name);
            scenario.add
        }
        other => panic!("{}: it ended {other:?}", scenario.name),
    };
    assert_eq!(world.retired, [ReplicaId(gone)].into(), "{}", scenario.name);
    end
}

#[test]
fn a_move_goes_through_its_stages() {
    for scenario in all_moves() {
        let (steps, end) = run_move(scenario, &[], None);
        assert_eq!(end, MigrationEnd::EndDone, "{}", scenario.name);
        assert!((8..40).contains(&steps), "{} took {steps}", scenario.name);
    }
}

#[test]
fn whatever_is_wished_and_whoever_crashes_it_ends_whole() {
    let orders = [Order::Pause, Order::Resume, Order::Cancel, Order::Undo, Order::Keep];
    let mut ends: BTreeMap<i32, usize> = BTreeMap::new();
    let mut count = |end: MigrationEnd| *ends.entry(end as i32).or_default() += 1;
    // Nobody leaves it paused for ever.
    let last = (STEPS_MAX / 2, Order::Resume);
    for scenario in all_moves() {
        let (steps, _) = run_move(scenario, &[], None);
        for first in (0..steps).flat_map(|n| orders.map(|order| (n, order))) {
            for second in (first.0..steps + 4).flat_map(|n| orders.map(|order| (n, order))) {
                count(run_move(scenario, &[first, second, last], None).1);
            }
            for crash in (0..steps + 4).flat_map(Crash::all) {
                count(run_move(scenario, &[first, last], Some(crash)).1);
            }
        }
    }
    assert!(ends.len() == 3 && ends.values().all(|count| *count > 1_000), "{ends:?}");
}

#[test]
fn an_undo_brings_back_what_was() {
    for scenario in all_moves() {
        let mut world = World::moving(scenario);
        for n in 0..STEPS_MAX {
            let phase = world.job.as_ref().map(JobRecord::phase);
            if phase == Some(JobPhase::JobRemove) {
                world.order(Order::Undo);
            }
            if let Some(job) = world.job.as_ref().filter(|job| job.phase() == JobPhase::JobPromote) {
                let is_undone = job.migration.as_ref().unwrap().course() == Course::Undo;
                let leaves = if is_undone { scenario.add } else { scenario.remove };
                let leads = world.leader.0;
                let step = next(job, Some(&world.observe()));
                let changes = matches!(step, Step::ChangeVoters(_)) && world.membership.configs.len() == 1;
                let alone = job.voters.len() == 1;
                assert!(!changes || alone || leads != leaves, "{}: who leads leaves", scenario.name);
            }
            world.step(None, &mut Vec::new(), n);
        }
        assert!(world.job.is_none(), "{}: {:?}", scenario.name, world.job);
        let voters: Vec<u64> = voters(&world.membership).iter().map(|id| id.0).collect();
        assert_eq!(voters, scenario.voters, "{}", scenario.name);
        assert_eq!(world.ids().contains(&ReplicaId(scenario.add)), swaps(scenario), "{}", scenario.name);
    }
}

#[test]
fn nobody_is_promoted_who_holds_something_else() {
    for scenario in all_moves() {
        let mut world = World::moving(scenario);
        world.strangers.insert(ReplicaId(scenario.add));
        for n in 0..STEPS_MAX {
            if let Some(job) = &world.job {
                assert_ne!(job.phase(), JobPhase::JobPromote, "{}", scenario.name);
            }
            world.step(None, &mut Vec::new(), n);
        }
        assert!(world.job.is_none() && world.abandoned, "{}", scenario.name);
        assert_eq!(world.ids().contains(&ReplicaId(scenario.add)), swaps(scenario), "{}", scenario.name);
    }
}

/// One job at a time: a shard that has lost a voter must not wait for a move, nor for its window.
#[test]
fn a_lost_voter_ends_a_move_or_its_window() {
    let scenario = &MOVES[4];
    let mut before = World::moving(scenario);
    before.order(Order::Pause);
    before.gone.insert(NodeId(3));
    for n in 0..STEPS_MAX {
        before.step(None, &mut Vec::new(), n);
    }
    assert!(before.job.is_none() && before.abandoned, "{:?}", before.job);

    let mut after = World::moving(scenario);
    while after.job.as_ref().is_some_and(|job| job.phase() != JobPhase::JobRemove) {
        after.step(None, &mut Vec::new(), 0);
    }
    let job = after.job.clone().unwrap();
    let left_ms = |step| matches!(step, Step::Wait(Reason::Window { left_ms }) if left_ms > STEP_MS);
    assert!(left_ms(next(&job, Some(&after.observe()))));
    after.gone.insert(NodeId(3));
    assert_eq!(next(&job, Some(&after.observe())), Step::RemoveMember(ReplicaId(2)));
}

/// A clock that went back must not keep the source for ever.
#[test]
fn a_window_is_never_longer_than_it_was_to_be() {
    let mut world = World::moving(&MOVES[1]);
    while world.job.as_ref().is_some_and(|job| job.phase() != JobPhase::JobRemove) {
        world.step(None, &mut Vec::new(), 0);
    }
    let job = world.job.clone().unwrap();
    let begun_ms = job.migration.as_ref().unwrap().cut_over_at_ms;
    world.now_ms = begun_ms - WINDOW_MS;
    let left = Step::Wait(Reason::Window { left_ms: WINDOW_MS });
    assert_eq!(next(&job, Some(&world.observe())), left);
    world.now_ms -= 1;
    assert_eq!(next(&job, Some(&world.observe())), Step::RemoveMember(ReplicaId(3)));
}

/// Its source lives and cannot catch up, and somebody else is lost: that comes first.
#[test]
fn an_undo_gives_way_to_a_lost_voter() {
    let mut world = World::moving(&MOVES[1]);
    while world.job.as_ref().is_some_and(|job| job.phase() != JobPhase::JobRemove) {
        world.step(None, &mut Vec::new(), 0);
    }
    world.order(Order::Undo);
    let job = world.job.clone().unwrap();
    let mut seen = world.observe();
    let entries = CAUGHT_UP_ENTRIES + 1;
    seen.matched.insert(ReplicaId(3), seen.last_index - entries);
    seen.matched.extend([1, 2].map(|id| (ReplicaId(id), seen.last_index)));
    let waits = Step::Wait(Reason::CatchingUp { replica: ReplicaId(3), entries });
    assert_eq!(next(&job, Some(&seen)), waits);
    seen.gone.insert(NodeId(2));
    let reason = Reason::Gone(NodeId(2));
    assert_eq!(next(&job, Some(&seen)), Step::Abandon { reason, retired: vec![] });
}
