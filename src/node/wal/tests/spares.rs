//! What the log writes to next.

use super::*;

const LARGE: u64 = 4 << 20;
/// Of a segment that is made while somebody waits.
const SMALL: u64 = LARGE / 16;

fn open_large(disk: &SimDisk) -> Wal {
    let exec = Exec::Inline { delay: Duration::from_micros(100), gate: None };
    let options = WalOptions { segment_bytes: LARGE, spare_segments: 5, ..options() };
    Wal::open(Arc::new(disk.clone()), Path::new("wal"), exec, options).unwrap()
}

fn size(disk: &SimDisk, number: u64) -> Option<u64> {
    disk.open(Path::new(&format!("wal/{}", segment_name(number))), false).ok()?.len().ok()
}

/// Appends so many bytes and lets what is done behind come to its end.
async fn append_bytes(log: &GroupLog, first: u64, bytes: u64) -> u64 {
    const ENTRY: u64 = 32 << 10;
    for n in 0..bytes / ENTRY {
        append(log, vec![record(1, first + n, ENTRY as usize)]).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    first + bytes / ENTRY
}

#[test]
fn segments_are_made_ahead_and_nobody_waits_for_a_large_one() {
    simulate(async {
        let disk = SimDisk::new();
        let wal = open_large(&disk);
        let log = wal.group(GroupId(1));
        assert_eq!(size(&disk, 1), Some(SMALL), "made while the start waits");
        let next = append_bytes(&log, 0, SMALL).await;
        assert_eq!(size(&disk, 2), Some(LARGE), "made ahead");
        append_bytes(&log, next, LARGE).await;
        assert_eq!(size(&disk, 3), Some(LARGE));
        wal.close().await;
        let wal = open_large(&disk);
        assert_eq!(all(&wal.group(GroupId(1))).len() as u64, (SMALL + LARGE) / (32 << 10));
    });
}

#[test]
fn what_is_not_ready_is_not_waited_for() {
    simulate(async {
        let disk = SimDisk::new();
        let wal = open_large(&disk);
        let log = wal.group(GroupId(1));
        // Two writes take less time than the five pieces of a segment.
        append(&log, (0..8).map(|index| record(1, index, 28 << 10)).collect()).await;
        append(&log, (8..12).map(|index| record(1, index, 28 << 10)).collect()).await;
        assert_eq!((size(&disk, 2), size(&disk, 3)), (Some(SMALL), None));
    });
}

#[test]
fn nothing_is_made_ahead_where_there_is_little_room() {
    simulate(async {
        let disk = SimDisk::new();
        disk.set_capacity(5 * LARGE);
        let wal = open_large(&disk);
        append_bytes(&wal.group(GroupId(1)), 0, SMALL).await;
        assert_eq!(size(&disk, 2), Some(SMALL));
    });
}

/// Segments in the log's directory once six of them hold nothing any more and another has begun; `capacity_bytes` is the
/// disk's when they are given up.
async fn segments_after_purge(capacity_bytes: u64) -> usize {
    let disk = SimDisk::new();
    let wal = open_large(&disk);
    let log = wal.group(GroupId(1));
    let next = append_bytes(&log, 0, 6 * LARGE).await;
    log.purge(LogPoint { term: 1, index: next - 1 }).await.unwrap();
    disk.set_capacity(capacity_bytes);
    append_bytes(&log, next, LARGE).await;
    wal.close().await;
    disk.list(Path::new("wal")).unwrap().iter().filter(|name| name.ends_with(".seg")).count()
}

#[test]
fn what_is_empty_is_kept_for_use_where_there_is_room() {
    simulate(async {
        assert_eq!(segments_after_purge(100 * LARGE).await, 6);
        assert_eq!(segments_after_purge(10 * LARGE).await, 3);
    });
}
