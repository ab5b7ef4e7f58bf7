use super::*;
use crate::model::evaluate::RULES;
use crate::node::disk::sim::SimDisk;
use crate::node::store::{Committed, MemoryBudget, Payload};
use crate::node::wal::{Record, WalOptions};

const EXEC: Exec = Exec::Inline { delay: Duration::ZERO, gate: None };
const SHARD: ShardId = ShardId(1);

/// A store that has flushed up to `flushed` and a log with entries `log`, purged up to `purged`.
async fn replica(
    flushed: Option<u64>,
    log: std::ops::Range<u64>,
    purged: Option<u64>,
) -> (Result<(), ReplicaError>, GroupLog) {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let options = WalOptions { segment_bytes: 64 << 10, ..WalOptions::default() };
    let wal = Wal::open(disk.clone(), Path::new("wal"), EXEC, options).unwrap();
    let group = wal.group(GroupId(7));
    let point = |index| LogPoint { term: 1, index };
    let records: Vec<_> =
        log.map(|index| Record { point: point(index), bytes: bytes::Bytes::from_static(b"entry") }).collect();
    group.append(records, Box::new(|_| {})).await.unwrap();
    if let Some(index) = purged {
        group.purge(point(index)).await.unwrap();
    }
    let store = Store::create_or_open(
        disk,
        Path::new("s"),
        SHARD,
        EXEC,
        StoreOptions::new(MemoryBudget::new(1 << 30)),
    )
    .unwrap();
    for index in 0..flushed.map_or(0, |flushed| flushed + 1) {
        let entry =
            log_wire::Entry { rules: RULES, kind: Some(log_wire::entry::Kind::Batch(Default::default())) };
        let payload = Payload::Normal(entry.encode_to_vec().into());
        let log_id = log_wire::LogId { term: 1, index };
        store.apply(vec![Committed { log_id, payload }]).unwrap();
    }
    store.flush(|| async { Ok::<(), std::io::Error>(()) }).await.unwrap();
    (align(&group, &store).await, group)
}

/// Runs it in simulated time, on one thread.
fn simulate<F: Future>(work: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

#[test]
fn what_lost_its_file_or_its_log_is_refused() {
    simulate(async {
        // The log was let go up to 5, and the file that held it is gone, or is one of before.
        for flushed in [None, Some(3)] {
            let (aligned, _) = replica(flushed, 0..10, Some(5)).await;
            assert!(matches!(aligned, Err(ReplicaError::FileOld)), "{flushed:?}: {aligned:?}");
        }
        // The file tells of entries, the log of nothing; or its beginning is gone.
        assert!(matches!(replica(Some(3), 0..0, None).await.0, Err(ReplicaError::LogLost)));
        assert!(matches!(replica(None, 4..10, None).await.0, Err(ReplicaError::LogLost)));
    });
}

#[test]
fn a_log_behind_its_file_goes_on_behind_it() {
    simulate(async {
        for (flushed, log, purged, rest) in [
            (None, 0..10, None, 9),
            (Some(3), 0..10, None, 9),
            (Some(5), 0..10, Some(5), 9),
            // A snapshot was installed and the power went.
            (Some(20), 0..10, None, 20),
            (Some(20), 0..10, Some(5), 20),
        ] {
            let (aligned, group) = replica(flushed, log, purged).await;
            aligned.unwrap();
            assert_eq!(group.state().last.map(|last| last.index), Some(rest), "{flushed:?}");
        }
    });
}
