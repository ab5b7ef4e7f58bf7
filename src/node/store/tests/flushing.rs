//! Flushes, back-pressure, sweeps, membership.

use futures_util::FutureExt;

use super::*;

fn fill(log: &mut Log, rows: usize) {
    for n in 0..rows {
        log.write(vec![put(format!("k{n:05}"), &"v".repeat(200), 0)]);
    }
}

#[tokio::test]
async fn what_is_applied_while_the_log_is_synced_stays_out_of_the_flush() {
    // failures.md row 12: the applied index and the data belong together.
    let disk = RamDisk::default();
    let store = open(&disk, "s");
    let mut log = Log::new();
    log.write(vec![increment("n")]);
    log.replay(&store);
    let frozen_at = log.entries.last().unwrap().log_id;
    log.write(vec![increment("n")]);
    let (later, during) = (log.clone(), store.clone());
    let barrier = move || async move {
        later.replay(&during);
        assert_eq!(value(&during, "n").as_deref(), Some(&b"2"[..]));
        Ok::<(), std::io::Error>(())
    };
    let base = store.flush(barrier).await.unwrap();
    assert_eq!(base.applied, Some(frozen_at));
    assert_eq!(value(&store, "n").as_deref(), Some(&b"2"[..]));
    store.close().await;
    let store = open(&disk, "s");
    assert_eq!(store.base(), base);
    assert_eq!(value(&store, "n").as_deref(), Some(&b"1"[..]));
}

#[tokio::test]
async fn a_flush_whose_log_fails_writes_nothing_and_the_next_writes_all() {
    let disk = RamDisk::default();
    let store = open(&disk, "s");
    let mut log = Log::new();
    log.write(vec![put("a", "1", 0), put("b", "1", 0)]);
    log.replay(&store);
    let before = store.base();
    let failed = store.flush(|| async { Err(std::io::Error::other("no")) }).await;
    assert!(matches!(failed, Err(StoreError::Log(_))));
    assert_eq!(store.base(), before);
    // Abandoned altogether.
    assert!(store.flush(std::future::pending::<Result<(), std::io::Error>>).now_or_never().is_none());
    log.write(vec![put("a", "2", 0), put("c", "2", 0)]);
    log.replay(&store);
    assert_eq!(value(&store, "b").as_deref(), Some(&b"1"[..]));
    let early = store.get(&key("a"), Some(log.stamp.previous())).unwrap().unwrap();
    assert_eq!(early.value.as_deref(), Some(&b"1"[..]));
    let base = flush(&store).await.unwrap();
    assert_eq!((base.applied, store.memtable_rows(), store.memtable_bytes()), (store.applied().0, 0, 0));
    store.close().await;
    let store = open(&disk, "s");
    assert_eq!(store.digest().await.unwrap(), log.digest().await);
    assert_eq!(store.flushed_rows(), 3);
}

#[tokio::test]
async fn a_flush_with_nothing_to_write_does_not_ask_the_log() {
    let store = open(&RamDisk::default(), "s");
    let log = Log::new();
    log.replay(&store);
    let base = flush(&store).await.unwrap();
    let again = store.flush(|| async { Err::<(), _>(std::io::Error::other("not to be called")) }).await;
    assert_eq!(again.unwrap(), base);
}

#[tokio::test]
async fn who_waits_for_room_goes_on_after_a_flush() {
    let store = open(&RamDisk::default(), "s");
    let mut log = Log::new();
    fill(&mut log, 50);
    log.replay(&store);
    assert!(store.wait_for_room().now_or_never().is_some() && !store.budget().is_due());
    fill(&mut log, WALL_BYTES / 200);
    log.replay(&store);
    assert!(store.budget().is_due() && store.memtable_bytes() > WALL_BYTES);
    let mut waiting = std::pin::pin!(store.wait_for_room());
    assert!(waiting.as_mut().now_or_never().is_none());
    let (flushed, ()) = tokio::join!(flush(&store), waiting);
    flushed.unwrap();
    assert_eq!(store.memtable_bytes(), 0);
    fill(&mut log, WALL_BYTES / 200);
    log.replay(&store);
    let mut waiting = std::pin::pin!(store.wait_for_room());
    assert!(waiting.as_mut().now_or_never().is_none());
    tokio::join!(store.close(), waiting);
}

#[tokio::test]
async fn stores_share_one_budget() {
    let shared = options();
    let open = |shard: ShardId| {
        let disk = Arc::new(RamDisk::default());
        Store::create_or_open(disk, Path::new("s"), shard, Exec::Threads, shared.clone()).unwrap()
    };
    let (full, empty, meta) = (open(SHARD), open(ShardId(8)), open(ShardId::META));
    let mut log = Log::new();
    fill(&mut log, WALL_BYTES / 200);
    log.replay(&full);
    assert_eq!((shared.memory.held_bytes(), empty.memtable_bytes()), (full.memtable_bytes() as u64, 0));
    let mut waiting = std::pin::pin!(empty.wait_for_room());
    assert!(waiting.as_mut().now_or_never().is_none());
    assert!(meta.wait_for_room().now_or_never().is_some(), "everybody needs the meta shard");
    drop(full);
    waiting.await;
    assert_eq!(shared.memory.held_bytes(), 0);
}

#[tokio::test]
async fn history_goes_by_the_watermark_in_the_file() {
    let disk = RamDisk::default();
    let store = open(&disk, "s");
    let mut log = Log::new();
    for n in 0..4 {
        log.write(vec![put("a", &n.to_string(), 0), put("b", &n.to_string(), 0)]);
        log.replay(&store);
        flush(&store).await.unwrap();
    }
    log.write(vec![delete("b")]);
    log.replay(&store);
    flush(&store).await.unwrap();
    let stats = store.stats();
    assert_eq!((stats.history_runs, stats.history_rows, stats.file_rows, stats.keys), (4, 7, 2, 1));
    log.watermark(log.stamp);
    log.replay(&store);
    store.sweep().await.unwrap();
    assert_eq!(store.stats(), stats, "the watermark in memory counts for nothing");
    // The rows went with the flush that wrote the watermark, the tombstone needs a sweep.
    flush(&store).await.unwrap();
    assert_eq!((store.stats().history_runs, store.stats().file_rows), (0, 2));
    store.sweep().await.unwrap();
    assert_eq!((store.stats().history_rows, store.stats().file_rows, store.stats().keys), (0, 1, 1));
    log.write(vec![put("b", "new", 0)]);
    log.replay(&store);
    assert_eq!(store.digest().await.unwrap(), log.digest().await);
}

#[test]
fn versions_in_memory_are_forgotten_as_the_watermark_allows() {
    let store = open(&RamDisk::default(), "s");
    let mut log = Log::new();
    for n in 0..2_000u64 {
        let back = Timestamp(log.stamp.0 - 5);
        log.batch(
            vec![vec![put("hot", &"v".repeat(100), 0)]],
            if n % 10 == 0 { back } else { Timestamp::ZERO },
        );
    }
    log.replay(&store);
    assert_eq!(store.memtable_rows(), 1);
    assert!(store.memtable_bytes() < 300 * 256 + 20_000, "{}", store.memtable_bytes());
}

#[tokio::test]
async fn the_epoch_rises_with_settled_members_whatever_was_flushed_between() {
    let disk = RamDisk::default();
    let store = open(&disk, "s");
    let mut log = Log::new();
    log.replay(&store);
    let epoch = |store: &Store| store.state(|state| state.epoch);
    assert_eq!(epoch(&store), 1);
    log.members(&[3, 2, 1]);
    log.replay(&store);
    assert_eq!(epoch(&store), 1, "the same members");
    let mut joint = store.applied().1;
    joint.configs.push(wire::VoterSet { replicas: vec![2, 3, 4] });
    log.push(Payload::Membership(joint.clone()));
    log.replay(&store);
    assert_eq!((epoch(&store), store.applied().1), (1, joint.clone()));
    flush(&store).await.unwrap();
    store.close().await;
    let store = open(&disk, "s");
    assert_eq!(store.applied().1, joint);
    log.members(&[1, 2, 3]);
    log.replay(&store);
    assert_eq!(epoch(&store), 1, "back to the members before");
    log.members(&[2, 3, 4]);
    log.replay(&store);
    assert_eq!(epoch(&store), 2);
}

#[test]
fn an_entry_that_cannot_be_applied_stops_the_store() {
    // failures.md row 39.
    let store = open(&RamDisk::default(), "s");
    let mut log = Log::new();
    log.push(Payload::Normal(Bytes::from_static(b"\xff\xff")));
    assert!(matches!(store.apply(log.entries), Err(StoreError::Apply(_))));
    assert!(matches!(store.apply(Vec::new()), Err(StoreError::Failed(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_a_write_whole_with_its_log_id_or_not_at_all() {
    let store = open(&RamDisk::default(), "s");
    let mut log = Log::new();
    let first = log.entries.len() as u64;
    for n in 0..3_000 {
        log.write(vec![put("a", &n.to_string(), 0), put("z", &n.to_string(), 0)]);
    }
    let (applier, entries) = (store.clone(), log.entries.clone());
    let applying = Exec::Threads.spawn(async move {
        for entries in entries.chunks(700) {
            applier.apply(entries.to_vec()).unwrap();
        }
    });
    loop {
        let finished = applying.is_finished();
        let before = store.applied().0.map_or(0, |id| id.index);
        let rows = store.range(&KeyRange::user(), &all(None, Timestamp::ZERO)).unwrap().rows;
        let after = store.applied().0.map_or(0, |id| id.index);
        if let [a, z] = &rows[..] {
            assert_eq!(a.1, z.1);
            let n: u64 = std::str::from_utf8(a.1.value.as_ref().unwrap()).unwrap().parse().unwrap();
            assert!((before..=after).contains(&(n + first)));
        } else {
            assert!(!finished && rows.is_empty() && before < first, "{rows:?}");
        }
        if finished {
            break;
        }
    }
    applying.await.unwrap();
}
