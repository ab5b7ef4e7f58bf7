//! A shard that is split: the other half is made of the file, whatever has happened to that since.

use super::*;

const CHILD: ShardId = ShardId(8);

fn split(log: &mut Log, at: &str) {
    let at = Key::from_name(at.as_bytes()).unwrap().to_bytes();
    let membership = wire::Membership {
        log_id: Some(wire::LogId::default()),
        configs: vec![wire::VoterSet { replicas: vec![11] }],
        members: vec![wire::Member { replica: 11, node: 1 }],
    };
    let split = wire::Split { epoch: 1, at, child: CHILD.0, membership: Some(membership) };
    log.entry(wire::entry::Kind::Split(split));
}

fn settle(log: &mut Log) {
    log.entry(wire::entry::Kind::Settled(wire::Settled { child: CHILD.0 }));
}

fn number(log: &mut Log, from: usize, to: usize) {
    for n in from..to {
        log.write(vec![put(format!("k{n:03}"), &format!("{n}"), 0)]);
    }
}

async fn child(disk: &RamDisk, parent: &Store, dir: &str) -> Store {
    parent.bear(CHILD, Path::new(dir)).await.unwrap();
    Store::create_or_open(Arc::new(disk.clone()), Path::new(dir), CHILD, Exec::Threads, options()).unwrap()
}

/// What is split off there.
fn upper(store: &Store, at: &str) -> KeyRange {
    let own = store.state(|state| state.range.clone()).unwrap();
    KeyRange::new(Key::from_name(at.as_bytes()).unwrap(), own.end)
}

fn names(store: &Store) -> Vec<String> {
    let bounds =
        PageBounds { at: None, live_at: Timestamp::ZERO, limit: 10_000, max_bytes: 1 << 20, reverse: false };
    let rows = store.range(&KeyRange::user(), &bounds).unwrap().rows;
    rows.into_iter().map(|(key, _)| String::from_utf8(key.name().to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn halves_made_early_or_late_hold_the_same() {
    let disk = RamDisk::default();
    let mut log = Log::new();
    number(&mut log, 0, 100);
    number(&mut log, 40, 70); // so there is history
    let (early, late) = (open(&disk, "early"), open(&disk, "late"));
    log.replay_until(&late, 60);
    flush(&late).await.unwrap();
    split(&mut log, "k050");
    log.replay(&early);
    let one = child(&disk, &early, "one").await;
    number(&mut log, 0, 50);
    log.watermark(log.stamp);
    log.replay(&late);
    flush(&late).await.unwrap();
    while late.sweep().await.unwrap() {}
    let other = child(&disk, &late, "other").await;
    assert_eq!(one.digest().await.unwrap(), other.digest().await.unwrap());
    assert_eq!(one.applied().0, Some(wire::LogId::default()));
    assert_eq!(names(&one), (50..100).map(|n| format!("k{n:03}")).collect::<Vec<_>>());
    assert_eq!(names(&late), (0..50).map(|n| format!("k{n:03}")).collect::<Vec<_>>());
    assert_eq!(late.digest().await.unwrap(), log.digest().await);
}

#[tokio::test]
async fn what_is_the_others_goes_once_it_is_settled() {
    let disk = RamDisk::default();
    let mut log = Log::new();
    number(&mut log, 0, 100);
    let parent = open(&disk, "parent");
    split(&mut log, "k030");
    log.replay(&parent);
    flush(&parent).await.unwrap();
    assert_eq!(parent.middle().await.unwrap().unwrap().name(), b"k016");
    while parent.sweep().await.unwrap() {}
    assert_eq!(parent.stats().keys, 100, "it is needed as long as the other may be made of it");
    let born = child(&disk, &parent, "child").await;
    settle(&mut log);
    log.replay(&parent);
    flush(&parent).await.unwrap();
    for (half, keys) in [(&parent, 30), (&born, 70)] {
        let before = half.digest().await.unwrap();
        assert_eq!(half.can_trim(), keys == 30, "what was split off has its own rows only");
        while half.can_trim() {
            half.sweep().await.unwrap();
        }
        assert_eq!(half.stats().keys, keys);
        assert_eq!(half.digest().await.unwrap(), before);
    }
}

/// A copy made before, with what has come meanwhile, and the rest that comes until the split: the same as one made afterwards.
#[tokio::test]
async fn a_copy_made_before_holds_the_same() {
    for (forgets, flushes) in [(false, 0), (true, 0), (false, 1), (true, 2)] {
        let disk = RamDisk::default();
        let mut log = Log::new();
        number(&mut log, 0, 400);
        let (parent, late) = (open(&disk, "parent"), open(&disk, "late"));
        log.replay(&parent);
        flush(&parent).await.unwrap();
        // More than is left to the end, some of it over what is in the file.
        number(&mut log, 100, 700);
        number(&mut log, 300, 500);
        log.replay(&parent);
        parent.prepare(&upper(&parent, "k350")).await.unwrap();
        assert!(parent.shared.approach.is_there());
        number(&mut log, 450, 710);
        if flushes > 0 {
            log.replay(&parent);
            flush(&parent).await.unwrap();
            assert!(parent.shared.approach.is_there(), "it is written to the copy as well");
        }
        if flushes != 1 {
            // It is asked for again, and comes nearer.
            number(&mut log, 455, 715);
            log.replay(&parent);
            parent.prepare(&upper(&parent, "k350")).await.unwrap();
            assert!(parent.is_near(&upper(&parent, "k350")));
        }
        number(&mut log, 440, 720);
        if forgets {
            log.watermark(log.stamp);
        }
        number(&mut log, 460, 480);
        split(&mut log, "k350");
        log.replay(&parent);
        log.replay(&late);
        if flushes > 1 {
            flush(&parent).await.unwrap();
        }
        let dir = Path::new("early child");
        let file = parent.bear(CHILD, dir).await.unwrap();
        let one = Store::with(file, Arc::new(disk.clone()), dir, CHILD, Exec::Threads, options()).unwrap();
        let other = child(&disk, &late, "late child").await;
        assert_eq!(one.digest().await.unwrap(), other.digest().await.unwrap());
        assert_eq!(names(&one).len(), 720 - 350);
        assert!(!parent.shared.approach.is_there());
        // Whoever opens it anew finds the same.
        one.close().await;
        let again =
            Store::create_or_open(Arc::new(disk.clone()), dir, CHILD, Exec::Threads, options()).unwrap();
        assert_eq!(again.digest().await.unwrap(), other.digest().await.unwrap());
    }
}

/// Flushes that come while a copy is being made are in it, too.
#[tokio::test]
async fn a_copy_made_while_flushes_go_on_holds_the_same() {
    let disk = RamDisk::default();
    let mut log = Log::new();
    number(&mut log, 0, 900);
    let (parent, late) = (open(&disk, "parent"), open(&disk, "late"));
    log.replay(&parent);
    flush(&parent).await.unwrap();
    let preparing = tokio::spawn({
        let parent = parent.clone();
        async move { parent.prepare(&upper(&parent, "k350")).await }
    });
    while !preparing.is_finished() {
        number(&mut log, 300, 600);
        log.replay(&parent);
        flush(&parent).await.unwrap();
        tokio::task::yield_now().await;
    }
    preparing.await.unwrap().unwrap();
    assert!(parent.shared.approach.is_there());
    split(&mut log, "k350");
    log.replay(&parent);
    log.replay(&late);
    let dir = Path::new("child");
    let file = parent.bear(CHILD, dir).await.unwrap();
    let one = Store::with(file, Arc::new(disk.clone()), dir, CHILD, Exec::Threads, options()).unwrap();
    let other = child(&disk, &late, "late child").await;
    assert_eq!(one.digest().await.unwrap(), other.digest().await.unwrap());
}

/// A replica that gets a snapshot while it copies what is to be split off begins anew: the copy would lack what came with it.
#[tokio::test]
async fn a_copy_of_a_file_that_is_replaced_counts_for_nothing() {
    let disk = RamDisk::default();
    let mut log = Log::new();
    number(&mut log, 0, 400);
    let (ahead, behind) = (open(&disk, "ahead"), open(&disk, "behind"));
    log.replay(&behind);
    flush(&behind).await.unwrap();
    number(&mut log, 400, 700);
    log.replay(&ahead);
    flush(&ahead).await.unwrap();
    let path = Path::new("behind/in.received");
    let sent = ahead.copy_file(path).await.unwrap();
    let range = upper(&behind, "k350");
    // What prepare() does, with an installation in its midst.
    behind.shared.place.clone().lock_owned().await.missed = Some(Vec::new());
    behind.install(path, &sent.base.applied.unwrap()).await.unwrap();
    assert!(behind.shared.place.lock().await.missed.is_none(), "who copies finds that out");
    behind.prepare(&range).await.unwrap();
    split(&mut log, "k350");
    log.replay(&behind);
    let dir = Path::new("child");
    let file = behind.bear(CHILD, dir).await.unwrap();
    let born = Store::with(file, Arc::new(disk.clone()), dir, CHILD, Exec::Threads, options()).unwrap();
    assert_eq!(names(&born).len(), 350);
}
