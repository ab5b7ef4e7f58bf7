//! Power cuts and failing disks at every point of a flush, a creation and an installation.

use super::*;
use crate::model::evaluate::ShardState;
use crate::model::row::Version;
use crate::node::disk::Disk;
use crate::node::store::backend::Rot;
use crate::node::store::engine::{Engine, Frozen};
use crate::node::store::file::{ShardFile, guarded};
use crate::node::store::memtable::Memtable;

/// A log of which the first half is in the file, and the second is to be flushed.
fn history() -> (Log, usize) {
    let mut log = Log::new();
    let write = |log: &mut Log, round: usize| {
        for n in 0..20 {
            log.write(vec![put(format!("k{n}"), &format!("{round}").repeat(300), 0), increment("n")]);
        }
    };
    write(&mut log, 1);
    let half = log.entries.len();
    write(&mut log, 2);
    log.write(vec![delete("k3")]);
    (log, half)
}

#[tokio::test]
async fn a_flush_that_is_cut_off_leaves_the_old_base_or_the_new_one() {
    // failures.md rows 12 and 14: whatever reached the disk, replaying the log leads to the same state.
    let (log, half) = history();
    let reference = log.digest().await;
    let (mut old, mut new) = (0, 0);
    for changes in 0.. {
        let disk = RamDisk::default();
        let store = open(&disk, "s");
        log.replay_until(&store, half);
        let before = flush(&store).await.unwrap();
        log.replay(&store);
        disk.break_after(changes);
        let flushed = flush(&store).await;
        let whole = flushed.is_ok();
        if !whole {
            assert!(matches!(flushed, Err(StoreError::Failed(_))), "{flushed:?}");
            assert!(matches!(flush(&store).await, Err(StoreError::Failed(_))), "nothing is tried again");
            assert!(matches!(store.apply(Vec::new()), Err(StoreError::Failed(_))));
        }
        for seed in 0..3 {
            let disk = disk.cut_power(seed);
            let store = open(&disk, "s");
            match store.base().applied == before.applied {
                true => old += 1,
                false => new += 1,
            }
            assert!(!whole || store.base() == *flushed.as_ref().unwrap());
            log.replay(&store);
            assert_eq!(store.digest().await.unwrap(), reference, "after {changes} changes, seed {seed}");
        }
        if whole {
            break;
        }
    }
    assert!(old > 10 && new >= 3, "the cuts fell before and after the commit: {old} and {new}");
}

/// The parts of a large flush that are not durable must not become so when the file is closed in good order.
#[tokio::test]
async fn a_large_flush_that_fails_half_way_leaves_nothing_of_it() {
    let mut log = Log::new();
    let write = |log: &mut Log, round: usize| {
        for n in 0..40 {
            let row = |m| put(format!("k{:04}", n * 10 + m), &format!("{round}").repeat(2000), 0);
            log.write((0..10).map(row).collect());
        }
    };
    write(&mut log, 1);
    let half = log.entries.len();
    write(&mut log, 2);
    let reference = log.digest().await;
    let mut failed = 0;
    for changes in (0..).step_by(50) {
        let disk = RamDisk::default();
        let store = open(&disk, "s");
        log.replay_until(&store, half);
        let before = flush(&store).await.unwrap();
        log.replay(&store);
        disk.break_after(changes);
        let flushed = flush(&store).await;
        disk.break_after(u64::MAX);
        store.close().await;
        let store = open(&disk, "s");
        assert_eq!(store.base().applied == before.applied, flushed.is_err(), "after {changes} changes");
        for n in (0..400).step_by(37) {
            let found = value(&store, &format!("k{n:04}")).unwrap();
            assert_eq!(found.starts_with(b"1"), flushed.is_err(), "after {changes} changes");
        }
        log.replay(&store);
        assert_eq!(store.digest().await.unwrap(), reference, "after {changes} changes");
        if flushed.is_ok() {
            break;
        }
        failed += 1;
    }
    assert!(failed > 5, "{failed} failures, some of them between two parts");
}

/// The same where nothing is wrong with the disk: redb would close the file in good order.
#[test]
fn a_large_flush_that_is_given_up_leaves_nothing_of_it() {
    let disk = RamDisk::default();
    let dir = Path::new("s");
    disk.create_dir(dir).unwrap();
    ShardFile::create(&disk, dir, "f", ShardId(1)).unwrap();
    let open = || ShardFile::open(&disk, &dir.join("f"), 1 << 20, &Rot::default()).unwrap();
    // The last key is written again with the stamp it has, which a flush refuses with a panic.
    let frozen = |index: u64, stamp: u64, last: u64| {
        let mut table = Memtable::default();
        for n in 0..400 {
            let stamp = Timestamp(if n == 399 { last } else { stamp });
            let version = Version { stamp, value: Some(vec![index as u8; 2000].into()), expires_at: None };
            table.write(&mut vec![(key(format!("k{n:04}")), version)], Timestamp::ZERO);
        }
        Frozen {
            table: Arc::new(table),
            state: ShardState::new(ShardId(1)).to_wire(),
            applied: wire::LogId { index, ..wire::LogId::default() },
            membership: wire::Membership::default(),
            uniform: None,
            only: None,
            since: Timestamp::ZERO,
        }
    };
    let mut file = open();
    guarded(|| file.flush(&frozen(1, 10, 10))).unwrap();
    assert!(guarded(|| file.flush(&frozen(2, 20, 10))).is_err());
    drop(file);
    let file = open();
    let picture = file.picture();
    assert_eq!(picture.head().applied.unwrap().index, 1);
    for n in 0..400 {
        let found = picture.get(&key(format!("k{n:04}")), None).unwrap().unwrap();
        assert_eq!(found.stamp, Timestamp(10), "{n}");
    }
}

#[tokio::test]
async fn a_creation_that_is_cut_off_leaves_a_file_that_opens_or_none() {
    let (log, _) = history();
    for changes in 0.. {
        let disk = RamDisk::default();
        disk.break_after(changes);
        let opened = try_open(&disk, "s");
        let whole = opened.is_ok();
        drop(opened);
        for seed in 0..2 {
            let store = open(&disk.cut_power(seed), "s");
            assert_eq!(store.base().applied, None);
            log.replay(&store);
        }
        if whole {
            return assert!(changes > 5);
        }
    }
}

#[tokio::test]
async fn an_installation_that_is_cut_off_leaves_the_old_file_or_the_new_one() {
    // failures.md row 17.
    let (log, half) = history();
    let reference = log.digest().await;
    let end = log.entries.last().unwrap().log_id;
    let (mut old, mut new) = (0, 0);
    for changes in 0.. {
        let disk = RamDisk::default();
        let source = open(&disk, "source");
        log.replay(&source);
        flush(&source).await.unwrap();
        let target = open(&disk, "target");
        log.replay_until(&target, half);
        let before = flush(&target).await.unwrap();
        source.copy_file(Path::new("target/in.received")).await.unwrap();
        disk.break_after(changes);
        let whole = target.install(Path::new("target/in.received"), &end).await.is_ok();
        for seed in 0..4 {
            let disk = disk.cut_power(seed);
            let store = open(&disk, "target");
            assert_eq!(disk.list(Path::new("target")).unwrap(), [FILE_NAME]);
            match store.base() == before {
                true => old += 1,
                false => new += 1,
            }
            assert!(!whole || store.base().applied == Some(end));
            log.replay(&store);
            assert_eq!(store.digest().await.unwrap(), reference, "after {changes} changes, seed {seed}");
        }
        if whole {
            break;
        }
    }
    assert!(old > 0 && new > 0, "the cuts fell before and after the rename: {old} and {new}");
}

#[tokio::test]
async fn damage_is_called_damage() {
    // failures.md row 16: never an empty shard, never a panic.
    let (log, _) = history();
    let disk = RamDisk::default();
    let store = open(&disk, "s");
    log.replay(&store);
    flush(&store).await.unwrap();
    store.close().await;
    for offset in 0..64 {
        disk.flip("s/shard.redb", offset);
    }
    let opened = try_open(&disk, "s");
    assert!(matches!(opened, Err(StoreError::Damaged { ref path, .. }) if path.ends_with(FILE_NAME)));
    let other = open(&disk, "other");
    other.close().await;
    let wrong = Store::create_or_open(
        Arc::new(disk.clone()),
        Path::new("other"),
        ShardId(8),
        Exec::Threads,
        options(),
    );
    assert!(matches!(wrong, Err(StoreError::Damaged { .. })));
    disk.open(Path::new("empty/shard.redb"), true).unwrap();
    assert!(matches!(try_open(&disk, "empty"), Err(StoreError::Damaged { .. })));
}
