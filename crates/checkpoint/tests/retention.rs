//! What is removed: what no checkpoint that is kept needs, and nothing else.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use common::{archive, load, names, open, write};
use levada_checkpoint::{CheckpointKind, Directory};
use levada_core::disk::{Disk, Kind};
use levada_core::random::SplitMix64;
use levada_runtime::Environment;
use levada_state::RowKind;
use levada_testing::MemoryDisk;

#[test]
fn files_stay_as_long_as_a_checkpoint_is_based_on_them() {
    let disk = MemoryDisk::default();
    let directory = open(&disk).unwrap();
    let first = write(&directory, 1, None).unwrap();
    let second = write(&directory, 2, Some(&first)).unwrap();
    let third = write(&directory, 3, Some(&second)).unwrap();
    assert_eq!(third.chain(), [1, 2, 3]);
    assert_eq!(directory.retain(1).unwrap().len(), 2);
    let expected = [
        ".lock",
        "checkpoint-00000003.json",
        "data-00000001-r5-1.blocks",
        "data-00000002-r5-1.blocks",
        "data-00000003-r5-1.blocks",
    ];
    assert_eq!(names(&disk), expected);
    load(directory.archive(), &third).unwrap();
    write(&directory, 4, None).unwrap();
    assert_eq!(directory.retain(1).unwrap().len(), 4);
    assert_eq!(
        names(&disk),
        [
            ".lock",
            "checkpoint-00000004.json",
            "data-00000004-r5-1.blocks"
        ]
    );
    // There is always one to go on from.
    assert!(directory.retain(0).unwrap().is_empty());
}

#[test]
fn any_history_leaves_what_it_must() {
    for seed in 0..300 {
        let mut random = SplitMix64::new(seed);
        let disk = MemoryDisk::default();
        let mut directory = open(&disk).unwrap();
        let mut made = Vec::new();
        for number in 1..=12 {
            let base = match random.below(3) {
                0 => None,
                _ => made.last(),
            };
            match random.below(5) {
                // One that is given up after its file was finished.
                0 => drop(common::write_data(&directory, number, RowKind::Whole).unwrap()),
                _ => made.push(write(&directory, number, base).unwrap()),
            }
            let keep = 1 + random.below(3) as usize;
            if random.below(2) == 0 {
                directory.retain(keep).unwrap();
                let kept = made.len().saturating_sub(keep);
                made.drain(..kept);
            }
            if random.below(4) == 0 {
                drop(directory);
                directory = open(&disk).unwrap();
            }
            let found = archive(&disk).list().unwrap();
            let found: Vec<_> = found
                .into_iter()
                .rev()
                .map(|found| found.manifest.unwrap())
                .collect();
            assert_eq!(found, made, "seed {seed}");
            for manifest in &made {
                load(directory.archive(), manifest).unwrap();
            }
        }
        drop(directory);
        drop(open(&disk).unwrap());
        let needed = made.iter().flat_map(|manifest| &manifest.files);
        let needed: std::collections::BTreeSet<_> = needed.map(|file| file.name.clone()).collect();
        let data = names(&disk)
            .into_iter()
            .filter(|name| name.starts_with("data"));
        assert_eq!(
            data.collect::<std::collections::BTreeSet<_>>(),
            needed,
            "seed {seed}"
        );
    }
}

/// What is being written has a larger number than all manifests.
#[test]
fn a_checkpoint_that_is_being_written_keeps_its_file() {
    let disk = MemoryDisk::default();
    let directory = open(&disk).unwrap();
    write(&directory, 1, None).unwrap();
    write(&directory, 2, None).unwrap();
    let entry = common::write_data(&directory, 3, RowKind::Whole).unwrap();
    assert_eq!(directory.retain(1).unwrap().len(), 2);
    let manifest = common::manifest(3, vec![entry]);
    directory.publish(&manifest).unwrap();
    load(directory.archive(), &manifest).unwrap();
}

#[test]
fn savepoints_are_kept() {
    let disk = MemoryDisk::default();
    let directory = open(&disk).unwrap();
    let mut savepoint = common::manifest(1, Vec::new());
    savepoint.kind = CheckpointKind::Savepoint;
    savepoint.files = vec![common::write_data(&directory, 1, RowKind::Whole).unwrap()];
    directory.publish(&savepoint).unwrap();
    for number in 2..=4 {
        write(&directory, number, None).unwrap();
    }
    directory.retain(1).unwrap();
    let found = archive(&disk).list().unwrap();
    let found: Vec<_> = found.iter().map(|found| found.number).collect();
    assert_eq!(found, [4, 1]);
    archive(&disk).verify(1).unwrap();
}

/// A manifest that cannot be read may need any file that is older.
#[test]
fn a_damaged_checkpoint_is_nobodys_reason_to_remove_a_file() {
    let disk = MemoryDisk::default();
    let directory = open(&disk).unwrap();
    let first = write(&directory, 1, None).unwrap();
    write(&directory, 2, Some(&first)).unwrap();
    drop(directory);
    let path = "/checkpoints/checkpoint-00000002.json";
    let whole = disk.get(path).unwrap();
    disk.put(path, &whole[..100]);
    let directory = open(&disk).unwrap();
    let latest = directory.archive().latest_complete().unwrap();
    assert_eq!(latest.manifest, Some(first));
    assert_eq!(latest.skipped.len(), 1);
    assert!(directory.retain(1).unwrap().is_empty());
    // Somebody brings it back.
    disk.put(path, whole);
    archive(&disk).verify(2).unwrap();
    // Or nobody does, and it gets old.
    disk.put(path, "damaged");
    assert_eq!(directory.next_number(), 3);
    write(&directory, 3, None).unwrap();
    directory.retain(1).unwrap();
    assert_eq!(
        names(&disk),
        [
            ".lock",
            "checkpoint-00000003.json",
            "data-00000003-r5-1.blocks"
        ]
    );
}

#[test]
fn foreign_files_and_links_stay() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Environment::system().disk;
    let home = dir.path().join("checkpoints");
    let elsewhere = dir.path().join("elsewhere");
    fs::create_dir_all(home.join("data-00000002-r5-1.blocks")).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    let foreign = [
        "note.txt",
        "checkpoint-1.json",
        "data-00000001-r5-1.blocks.bak",
        ".checkpoint-00000001.json.tmp~",
        ".data-00000001-r5-1.blocks",
        "data-00000001.blocks",
    ];
    for name in foreign {
        fs::write(home.join(name), name).unwrap();
    }
    let links = [
        "data-00000001-r6-1.blocks",
        "checkpoint-00000009.json",
        ".checkpoint-00000001.json.tmp",
    ];
    for name in links {
        fs::write(elsewhere.join(name), "precious").unwrap();
        symlink(elsewhere.join(name), home.join(name)).unwrap();
    }
    symlink(&elsewhere, home.join("data-00000001-r7-1.blocks")).unwrap();
    // And what an earlier job has left.
    fs::write(home.join("data-00000001-r8-1.blocks"), "").unwrap();
    fs::write(home.join(".checkpoint-00000003.json.tmp"), "{").unwrap();

    let list = |path: &Path| fs::read_dir(path).unwrap().count();
    let before = list(&home);
    let directory = Directory::open(disk.clone(), &home).unwrap();
    assert_eq!(
        list(&home),
        before + 1 - 2,
        "the lock has come, two have gone"
    );
    for number in 4..8 {
        write(&directory, number, None).unwrap();
        directory.retain(1).unwrap();
    }
    assert_eq!(list(&home), before + 1 - 2 + 2);
    assert_eq!(list(&elsewhere), links.len());
    for name in foreign {
        assert_eq!(fs::read_to_string(home.join(name)).unwrap(), name);
    }
    for name in links {
        assert_eq!(disk.kind(&home.join(name)).unwrap(), Kind::Link);
        assert_eq!(fs::read_to_string(home.join(name)).unwrap(), "precious");
    }
    assert_eq!(disk.kind(&home).unwrap(), Kind::Directory);
    assert_eq!(disk.kind(&home.join("note.txt")).unwrap(), Kind::File);
    // A link is not locked, nor is what it leads to.
    let locked = dir.path().join("locked");
    fs::create_dir(&locked).unwrap();
    symlink(elsewhere.join("lock"), locked.join(".lock")).unwrap();
    let error = Directory::open(disk.clone(), &locked).err().unwrap();
    assert!(error.to_string().starts_with("cannot lock"), "{error}");
    assert_eq!(list(&elsewhere), links.len());
    // A link under the name of a manifest is not replaced.
    let error = directory
        .publish(&common::manifest(9, Vec::new()))
        .unwrap_err();
    assert!(error.to_string().starts_with("cannot create"), "{error}");
}

/// On a disk in memory, where links can be put into the way of every name.
#[test]
fn links_in_memory_stay_too() {
    let disk = MemoryDisk::default();
    disk.put("/elsewhere/file", "precious");
    drop(open(&disk).unwrap());
    disk.link("/checkpoints/data-00000001-r5-9.blocks", "/elsewhere/file");
    let directory = open(&disk).unwrap();
    write(&directory, 2, None).unwrap();
    directory.retain(1).unwrap();
    let path = Path::new("/checkpoints/data-00000001-r5-9.blocks");
    assert_eq!(disk.kind(path).unwrap(), Kind::Link);
    assert_eq!(disk.get("/elsewhere/file").unwrap(), b"precious");
    // Nor is one discarded that has taken the place of a file.
    let entry = common::write_data(&directory, 3, RowKind::Whole).unwrap();
    let path = Path::new(common::DIR).join(&entry.name);
    disk.remove(&path).unwrap();
    disk.link(&path, "/elsewhere/file");
    directory.discard(&entry).unwrap();
    assert_eq!(disk.kind(&path).unwrap(), Kind::Link);
}
