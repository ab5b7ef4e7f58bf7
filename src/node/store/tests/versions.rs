//! Reads and digests against a simple model that keeps every version, whatever is flushed, swept and reopened.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::row::Version;

/// Names that contain each other, and what a stamp beside a key could be mistaken for.
const NAMES: [&[u8]; 8] =
    [b"a", b"a\0", b"a\0\0\0\0\0\0\0\0", b"a\xff\xff\xff\xff\xff\xff\xff\xff", b"ab", b"b", b"c", b"d"];

#[derive(Clone, Debug)]
enum Step {
    Put { key: usize, ttl_ms: u64 },
    Delete { key: usize },
    Increment { key: usize },
    Wait { ms: u64 },
    Watermark { back_ms: u64 },
    Members { voters: u64 },
    Flush,
    Sweep,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..NAMES.len();
    prop_oneof![
        6 => (key.clone(), prop_oneof![2 => Just(0u64), 1 => 1u64..12]).prop_map(|(key, ttl_ms)| Step::Put { key, ttl_ms }),
        3 => key.clone().prop_map(|key| Step::Delete { key }),
        2 => key.prop_map(|key| Step::Increment { key }),
        2 => (1u64..5).prop_map(|ms| Step::Wait { ms }),
        2 => (0u64..10).prop_map(|back_ms| Step::Watermark { back_ms }),
        1 => (1u64..4).prop_map(|voters| Step::Members { voters }),
        2 => Just(Step::Flush),
        1 => Just(Step::Sweep),
        1 => Just(Step::Reopen),
    ]
}

/// Every version of every key.
#[derive(Default)]
struct Model(BTreeMap<Key, Vec<Version>>);

impl Model {
    fn at(&self, key: &Key, at: Timestamp) -> Option<&Version> {
        let newest = self.0.get(key)?.iter().rev().find(|version| version.stamp <= at)?;
        newest.live_at(at).map(|_| newest)
    }

    fn live(&self, at: Timestamp) -> Vec<(Key, Version)> {
        self.0.keys().filter_map(|key| Some((key.clone(), self.at(key, at)?.clone()))).collect()
    }

    fn add(&mut self, name: &[u8], stamp: Timestamp, expires_at: Option<Timestamp>, value: Option<String>) {
        let value = value.map(Bytes::from);
        self.0.entry(key(name)).or_default().push(Version { stamp, expires_at, value });
    }
}

/// Adds a step to the log and the model.
fn extend(log: &mut Log, model: &mut Model, step: &Step) {
    let next = log.stamp.plus(1);
    match *step {
        Step::Put { key, ttl_ms } => {
            let value = format!("{}", next.0 % 1000);
            let stamp = log.write(vec![put(NAMES[key], &value, ttl_ms)]);
            let expires_at = (ttl_ms > 0).then(|| Timestamp::from_ms(stamp.ms() + ttl_ms));
            model.add(NAMES[key], stamp, expires_at, Some(value));
        }
        Step::Delete { key: n } => {
            let stamp = log.write(vec![delete(NAMES[n])]);
            if model.at(&key(NAMES[n]), stamp).is_some() {
                model.add(NAMES[n], stamp, None, None);
            }
        }
        Step::Increment { key: n } => {
            let stamp = log.write(vec![increment(NAMES[n])]);
            let old = model.at(&key(NAMES[n]), stamp).cloned();
            let number = old.as_ref().map_or(0, |old| {
                let text = std::str::from_utf8(old.value.as_ref().unwrap()).unwrap();
                text.parse::<i64>().unwrap()
            });
            let expires_at = old.and_then(|old| old.expires_at);
            model.add(NAMES[n], stamp, expires_at, Some((number + 1).to_string()));
        }
        Step::Wait { ms } => log.stamp = Timestamp::from_ms(log.stamp.ms() + ms),
        Step::Watermark { back_ms } => log.watermark(Timestamp::from_ms(log.stamp.ms() - back_ms)),
        Step::Members { voters } => log.members(&(1..=voters).collect::<Vec<_>>()),
        Step::Flush | Step::Sweep | Step::Reopen => {}
    }
}

/// Carries out what a step asks of a store.
async fn keep(disk: &RamDisk, mut store: Store, log: &Log, step: &Step) -> Store {
    match step {
        Step::Flush => _ = flush(&store).await.unwrap(),
        Step::Sweep => _ = store.sweep().await.unwrap(),
        Step::Reopen => {
            store.close().await;
            assert!(matches!(store.apply(Vec::new()), Err(StoreError::Closed)));
            store = open(disk, "s");
            assert_eq!(store.base().applied, store.applied().0);
        }
        _ => {}
    }
    log.replay(&store);
    store
}

fn check(store: &Store, model: &Model, at: Timestamp, limit: usize) -> Result<(), TestCaseError> {
    for key in model.0.keys() {
        let found = store.get(key, Some(at)).unwrap();
        let found = found.filter(|version| version.live_at(at).is_some());
        prop_assert_eq!(found.as_ref(), model.at(key, at), "{:?} at {}", key, at);
    }
    for reverse in [false, true] {
        let bounds = PageBounds { limit, reverse, ..all(Some(at), at) };
        let pages = pages(store, &KeyRange::user(), &bounds);
        prop_assert!(pages.iter().all(|page| page.rows.len() <= limit));
        let mut rows: Vec<_> = pages.into_iter().flat_map(|page| page.rows).collect();
        if reverse {
            rows.reverse();
        }
        prop_assert_eq!(rows, model.live(at), "a range at {}, limit {}, reverse {}", at, limit, reverse);
    }
    Ok(())
}

/// What was written after `since` is all told, or it is said that it may be in the file.
fn check_changes(store: &Store, model: &Model, since: Timestamp) -> Result<(), TestCaseError> {
    let flushed = store.base().state.highest_stamp;
    let Some(changes) = store.changes_since(since) else {
        prop_assert!(since < flushed, "what was written after {} is in memory", since);
        return Ok(());
    };
    prop_assert!(since >= flushed);
    prop_assert_eq!(changes.highest_stamp, store.state(|state| state.highest_stamp));
    let mut rows = changes.rows;
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    let newest = model.0.iter().filter_map(|(key, versions)| Some((key.clone(), versions.last()?.clone())));
    let newer: Vec<_> = newest.filter(|(_, version)| version.stamp > since).collect();
    prop_assert_eq!(rows, newer, "changes since {}", since);
    Ok(())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    // failures.md row 12 (replay after a crash) and row 33 (expiry by the log's own time).
    #[test]
    fn reads_at_any_remembered_time_are_those_of_the_model(
        steps in prop::collection::vec((step(), 0.0..1.0f64, 1usize..5), 1..60),
    ) {
        runtime().block_on(async {
            let disk = RamDisk::default();
            let (mut store, mut log, mut model) = (open(&disk, "s"), Log::new(), Model::default());
            for (step, share, limit) in &steps {
                extend(&mut log, &mut model, step);
                store = keep(&disk, store, &log, step).await;
                let (low, high) = store.state(|state| (state.watermark, state.highest_stamp));
                let between = Timestamp(low.0 + ((high.0 - low.0) as f64 * share) as u64);
                for at in [low, between, high] {
                    check(&store, &model, at, *limit)?;
                    check_changes(&store, &model, at)?;
                }
                let newest = pages(&store, &KeyRange::user(), &all(None, high)).remove(0).rows;
                prop_assert_eq!(newest, model.live(high));
                if low > Timestamp::ZERO {
                    let early = store.get(&key("a"), Some(low.previous()));
                    let refused = matches!(early, Err(StoreError::Forgotten { watermark }) if watermark == low);
                    prop_assert!(refused);
                }
            }
            Ok(())
        })?;
    }

    // failures.md rows 12 and 17.
    #[test]
    fn the_digest_does_not_depend_on_what_was_flushed_when(
        steps in prop::collection::vec(step(), 1..60),
        other in prop::collection::vec(prop_oneof![Just(Step::Flush), Just(Step::Sweep), Just(Step::Reopen), Just(Step::Wait { ms: 1 })], 60),
    ) {
        runtime().block_on(async {
            let disks = [RamDisk::default(), RamDisk::default()];
            let mut stores = disks.clone().map(|disk| open(&disk, "s"));
            let mut log = Log::new();
            let mut model = Model::default();
            for (step, other) in steps.iter().zip(&other) {
                extend(&mut log, &mut model, step);
                stores[0] = keep(&disks[0], stores[0].clone(), &log, step).await;
                stores[1] = keep(&disks[1], stores[1].clone(), &log, other).await;
                let digests = (stores[0].digest().await.unwrap(), stores[1].digest().await.unwrap());
                prop_assert_eq!(digests.0, digests.1);
            }
            prop_assert_eq!(log.digest().await, stores[0].digest().await.unwrap());
            let full = |store: &Store| store.state(|state| (state.epoch, state.range.clone(), state.ceiling));
            prop_assert_eq!(full(&stores[0]), full(&stores[1]));
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_digest_tells_rows_and_state_apart() {
    let mut log = Log::new();
    log.write(vec![put("a", "1", 0), put("b", "1", 0)]);
    let mut digests = vec![log.digest().await.digest];
    let change = |f: &dyn Fn(&mut Log)| {
        let mut other = log.clone();
        other.stamp = other.stamp.previous();
        other.entries.pop();
        f(&mut other);
        other
    };
    let others = [
        change(&|log| _ = log.write(vec![put("a", "2", 0), put("b", "1", 0)])),
        change(&|log| _ = log.write(vec![put("a", "1", 0)])),
        change(&|log| _ = log.write(vec![put("a", "1", 9), put("b", "1", 0)])),
        change(&|log| _ = log.batch(vec![vec![put("a", "1", 0), put("b", "1", 0)]], Timestamp(5))),
        change(&|log| {
            log.stamp = log.stamp.plus(1);
            log.write(vec![put("a", "1", 0), put("b", "1", 0)]);
        }),
    ];
    for other in others {
        digests.push(other.digest().await.digest);
    }
    let distinct: std::collections::BTreeSet<_> = digests.iter().collect();
    assert_eq!(distinct.len(), digests.len());
}

#[tokio::test]
async fn a_page_of_dead_rows_ends_early_and_goes_on() {
    use crate::node::store::read::WALK_ROWS_MAX;
    let store = open(&RamDisk::default(), "s");
    let mut log = Log::new();
    let names: Vec<_> = (0..WALK_ROWS_MAX + 10).map(|n| format!("k{n:06}")).collect();
    for names in names.chunks(1000) {
        log.write(names.iter().map(|name| put(name, "x", 0)).collect());
        log.write(names.iter().map(delete).collect());
    }
    log.write(vec![put("z", "alive", 0)]);
    log.replay(&store);
    for flushed in [false, true] {
        if flushed {
            flush(&store).await.unwrap();
        }
        for reverse in [false, true] {
            let first = if reverse { 1 } else { 0 };
            let pages = pages(&store, &KeyRange::user(), &PageBounds { reverse, ..all(None, log.stamp) });
            let counts: Vec<_> = pages.iter().map(|page| page.rows.len()).collect();
            assert_eq!(counts, [first, 1 - first], "flushed {flushed}, reverse {reverse}");
        }
    }
}

#[test]
fn a_page_holds_no_more_bytes_than_asked_for_but_one_row() {
    let store = open(&RamDisk::default(), "s");
    let mut log = Log::new();
    log.write((0..10).map(|n| put(format!("k{n}"), &"v".repeat(97), 0)).collect());
    log.replay(&store);
    for (max_bytes, rows) in [(0, 1), (99, 1), (100, 1), (250, 2), (300, 3)] {
        let bounds = PageBounds { max_bytes, ..all(None, log.stamp) };
        assert_eq!(store.range(&KeyRange::user(), &bounds).unwrap().rows.len(), rows, "{max_bytes}");
    }
}

#[test]
fn keys_outside_the_shard_are_not_there() {
    let store = open(&RamDisk::default(), "s");
    assert_eq!(store.get(&key("a"), None).unwrap(), None);
    assert_eq!(store.range(&KeyRange::user(), &all(None, Timestamp::ZERO)).unwrap(), Page::default());
    let mut log = Log { stamp: Timestamp(1), ..Log::default() };
    let genesis = wire::Genesis { start: key("b").to_bytes(), end: key("d").to_bytes(), stamp: 1 };
    log.entry(wire::entry::Kind::Genesis(genesis));
    for name in ["a", "b", "c", "d"] {
        log.write(vec![put(name, "x", 0)]);
    }
    log.replay(&store);
    let page = store.range(&KeyRange::user(), &all(None, log.stamp)).unwrap();
    assert_eq!(page.rows.into_iter().map(|row| row.0).collect::<Vec<_>>(), [key("b"), key("c")]);
    let upside_down = KeyRange::new(key("d"), Some(key("a")));
    assert_eq!(store.range(&upside_down, &all(None, log.stamp)).unwrap(), Page::default());
}
