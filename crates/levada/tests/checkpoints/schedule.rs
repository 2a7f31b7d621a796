//! When checkpoints are taken, and what becomes of those that cannot be.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::time::Duration;

use levada::prelude::*;
use levada::{CheckpointOptions, CheckpointSummary, Event, Runner, StartAt};
use levada_runtime::checkpoint::Purpose;
use levada_testing::{Ledger, LedgerSink, MemoryDisk, Run, Simulated, Simulation, ledger};

use crate::dense::dense;

const COUNT: u64 = 4_000;

struct World {
    disk: MemoryDisk,
    sink: LedgerSink<u64>,
    ledger: Ledger<u64>,
}

/// Takes none by itself.
fn options() -> CheckpointOptions {
    let mut options = CheckpointOptions::new("/checkpoints");
    options.every = None;
    options
}

impl World {
    fn new() -> Self {
        let (sink, ledger) = ledger();
        Self {
            disk: MemoryDisk::default(),
            sink,
            ledger,
        }
    }

    fn simulation(&self, seed: u64, options: CheckpointOptions) -> Simulation {
        let runner = Runner::new()
            .throttle(40_000.0)
            .checkpoints(options)
            .start_at(StartAt::Latest);
        Simulation::new(seed)
            .with_disk(self.disk.clone())
            .parallelism(2)
            .runner(runner)
    }

    fn start(&self, seed: u64, options: CheckpointOptions) -> Simulated {
        let simulation = self.simulation(seed, options);
        let started = simulation.start(|job: &Job| self.build(job));
        started.unwrap_or_else(|error| panic!("seed {seed}: {error:?}"))
    }

    fn build(&self, job: &Job) {
        let numbers = job.source("numbers", dense(COUNT, 5));
        let once = numbers.key_by(|event| event.id).deduplicate("once");
        let once = once.map(|event| event.id).rebalance();
        once.sink("out", self.sink.clone());
    }

    #[track_caller]
    fn expect_exact(&self, seed: u64) {
        let found = self.ledger.sorted();
        let is_exact = found.iter().copied().eq(0..COUNT);
        assert!(is_exact, "seed {seed}: {} records", found.len());
    }
}

fn read(simulated: &mut Simulated, records: u64) {
    assert!(simulated.run_until(|simulated| simulated.metrics().records_read() >= records));
}

fn take(simulated: &mut Simulated) -> CheckpointSummary {
    let before = simulated.checkpoints().completed;
    simulated.checkpoint(Purpose::Recovery, false);
    let is_complete = simulated.run_until(|simulated| simulated.checkpoints().completed > before);
    assert!(is_complete, "{:?}", simulated.checkpoints());
    simulated.checkpoints().last.unwrap()
}

/// Lets a job come to its end.
fn end(mut simulated: Simulated) -> Run {
    simulated.settle();
    simulated.finish()
}

fn failures(run: &Run) -> Vec<(u64, String)> {
    let failed = run.events.iter().filter_map(|event| match event {
        Event::CheckpointFailed { number, reason } => Some((*number, reason.clone())),
        _ => None,
    });
    failed.collect()
}

#[test]
fn a_manifest_says_of_what_job_it_is_how_far_that_is_and_what_is_in_flight() {
    let (mut in_flight, mut watermarks) = (0, 0);
    for seed in 0..20 {
        let world = World::new();
        let mut options = options();
        options.alignment_timeout = Some(Duration::ZERO);
        let runner = Runner::new()
            .program("revenue")
            .throttle(40_000.0)
            .checkpoints(options);
        let simulation = Simulation::new(seed)
            .with_disk(world.disk.clone())
            .parallelism(2)
            .runner(runner);
        let job = |job: &Job| {
            job.source("numbers", dense(COUNT, 5))
                .timestamps(
                    |event: &crate::dense::Event| event.at,
                    Duration::from_millis(10),
                )
                .key_by(|event| event.id)
                .deduplicate("once")
                .map(|event| event.id)
                .rebalance()
                .sink("out", world.sink.clone());
        };
        let mut simulated = simulation.start(job).unwrap();
        read(&mut simulated, COUNT / 2);
        let taken = take(&mut simulated);
        let manifest: serde_json::Value =
            serde_json::from_slice(&world.disk.get(taken.path).unwrap()).unwrap();
        assert_eq!(manifest["job"]["name"], "revenue");
        let edges = manifest["edges"].as_array().unwrap();
        let records: u64 = edges
            .iter()
            .map(|edge| edge["records"].as_u64().unwrap())
            .sum();
        assert_eq!(records, taken.in_flight_records, "seed {seed}: {manifest}");
        in_flight += records;
        let once = &manifest["operators"][1];
        assert_eq!(once["name"], "once");
        watermarks += u32::from(once["watermark"].as_i64().is_some());
        end(simulated).expect_finished();
    }
    // Some operators have seen none by then.
    assert!(
        in_flight > 0 && watermarks > 10,
        "{in_flight}, {watermarks}"
    );
}

/// What was said of checkpoints that were late.
fn late(run: &Run) -> Vec<String> {
    let late = run.events.iter();
    let late = late.filter(|event| matches!(event, Event::CheckpointLate { .. }));
    late.map(ToString::to_string).collect()
}

/// On threads: it takes time that passes while a task runs.
#[test]
fn an_emission_without_end_is_named_as_what_holds_up_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = CheckpointOptions::new(dir.path());
    options.every = Some(Duration::from_millis(10));
    options.timeout = Duration::from_millis(500);
    options.alignment_timeout = Some(Duration::ZERO);
    let handle = Runner::new()
        .parallelism(1)
        .checkpoints(options)
        .start(|job: &Job| {
            job.source("numbers", iterator(0..2u64))
                .rebalance()
                .flat_map(|_| 0..u64::MAX)
                .filter(|n| *n == u64::MAX)
                .rebalance()
                .sink("out", for_each(|_| {}));
        })
        .unwrap();
    let failed = handle.events().iter().find_map(|event| match event {
        Event::CheckpointFailed { reason, .. } => Some(reason),
        _ => None,
    });
    handle.cancel();
    let reason = failed.unwrap();
    let expected = "must first emit the rest of what `flat_map` has begun to emit";
    assert!(reason.contains(expected), "{reason}");
    assert!(handle.end().1.is_err());
}

#[test]
fn a_checkpoint_that_takes_too_long_is_given_up_and_the_next_one_is_complete() {
    for seed in 0..20 {
        let world = World::new();
        let mut options = options();
        options.timeout = Duration::from_secs(5);
        // Barriers wait for ever behind records that nobody takes.
        options.alignment_timeout = None;
        world.ledger.hold();
        let mut simulated = world.start(seed, options);
        simulated.settle();
        assert!(!simulated.is_done(), "seed {seed}: the sink takes nothing");
        simulated.checkpoint(Purpose::Recovery, false);
        let began = simulated.elapsed();
        assert!(simulated.run_until(|simulated| simulated.checkpoints().failed > 0));
        let took = simulated.elapsed().checked_sub(began).unwrap();
        assert!(
            took >= Duration::from_secs(5) && took < Duration::from_secs(6),
            "seed {seed}: {took:?}"
        );
        assert_eq!(simulated.checkpoints().completed, 0);
        world.ledger.release();
        assert_eq!(take(&mut simulated).number, 2);
        let run = end(simulated);
        run.expect_finished();
        let failures = failures(&run);
        let (number, reason) = &failures[0];
        assert_eq!((failures.len(), *number), (1, 1), "seed {seed}");
        // Those are named first that others wait for.
        let first = reason.split("; ").next().unwrap();
        assert!(
            first.starts_with("it took longer than 5s: ")
                && first.contains("waits for the barrier on `once -> out #0`, and reads nothing"),
            "seed {seed}: {reason}"
        );
        let late = late(&run);
        assert_eq!(late.len(), 1, "it is told once");
        assert!(
            late[0].starts_with("checkpoint 1 is not complete after 500.0ms: ")
                && late[0].contains("`once -> out #0`"),
            "seed {seed}: {late:?}"
        );
        world.expect_exact(seed);
    }
}

/// The times between one checkpoint and the next.
#[test]
fn they_begin_at_their_interval_one_at_a_time_and_after_a_pause() {
    for seed in 0..10 {
        let world = World::new();
        let mut options = options();
        options.every = Some(Duration::from_millis(100));
        options.alignment_timeout = Some(Duration::from_millis(5));
        world.ledger.hold();
        let mut simulated = world.start(seed, options.clone());
        simulated.advance(Duration::from_millis(1_050));
        let completed = simulated.checkpoints().completed;
        assert!((8..=10).contains(&completed), "seed {seed}: {completed}");
        simulated.kill();
        world.disk.crash(seed);

        // Each is given up after 300 ms: the interval does not make them overlap.
        options.alignment_timeout = None;
        options.timeout = Duration::from_millis(300);
        let mut simulated = world.start(seed + 100, options.clone());
        simulated.advance(Duration::from_millis(3_000));
        let failed = simulated.checkpoints().failed;
        assert!((8..=10).contains(&failed), "seed {seed}: {failed}");

        options.pause_min = Duration::from_millis(700);
        simulated.kill();
        world.disk.crash(seed);
        let mut simulated = world.start(seed + 200, options);
        simulated.advance(Duration::from_millis(5_000));
        let failed = simulated.checkpoints().failed;
        assert!((4..=6).contains(&failed), "seed {seed}: {failed}");
        assert!(world.ledger.sorted().is_empty());
    }
}

#[test]
fn a_job_fails_after_so_many_checkpoints_in_a_row_that_did() {
    for seed in 0..10 {
        let world = World::new();
        let mut options = options();
        options.every = Some(Duration::from_millis(20));
        options.failures_max = Some(2);
        world.ledger.hold();
        let mut simulated = world.start(seed, options.clone());
        // Two in a row may fail, any number of times.
        for completed in 1..=2 {
            let failed = 2 * completed;
            world.disk.fail_syncs_after(0);
            assert!(simulated.run_until(|simulated| simulated.checkpoints().failed == failed));
            world.disk.fail_syncs_after(u64::MAX);
            assert!(
                simulated.run_until(|simulated| simulated.checkpoints().completed == completed)
            );
        }
        world.disk.fail_syncs_after(0);
        simulated.run_until(|simulated| simulated.checkpoints().failed == 7);
        let run = end(simulated);
        let error = run.outcome.unwrap_err().to_string();
        assert!(
            error.starts_with("3 checkpoints in a row failed, and 2 may: cannot sync /checkpoints"),
            "seed {seed}: {error}"
        );
        world.disk.fail_syncs_after(u64::MAX);
        world.ledger.release();
        options.every = None;
        end(world.start(seed + 100, options)).expect_finished();
        world.expect_exact(seed);
    }
}

#[test]
fn a_job_whose_last_checkpoint_fails_has_failed_and_goes_on_from_the_one_before() {
    for seed in 0..20 {
        let world = World::new();
        let mut simulated = world.start(seed, options());
        read(&mut simulated, 300);
        take(&mut simulated);
        world.disk.fail_syncs_after(0);
        let before = simulated.checkpoints().completed;
        let run = end(simulated);
        let error = run.outcome.as_ref().unwrap_err().to_string();
        assert!(
            error.starts_with("the last checkpoint failed: cannot sync /checkpoints/"),
            "seed {seed}: {error}"
        );
        assert_eq!(before, 1);
        let committed = world.ledger.sorted().len() as u64;
        assert!(committed < COUNT, "seed {seed}");
        world.disk.fail_syncs_after(u64::MAX);
        let run = end(world.start(seed + 100, options()));
        run.expect_finished();
        world.expect_exact(seed);
    }
}

#[test]
fn checkpoints_are_taken_while_some_sources_have_come_to_their_end() {
    let mut restored = 0;
    for seed in 0..30 {
        let world = World::new();
        let build = |job: &Job| {
            let few = job
                .source("few", dense(20, 3))
                .map(|event| event.id + COUNT);
            let numbers = job.source("numbers", dense(COUNT, 5));
            let all = numbers.map(|event| event.id).stream().union(few.stream());
            all.rebalance().sink("out", world.sink.clone());
        };
        let start = |seed| {
            let simulation = world.simulation(seed, options());
            simulation.start(build).unwrap()
        };
        let mut simulated = start(seed);
        read(&mut simulated, 1_000);
        let taken = take(&mut simulated);
        simulated.kill();
        world.disk.crash(seed);
        let manifest = String::from_utf8(world.disk.get(taken.path).unwrap()).unwrap();
        let mut simulated = start(seed + 100);
        // What the first source had read is not read again.
        let few = |simulated: &Simulated| {
            let metrics = simulated.metrics();
            let few = metrics
                .operators
                .iter()
                .find(|of| of.name == "few")
                .unwrap();
            few.sum_out()
        };
        simulated.settle();
        restored += u64::from(few(&simulated) == 0 && manifest.contains("few"));
        simulated.finish().expect_finished();
        let found = world.ledger.sorted();
        assert!(found.iter().copied().eq(0..COUNT + 20), "seed {seed}");
    }
    println!("{restored} jobs went on with a source that had come to its end");
    assert!(restored > 10);
}

#[test]
fn at_least_once_loses_nothing_and_may_repeat() {
    let mut repeated = 0;
    for seed in 0..40 {
        let world = World::new();
        let mut options = options();
        options.exactly_once = false;
        let build = |job: &Job| {
            let numbers = job.source("numbers", dense(COUNT, 5)).map(|event| event.id);
            numbers.rebalance().sink("out", world.sink.clone());
        };
        for kill in 0..3 {
            let simulation = world.simulation(3 * seed + kill, options.clone());
            let mut simulated = simulation.start(build).unwrap();
            let records = simulated.metrics().records_read() + 500;
            simulated.run_until(|simulated| simulated.metrics().records_read() >= records);
            simulated.checkpoint(Purpose::Recovery, false);
            simulated.run_until(|simulated| simulated.checkpoints().completed > 0);
            simulated.kill();
            world.disk.crash(seed);
        }
        let simulation = world.simulation(3 * seed + 1_000, options.clone());
        simulation.run(build).unwrap().expect_finished();
        let mut found = world.ledger.sorted();
        let all = found.len();
        found.dedup();
        assert!(
            found.iter().copied().eq(0..COUNT),
            "seed {seed}: some are lost"
        );
        repeated += all - found.len();
    }
    println!("{repeated} records were there twice");
    assert!(repeated > 0, "it is not exactly once in disguise");
}
