//! Crashes at every point of writing checkpoints: one that was published is there and right, and none is there that is
//! wrong.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

mod common;

use common::{archive, load, open, write};
use levada_checkpoint::{CheckpointError, Manifest};
use levada_core::random::SplitMix64;
use levada_testing::MemoryDisk;

const CHECKPOINTS: u64 = 5;
const KEEP: usize = 2;
const SEEDS: u64 = 24;

/// Goes on from the newest checkpoint, every second one a change of the one before, until something fails. Returns the
/// numbers of those that were published.
fn job(disk: &MemoryDisk, published: &mut Vec<u64>) -> Result<(), CheckpointError> {
    let directory = open(disk)?;
    let latest = directory.archive().latest_complete()?;
    assert!(latest.skipped.is_empty(), "{:?}", latest.skipped);
    let mut base: Option<Manifest> = latest.manifest;
    if let Some(manifest) = &base {
        load(directory.archive(), manifest)?;
    }
    for number in directory.next_number()..=CHECKPOINTS {
        let based_on = base.as_ref().filter(|base| base.files.len() < 3);
        base = Some(write(&directory, number, based_on)?);
        published.push(number);
        directory.retain(KEEP)?;
    }
    Ok(())
}

/// What is there after a crash: whatever was published last, and nothing that cannot be loaded.
fn check(disk: &MemoryDisk, published: &[u64], context: &str) {
    let archive = archive(disk);
    let mut loaded = Vec::new();
    for found in archive.list().unwrap() {
        // What was not published may be there, and then all of it is.
        let manifest = found.manifest.and_then(|manifest| {
            load(&archive, &manifest)?;
            archive.verify(found.number)
        });
        assert!(manifest.is_ok(), "{context}: {:?}", manifest.unwrap_err());
        loaded.push(found.number);
    }
    assert!(loaded.len() >= published.len().min(KEEP), "{context}");
    let oldest = loaded[..loaded.len().min(KEEP)].last();
    let kept = published.iter().filter(|number| Some(*number) >= oldest);
    for number in kept {
        assert!(loaded.contains(number), "{context}: {number} is lost");
    }
}

/// How many changes of the disk the whole job makes.
fn changes() -> u64 {
    let is_enough = |changes: &u64| {
        let disk = MemoryDisk::default();
        disk.power_off_after(*changes);
        job(&disk, &mut Vec::new()).is_ok()
    };
    (0..10_000).find(is_enough).unwrap()
}

#[test]
fn what_was_published_survives_a_loss_of_power_at_any_point() {
    let changes = changes();
    assert!(changes > 40, "only {changes} changes");
    let mut unpublished = 0;
    for seed in 0..SEEDS {
        for after in 0..changes {
            let context = format!("seed {seed}, power off after {after} changes");
            let disk = MemoryDisk::default();
            let mut published = Vec::new();
            disk.power_off_after(after);
            job(&disk, &mut published).unwrap_err();
            disk.crash(seed * changes + after);
            check(&disk, &published, &context);
            let found = archive(&disk).latest_complete().unwrap().manifest;
            let found = found.map(|manifest| manifest.number);
            unpublished += u64::from(found > published.last().copied());

            // Another job goes on, and another crash is no worse.
            let mut random = SplitMix64::new(seed * changes + after);
            disk.power_off_after(random.below(changes));
            let ended = job(&disk, &mut published);
            disk.crash(seed * changes + after + 1);
            check(&disk, &published, &format!("{context}, twice"));

            // The last one comes to the end, with nothing of what was left behind.
            job(&disk, &mut published).unwrap();
            drop(ended);
            check(&disk, &published, &format!("{context}, at the end"));
            let left = common::names(&disk);
            let is_temporary = |name: &String| name.starts_with(".checkpoint");
            assert!(!left.iter().any(is_temporary), "{context}: {left:?}");
        }
    }
    assert!(unpublished > 0, "a crash has come between rename and sync");
}

/// What a job has found and gone on from is still there after a crash: its output may have been committed because of it.
#[test]
fn what_was_found_once_is_found_again() {
    let changes = changes();
    for seed in 0..SEEDS {
        for after in 0..changes {
            let disk = MemoryDisk::default();
            let mut published = Vec::new();
            disk.power_off_after(after);
            job(&disk, &mut published).unwrap_err();
            // The process is killed, the machine goes on.
            disk.power_off_after(u64::MAX);
            let directory = open(&disk).unwrap();
            let newest = |disk: &MemoryDisk| {
                let latest = archive(disk).latest_complete().unwrap();
                latest.manifest.map(|manifest| manifest.number)
            };
            let found = newest(&disk);
            drop(directory);
            disk.crash(seed * changes + after);
            let context = format!("seed {seed}, killed after {after} changes");
            assert_eq!(newest(&disk), found, "{context}");
            check(&disk, &published, &context);
        }
    }
}

/// A machine that loses its power and finds zeros, or less than was written, finds no checkpoint there.
#[test]
fn a_file_that_was_finished_but_not_published_is_nothing() {
    for seed in 0..SEEDS {
        let disk = MemoryDisk::default();
        let directory = open(&disk).unwrap();
        let first = write(&directory, 1, None).unwrap();
        common::write_data(&directory, 2, levada_state::RowKind::Whole).unwrap();
        disk.crash(seed);
        let directory = open(&disk).unwrap();
        let latest = directory.archive().latest_complete().unwrap();
        assert_eq!(latest.manifest, Some(first), "seed {seed}");
        let left = common::names(&disk);
        let expected = [
            ".lock",
            "checkpoint-00000001.json",
            "data-00000001-r5-1.blocks",
        ];
        assert!(
            left.iter().all(|name| expected.contains(&&**name)),
            "seed {seed}: {left:?}"
        );
    }
}

/// A job that is killed, and a loss of power while the next one tidies up.
#[test]
fn tidying_up_takes_nothing_from_what_may_come_back() {
    let changes = changes();
    for seed in 0..SEEDS {
        for after in 0..changes {
            let disk = MemoryDisk::default();
            let mut published = Vec::new();
            disk.power_off_after(after);
            job(&disk, &mut published).unwrap_err();
            let more = seed % 6;
            disk.power_off_after(more);
            drop(open(&disk));
            disk.crash(seed * changes + after);
            let context = format!("seed {seed}, killed after {after} changes, off after {more}");
            check(&disk, &published, &context);
        }
    }
}
