use std::collections::BTreeMap;
use std::convert::Infallible;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::model::evaluate::{RULES, Rows, ShardState, to_row};
use crate::model::id::ShardId;
use crate::model::key::Key;
use crate::model::row::Version;
use crate::model::time::Timestamp;
use crate::model::wire::{self, Member, Outcome, VoterSet, entry, outcome};

const ATTEMPT: u64 = 7;

fn key(n: u64) -> Key {
    Key::from_name(format!("{n:02}").as_bytes()).unwrap()
}

#[derive(Default)]
struct Table(BTreeMap<Key, Vec<Version>>);

impl Rows for Table {
    type Error = Infallible;

    fn newest(&self, key: &Key) -> Result<Option<Version>, Infallible> {
        Ok(self.0.get(key).and_then(|versions| versions.last().cloned()))
    }

    fn write(&mut self, key: Key, version: Version) {
        let versions = self.0.entry(key).or_default();
        assert!(versions.last().is_none_or(|last| last.stamp < version.stamp), "versions come in order");
        versions.push(version);
    }
}

/// A shard as its log makes it, and its rows.
struct Half {
    state: ShardState,
    rows: Table,
    stamp: u64,
}

impl Half {
    fn new(id: u64, from: u64, to: u64, stamp: u64) -> Half {
        let mut half = Half { state: ShardState::new(ShardId(id)), rows: Table::default(), stamp };
        let (start, end) = (key(from).to_bytes(), key(to).to_bytes());
        half.apply(entry::Kind::Genesis(wire::Genesis { start, end, stamp }));
        half
    }

    fn apply(&mut self, kind: entry::Kind) -> Vec<Outcome> {
        let entry = wire::Entry { rules: RULES, kind: Some(kind) };
        self.state.apply(entry, &mut self.rows).unwrap()
    }

    /// True if the write took effect.
    fn put(&mut self, n: u64, value: u64) -> bool {
        self.stamp = self.stamp.max(self.state.highest_stamp.0) + 1;
        let put = wire::Put { value: value.to_string().into(), ttl_ms: 0 };
        let operation = wire::Operation {
            key: key(n).to_bytes(),
            condition: None,
            change: Some(wire::operation::Change::Put(put)),
        };
        let write = wire::Write { identity: None, epoch: 0, operations: vec![operation] };
        let batch = wire::Batch {
            stamp: self.stamp,
            ceiling: self.stamp + 3,
            watermark: self.stamp.saturating_sub(20),
            writes: vec![write],
        };
        let outcome = self.apply(entry::Kind::Batch(batch)).remove(0);
        matches!(outcome.kind, Some(outcome::Kind::Applied(_)))
    }

    fn get(&self, n: u64) -> Option<&Version> {
        self.rows.0.get(&key(n)).and_then(|versions| versions.last())
    }

    fn owns(&self, n: u64) -> bool {
        self.state.range.as_ref().is_some_and(|range| range.contains(&key(n)))
    }

    fn leftover(&self, after: &Bytes, count: usize) -> wire::Ingest {
        let behind = |key: &Key| after.is_empty() || key.as_bytes() > &after[..];
        let mut left = self.rows.0.iter().filter(|(key, _)| behind(key));
        let rows = left.by_ref().take(count).map(|(key, versions)| wire::Row {
            key: key.to_bytes(),
            versions: versions.iter().map(to_row).collect(),
        });
        let rows = rows.collect();
        let rest = left.next().is_none().then(|| self.state.to_wire());
        wire::Ingest { attempt: ATTEMPT, after: after.clone(), rows, rest }
    }

    fn side(&self, replicas: [u64; 2]) -> Side {
        Side {
            membership: membership(replicas),
            applied_index: 5,
            epoch: self.state.epoch,
            frozen_by: self.state.frozen_by,
            attempts_over: self.state.attempts_over,
            taking: self.state.taking.as_ref().map_or(0, |taking| taking.attempt),
            taking_all: self.state.taking.as_ref().is_some_and(|taking| taking.rest.is_some()),
            ..Side::default()
        }
    }
}

fn membership(replicas: [u64; 2]) -> Membership {
    Membership {
        configs: vec![VoterSet { replicas: replicas.to_vec() }],
        members: replicas.iter().zip(1..).map(|(replica, node)| Member { replica: *replica, node }).collect(),
        ..Membership::default()
    }
}

fn job() -> JobRecord {
    let merge = MergeJob { attempt: ATTEMPT, left: 1, right: 2, ..MergeJob::default() };
    JobRecord {
        id: ATTEMPT,
        shard: 1,
        phase: JobPhase::JobLearn.into(),
        merge: Some(merge.into()),
        ..JobRecord::default()
    }
}

fn merge_of(job: &JobRecord) -> MergeJob {
    (**job.merge.as_ref().unwrap()).clone()
}

fn seen(left: &Half, right: &Half, now_ms: u64) -> Seen {
    Seen {
        left: Some(left.side([10, 11])),
        right: Some(right.side([20, 21])),
        tidy: [ReplicaId(10), ReplicaId(11)].into(),
        left_job: true,
        right_job: true,
        same: None,
        alive: [NodeId(1), NodeId(2)].into(),
        now_ms,
        ..Seen::default()
    }
}

#[test]
fn nothing_begins_before_all_is_tidy() {
    let (left, right) = (Half::new(1, 0, 50, 1), Half::new(2, 50, 99, 1));
    let job = job();
    let step = |seen: &Seen| next(&job, &merge_of(&job), seen);
    let all = seen(&left, &right, 1);
    assert_eq!(step(&all), Step::Check { index: 5 });
    let checked = MergeJob { checked_index: 5, ..merge_of(&job) };
    assert_eq!(next(&job, &checked, &all), Step::StandStill);
    let untidy = Seen { tidy: [ReplicaId(10)].into(), ..all.clone() };
    assert_eq!(step(&untidy), Step::Wait(Reason::Trimming(NodeId(2))));
    let silent = Seen { alive: [NodeId(1)].into(), ..all.clone() };
    assert_eq!(step(&silent), Step::Wait(Reason::Silent(NodeId(2))));
    let late = Seen { now_ms: WAIT_MAX_MS + 1, ..silent };
    assert_eq!(step(&late), Step::GiveUp(Reason::Silent(NodeId(2))));
    let gone = Seen { gone: [NodeId(1)].into(), ..all.clone() };
    assert_eq!(step(&gone), Step::GiveUp(Reason::Gone(NodeId(1))));
    let mut large = all.clone();
    large.right.as_mut().unwrap().stored_bytes = MERGED_MAX_BYTES + 1;
    assert_eq!(step(&large), Step::GiveUp(Reason::TooLarge));
    let mut born = all.clone();
    born.left.as_mut().unwrap().has_birth = true;
    assert_eq!(step(&born), Step::GiveUp(Reason::Changed));
    assert_eq!(step(&Seen { left: None, ..all }), Step::Wait(Reason::NoLeader));
}

#[test]
fn what_stands_still_too_long_goes_on() {
    let (left, mut right) = (Half::new(1, 0, 50, 1), Half::new(2, 50, 99, 1));
    let mut job = job();
    job.phase = JobPhase::JobVerify.into();
    let mut merge = merge_of(&job);
    merge.frozen_at_ms = 100;
    right.apply(entry::Kind::Freeze(wire::Freeze { attempt: ATTEMPT }));
    assert_eq!(next(&job, &merge, &seen(&left, &right, 200)), Step::Copy);
    let nobody = Seen { left: None, ..seen(&left, &right, 100 + FROZEN_MAX_MS + 1) };
    assert_eq!(next(&job, &merge, &nobody), Step::GiveUp(Reason::Slow));
}

/// What a world of two shards and their records goes through: all that can come late does.
struct World {
    left: Half,
    /// `None`: retired.
    right: Option<Half>,
    job: Option<JobRecord>,
    /// Which of the two shards has it.
    has_job: (bool, bool),
    /// Entries on their way: to the left one, or not.
    late: Vec<(bool, entry::Kind)>,
    /// What was acknowledged.
    acked: BTreeMap<u64, u64>,
    now_ms: u64,
    same: Option<bool>,
}

impl World {
    fn new() -> World {
        let (mut left, mut right) = (Half::new(1, 0, 50, 1), Half::new(2, 50, 99, 1));
        let mut acked = BTreeMap::new();
        for n in 0..6 {
            assert!(left.put(n * 7, n) && right.put(50 + n * 7, n));
            acked.extend([(n * 7, n), (50 + n * 7, n)]);
        }
        World {
            left,
            right: Some(right),
            job: Some(job()),
            has_job: (true, true),
            late: Vec::new(),
            acked,
            now_ms: 1,
            same: None,
        }
    }

    fn propose(&mut self, to_left: bool, kind: entry::Kind) {
        match (to_left, &mut self.right) {
            (true, _) => drop(self.left.apply(kind)),
            (false, Some(right)) => drop(right.apply(kind)),
            (false, None) => {}
        }
    }

    /// What the driver would do next, as entries or a change of the records. `chance` says what becomes of it.
    fn drive(&mut self, chance: u8) {
        let Some(job) = self.job.clone() else { return };
        let merge = merge_of(&job);
        let Some(right) = &self.right else { return };
        let (left_job, right_job) = self.has_job;
        let mut seen =
            Seen { same: self.same.take(), left_job, right_job, ..seen(&self.left, right, self.now_ms) };
        // Nobody leads one of them just now.
        match chance % 20 {
            0 => seen.left = None,
            1 => seen.right = None,
            _ => {}
        }
        let step = next(&job, &merge, &seen);
        let with = |phase: JobPhase| Some(JobRecord { phase: phase.into(), ..job.clone() });
        let told = match step {
            Step::Freeze => (false, entry::Kind::Freeze(wire::Freeze { attempt: ATTEMPT })),
            Step::ForgoRight => (false, entry::Kind::Forgo(wire::Forgo { attempt: ATTEMPT })),
            Step::ForgoLeft => (true, entry::Kind::Forgo(wire::Forgo { attempt: ATTEMPT })),
            Step::TakeOver => (true, entry::Kind::TakeOver(wire::TakeOver { attempt: ATTEMPT })),
            Step::Copy => {
                let taking = self.left.state.taking.as_ref();
                let after = taking.map(|taking| taking.after.clone()).unwrap_or_default();
                (true, entry::Kind::Ingest(right.leftover(&after, 2)))
            }
            Step::Compare => {
                let rest = |half: &Half| -> Vec<_> { (50..99).map(|n| half.get(n).cloned()).collect() };
                self.same = Some(rest(&self.left) == rest(right));
                return;
            }
            _ if chance < 60 => return, // the driver crashed before it wrote
            Step::Check { index } => {
                let merge = MergeJob { checked_index: index, ..merge };
                self.job = Some(JobRecord { merge: Some(merge.into()), ..job.clone() });
                return;
            }
            Step::StandStill => {
                let merge = MergeJob { frozen_at_ms: self.now_ms, ..merge };
                let job = with(JobPhase::JobVerify).unwrap();
                self.job = Some(JobRecord { merge: Some(merge.into()), ..job });
                return;
            }
            Step::Decide => return self.job = with(JobPhase::JobPromote),
            Step::GiveUp(_) => return self.job = with(JobPhase::JobRemove),
            Step::Record { .. } => {
                assert!(self.left.owns(50), "the map says what is so");
                (self.job, self.right) = (None, None);
                return;
            }
            Step::End(which) => {
                match which {
                    Which::Left => self.has_job.0 = false,
                    Which::Right => self.has_job.1 = false,
                }
                if self.has_job == (false, false) {
                    self.job = None;
                }
                return;
            }
            Step::Wait(_) => return,
        };
        match chance {
            0..40 => self.late.push(told), // it arrives some time, or never
            40..80 => {
                self.late.push(told.clone()); // it arrives now, and once more
                self.propose(told.0, told.1);
            }
            _ => self.propose(told.0, told.1),
        }
    }

    fn arrive(&mut self, which: u8) {
        if !self.late.is_empty() {
            let (to_left, kind) = self.late.remove(usize::from(which) % self.late.len());
            self.propose(to_left, kind);
        }
    }

    fn write(&mut self, n: u64, value: u64) {
        let by_left = self.left.put(n, value);
        let by_right = self.right.as_mut().is_some_and(|right| right.put(n, value));
        assert!(!(by_left && by_right), "one shard answers for a key");
        if by_left || by_right {
            self.acked.insert(n, value);
        }
    }

    fn check(&self) {
        for (n, value) in &self.acked {
            let of_left = self.left.owns(*n).then(|| self.left.get(*n)).flatten();
            let found = of_left.or_else(|| self.right.as_ref().and_then(|right| right.get(*n)));
            let found = found.and_then(|version| version.value.clone());
            assert_eq!(found.as_deref(), Some(value.to_string().as_bytes()), "key {n}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_merge_ends_whole_whoever_crashes(
        events in proptest::collection::vec((0u8..10, 0u8..100, 0u64..99), 1..80),
        hurry in 1u64..2000,
    ) {
        let mut world = World::new();
        for (n, (what, chance, about)) in events.into_iter().enumerate() {
            world.now_ms += hurry;
            match what {
                0..6 => world.drive(chance),
                6 => world.arrive(chance),
                _ => world.write(about, 1000 + n as u64),
            }
            world.check();
        }
        for _ in 0..60 {
            world.drive(99);
            world.check();
        }
        prop_assert!(world.job.is_none(), "it comes to an end");
        while !world.late.is_empty() {
            world.arrive(0);
            world.check();
        }
        // Every key takes a write again, once.
        for n in 0..99 {
            world.write(n, 5000 + n);
        }
        world.check();
        prop_assert!((0..99).all(|n| world.acked.get(&n) == Some(&(5000 + n))));
    }
}

#[test]
fn two_records_become_one() {
    let record = |shard, start: u64, end: u64, epoch| ShardRecord {
        shard,
        start: key(start).to_bytes(),
        end: key(end).to_bytes(),
        epoch,
        ..ShardRecord::default()
    };
    let whole = merged(&record(1, 0, 50, 3), &record(2, 50, 99, 8), 9);
    assert_eq!(whole, ShardRecord { epoch: 9, ..record(1, 0, 99, 3) });
}

#[test]
fn what_is_frozen_changes_no_more() {
    let mut half = Half::new(2, 50, 99, 1);
    assert!(half.put(60, 1));
    half.apply(entry::Kind::Freeze(wire::Freeze { attempt: ATTEMPT }));
    let before = half.state.clone();
    assert!(!half.put(60, 2));
    assert_eq!((half.state.ceiling, half.state.highest_stamp), (before.ceiling, before.highest_stamp));
    half.apply(entry::Kind::Forgo(wire::Forgo { attempt: ATTEMPT - 1 }));
    assert!(half.state.is_frozen(), "that was another attempt");
    half.apply(entry::Kind::Forgo(wire::Forgo { attempt: ATTEMPT }));
    assert!(half.put(60, 3));
    half.apply(entry::Kind::Freeze(wire::Freeze { attempt: ATTEMPT }));
    assert!(!half.state.is_frozen(), "one that comes late does nothing");
}

#[test]
fn what_is_taken_over_keeps_its_promises() {
    let (mut left, mut right) = (Half::new(1, 0, 50, 1), Half::new(2, 50, 99, 1000));
    assert!(left.put(3, 1) && right.put(60, 1));
    right.apply(entry::Kind::Freeze(wire::Freeze { attempt: ATTEMPT }));
    left.apply(entry::Kind::TakeOver(wire::TakeOver { attempt: ATTEMPT }));
    assert!(!left.owns(60), "nothing has come");
    left.apply(entry::Kind::Ingest(right.leftover(&Bytes::new(), 9)));
    assert!(left.get(60).is_some() && !left.owns(60), "it is there, and not yet its own");
    left.apply(entry::Kind::TakeOver(wire::TakeOver { attempt: ATTEMPT }));
    assert!(left.owns(60) && left.state.taking.is_none());
    let (state, promised) = (&left.state, right.state.ceiling.max(right.state.highest_stamp));
    assert!(state.highest_stamp >= promised && state.ceiling >= promised);
    assert!(state.watermark >= right.state.watermark && state.epoch > right.state.epoch);
    let stamp = promised.0;
    let late = wire::Batch { stamp, writes: vec![wire::Write::default()], ..wire::Batch::default() };
    let outcome = left.apply(entry::Kind::Batch(late)).remove(0);
    let Some(outcome::Kind::Refused(refused)) = outcome.kind else { panic!("{outcome:?}") };
    assert_eq!(refused.reason(), wire::Refusal::StaleStamp);
    assert!(left.put(60, 2));
    assert!(Timestamp(left.stamp) > promised);
}
