//! A file that is not what was written: said to be damaged, or read right all the same; never a wrong answer.

use proptest::prelude::*;

use super::*;
use crate::node::disk::Disk;

const ROWS: usize = 400;

/// failures.md row 16.
#[derive(Clone, Debug)]
enum Harm {
    Flip,
    Zero { len: usize },
    Cut,
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![5 => Just(Harm::Flip), 2 => (1..9000usize).prop_map(|len| Harm::Zero { len }), 1 => Just(Harm::Cut)]
}

fn path() -> std::path::PathBuf {
    Path::new("s").join(FILE_NAME)
}

fn do_harm(disk: &RamDisk, harm: &Harm, at: prop::sample::Index) {
    let file = disk.open(&path(), false).unwrap();
    let len = file.len().unwrap() as usize;
    let at = at.index(len);
    match harm {
        Harm::Flip => disk.flip(path(), at as u64),
        Harm::Zero { len: zeros } => file.write_at(at as u64, &vec![0; (*zeros).min(len - at)]).unwrap(),
        Harm::Cut => file.set_len(at as u64).unwrap(),
    }
}

fn name(n: usize) -> String {
    format!("{n:05}")
}

/// A flushed shard with two versions of many keys; and the log that made it.
async fn flushed(disk: &RamDisk) -> (Store, Log) {
    let (store, mut log) = (open(disk, "s"), Log::new());
    for round in ["old", "new"] {
        for n in 0..ROWS {
            log.write(vec![put(name(n), &format!("{round} value of {n}").repeat(5), 0)]);
        }
        log.replay(&store);
        flush(&store).await.unwrap();
    }
    (store, log)
}

/// Everything that is read is right, or is refused for damage.
fn judge(store: &Store, log: &Log) -> Result<bool, TestCaseError> {
    let is_damage = |error: &StoreError| matches!(error, StoreError::Damaged { .. });
    for n in 0..ROWS {
        match store.get(&key(name(n)), None) {
            Ok(version) => {
                let expected = Bytes::from(format!("new value of {n}").repeat(5));
                prop_assert_eq!(version.and_then(|version| version.value), Some(expected));
            }
            Err(error) => prop_assert!(is_damage(&error), "{error:?}"),
        }
    }
    match store.range(&KeyRange::user(), &all(None, log.stamp)) {
        Ok(page) => prop_assert_eq!(page.rows.len(), ROWS),
        Err(error) => prop_assert!(is_damage(&error), "{error:?}"),
    }
    Ok(store.is_damaged())
}

fn block_on<R>(work: impl Future<Output = R>) -> R {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn what_was_changed_while_closed_is_found(harms in prop::collection::vec((harm(), any::<prop::sample::Index>()), 1..4)) {
        block_on(async {
            let disk = RamDisk::default();
            let (store, log) = flushed(&disk).await;
            let applied = store.base().applied;
            store.close().await;
            for (harm, at) in harms {
                do_harm(&disk, &harm, at);
            }
            match try_open(&disk, "s") {
                Err(StoreError::Damaged { .. }) => Ok(()),
                Err(error) => Err(TestCaseError::fail(format!("{error:?}"))),
                Ok(store) if store.base().applied == applied => {
                    prop_assert!(!judge(&store, &log)?);
                    Ok(())
                }
                // An earlier flush is whole too. Whoever opens it sees that the log does not begin there.
                Ok(store) => {
                    log.replay(&store);
                    prop_assert!(!judge(&store, &log)?);
                    Ok(())
                }
            }
        })?;
    }

    #[test]
    fn what_is_changed_while_open_is_never_read(harms in prop::collection::vec((harm(), any::<prop::sample::Index>()), 1..4)) {
        block_on(async {
            let disk = RamDisk::default();
            let (store, log) = flushed(&disk).await;
            store.close().await;
            let store = open(&disk, "s");
            for (harm, at) in harms {
                do_harm(&disk, &harm, at);
            }
            if judge(&store, &log)? {
                // Once it is known it stays known, and is no failure of the disk.
                let flushed = flush(&store).await;
                prop_assert!(flushed.is_ok() || store.is_damaged());
                if let Err(error) = flushed {
                    let is_damage = matches!(error, StoreError::Damaged { .. });
                    prop_assert!(is_damage, "{error:?}");
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_copy_of_what_rots_is_not_made(at in any::<prop::sample::Index>()) {
        block_on(async {
            let disk = RamDisk::default();
            let (store, _) = flushed(&disk).await;
            do_harm(&disk, &Harm::Flip, at);
            let to = Path::new("s").join(format!("c{COPY_SUFFIX}"));
            match store.copy_file(&to).await {
                // It hit what was never read or written, so nobody can miss it.
                Ok(_) => store.check_received(&to, &store.base().applied.unwrap()).await.unwrap(),
                Err(_) => prop_assert!(store.is_damaged()),
            }
            Ok::<(), TestCaseError>(())
        })?;
    }
}
