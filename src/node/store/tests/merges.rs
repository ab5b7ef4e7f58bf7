//! A shard that is taken over by its neighbour: rows come before their keys, whatever is flushed and swept meanwhile.

use super::*;
use crate::model::wire::entry;

const ATTEMPT: u64 = 5;

fn freeze() -> entry::Kind {
    entry::Kind::Freeze(wire::Freeze { attempt: ATTEMPT })
}

fn take_over() -> entry::Kind {
    entry::Kind::TakeOver(wire::TakeOver { attempt: ATTEMPT })
}

/// A store of a shard of its own, from a key to another.
fn half(disk: &RamDisk, dir: &str, from: &str, to: &str) -> (Store, Log) {
    let store = open(disk, dir);
    let bound = |name: &str| match name {
        "" => Bytes::new(),
        name => Key::from_name(name.as_bytes()).unwrap().to_bytes(),
    };
    (store, Log::between(bound(from), bound(to)))
}

fn number(log: &mut Log, from: usize, to: usize) {
    for n in from..to {
        log.write(vec![put(format!("k{n:03}"), &format!("{n}"), 0)]);
    }
}

fn names(store: &Store) -> Vec<String> {
    let bounds =
        PageBounds { at: None, live_at: Timestamp::ZERO, limit: 10_000, max_bytes: 1 << 20, reverse: false };
    let own = store.state(|state| state.range.clone()).unwrap();
    let rows = store.range(&own, &bounds).unwrap().rows;
    rows.into_iter().map(|(key, _)| String::from_utf8(key.name().to_vec()).unwrap()).collect()
}

/// Takes what the right one holds into the left one's log.
async fn copy(right: &Store, log: &mut Log) {
    let mut after = None;
    loop {
        let chunk = right.leftover(after.clone(), 100).await.unwrap();
        let is_last = chunk.rest.is_some();
        if let Some(row) = chunk.rows.last() {
            after = Some(Key::from_internal(row.key.clone()).unwrap());
        }
        log.entry(entry::Kind::Ingest(wire::Ingest { attempt: ATTEMPT, ..chunk }));
        if is_last {
            return;
        }
    }
}

#[tokio::test]
async fn what_is_taken_over_is_there_whatever_was_flushed_when() {
    for flush_at in 0..5 {
        let disk = RamDisk::default();
        let (left, mut log) = half(&disk, "left", "a", "k050");
        let (right, mut other) = half(&disk, "right", "k050", "");
        number(&mut log, 0, 50);
        number(&mut other, 50, 90);
        number(&mut other, 60, 70); // history
        other.entry(freeze());
        log.replay(&left);
        other.replay(&right);
        if flush_at == 1 {
            flush(&left).await.unwrap();
            flush(&right).await.unwrap();
        }
        assert!(!left.holds_foreign());
        copy(&right, &mut log).await;
        log.replay(&left);
        assert!(left.holds_foreign(), "it holds what is not its own yet");
        if flush_at == 2 {
            flush(&left).await.unwrap();
            assert!(!left.can_trim());
            while left.sweep().await.unwrap() {}
        }
        let own = right.state(|state| state.range.clone()).unwrap();
        let (theirs, watermark) = right.compare(own.clone(), Timestamp::ZERO).await.unwrap();
        let (ours, _) = left.compare(own.clone(), watermark).await.unwrap();
        assert_eq!(theirs, ours);
        assert_eq!(names(&left).len(), 50, "nobody sees it");
        let behind = right.state(|state| state.highest_stamp);
        log.entry(take_over());
        log.replay(&left);
        if flush_at >= 3 {
            flush(&left).await.unwrap();
            while left.sweep().await.unwrap() {}
        }
        assert_eq!(names(&left).len(), 90);
        let key = Key::from_name(b"k065").unwrap();
        let before = left.get(&key, Some(Timestamp(behind.0 - 5))).unwrap();
        assert_eq!(before, right.get(&key, Some(Timestamp(behind.0 - 5))).unwrap(), "history, too");
        if flush_at == 4 {
            assert!(!left.holds_foreign());
        }
    }
}

#[tokio::test]
async fn what_is_not_taken_over_is_cleared_away() {
    for flushes in [false, true] {
        let disk = RamDisk::default();
        let (left, mut log) = half(&disk, "left", "a", "k050");
        let (right, mut other) = half(&disk, "right", "k050", "");
        number(&mut log, 0, 50);
        number(&mut other, 50, 90);
        other.entry(freeze());
        log.replay(&left);
        other.replay(&right);
        copy(&right, &mut log).await;
        if flushes {
            log.replay(&left);
            flush(&left).await.unwrap();
        }
        log.entry(entry::Kind::Forgo(wire::Forgo { attempt: ATTEMPT }));
        log.entry(take_over());
        log.replay(&left);
        assert!(left.holds_foreign(), "its rows are in memory, or in the file");
        flush(&left).await.unwrap();
        assert_eq!(left.can_trim(), flushes, "what nobody needs is not flushed");
        while left.sweep().await.unwrap() {}
        assert!(!left.holds_foreign());
        assert_eq!((names(&left).len(), left.flushed_rows()), (50, 50));
    }
}

/// Rows that were taken over are stamped as they were, so by their stamps a file that does not have them might.
#[tokio::test]
async fn what_was_taken_over_and_is_not_flushed_is_split_off() {
    let disk = RamDisk::default();
    let (right, mut other) = half(&disk, "right", "k050", "");
    number(&mut other, 50, 90);
    other.entry(freeze());
    other.replay(&right);
    let (left, mut log) = half(&disk, "left", "a", "k050");
    log.stamp = other.stamp;
    number(&mut log, 0, 50);
    log.replay(&left);
    flush(&left).await.unwrap();
    copy(&right, &mut log).await;
    log.entry(take_over());
    log.replay(&left);
    let at = Key::from_name(b"k060").unwrap();
    let end = left.state(|state| state.range.clone()).unwrap().end;
    let upper = KeyRange::new(at.clone(), end);
    left.prepare(&upper).await.unwrap();
    assert!(left.is_near(&upper));
    let membership = wire::Membership {
        log_id: Some(wire::LogId::default()),
        configs: vec![wire::VoterSet { replicas: vec![11] }],
        members: vec![wire::Member { replica: 11, node: 1 }],
    };
    let epoch = left.state(|state| state.epoch);
    let split = wire::Split { epoch, at: at.to_bytes(), child: 9, membership: Some(membership) };
    log.entry(entry::Kind::Split(split));
    log.replay(&left);
    let (child, dir) = (ShardId(9), Path::new("born"));
    let file = left.bear(child, dir).await.unwrap();
    let born = Store::with(file, Arc::new(disk.clone()), dir, child, Exec::Threads, options()).unwrap();
    assert_eq!(names(&born).len(), 30);
}

#[tokio::test]
async fn large_rows_go_over_a_few_at_a_time() {
    let disk = RamDisk::default();
    let (right, mut other) = half(&disk, "right", "k", "");
    for n in 0..9 {
        other.write(vec![put(format!("k{n:03}"), &"x".repeat(400_000), 0)]);
    }
    other.replay(&right);
    let chunk = right.leftover(None, 1 << 20).await.unwrap();
    assert_eq!((chunk.rows.len(), chunk.rest.is_some()), (3, false));
    let after = Key::from_internal(chunk.rows[2].key.clone()).unwrap();
    let rest = right.leftover(Some(Key::from_name(b"k005").unwrap()), 1 << 20).await.unwrap();
    assert_eq!((rest.rows.len(), rest.rest.is_some()), (3, true));
    assert_eq!(after.name(), b"k002");
}
