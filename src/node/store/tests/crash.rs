//! Power cuts and failing disks at every point of a flush, a creation and an installation.

use super::*;
use crate::node::disk::Disk;

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
    let wrong =
        Store::create_or_open(Arc::new(disk.clone()), Path::new("other"), ShardId(8), Exec::Threads, OPTIONS);
    assert!(matches!(wrong, Err(StoreError::Damaged { .. })));
    disk.open(Path::new("empty/shard.redb"), true).unwrap();
    assert!(matches!(try_open(&disk, "empty"), Err(StoreError::Damaged { .. })));
}
