//! Copies of the file and their installation elsewhere.

use super::*;
use crate::node::disk::Disk;

const RECEIVED: &str = "target/in.received";

fn numbers(log: &mut Log, writes: usize) {
    for n in 0..writes {
        let name = format!("k{}", n * 37 % 500);
        log.write(vec![put(name, &format!("{n}").repeat(40), 0), increment("n")]);
    }
}

/// A store with a flushed log, another without, and a copy of the first where the second can install it.
async fn pair(disk: &RamDisk, log: &Log) -> (Store, Store, FileCopy) {
    let (source, target) = (open(disk, "source"), open(disk, "target"));
    log.replay(&source);
    flush(&source).await.unwrap();
    let copy = source.copy_file(Path::new(RECEIVED)).await.unwrap();
    (source, target, copy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn copies_taken_while_flushes_run_open_and_match() {
    // flush.md section 4: 4 of 16 copies taken during flushes were broken and opened without complaint.
    let disk = RamDisk::default();
    let store = open(&disk, "source");
    let mut log = Log::new();
    numbers(&mut log, 3_000);
    let (writer, entries) = (store.clone(), log.entries.clone());
    let writing = Exec::Threads.spawn(async move {
        for entries in entries.chunks(30) {
            writer.apply(entries.to_vec()).unwrap();
            flush(&writer).await.unwrap();
        }
    });
    let mut copies = Vec::new();
    while !writing.is_finished() {
        let path = format!("copies/{}.copy", copies.len());
        copies.push((store.copy_file(Path::new(&path)).await.unwrap(), path));
    }
    writing.await.unwrap();
    assert!(copies.len() >= 8, "{}", copies.len());
    for (copy, path) in copies.iter().step_by(copies.len().div_ceil(12)) {
        let Some(applied) = copy.base.applied else { continue };
        let target = open(&disk, path.strip_suffix(COPY_SUFFIX).unwrap());
        assert_eq!(target.install(Path::new(path), &applied).await.unwrap(), copy.base);
        let until_then = Log { entries: log.entries[..=applied.index as usize].to_vec(), ..log };
        assert_eq!(target.digest().await.unwrap(), until_then.digest().await);
    }
}

#[tokio::test]
async fn nobody_writes_the_file_while_it_is_copied() {
    let disk = RamDisk::default();
    let store = open(&disk, "source");
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (place, count) = (store.shared.place.clone(), asked.clone());
    disk.during_copy(move || {
        assert!(place.try_lock().is_err(), "the writer's place is taken");
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    store.copy_file(Path::new("source/a.copy")).await.unwrap();
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_installed_file_replaces_everything_and_stays() {
    let disk = RamDisk::default();
    let mut log = Log::new();
    numbers(&mut log, 100);
    let (_source, target, copy) = pair(&disk, &log).await;
    let end = copy.base.applied.unwrap();
    log.replay_until(&target, 50);
    assert!(target.memtable_rows() > 0);
    let file = disk.open(Path::new(RECEIVED), false).unwrap();
    let mut bytes = vec![0; copy.bytes as usize];
    file.read_at(0, &mut bytes).unwrap();
    assert_eq!((file.len().unwrap(), blake3::hash(&bytes).into()), (copy.bytes, copy.digest));
    assert_eq!(target.install(Path::new(RECEIVED), &end).await.unwrap(), copy.base);
    assert_eq!((target.memtable_rows(), target.applied().0), (0, Some(end)));
    assert!(!disk.exists(Path::new(RECEIVED)).unwrap());
    numbers(&mut log, 10);
    log.replay(&target);
    assert_eq!(target.digest().await.unwrap(), log.digest().await);
    flush(&target).await.unwrap();
    target.close().await;
    let target = open(&disk, "target");
    assert_eq!(target.digest().await.unwrap(), log.digest().await);
    target.close().await;
    Store::destroy(&disk, Path::new("target")).unwrap();
    assert!(disk.list(Path::new("target")).unwrap().is_empty());
}

#[tokio::test]
async fn what_does_not_fit_changes_nothing() {
    // failures.md row 17: an old snapshot must not replace newer state.
    let disk = RamDisk::default();
    let mut log = Log::new();
    numbers(&mut log, 100);
    let (_source, target, copy) = pair(&disk, &log).await;
    let end = copy.base.applied.unwrap();
    let other = wire::LogId { index: end.index - 1, ..end };
    let unfit = target.install(Path::new(RECEIVED), &other).await;
    assert!(matches!(unfit, Err(StoreError::Unfit(_))));
    numbers(&mut log, 1);
    log.replay(&target);
    let stale = target.install(Path::new(RECEIVED), &end).await;
    let applied = target.applied().0.unwrap();
    assert!(
        matches!(stale, Err(StoreError::Stale { offered, applied: found }) if offered == end && found == applied)
    );
    let foreign = Store::create_or_open(
        Arc::new(disk.clone()),
        Path::new("foreign"),
        ShardId(8),
        Exec::Threads,
        options(),
    );
    let unfit = foreign.unwrap().install(Path::new(RECEIVED), &end).await;
    assert!(matches!(unfit, Err(StoreError::Unfit(_))));
    assert_eq!(target.digest().await.unwrap(), log.digest().await);
    flush(&target).await.unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_not_installed() {
    // failures.md row 16: any byte that matters is noticed; what is not noticed does not matter.
    let disk = RamDisk::default();
    let mut log = Log::new();
    numbers(&mut log, 300);
    let (source, target, copy) = pair(&disk, &log).await;
    let end = copy.base.applied.unwrap();
    let mut refused = 0;
    for n in 0..60 {
        source.copy_file(Path::new(RECEIVED)).await.unwrap();
        // The first pages are the header's and the region's; rows and tables follow.
        disk.flip(RECEIVED, copy.bytes.min(400_000) * n / 60 + 17 * n);
        match target.install(Path::new(RECEIVED), &end).await {
            Err(StoreError::Damaged { .. }) => refused += 1,
            installed => assert_eq!(installed.unwrap(), copy.base),
        }
        if target.applied().0.is_some() {
            assert_eq!(target.digest().await.unwrap(), log.digest().await, "byte {n} of 60");
        }
    }
    assert!(refused > 5, "{refused}");
}

#[tokio::test]
async fn a_copy_that_the_disk_refuses_leaves_the_store_in_use() {
    let disk = RamDisk::default();
    let mut log = Log::new();
    numbers(&mut log, 10);
    let (source, _target, copy) = pair(&disk, &log).await;
    disk.break_after(0);
    let failed = source.copy_file(Path::new("source/a.copy")).await;
    assert!(matches!(failed, Err(StoreError::Copy(_))));
    // One change is all that it makes.
    disk.break_after(1);
    assert_eq!(source.copy_file(Path::new("source/a.copy")).await.unwrap().base, copy.base);
    disk.break_after(u64::MAX);
    numbers(&mut log, 10);
    log.replay(&source);
    flush(&source).await.unwrap();
    source.close().await;
    let source = open(&disk, "source");
    assert_eq!(disk.list(Path::new("source")).unwrap(), [FILE_NAME]);
    assert_eq!(source.digest().await.unwrap(), log.digest().await);
}
