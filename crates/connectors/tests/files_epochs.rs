//! Parts of a directory, epoch by epoch: what a checkpoint has prepared becomes visible once, whatever happens in between.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::collections::BTreeSet;
use std::panic::Location;
use std::sync::Arc;

use levada_connectors::{Files, files};
use levada_core::disk::Disk;
use levada_core::{Origin, Timestamp, Wake};
use levada_runtime::{BoxError, Drain, Environment, ReaderContext, Sink, SinkContext, Writer};
use levada_testing::MemoryDisk;

type Text = levada_connectors::AsText;
type FilesWriter = <Files<Text> as Sink<u64>>::Writer;

/// What a checkpoint keeps of a sink: here as bytes, as it would be read by another process.
type Pending = Vec<u8>;

const SUBTASKS: usize = 2;

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

/// Run number `run` of a job, on this disk.
fn context(disk: &MemoryDisk, run: u64, subtask: usize, is_restored: bool) -> SinkContext {
    let environment = Environment {
        disk: Arc::new(disk.clone()),
        ..Environment::system()
    };
    let operator = Origin::new("out", Location::caller());
    let reader = ReaderContext::without_job(operator, SUBTASKS, environment, Arc::new(Nobody));
    SinkContext {
        operator: reader.operator,
        subtask,
        parallelism: SUBTASKS,
        run: format!("{run:016x}").into(),
        is_restored,
        environment: reader.environment,
        waker: reader.waker,
        counters: reader.counters,
        metrics: reader.metrics,
    }
}

struct Numbers(std::ops::Range<u64>);

impl Iterator for Numbers {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0.next()
    }
}

impl Drain<u64> for Numbers {
    fn timestamp(&self) -> Timestamp {
        Timestamp::MIN
    }

    fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

fn write(writer: &mut FilesWriter, numbers: std::ops::Range<u64>) -> Result<(), BoxError> {
    writer.write(&mut Numbers(numbers))
}

fn prepare(writer: &mut FilesWriter) -> Result<Option<String>, BoxError> {
    Writer::<u64>::prepare(writer)
}

fn commit(writer: &mut FilesWriter, pending: Option<String>) -> Result<(), BoxError> {
    Writer::<u64>::commit(writer, pending)
}

fn start(sink: &Files<Text>, context: &SinkContext) -> Result<(), BoxError> {
    Sink::<u64>::start(sink, context)
}

fn recover(
    sink: &Files<Text>,
    pending: Vec<Option<String>>,
    context: &SinkContext,
) -> Result<(), BoxError> {
    Sink::<u64>::recover(sink, pending, context)
}

fn open(sink: &Files<Text>, context: &SinkContext) -> FilesWriter {
    Sink::<u64>::open(sink, context).unwrap()
}

fn names(disk: &MemoryDisk) -> Vec<String> {
    let paths = disk.paths();
    let name = |path: &std::path::PathBuf| path.file_name()?.to_str().map(str::to_owned);
    let names = paths.iter().filter_map(name);
    names.filter(|name| name != ".levada-lock").collect()
}

/// The numbers in visible parts. Each is there once.
fn visible(disk: &MemoryDisk) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for path in disk.paths() {
        let is_hidden = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with('.');
        if path.file_name().is_some_and(is_hidden) {
            continue;
        }
        let mut text = disk.get(&path).unwrap();
        if path.extension().is_some() {
            text = decompressed(disk, &path);
        }
        for line in String::from_utf8(text).unwrap().lines() {
            let number = line.parse().unwrap();
            assert!(found.insert(number), "{number} is there twice");
        }
    }
    found
}

/// Reads a part by the source, which knows compression.
fn decompressed(disk: &MemoryDisk, path: &std::path::Path) -> Vec<u8> {
    let environment = Environment {
        disk: Arc::new(disk.clone()),
        ..Environment::system()
    };
    let source = levada_connectors::text_files(path.to_str().unwrap());
    let lines = levada_testing::replay(&source, &environment, 1, usize::MAX).unwrap();
    lines.join("\n").into_bytes()
}

/// A job that counts, and what its last complete checkpoint has kept.
struct Job {
    disk: MemoryDisk,
    sink: Files<Text>,
    run: u64,
    /// The next number after the last complete checkpoint.
    position: u64,
    has_checkpoint: bool,
    /// What was prepared and is not known to be committed.
    pending: Vec<Pending>,
    /// Commits follow their checkpoint only one checkpoint later.
    late: bool,
}

const END: u64 = 60;
const EPOCH: u64 = 12;

impl Job {
    /// Starts, or goes on from the last complete checkpoint; to the end, or until something fails.
    fn run(&mut self) -> Result<(), BoxError> {
        self.run += 1;
        let context = |subtask| context(&self.disk, self.run, subtask, self.has_checkpoint);
        start(&self.sink, &context(0))?;
        if self.has_checkpoint {
            let pending = self.pending.iter();
            let pending = pending.map(|bytes| serde_json::from_slice(bytes).unwrap());
            recover(&self.sink, pending.collect(), &context(0))?;
            self.pending.clear();
            let expected: BTreeSet<u64> = (0..self.position).collect();
            assert_eq!(visible(&self.disk), expected, "of {}", self.run);
            assert!(names(&self.disk).iter().all(|name| !name.starts_with('.')));
        } else {
            assert!(names(&self.disk).is_empty());
        }
        let mut writers: Vec<_> = (0..SUBTASKS)
            .map(|subtask| open(&self.sink, &context(subtask)))
            .collect();
        let mut uncommitted: Vec<Vec<Option<String>>> = Vec::new();
        let mut next = self.position;
        while next < END {
            // The second subtask has nothing to write in every other epoch.
            let end = next + EPOCH;
            let middle = if next.is_multiple_of(2 * EPOCH) {
                end
            } else {
                next + 5
            };
            write(&mut writers[0], next..middle)?;
            write(&mut writers[1], middle..end)?;
            next = end;
            let mut prepared = Vec::new();
            for writer in &mut writers {
                prepared.push(prepare(writer)?);
            }
            uncommitted.push(prepared);
            // The checkpoint is complete.
            let all = uncommitted.iter().flatten();
            self.pending = all.map(|one| serde_json::to_vec(one).unwrap()).collect();
            self.position = next;
            self.has_checkpoint = true;
            let kept = usize::from(self.late && next < END);
            while uncommitted.len() > kept {
                let prepared = uncommitted.remove(0);
                for (writer, pending) in writers.iter_mut().zip(prepared) {
                    commit(writer, pending)?;
                }
            }
        }
        Ok(())
    }
}

fn crash_everywhere(late: bool, make: impl Fn() -> Files<Text>) {
    let mut crashes = 0;
    for changes in 0.. {
        let disk = MemoryDisk::default();
        let mut job = Job {
            disk: disk.clone(),
            sink: make(),
            run: 0,
            position: 0,
            has_checkpoint: false,
            pending: Vec::new(),
            late,
        };
        disk.power_off_after(changes);
        let whole = job.run().is_ok();
        let mut again = changes;
        let mut finished = whole;
        while !finished {
            crashes += 1;
            again = again * 7 + 3;
            disk.crash(again);
            // Another process, and another one if the power fails again.
            job.sink = make();
            if again.is_multiple_of(3) {
                disk.power_off_after(again % 23);
            }
            finished = job.run().is_ok();
        }
        assert_eq!(
            visible(&disk),
            (0..END).collect(),
            "after {changes} changes"
        );
        assert!(names(&disk).iter().all(|name| !name.starts_with('.')));
        if whole {
            assert!(crashes > 30, "{crashes}");
            return;
        }
    }
}

#[test]
fn a_power_failure_at_any_change_loses_nothing_and_repeats_nothing() {
    for late in [false, true] {
        crash_everywhere(late, || files("out"));
        #[cfg(feature = "compression")]
        crash_everywhere(late, || files("out").gzip());
        #[cfg(feature = "compression")]
        crash_everywhere(late, || files("out").zstd());
    }
}

/// A part that is prepared survives any crash, with its name.
#[test]
fn what_is_prepared_is_on_the_disk() {
    for seed in 0..50 {
        let disk = MemoryDisk::default();
        let sink = files("out");
        let first = context(&disk, 1, 0, false);
        start(&sink, &first).unwrap();
        let mut writer = open(&sink, &first);
        write(&mut writer, 0..5).unwrap();
        let prepared = prepare(&mut writer).unwrap();
        drop(writer);
        disk.crash(seed);
        let sink = files("out");
        let second = context(&disk, 2, 0, true);
        start(&sink, &second).unwrap();
        recover(&sink, vec![prepared], &second).unwrap();
        assert_eq!(visible(&disk), (0..5).collect(), "seed {seed}");
    }
}

#[test]
fn a_commit_may_be_repeated_and_one_that_is_lost_is_named() {
    let disk = MemoryDisk::default();
    let sink = files("out");
    let first = context(&disk, 1, 0, false);
    start(&sink, &first).unwrap();
    let mut writer = open(&sink, &first);
    write(&mut writer, 0..5).unwrap();
    let prepared = prepare(&mut writer).unwrap();
    assert_eq!(
        prepared.as_deref(),
        Some("part-0000000000000001-00000-000000")
    );
    commit(&mut writer, prepared.clone()).unwrap();
    commit(&mut writer, prepared.clone()).unwrap();
    drop((writer, sink));
    let sink = files("out");
    let second = context(&disk, 2, 0, true);
    start(&sink, &second).unwrap();
    recover(&sink, vec![prepared.clone(), None, prepared], &second).unwrap();
    assert_eq!(visible(&disk), (0..5).collect());
    let lost = Some("part-0000000000000001-00001-000007".to_owned());
    let error = recover(&sink, vec![lost], &second).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the part part-0000000000000001-00001-000007 of out is lost: the checkpoint has prepared it, and it is there \
         neither under this name nor as .part-0000000000000001-00001-000007"
    );
}

#[test]
fn only_parts_of_dead_jobs_are_removed() {
    let disk = MemoryDisk::default();
    let dead = "out/.part-00000000000000ff-00000-000000";
    disk.put(dead, "1\n");
    disk.put(format!("{dead}.gz"), "1\n");
    let foreign = [
        "out/.hidden",
        "out/.part-of-mine",
        "out/.part-00000000000000ff-00000-000000.bak",
    ];
    for path in foreign {
        disk.put(path, "mine");
    }
    disk.create_dir_all("out/.part-00000000000000ff-00000-000001".as_ref())
        .unwrap();
    start(&files("out"), &context(&disk, 1, 0, false)).unwrap();
    let left = disk.paths();
    assert_eq!(left.len(), foreign.len() + 1, "{left:?}");
    assert!(foreign.iter().all(|path| disk.get(path).is_some()));
}

#[test]
fn a_directory_with_output_is_refused_unless_the_job_goes_on() {
    let disk = MemoryDisk::default();
    disk.put("out/part-of-another-run", "1\n");
    let error = start(&files("out"), &context(&disk, 1, 0, false)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "out holds part-of-another-run already: give a directory that is empty or does not exist, or go on from a \
         checkpoint of the job that wrote it (`--from`)"
    );
    start(&files("out"), &context(&disk, 1, 0, true)).unwrap();
}

/// Whoever writes into the directory holds it, so that its hidden parts are not taken for those of a dead job.
#[test]
fn two_jobs_cannot_share_a_directory() {
    let disk = MemoryDisk::default();
    let sink = files("out");
    let [first, second] = [0, 1].map(|subtask| context(&disk, 1, subtask, false));
    start(&sink, &first).unwrap();
    let mut writers = [open(&sink, &first), open(&sink, &second)];
    write(&mut writers[1], 0..20_000).unwrap();
    let hidden = names(&disk);
    assert_eq!(hidden.len(), 1, "it has written before it prepares");

    let other = files("out");
    for is_restored in [false, true] {
        let error = start(&other, &context(&disk, 2, 0, is_restored)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "another job writes into out: wait until it has ended, or give another directory"
        );
    }
    assert_eq!(names(&disk), hidden);
    let [one, two] = writers;
    drop(one);
    assert!(start(&other, &context(&disk, 2, 0, false)).is_err());
    drop(two);
    // The sink itself does not hold it any more.
    start(&other, &context(&disk, 2, 0, false)).unwrap();
    assert!(names(&disk).is_empty());
}

#[test]
fn a_job_that_is_given_up_leaves_what_was_prepared() {
    let disk = MemoryDisk::default();
    let sink = files("out");
    for run in 1..3 {
        // The same sink is started again.
        let context = context(&disk, run, 0, run > 1);
        start(&sink, &context).unwrap();
        let mut writer = open(&sink, &context);
        write(&mut writer, 0..5).unwrap();
        let prepared = prepare(&mut writer).unwrap();
        write(&mut writer, 5..20_000).unwrap();
        assert_eq!(names(&disk).len(), 2);
        Writer::<u64>::abort(&mut writer).unwrap();
        let prepared = prepared.unwrap();
        assert_eq!(names(&disk), [format!(".{prepared}")]);
        drop(writer);
        if run == 1 {
            disk.remove(format!("out/.{prepared}").as_ref()).unwrap();
        }
    }
}
