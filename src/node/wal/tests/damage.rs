//! Damage anywhere: whoever has lost something is given up, and nobody else; nobody ever reads anything wrong.

use super::*;
use crate::node::disk::DiskFile;

/// failures.md rows 13 and 16: what happens to files that nobody is writing.
#[derive(Clone, Debug)]
enum Harm {
    Flip { at: prop::sample::Index, bit: u32 },
    Zero { at: prop::sample::Index, len: u64 },
    Cut { at: prop::sample::Index },
    Remove,
}

fn harm() -> impl Strategy<Value = (prop::sample::Index, Harm)> {
    let at = any::<prop::sample::Index>;
    let harm = prop_oneof![
        6 => (at(), 0..8u32).prop_map(|(at, bit)| Harm::Flip { at, bit }),
        3 => (at(), 1..6000u64).prop_map(|(at, len)| Harm::Zero { at, len }),
        2 => at().prop_map(|at| Harm::Cut { at }),
        1 => Just(Harm::Remove),
    ];
    (at(), harm)
}

fn files(disk: &SimDisk) -> Vec<PathBuf> {
    let names = disk.list(Path::new("wal")).unwrap();
    names.iter().map(|name| Path::new("wal").join(name)).collect()
}

fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    files(disk).into_iter().filter(|path| path.extension().is_some()).collect()
}

fn file(disk: &SimDisk, path: &Path) -> Arc<dyn DiskFile> {
    disk.open(path, false).unwrap()
}

fn zero(disk: &SimDisk, path: &Path, at: u64, len: u64) {
    let file = file(disk, path);
    let len = len.min(file.len().unwrap() - at);
    file.write_at(at, &vec![0; len as usize]).unwrap();
    file.sync_data().unwrap();
}

fn do_harm(disk: &SimDisk, path: &Path, harm: &Harm) {
    let len = file(disk, path).len().unwrap();
    match harm {
        _ if len == 0 => {}
        Harm::Flip { at, bit } => disk.flip_bit(path, at.index(len as usize) as u64, *bit),
        Harm::Zero { at, len: zeros } => zero(disk, path, at.index(len as usize) as u64, *zeros),
        Harm::Cut { at } => {
            file(disk, path).set_len(at.index(len as usize) as u64).unwrap();
            file(disk, path).sync_data().unwrap();
        }
        Harm::Remove => disk.remove(path).unwrap(),
    }
}

fn known() -> Vec<GroupId> {
    (1..4).map(GroupId).collect()
}

fn open_known(disk: &SimDisk) -> Wal {
    open_with(disk, Vec::new()).unwrap()
}

fn open_with(disk: &SimDisk, sole: Vec<GroupId>) -> Result<Wal, WalError> {
    let exec = Exec::Inline { delay: Duration::from_micros(100), gate: None };
    let options = WalOptions { known: known(), sole, ..options() };
    Wal::open(Arc::new(disk.clone()), Path::new("wal"), exec, options)
}

/// Runs a history; what each group holds in the end. Nothing is left unsynced.
async fn history(disk: &SimDisk, ops: Vec<Op>, sealed: bool) -> BTreeMap<u64, Model> {
    let mut wal = open(disk).unwrap();
    let mut models: BTreeMap<u64, Model> = BTreeMap::new();
    let mut term = 1;
    // Everybody is there from the start, so that nobody can be taken for new.
    for id in 1..4 {
        models.entry(id).or_default().vote = Some(vote(1));
        wal.group(GroupId(id)).save_vote(vote(1)).await.unwrap();
    }
    for op in ops {
        let step = Step { wal: &wal, models: &mut models, term: &mut term };
        match op {
            Op::Reopen => {
                wal.close().await;
                wal = open(disk).unwrap();
            }
            op => step.take(op).await,
        }
    }
    match sealed {
        true => wal.close().await,
        false => wal.barrier().await.unwrap(),
    }
    models
}

struct Step<'a> {
    wal: &'a Wal,
    models: &'a mut BTreeMap<u64, Model>,
    term: &'a mut u64,
}

impl Step<'_> {
    async fn take(self, op: Op) {
        match op {
            Op::Append { group, count, len } => {
                let (term, model) = (*self.term, self.models.get_mut(&group).unwrap());
                let first = model.next();
                let records: Vec<_> = (first..first + count).map(|index| record(term, index, len)).collect();
                model.records.extend(records.clone());
                append(&self.wal.group(GroupId(group)), records).await;
            }
            Op::Overwrite { group, back } => {
                *self.term += 1;
                let model = self.models.get_mut(&group).unwrap();
                model.records.truncate(model.records.len().saturating_sub(back as usize));
                let last = model.records.last().map(|record| record.point).or(model.purged);
                self.wal.group(GroupId(group)).truncate_after(last).await.unwrap();
                let new = record(*self.term, model.next(), 20);
                model.records.push(new.clone());
                append(&self.wal.group(GroupId(group)), vec![new]).await;
            }
            Op::Vote { group } => {
                *self.term += 1;
                self.models.get_mut(&group).unwrap().vote = Some(vote(*self.term));
                self.wal.group(GroupId(group)).save_vote(vote(*self.term)).await.unwrap();
            }
            Op::Purge { group, keep } => {
                let model = self.models.get_mut(&group).unwrap();
                let Some(at) = model.records.len().checked_sub(keep as usize + 1) else { return };
                model.purged = Some(model.records[at].point);
                model.records.drain(..=at);
                self.wal.group(GroupId(group)).purge(model.purged.unwrap()).await.unwrap();
            }
            Op::PurgeBeyond { group } => {
                let model = self.models.get_mut(&group).unwrap();
                let point = LogPoint { term: *self.term, index: model.next() + 10 };
                *model = Model { vote: model.vote, purged: Some(point), records: Vec::new() };
                self.wal.group(GroupId(group)).purge(point).await.unwrap();
            }
            Op::Destroy { .. } | Op::Reopen => {}
        }
    }
}

/// Every group is whole or given up; how many are given up.
fn judge(wal: &Wal, models: &BTreeMap<u64, Model>) -> Result<usize, TestCaseError> {
    let damaged = wal.damaged_groups();
    prop_assert!(damaged.is_empty() || !wal.damage().is_empty(), "somebody is given up without a reason");
    for (id, model) in models {
        let log = wal.group(GroupId(*id));
        if damaged.contains(&GroupId(*id)) {
            let refused = log.read(0..1, 1);
            let is_refused = matches!(refused, Err(WalError::Damaged { .. }));
            prop_assert!(is_refused, "{refused:?}");
            continue;
        }
        let found = Model::of(&log);
        prop_assert!(&found == model, "group {id}: {found:?} is not {model:?}, damage {:?}", wal.damage());
    }
    Ok(damaged.len())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn whoever_is_not_given_up_has_lost_nothing(ops in ops(), which in harm(), more in prop::option::of(harm())) {
        simulate(async {
            let disk = SimDisk::new();
            let models = history(&disk, ops, true).await;
            for (n, (place, harm)) in [Some(which), more].into_iter().flatten().enumerate() {
                // Two are too many only where one of them is the one that says how far the log reaches.
                let mut files = files(&disk);
                files.retain(|path| n == 0 || path.extension().is_some());
                if files.is_empty() {
                    break;
                }
                let path = &files[place.index(files.len())];
                do_harm(&disk, path, &harm);
                if path.extension().is_none() {
                    break;
                }
            }
            // A log that was closed says how far it reaches, so nothing passes for a torn tail.
            let wal = open_known(&disk);
            let given_up = wal.damaged_groups();
            judge(&wal, &models)?;
            // They stay given up, and the others go on.
            for (id, model) in &models {
                let log = wal.group(GroupId(*id));
                match given_up.contains(&GroupId(*id)) {
                    true => prop_assert!(log.save_vote(vote(99)).await.is_err() && log.is_damaged()),
                    false => append(&log, vec![record(99, model.next(), 50)]).await,
                }
            }
            wal.close().await;
            let wal = open(&disk).unwrap();
            prop_assert_eq!(wal.damaged_groups(), given_up.clone());
            for (id, model) in &models {
                if !given_up.contains(&GroupId(*id)) {
                    let mut model = model.clone();
                    model.records.push(record(99, model.next(), 50));
                    prop_assert_eq!(Model::of(&wal.group(GroupId(*id))), model, "group {}", id);
                }
            }
            // Until they are destroyed.
            for id in given_up {
                wal.group(id).destroy().await.unwrap();
            }
            wal.close().await;
            prop_assert_eq!(open(&disk).unwrap().damaged_groups(), []);
            Ok(())
        })?;
    }
}

/// A log of two segments at least, in which group 1 has its only entries in the first one.
async fn old_and_new(disk: &SimDisk) -> BTreeMap<u64, Model> {
    let mut ops = vec![Op::Append { group: 1, count: 3, len: 300 }];
    ops.extend((0..30).map(|_| Op::Append { group: 2, count: 1, len: 900 }));
    ops.extend((0..3).map(|_| Op::Append { group: 3, count: 1, len: 100 }));
    history(disk, ops, true).await
}

#[test]
fn damage_in_an_old_segment_concerns_those_with_entries_there() {
    simulate(async {
        let disk = SimDisk::new();
        let models = old_and_new(&disk).await;
        // The batch of group 1, behind the checkpoint and three votes.
        disk.flip_bit(&segment_path(), 5 * frame::SECTOR + 200, 3);
        let wal = open_known(&disk);
        assert_eq!(wal.damaged_groups(), [GroupId(1)]);
        assert_eq!(wal.damage().len(), 1);
        assert_eq!((wal.damage()[0].segment, wal.damage()[0].offset), (1, 5 * frame::SECTOR));
        assert_eq!(wal.damage()[0].groups, [GroupId(1)]);
        judge(&wal, &models).unwrap();
    });
}

#[test]
fn a_vote_said_again_later_is_not_lost() {
    simulate(async {
        let disk = SimDisk::new();
        let models = old_and_new(&disk).await;
        zero(&disk, &segment_path(), 2 * frame::SECTOR, frame::SECTOR);
        let wal = open_known(&disk);
        assert_eq!((wal.damage().len(), wal.damaged_groups()), (1, Vec::new()));
        judge(&wal, &models).unwrap();
    });
}

#[test]
fn damage_in_the_last_segment_concerns_those_whose_batch_it_is() {
    for whole_batch in [false, true] {
        simulate(async {
            let disk = SimDisk::new();
            let ops = (1..4).map(|group| Op::Append { group, count: 1, len: 300 }).collect();
            let models = history(&disk, ops, false).await;
            // Behind checkpoint and votes: group 1's, group 2's, group 3's.
            match whole_batch {
                true => zero(&disk, &segment_path(), 6 * frame::SECTOR, frame::SECTOR),
                false => disk.flip_bit(&segment_path(), 6 * frame::SECTOR + 100, 0),
            }
            let wal = open_known(&disk);
            assert_eq!(wal.damaged_groups(), [GroupId(2)]);
            judge(&wal, &models).unwrap();
        });
    }
}

/// Nothing begins where nobody else has what is lost; what others have lost is no matter.
#[test]
fn damage_is_refused_where_it_concerns_a_sole_group() {
    simulate(async {
        let disk = SimDisk::new();
        let ops = (1..4).map(|group| Op::Append { group, count: 1, len: 300 }).collect();
        history(&disk, ops, false).await;
        disk.flip_bit(&segment_path(), 6 * frame::SECTOR + 100, 0);
        let length = || file(&disk, &segment_path()).len().unwrap();
        let (before, whole) = (segments(&disk), length());
        for sole in [vec![GroupId(2)], known()] {
            match open_with(&disk, sole) {
                Err(WalError::Lost(damage)) => assert_eq!(damage.groups, [GroupId(2)]),
                opened => panic!("{:?}", opened.map(|_| ())),
            }
            assert_eq!((segments(&disk), length()), (before.clone(), whole), "nothing is begun");
        }
        let wal = open_with(&disk, vec![GroupId(1), GroupId(3)]).unwrap();
        assert_eq!(wal.damaged_groups(), [GroupId(2)]);
    });
}

#[test]
fn where_nobody_is_named_everybody_is_given_up() {
    simulate(async {
        let disk = SimDisk::new();
        let ops = (1..3).flat_map(|group| [Op::Vote { group }, Op::Vote { group }]).collect();
        history(&disk, ops, true).await;
        zero(&disk, &segment_path(), 2 * frame::SECTOR, 3 * frame::SECTOR);
        // Of group 3 nothing at all is left to be read.
        assert_eq!(open_known(&disk).damaged_groups(), known());
    });
}

#[test]
fn a_newest_segment_that_is_gone_is_missed() {
    for what in ["removed", "headless", "empty", "all"] {
        simulate(async {
            let disk = SimDisk::new();
            let models = old_and_new(&disk).await;
            let segments = segments(&disk);
            let last = segments.last().unwrap();
            match what {
                "removed" => disk.remove(last).unwrap(),
                "headless" => zero(&disk, last, 0, frame::SECTOR),
                "empty" => zero(&disk, last, frame::SECTOR, SEGMENT),
                _ => files(&disk).iter().for_each(|path| disk.remove(path).unwrap()),
            }
            let wal = open_known(&disk);
            match what {
                // The rest of the segment says all that the header did.
                "headless" => assert_eq!(judge(&wal, &models).unwrap(), 0),
                _ => assert_eq!(wal.damaged_groups(), known(), "{what}"),
            }
            assert!(!wal.damage().is_empty());
        });
    }
}

#[test]
fn an_entry_that_rots_while_the_log_is_open_is_not_read() {
    simulate(async {
        let disk = SimDisk::new();
        let models = old_and_new(&disk).await;
        let wal = open(&disk).unwrap();
        assert_eq!(wal.group(GroupId(1)).read(0..1, 1).unwrap(), models[&1].records[..1]);
        disk.flip_bit(&segment_path(), 5 * frame::SECTOR + 200, 3);
        assert!(matches!(wal.group(GroupId(1)).read(0..1, 1), Err(WalError::Damaged { group: GroupId(1) })));
        assert_eq!(wal.damaged_groups(), [GroupId(1)]);
        assert_eq!(wal.damage()[0].groups, [GroupId(1)]);
        wal.close().await;
        assert_eq!(open(&disk).unwrap().damaged_groups(), [GroupId(1)]);
    });
}

#[test]
fn an_entry_that_rots_is_not_copied_with_a_fresh_checksum() {
    simulate(async {
        let disk = SimDisk::new();
        let wal = open(&disk).unwrap();
        let (quiet, busy) = (wal.group(GroupId(1)), wal.group(GroupId(2)));
        append(&quiet, (0..5).map(|index| record(1, index, 200)).collect()).await;
        disk.flip_bit(&segment_path(), 2 * frame::SECTOR + 300, 1);
        for index in 0..2000 {
            append(&busy, vec![record(1, index, 800)]).await;
            if index >= 5 {
                busy.purge(LogPoint { term: 1, index: index - 5 }).await.unwrap();
            }
        }
        assert!(quiet.is_damaged() && !busy.is_damaged());
        wal.close().await;
        assert_eq!(open(&disk).unwrap().damaged_groups(), [GroupId(1)]);
    });
}
