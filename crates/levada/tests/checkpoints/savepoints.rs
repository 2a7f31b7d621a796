//! Savepoints, and going on from a checkpoint that somebody names: with the same job, with another one, and where it is refused.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use levada::prelude::*;
use levada::{CheckpointOptions, CheckpointSummary, Event, Runner, StartAt};
use levada_core::disk::Disk;
use levada_runtime::checkpoint::Purpose;
use levada_testing::{Ledger, LedgerSink, MemoryDisk, Run, Simulated, Simulation, ledger};

use crate::dense::dense;

type Out = LedgerSink<(u64, u64)>;

const COUNT: u64 = 4_000;

/// A disk, and what is committed beyond it.
struct World {
    seed: u64,
    /// How many jobs there have been: each is a run of its own.
    jobs: Cell<u64>,
    disk: MemoryDisk,
    sink: Out,
    ledger: Ledger<(u64, u64)>,
}

/// A running count of each key.
fn counts(job: &Job, out: Out) {
    counts_as(job, "counts", out);
}

fn counts_as(job: &Job, name: &str, out: Out) {
    let numbers = job.source("numbers", dense(COUNT, 5));
    let keyed = numbers.key_by(|event| event.id % 10);
    keyed.count(name).rebalance().sink("out", out);
}

fn expected_rows() -> Vec<(u64, u64)> {
    let counts = (0..10).flat_map(|key| (1..=COUNT / 10).map(move |count| (key, count)));
    counts.collect()
}

/// Takes none by itself.
fn options() -> CheckpointOptions {
    let mut options = CheckpointOptions::new("/checkpoints");
    options.every = None;
    options
}

fn afresh() -> Runner {
    // So slow that there is time for a savepoint before its end.
    Runner::new().throttle(40_000.0).checkpoints(options())
}

fn from(path: impl Into<PathBuf>) -> Runner {
    afresh().start_at(StartAt::Path(path.into()))
}

impl World {
    fn new(seed: u64) -> Self {
        let (sink, ledger) = ledger();
        Self {
            seed,
            jobs: Cell::new(0),
            disk: MemoryDisk::default(),
            sink,
            ledger,
        }
    }

    fn simulation(&self, runner: Runner, parallelism: usize) -> Simulation {
        self.jobs.set(self.jobs.get() + 1);
        let simulation = Simulation::new(100 * self.seed + self.jobs.get());
        let simulation = simulation.with_disk(self.disk.clone());
        simulation.parallelism(parallelism).runner(runner)
    }

    fn start(&self, runner: Runner, parallelism: usize) -> Simulated {
        let simulation = self.simulation(runner, parallelism);
        simulation
            .start(|job: &Job| counts(job, self.sink.clone()))
            .unwrap_or_else(|error| panic!("seed {}: {error:?}", self.seed))
    }

    /// Lets a job come to its end.
    fn run(&self, runner: Runner, parallelism: usize) -> Run {
        let simulation = self.simulation(runner, parallelism);
        let run = simulation.run(|job: &Job| counts(job, self.sink.clone()));
        let run = run.unwrap_or_else(|error| panic!("seed {}: {error:?}", self.seed));
        run.expect_finished();
        run
    }

    /// What a job is told that cannot begin; what is committed stays as it is.
    fn refused(&self, runner: Runner, job: impl Fn(&Job, Out)) -> String {
        let before = self.ledger.sorted();
        let simulation = self.simulation(runner, 2);
        let started = simulation.start(|building: &Job| job(building, self.sink.clone()));
        let Err(error) = started else {
            panic!("seed {}: it is not refused", self.seed);
        };
        assert!(self.ledger.sorted() == before, "seed {}", self.seed);
        format!("{error:?}")
    }

    /// A job that has taken so many checkpoints at different times and was killed then.
    fn killed_after(&self, checkpoints: u64) -> CheckpointSummary {
        let mut simulated = self.start(afresh(), 2);
        for number in 1..=checkpoints {
            read(&mut simulated, number * COUNT / (checkpoints + 2));
            take(&mut simulated, Purpose::Recovery);
        }
        self.until_committed(&mut simulated, 2 * checkpoints);
        let last = simulated.checkpoints().last.unwrap();
        self.kill(simulated);
        last
    }

    /// Until so many epochs are committed: one of each subtask of the sink for a checkpoint.
    fn until_committed(&self, simulated: &mut Simulated, epochs: u64) {
        let is_committed = simulated.run_until(|_| self.ledger.epochs() as u64 == epochs);
        assert!(is_committed, "seed {}", self.seed);
    }

    fn kill(&self, simulated: Simulated) {
        simulated.kill();
        self.disk.crash(self.seed);
    }

    #[track_caller]
    fn expect_exact(&self) {
        assert!(
            self.ledger.sorted() == expected_rows(),
            "seed {}: {} records instead of {}",
            self.seed,
            self.ledger.sorted().len(),
            expected_rows().len()
        );
    }
}

fn read(simulated: &mut Simulated, records: u64) {
    assert!(simulated.run_until(|simulated| simulated.metrics().records_read() >= records));
}

/// Takes a checkpoint.
fn take(simulated: &mut Simulated, purpose: Purpose) -> CheckpointSummary {
    let before = simulated.checkpoints().completed;
    simulated.checkpoint(purpose, false);
    let is_complete = simulated.run_until(|simulated| simulated.checkpoints().completed > before);
    assert!(is_complete, "{:?}", simulated.checkpoints());
    simulated.checkpoints().last.unwrap()
}

fn savepoint(dir: &str) -> Purpose {
    Purpose::Savepoint(dir.into())
}

/// A job that has taken two checkpoints and then a savepoint.
fn with_savepoint(world: &World) -> (Simulated, CheckpointSummary) {
    let mut simulated = world.start(afresh(), 3);
    read(&mut simulated, 800);
    take(&mut simulated, Purpose::Recovery);
    read(&mut simulated, 1_000);
    take(&mut simulated, Purpose::Recovery);
    world.until_committed(&mut simulated, 6);
    let committed = world.ledger.sorted();
    assert!(!committed.is_empty(), "seed {}", world.seed);
    let taken = take(&mut simulated, savepoint("/savepoints/a"));
    let polls = simulated.polls() + 20;
    simulated.run_until(|simulated| simulated.polls() >= polls);
    let is_same = world.ledger.sorted() == committed;
    assert!(is_same, "seed {}: a savepoint commits nothing", world.seed);
    assert_eq!(taken.chain, 1, "it needs no other");
    (simulated, taken)
}

#[test]
fn a_job_goes_on_after_a_savepoint_and_commits_as_if_there_were_none() {
    for seed in 0..30 {
        let world = World::new(seed);
        let (mut simulated, _) = with_savepoint(&world);
        read(&mut simulated, 2_400);
        take(&mut simulated, Purpose::Recovery);
        if seed % 2 == 0 {
            simulated.settle();
            simulated.finish().expect_finished();
        } else {
            world.kill(simulated);
            world.run(afresh().start_at(StartAt::Latest), 1 + seed as usize % 4);
        }
        world.expect_exact();
    }
}

#[test]
fn a_savepoint_is_complete_alone() {
    for seed in 0..40 {
        let world = World::new(seed);
        let (simulated, taken) = with_savepoint(&world);
        world.kill(simulated);
        world.disk.remove_dir("/checkpoints");
        let path = if seed % 2 == 0 {
            PathBuf::from("/savepoints/a")
        } else {
            taken.path
        };
        let run = world.run(from(path), 1 + seed as usize % 4);
        let remark = run.events.iter().find_map(|event| match event {
            Event::Beginning { remark } => Some(remark.clone()),
            _ => None,
        });
        let remark = remark.unwrap();
        assert!(
            remark.starts_with("goes on from checkpoint 3 of /savepoints/a: kept: "),
            "{remark}"
        );
        world.expect_exact();
    }
}

#[test]
fn a_savepoint_is_taken_in_an_empty_directory_only() {
    for seed in 0..10 {
        let world = World::new(seed);
        world.disk.put("/savepoints/a/notes.txt", "mine");
        let mut simulated = world.start(afresh(), 2);
        read(&mut simulated, 600);
        simulated.checkpoint(savepoint("/savepoints/a"), seed % 2 == 0);
        simulated.run_until(|simulated| simulated.checkpoints().failed > 0);
        take(&mut simulated, savepoint("/savepoints/b"));
        simulated.settle();
        let run = simulated.finish();
        run.expect_finished();
        let reason = run.events.iter().find_map(|event| match event {
            Event::CheckpointFailed { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        assert_eq!(
            reason.unwrap(),
            "/savepoints/a holds notes.txt already: give a directory for the savepoint that is empty or does not exist"
        );
        world.expect_exact();
        let left = world.disk.paths();
        let left = left.iter().filter(|path| path.starts_with("/savepoints/a"));
        let names = left.filter_map(|path| path.file_name()?.to_str());
        let names: Vec<_> = names.filter(|name| *name != ".lock").collect();
        assert_eq!(names, ["notes.txt"], "seed {seed}");
    }
}

#[test]
fn a_job_that_stops_with_a_savepoint_has_committed_and_goes_on_from_it() {
    for seed in 0..40 {
        let world = World::new(seed);
        let mut simulated = world.start(afresh(), 3);
        read(&mut simulated, 600);
        take(&mut simulated, Purpose::Recovery);
        read(&mut simulated, 1_400);
        simulated.checkpoint(savepoint("/savepoints/a"), true);
        simulated.settle();
        assert!(simulated.checkpoints().stopped, "seed {seed}");
        let run = simulated.finish();
        run.expect_finished();
        let events = &run.events;
        assert!(events.iter().any(|event| matches!(event, Event::Stopped)));
        let read_before = run.metrics.records_read();
        assert!(read_before < COUNT, "seed {seed}: it has stopped before");
        // What was in flight is in the savepoint; all else is committed.
        let committed = world.ledger.sorted().len() as u64;
        assert!(committed > 0, "seed {seed}");
        let run = world.run(from("/savepoints/a"), 1 + seed as usize % 4);
        assert_eq!(
            read_before + run.metrics.records_read(),
            COUNT,
            "seed {seed}: nothing is read twice, and nothing was read after the savepoint"
        );
        world.expect_exact();
    }
}

#[test]
fn an_operator_that_is_new_begins_without_state() {
    let world = World::new(1);
    world.killed_after(1);
    let (sink, seen) = ledger();
    let simulation = world.simulation(afresh().start_at(StartAt::Latest), 3);
    let run = simulation.run(|job: &Job| {
        let numbers = job.source("numbers", dense(COUNT, 5)).stream();
        let keyed = numbers.clone().key_by(|event| event.id % 10);
        let counts = keyed.count("counts").rebalance();
        counts.sink("out", world.sink.clone());
        let since = numbers.key_by(|event| event.id % 3).count("since").at_end();
        since.map(|(_, count)| count).sink("seen", sink.clone());
    });
    let run = run.unwrap();
    run.expect_finished();
    world.expect_exact();
    let since: u64 = seen.sorted().iter().sum();
    assert_eq!(since, run.metrics.records_read(), "what came since");
    assert!(0 < since && since < COUNT);
    let text = beginning(&run);
    assert!(text.contains("new: "), "{text}");
    assert!(text.contains("since"), "{text}");
}

fn beginning(run: &Run) -> String {
    let remarks = run.events.iter().filter_map(|event| match event {
        Event::Beginning { remark } => Some(remark.as_str()),
        _ => None,
    });
    remarks.collect::<Vec<_>>().join("\n")
}

/// The numbers themselves, without the operator that has state.
fn without_counts(job: &Job, out: Out) {
    let numbers = job.source("numbers", dense(COUNT, 5));
    numbers.map(|event| (event.id, 0)).sink("out", out);
}

#[test]
fn state_of_an_operator_that_is_gone_is_dropped_only_when_that_is_allowed() {
    let world = World::new(2);
    world.killed_after(1);
    let latest = LATEST;
    let text = world.refused(Runner::new().args(latest), without_counts);
    assert!(
        text.starts_with("the checkpoint has state that the job would drop, which `--allow-dropped` allows; kept: "),
        "{text}"
    );
    assert!(text.contains("dropped: counts"), "{text}");

    // Under another name it is another operator.
    let renamed = |job: &Job, out: Out| counts_as(job, "counted", out);
    let text = world.refused(Runner::new().args(latest), renamed);
    assert!(text.contains("; new: counted"), "{text}");
    assert!(text.contains("dropped: counts"), "{text}");

    let allowed = latest.iter().chain(&["--allow-dropped"]);
    let simulation = world.simulation(Runner::new().args(allowed), 3);
    let run = simulation.run(|job: &Job| renamed(job, world.sink.clone()));
    let run = run.unwrap();
    run.expect_finished();
    assert!(beginning(&run).contains("dropped: counts"), "{run:?}");
    // It counts from one again.
    let mut firsts = BTreeMap::new();
    for (key, count) in world.ledger.sorted() {
        *firsts.entry(key).or_insert(0) += u64::from(count == 1);
    }
    assert_eq!(firsts, (0..10).map(|key| (key, 2)).collect());
}

#[test]
fn the_number_of_key_groups_is_that_of_the_checkpoint() {
    let world = World::new(3);
    world.killed_after(1);
    let latest = LATEST;
    let other = latest.iter().chain(&["--key-groups", "64"]);
    let text = world.refused(Runner::new().args(other), counts);
    assert_eq!(
        text,
        "the checkpoint has 128 key groups and the job 64, and their number cannot be changed: say `--key-groups 128`"
    );
    let same = latest.iter().chain(&["--key-groups", "128"]);
    world.run(Runner::new().args(same), 4);
    world.expect_exact();
}

#[test]
fn output_is_repeated_only_when_that_is_allowed() {
    let world = World::new(4);
    world.killed_after(2);
    let committed = world.ledger.sorted().len();
    let from = [
        "--checkpoint-dir",
        "/checkpoints",
        "--from",
        "/checkpoints/checkpoint-00000001.json",
    ];
    let text = world.refused(Runner::new().args(from), counts);
    assert_eq!(
        text,
        "checkpoint 1 is not the last one of this job, 2 is. To go back behind that one repeats the output that was \
         committed since: `--allow-duplicates` does that"
    );
    assert_eq!(world.ledger.sorted().len(), committed);
    let allowed = from.iter().chain(&["--allow-duplicates"]);
    world.run(Runner::new().args(allowed), 2);
    let mut records = world.ledger.sorted();
    assert!(records.len() > COUNT as usize, "some are there twice");
    records.dedup();
    assert!(records == expected_rows());
}

#[test]
fn the_latest_checkpoint_needs_a_directory_and_may_not_be_there() {
    let world = World::new(5);
    let text = world.refused(Runner::new().args(["--from", "latest"]), counts);
    assert_eq!(
        text,
        "`--from latest` goes on from the latest checkpoint of a directory: name it by `--checkpoint-dir`"
    );
    let text = world.refused(from("/savepoints/a"), counts);
    assert!(text.contains("/savepoints/a"), "{text}");
    world.disk.put("/other/file.txt", "");
    let text = world.refused(from("/other"), counts);
    assert_eq!(text, "there is no checkpoint in /other");

    let run = world.run(afresh().start_at(StartAt::Latest), 2);
    assert_eq!(
        beginning(&run),
        "there is no checkpoint in /checkpoints: the job starts afresh"
    );
    world.expect_exact();
}

#[test]
fn a_finished_job_that_is_started_again_changes_nothing() {
    for seed in 0..10 {
        let world = World::new(seed);
        world.run(afresh(), 2);
        world.expect_exact();
        let epochs = world.ledger.epochs();
        for parallelism in [1, 3] {
            let run = world.run(afresh().start_at(StartAt::Latest), parallelism);
            assert_eq!(run.metrics.records_read(), 0, "seed {seed}");
            world.expect_exact();
        }
        println!(
            "seed {seed}: {epochs} epochs, then {}",
            world.ledger.epochs()
        );
    }
}

const LATEST: [&str; 4] = ["--checkpoint-dir", "/checkpoints", "--from", "latest"];

/// A file of the latest of two checkpoints.
fn file_of_latest(world: &World, prefix: &str) -> PathBuf {
    let paths = world.disk.paths();
    let mut found = paths.into_iter().filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(prefix))
    });
    found.next().unwrap()
}

/// With the latest of two checkpoints as `harm` leaves it the job is refused, and goes on from the one before if it may.
fn damaged(harm: impl Fn(&World), expected: &[&str]) {
    passed_over(
        "checkpoint 2 is damaged, an earlier one is taken: ",
        harm,
        expected,
    );
}

fn passed_over(remark: &str, harm: impl Fn(&World), expected: &[&str]) {
    for seed in 0..4 {
        let world = World::new(seed);
        world.killed_after(2);
        harm(&world);
        let text = world.refused(Runner::new().args(LATEST), counts);
        for part in expected {
            assert!(
                text.contains(part),
                "seed {seed}: `{part}` is not in: {text}"
            );
        }
        let allowed = LATEST.iter().chain(&["--allow-duplicates"]);
        let run = world.run(Runner::new().args(allowed), 3);
        let text = beginning(&run);
        assert!(text.contains(remark), "{text}");
        assert!(
            text.contains("goes on from checkpoint 1 of /checkpoints"),
            "{text}"
        );
        let mut records = world.ledger.sorted();
        records.dedup();
        assert!(records == expected_rows(), "seed {seed}");
    }
}

const DAMAGED: &str = "the latest checkpoint, 2, is damaged. To go on from the one before repeats the output that was committed \
                       since: `--allow-duplicates` does that: /checkpoints/";

#[test]
fn a_latest_checkpoint_that_is_damaged_is_not_passed_over_in_silence() {
    damaged(
        |world| {
            let path = file_of_latest(world, "data-00000002");
            let mut bytes = world.disk.get(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            world.disk.put(path, bytes);
        },
        &[
            DAMAGED,
            "data-00000002-",
            " is damaged at byte ",
            ": expected ",
            ", found ",
        ],
    );
    damaged(
        |world| {
            let path = file_of_latest(world, "data-00000002");
            let bytes = world.disk.get(&path).unwrap();
            world.disk.put(path, &bytes[..bytes.len() - 1]);
        },
        &[
            DAMAGED,
            "data-00000002-",
            " bytes when it was written and has ",
        ],
    );
    damaged(
        |world| {
            let path = file_of_latest(world, "data-00000002");
            world.disk.remove(&path).unwrap();
        },
        &[
            DAMAGED,
            "data-00000002-",
            " is not there, and /checkpoints/checkpoint-00000002.json needs it",
        ],
    );
    damaged(
        |world| {
            let path = "/checkpoints/checkpoint-00000002.json";
            let bytes = world.disk.get(path).unwrap();
            world.disk.put(path, &bytes[..bytes.len() / 2]);
        },
        &[
            DAMAGED,
            "checkpoint-00000002.json is no manifest that can be used: it has no line with its checksum",
        ],
    );
    passed_over(
        "checkpoint 2 is of another version of Levada, an earlier one is taken: ",
        |world| manifest_of_version(world, 7),
        &[
            "/checkpoints/checkpoint-00000002.json was written by a newer Levada: its version is 7, and this program reads 1",
        ],
    );
}

/// Writes the version of a manifest, with a checksum that is right.
fn manifest_of_version(world: &World, version: u16) {
    let path = "/checkpoints/checkpoint-00000002.json";
    let text = String::from_utf8(world.disk.get(path).unwrap()).unwrap();
    let end = text.rfind("  \"checksum\": ").unwrap();
    let covered = text[..end].replace("\"version\": 1,", &format!("\"version\": {version},"));
    assert_ne!(covered, text[..end]);
    let checksum = covered.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    });
    let text = format!("{covered}  \"checksum\": {}\n}}\n", !checksum);
    world.disk.put(path, text);
}
