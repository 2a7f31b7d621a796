//! Disks that are full, fail, refuse or vanish, and two jobs at one directory: a checkpoint that failed does not count,
//! and those before it do.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

mod common;

use std::error::Error;
use std::sync::Arc;

use common::{DIR, RUN, archive, load, names, open, write, write_data};
use levada_checkpoint::{
    Archive, Block, BlockKind, CheckpointError, CheckpointKind, DataFile, Directory,
};
use levada_runtime::Environment;
use levada_state::RowKind;
use levada_testing::MemoryDisk;

fn newest(disk: &MemoryDisk) -> Option<u64> {
    let latest = archive(disk).latest_complete().unwrap();
    assert!(latest.skipped.is_empty(), "{:?}", latest.skipped);
    latest.manifest.map(|manifest| manifest.number)
}

#[test]
fn a_disk_that_runs_full_fails_the_checkpoint_and_no_other() {
    let mut failures = 0;
    for bytes in 0.. {
        let disk = MemoryDisk::default();
        let directory = open(&disk).unwrap();
        write(&directory, 1, None).unwrap();
        let before = names(&disk);
        disk.fill_after(bytes);
        let Err(error) = write(&directory, 2, None) else {
            break;
        };
        failures += 1;
        let path = match &error {
            CheckpointError::File {
                act: "write", path, ..
            } => path,
            other => panic!("{other}"),
        };
        assert!(path.to_str().unwrap().contains("00000002"), "{error}");
        assert_eq!(newest(&disk), Some(1), "{bytes}");
        // The file that failed is gone; one that was finished is removed when another checkpoint is there.
        let left = names(&disk);
        let is_finished = |name: &String| name == "data-00000002-r5-1.blocks";
        let rest = left.into_iter().filter(|name| !is_finished(name));
        assert_eq!(rest.collect::<Vec<_>>(), before);

        disk.fill_after(usize::MAX);
        let third = write(&directory, 3, None).unwrap();
        load(directory.archive(), &third).unwrap();
        directory.retain(1).unwrap();
        let expected = [
            ".lock",
            "checkpoint-00000003.json",
            "data-00000003-r5-1.blocks",
        ];
        assert_eq!(names(&disk), expected);
    }
    assert!(
        failures > 1_000,
        "every byte of data and manifest was once too much"
    );
}

#[test]
fn a_sync_that_fails_fails_the_checkpoint() {
    let mut failures = 0;
    let mut undecided = 0;
    for seed in 0..50 {
        for syncs in 0.. {
            let disk = MemoryDisk::default();
            let directory = open(&disk).unwrap();
            write(&directory, 1, None).unwrap();
            disk.fail_syncs_after(syncs);
            let Err(error) = write(&directory, 2, None) else {
                break;
            };
            failures += 1;
            assert_eq!(newest(&disk), Some(1), "after {syncs} syncs: {error}");
            // The number is not used again, nor what was written for it.
            drop(directory);
            disk.crash(seed);
            match error {
                CheckpointError::Undecided { .. } => undecided += 1,
                _ => assert_eq!(newest(&disk), Some(1), "seed {seed}, after {syncs} syncs"),
            }
            archive(&disk).verify(1).unwrap();
        }
    }
    // One of the data, one of the manifest, two of the directory; from the last one on the name may be durable.
    assert_eq!(failures, 4 * 50);
    assert_eq!(undecided, 50);
}

#[test]
fn what_failed_once_is_not_written_further() {
    let disk = MemoryDisk::default();
    let directory = open(&disk).unwrap();
    let mut file = directory.create(1, RUN, 1).unwrap();
    let block = Block {
        kind: BlockKind::Keyed,
        name: "revenue",
        from: 0,
        to: 1,
        payload: &[7; 300_000],
    };
    file.append(&block).unwrap();
    disk.fill_after(100);
    file.append(&block).unwrap_err();
    disk.fill_after(usize::MAX);
    assert!(!names(&disk).iter().any(|name| name.starts_with("data")));
    let again = file.append(&block).unwrap_err();
    assert!(matches!(again, CheckpointError::Failed { .. }), "{again}");
    let finished = file.finish().unwrap_err();
    assert!(
        matches!(finished, CheckpointError::Failed { .. }),
        "{finished}"
    );
}

#[test]
fn a_file_that_is_given_up_is_removed() {
    let disk = MemoryDisk::default();
    let directory = open(&disk).unwrap();
    let file = directory.create(1, RUN, 1).unwrap();
    let there = directory.create(1, RUN, 1).err().unwrap().to_string();
    assert_eq!(
        there,
        "cannot create /checkpoints/data-00000001-r5-1.blocks"
    );
    assert_eq!(names(&disk).len(), 2);
    drop(file);
    assert_eq!(names(&disk), [".lock"]);
    let entry = write_data(&directory, 1, RowKind::Whole).unwrap();
    directory.discard(&entry).unwrap();
    directory.discard(&entry).unwrap();
    assert_eq!(names(&disk), [".lock"]);
    // What was discarded cannot be published.
    let error = directory
        .publish(&common::manifest(1, vec![entry]))
        .unwrap_err();
    assert!(matches!(error, CheckpointError::Missing { .. }), "{error}");
}

#[test]
fn a_block_that_is_too_large_leaves_the_file_as_it_was() {
    let disk = MemoryDisk::default();
    let directory = open(&disk).unwrap();
    let mut file = directory.create(1, RUN, 1).unwrap();
    let name = "x".repeat(70_000);
    let block = |name| Block {
        kind: BlockKind::Sink,
        name,
        from: 0,
        to: 1,
        payload: b"part",
    };
    let error = file.append(&block(&name)).unwrap_err().to_string();
    assert!(error.contains("a name of 70000 bytes"), "{error}");
    file.append(&block("out")).unwrap();
    assert_eq!(file.finish().unwrap().blocks, 1);
}

#[test]
fn a_directory_in_which_nothing_can_be_made_is_named() {
    let disk = MemoryDisk::default();
    disk.put("/checkpoints/note.txt", "mine");
    disk.forbid(DIR);
    let error = open(&disk).err().unwrap();
    assert_eq!(error.to_string(), "cannot lock /checkpoints/.lock");
    assert!(error.source().is_some());
    disk.forbid("/");
    let error = Directory::open(Arc::new(disk), "/other").err().unwrap();
    assert_eq!(error.to_string(), "cannot create /other");
}

#[test]
fn a_directory_that_is_removed_in_between_fails_the_checkpoint() {
    let disk = MemoryDisk::default();
    let directory = open(&disk).unwrap();
    write(&directory, 1, None).unwrap();
    let entry = write_data(&directory, 2, RowKind::Whole).unwrap();
    disk.remove_dir(DIR);
    let error = directory
        .publish(&common::manifest(2, vec![entry]))
        .unwrap_err();
    assert!(matches!(error, CheckpointError::Missing { .. }), "{error}");
    write(&directory, 3, None).unwrap_err();
    assert!(directory.retain(1).unwrap().is_empty());
    assert!(!archive(&disk).exists().unwrap());
    assert!(archive(&disk).list().unwrap().is_empty());
    assert!(archive(&disk).latest_complete().unwrap().manifest.is_none());
}

#[test]
fn two_jobs_cannot_write_to_one_directory() {
    let dir = tempfile::tempdir().unwrap();
    let memory: Arc<dyn levada_core::disk::Disk> = Arc::new(MemoryDisk::default());
    for disk in [memory, Environment::system().disk] {
        let path = dir.path().join("a/b");
        let first = Directory::open(Arc::clone(&disk), &path).unwrap();
        write(&first, 1, None).unwrap();
        let pending = write_data(&first, 2, RowKind::Whole).unwrap();
        let error = Directory::open(Arc::clone(&disk), &path).err().unwrap();
        assert_eq!(
            error.to_string(),
            format!(
                "another job writes its checkpoints to {}: give each job a directory of its own",
                path.display()
            )
        );
        // Reading needs no lock, and takes nothing away.
        let archive = Archive::new(Arc::clone(&disk), &path);
        archive.verify(1).unwrap();
        first.publish(&common::manifest(2, vec![pending])).unwrap();
        drop(first);
        let second = Directory::open(Arc::clone(&disk), &path).unwrap();
        assert_eq!(second.next_number(), 3);
        assert_eq!(second.archive().list().unwrap().len(), 2);
    }
}

#[test]
fn numbers_only_grow() {
    let disk = MemoryDisk::default();
    let directory = open(&disk).unwrap();
    assert_eq!(directory.next_number(), 1);
    write(&directory, 7, None).unwrap();
    for number in [6, 7] {
        let error = directory.publish(&common::manifest(number, Vec::new()));
        let created = directory.create(number, RUN, 2).err().unwrap();
        assert!(
            matches!(created, CheckpointError::Stale { .. }),
            "{created}"
        );
        assert_eq!(
            error.unwrap_err().to_string(),
            format!(
                "checkpoint {number} cannot be written to /checkpoints: numbers only grow, and 7 is there"
            )
        );
    }
    drop(directory);
    let directory = open(&disk).unwrap();
    assert_eq!(directory.next_number(), 8);
    let error = directory
        .publish(&common::manifest(3, Vec::new()))
        .unwrap_err();
    assert!(
        matches!(error, CheckpointError::Stale { newest: 7, .. }),
        "{error}"
    );
}

/// Tasks write, a coordinator publishes.
#[test]
fn threads_can_share_a_directory() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>() {}
    shared::<Directory>();
    shared::<Archive>();
    sent::<DataFile>();
}

#[test]
fn a_savepoint_wants_an_empty_directory() {
    let disk = MemoryDisk::default();
    let shared = || Arc::new(disk.clone());
    let directory = Directory::open_empty(shared(), "/savepoint").unwrap();
    let mut manifest = common::manifest(4, Vec::new());
    manifest.files = vec![write_data(&directory, 4, RowKind::Whole).unwrap()];
    manifest.kind = CheckpointKind::Savepoint;
    directory.publish(&manifest).unwrap();
    assert!(directory.retain(1).unwrap().is_empty());
    drop(directory);
    let error = Directory::open_empty(shared(), "/savepoint").err().unwrap();
    assert_eq!(
        error.to_string(),
        "/savepoint holds checkpoint-00000004.json already: \
         give a directory for the savepoint that is empty or does not exist"
    );
    let archive = Archive::new(shared(), "/savepoint");
    assert_eq!(archive.verify(4).unwrap(), manifest);
    // In a directory that is somebody's, nothing is left.
    disk.put("/photos/a.jpg", "a");
    let error = Directory::open_empty(shared(), "/photos").err().unwrap();
    assert!(error.to_string().contains("/photos holds a.jpg"), "{error}");
    let left = disk
        .paths()
        .into_iter()
        .filter(|path| path.starts_with("/photos"));
    assert!(left.eq(["/photos/a.jpg".into()] as [std::path::PathBuf; 1]));
    // Only the lock of one that failed: that is empty.
    drop(Directory::open(shared(), "/failed").unwrap());
    drop(Directory::open_empty(shared(), "/failed").unwrap());
}

#[test]
fn a_path_is_a_directory_or_a_manifest() {
    let disk = MemoryDisk::default();
    write(&open(&disk).unwrap(), 3, None).unwrap();
    let locate = |path: &str| Archive::locate(Arc::new(disk.clone()), path.as_ref());
    assert_eq!(locate(DIR).unwrap().1, None);
    let (archive, number) = locate("/checkpoints/checkpoint-00000003.json").unwrap();
    assert_eq!(archive.dir().to_str(), Some(DIR));
    archive.verify(number.unwrap()).unwrap();
    let error = locate("/checkpoints/data-00000003-r5-1.blocks")
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("neither a directory nor"),
        "{error}"
    );
    let error = locate("/checkpoints/checkpoint-00000004.json")
        .err()
        .unwrap();
    assert!(error.to_string().starts_with("cannot read"), "{error}");
    let error = archive.manifest(9).unwrap_err().to_string();
    assert_eq!(error, "there is no checkpoint 9 in /checkpoints");
}
