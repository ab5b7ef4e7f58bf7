//! What a start lives on where the disk has no byte left.

use super::*;

const LARGE: u64 = 4 << 20;
/// Of a segment that is made while somebody waits, and of a piece of the ballast.
const SMALL: u64 = LARGE / 16;

fn open_large(disk: &SimDisk) -> Result<Wal, WalError> {
    let exec = Exec::Inline { delay: Duration::from_micros(100), gate: None };
    let options = WalOptions { segment_bytes: LARGE, ..options() };
    Wal::open(Arc::new(disk.clone()), Path::new("wal"), exec, options)
}

fn names(disk: &SimDisk, prefix: &str) -> Vec<String> {
    let mut names = disk.list(Path::new("wal")).unwrap();
    names.retain(|name| name.starts_with(prefix));
    names
}

fn make_whole(wal: &Wal) -> usize {
    std::iter::repeat_with(|| wal.make_ballast().unwrap()).take_while(|made| *made).count()
}

fn is_full<T>(result: Result<T, WalError>) -> bool {
    matches!(result, Err(WalError::Disk(error)) if error.kind() == io::ErrorKind::StorageFull)
}

/// Something that holds the oldest segment, so that the next start needs another file.
async fn begin(disk: &SimDisk) -> Wal {
    let wal = open_large(disk).unwrap();
    let log = wal.group(GroupId(1));
    append(&log, vec![record(1, 0, 200 << 10)]).await;
    log.save_vote(vote(1)).await.unwrap();
    wal
}

#[test]
fn a_log_opens_without_a_byte_free() {
    simulate(async {
        let disk = SimDisk::new();
        let mut wal = begin(&disk).await;
        assert_eq!(make_whole(&wal), 6);
        for n in 0..3 {
            disk.leave_free(0);
            drop(wal);
            let before = disk.used_bytes();
            wal = open_large(&disk).unwrap();
            assert_eq!(names(&disk, "ballast-").len(), 4 - 2 * n, "one is a segment, one made way");
            assert_eq!(disk.used_bytes(), before - SMALL, "for what else a start writes");
            let log = wal.group(GroupId(1));
            assert_eq!((all(&log).len(), log.state().vote), (1 + n, Some(vote(1))));
            append(&log, vec![record(1, n as u64 + 1, 100)]).await;
        }
        disk.leave_free(0);
        drop(wal);
        assert!(is_full(open_large(&disk).map(|_| ())), "it is used up");
        assert!(is_full(open_large(&disk).map(|_| ())), "and said so each time");
        disk.set_capacity(1 << 40);
        let wal = open_large(&disk).unwrap();
        assert_eq!(all(&wal.group(GroupId(1))).len(), 4, "nothing was lost by it");
        assert_eq!(make_whole(&wal), 6, "it is made again");
    });
}

#[test]
fn what_was_left_of_the_disk_is_used_before_the_ballast() {
    simulate(async {
        let disk = SimDisk::new();
        let wal = begin(&disk).await;
        make_whole(&wal);
        drop(wal);
        disk.leave_free(2 * SMALL);
        drop(open_large(&disk).unwrap());
        assert_eq!(names(&disk, "ballast-").len(), 6);
        // An old segment is room, too.
        let wal = begin_spare(&disk).await;
        drop(wal);
        disk.leave_free(SMALL / 4);
        drop(open_large(&disk).unwrap());
        assert_eq!(names(&disk, "ballast-").len(), 6);
    });
}

/// Leaves a whole segment that holds nothing any more.
async fn begin_spare(disk: &SimDisk) -> Wal {
    disk.set_capacity(1 << 40);
    let wal = open_large(disk).unwrap();
    let log = wal.group(GroupId(1));
    for index in 1..=60 {
        append(&log, vec![record(1, index, 100 << 10)]).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    log.purge(LogPoint { term: 1, index: 60 }).await.unwrap();
    wal.close().await;
    wal
}

#[test]
fn ballast_is_made_where_there_is_room_for_it_and_counts_only_whole() {
    simulate(async {
        let disk = SimDisk::new();
        let wal = begin(&disk).await;
        disk.leave_free(SMALL + SMALL / 4 - 1);
        assert_eq!(make_whole(&wal), 0);
        disk.leave_free(2 * SMALL + SMALL / 4);
        assert_eq!(make_whole(&wal), 2);
        disk.set_capacity(1 << 40);
        disk.fail(Act::Sync, 1);
        assert!(wal.make_ballast().is_err());
        assert_eq!(names(&disk, "ballast-").len(), 2, "what is half made is gone");
        disk.fail(Act::Sync, 0);
        disk.open(Path::new("wal/ballast-new"), true).unwrap().write_at(0, &[0; 100]).unwrap();
        disk.open(Path::new("wal/ballast-5"), true).unwrap().write_at(0, &[0; 100]).unwrap();
        drop(wal);
        let wal = open_large(&disk).unwrap();
        assert_eq!(names(&disk, "ballast-"), ["ballast-0", "ballast-1"]);
        assert_eq!((make_whole(&wal), make_whole(&wal)), (4, 0));
    });
}

/// Whatever a power cut leaves while ballast is made and used, the log opens and has all.
#[test]
fn a_power_cut_while_ballast_is_made_or_used_leaves_a_log() {
    for seed in 0..64 {
        simulate(async move {
            let chance = Chance::from_seed(seed);
            let disk = SimDisk::new();
            let wal = begin(&disk).await;
            make_whole(&wal);
            drop(wal);
            disk.leave_free(0);
            let disk = disk.power_cut(&chance);
            disk.stop_after(chance.between(0, 30) as u32);
            // It may come to its end before the disk stops.
            drop(open_large(&disk));
            let disk = disk.power_cut(&chance);
            disk.leave_free(0);
            let wal = open_large(&disk).unwrap();
            let log = wal.group(GroupId(1));
            assert_eq!((all(&log).len(), log.state().vote), (1, Some(vote(1))), "seed {seed}");
            assert_eq!(wal.damage(), []);
            disk.set_capacity(1 << 40);
            make_whole(&wal);
            assert_eq!(names(&disk, "ballast-").len(), 6);
        });
    }
}

/// Whatever is left of the disk: entries come until they are refused, and then there is room for votes.
#[test]
fn what_is_admitted_finds_room() {
    for seed in 0..32 {
        simulate(async move {
            let chance = Chance::from_seed(seed);
            let disk = SimDisk::new();
            let wal = begin(&disk).await;
            disk.leave_free(chance.between(0, 2 * LARGE));
            let log = wal.group(GroupId(1));
            for index in 1.. {
                wal.set_free_bytes(disk.free_bytes().unwrap());
                let len = chance.between(1, 100 << 10) as usize;
                let Ok(_admitted) = log.admit(len as u64) else { break };
                append(&log, vec![record(1, index, len)]).await;
                assert!(index < 100_000, "it comes to an end");
            }
            assert!(wal.counts().refused.get() > 0);
            for term in 2..34 {
                log.save_vote(vote(term)).await.unwrap();
            }
            disk.set_capacity(1 << 40);
            wal.set_free_bytes(disk.free_bytes().unwrap());
            assert!(log.admit(100 << 10).is_ok(), "there is room again");
        });
    }
}
