use super::*;

fn read(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(Path::new(path), false).ok()?;
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    Some(bytes)
}

#[test]
fn only_what_was_synced_is_sure_to_stay() {
    let mut lost_writes = 0;
    let mut lost_names = 0;
    for seed in 0..64 {
        let (disk, chance) = (SimDisk::new(), Chance::from_seed(seed));
        let file = disk.open(Path::new("d/a"), true).unwrap();
        file.write_at(0, b"synced").unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(Path::new("d")).unwrap();
        file.write_at(0, b"SYNCED").unwrap();
        disk.open(Path::new("d/b"), true).unwrap();
        let after = disk.power_cut(&chance);
        assert!(file.sync_data().is_err(), "a dead handle does nothing");
        assert!(disk.exists(Path::new("d/a")).is_err());
        match read(&after, "d/a").unwrap().as_slice() {
            b"synced" => lost_writes += 1,
            other => assert_eq!(other, b"SYNCED"),
        }
        lost_names += usize::from(read(&after, "d/b").is_none());
    }
    assert!((8..56).contains(&lost_writes) && (8..56).contains(&lost_names), "{lost_writes} {lost_names}");
}

#[test]
fn a_power_cut_can_be_told_what_to_lose() {
    for seed in 0..16 {
        let after = |loss| {
            let (disk, chance) = (SimDisk::new(), Chance::from_seed(seed));
            let file = disk.open(Path::new("d/a"), true).unwrap();
            file.sync_data().unwrap();
            disk.sync_dir(Path::new("d")).unwrap();
            file.write_at(0, &[1; SECTOR]).unwrap();
            file.write_at(SECTOR as u64, &[2; 4 * SECTOR]).unwrap();
            read(&disk.power_cut_with(loss, &chance), "d/a").unwrap()
        };
        assert!(after(Loss::All).is_empty());
        let torn = after(Loss::Torn);
        assert!(torn.len() >= SECTOR && torn[..SECTOR] == [1; SECTOR], "what came before the last is whole");
        assert!(torn[SECTOR..].iter().all(|byte| *byte == 2));
        let holed = after(Loss::Holed);
        assert_eq!(holed[..SECTOR], [1; SECTOR], "what came before the last is whole");
        let kept = holed[SECTOR..].chunks(SECTOR).filter(|sector| **sector == [2; SECTOR]);
        assert_eq!(kept.count(), 3, "one is gone");
    }
}

#[test]
fn a_copy_is_a_disk_of_its_own() {
    let disk = SimDisk::new();
    let file = disk.open(Path::new("a"), true).unwrap();
    file.write_at(0, b"before").unwrap();
    let copy = disk.copy_of();
    file.write_at(0, b"AFTER!").unwrap();
    disk.process_death();
    assert_eq!(read(&copy, "a").unwrap(), b"before");
}

#[test]
fn a_disk_stops_in_the_middle_and_its_durable_part_can_be_looked_at() {
    let disk = SimDisk::new();
    let file = disk.open(Path::new("d/a"), true).unwrap();
    file.write_at(0, b"synced").unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("d")).unwrap();
    disk.stop_after(1);
    file.write_at(0, b"SYNCED").unwrap();
    assert!(file.sync_data().is_err() && file.write_at(0, b"XXXXXX").is_err());
    disk.open(Path::new("d/b"), true).unwrap();
    let durable = disk.durable(Path::new("d"));
    assert_eq!((read(&durable, "d/a").unwrap().as_slice(), read(&durable, "d/b")), (&b"synced"[..], None));
    durable.open(Path::new("d/a"), false).unwrap().write_at(0, b"other").unwrap();
    assert_eq!(read(&disk, "d/a").unwrap(), b"XXXCED", "half of what failed; the copy is another disk");
    assert!(disk.durable(Path::new("e")).list(Path::new("d")).unwrap().is_empty());
    let after = disk.power_cut(&Chance::from_seed(1));
    let file = after.open(Path::new("d/a"), false).unwrap();
    assert!(file.write_at(0, b"again").is_ok() && file.sync_data().is_ok());
    after.stop_at_sync(0);
    assert!(file.write_at(0, b"whole").is_ok() && file.write_at(5, b"!").is_ok());
    assert!(file.sync_data().is_err() && file.write_at(0, b"late").is_err());
}

#[test]
fn a_process_that_dies_leaves_what_it_wrote() {
    let disk = SimDisk::new();
    let file = disk.open(Path::new("a"), true).unwrap();
    file.write_at(0, b"written").unwrap();
    let after = disk.process_death();
    assert!(file.write_at(0, b"WRITTEN").is_err(), "a dead handle does nothing");
    assert_eq!(read(&after, "a").unwrap(), b"written");
    after.leave_free(3);
    let file = after.open(Path::new("a"), false).unwrap();
    assert!(file.write_at(7, b"more").is_err() && file.write_at(7, b"mor").is_ok());
    after.sync_dir(Path::new("")).unwrap();
    after.remove(Path::new("a")).unwrap();
    assert_eq!(after.free_bytes().unwrap(), 0, "it may come back");
    after.sync_dir(Path::new("")).unwrap();
    assert_eq!(after.free_bytes().unwrap(), 10);
}

#[test]
fn faults_can_be_asked_for() {
    let disk = SimDisk::new();
    let file = disk.open(Path::new("a"), true).unwrap();
    disk.fail(Act::Sync, 1);
    assert!(file.sync_data().is_err() && file.sync_data().is_ok());
    disk.fail(Act::Write, 1);
    assert_eq!(file.write_at(0, &[7; 10]).unwrap_err().raw_os_error(), Some(EIO));
    disk.fail(Act::Read, 1);
    assert!(file.read_at(0, &mut [0; 5]).is_err());
    assert_eq!(read(&disk, "a").unwrap(), [7; 5]);
    disk.set_capacity(10);
    assert_eq!(file.write_at(0, &[1; 11]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.write_at(0, &[1; 10]).unwrap();
    disk.flip_bit(Path::new("a"), 3, 7);
    assert_eq!(read(&disk, "a").unwrap()[3], 0x81);
}

#[test]
fn a_file_without_name_and_handle_is_gone() {
    let disk = SimDisk::new();
    let count = || disk.state.lock().files.len();
    let open = |path: &str| {
        let file = disk.open(Path::new(path), true).unwrap();
        file.write_at(0, b"something").unwrap();
        file
    };
    drop(open("d/never synced"));
    disk.remove(Path::new("d/never synced")).unwrap();
    assert_eq!(count(), 0);

    let file = open("d/open");
    disk.remove(Path::new("d/open")).unwrap();
    assert_eq!(file.len().unwrap(), 9, "who has it open still reads it");
    drop(file);
    assert_eq!(count(), 0);

    drop((open("d/a"), open("d/b")));
    disk.sync_dir(Path::new("d")).unwrap();
    disk.rename(Path::new("d/a"), Path::new("d/b")).unwrap();
    assert_eq!(count(), 2, "the disk has the name of the replaced one");
    disk.sync_dir(Path::new("d")).unwrap();
    assert_eq!(count(), 1);
    disk.remove_dir(Path::new("d")).unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    assert_eq!(count(), 0);
}
