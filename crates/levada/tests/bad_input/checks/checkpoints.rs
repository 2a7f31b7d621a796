//! What goes wrong with the disk under a job's checkpoints, and what its user is told.

use std::time::Duration;

use levada::prelude::*;
use levada::{CheckpointOptions, Event, Runner, StartAt};
use levada_runtime::checkpoint::Purpose;
use levada_testing::{Ledger, LedgerSink, MemoryDisk, Simulated, Simulation, ledger};

use crate::checkpoints as rows;
use crate::dense::dense;

const COUNT: u64 = 2_000;

/// Something that is wrong with a disk, as in `docs/bad-input/checkpoints.md`.
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) harm: fn(&MemoryDisk),
    /// What the message says, all of it.
    pub(crate) expected: &'static [&'static str],
}

struct World {
    disk: MemoryDisk,
    sink: LedgerSink<u64>,
    ledger: Ledger<u64>,
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

    fn simulation(&self, seed: u64, from: StartAt) -> Simulation {
        let mut options = CheckpointOptions::new("/checkpoints");
        options.every = Some(Duration::from_millis(5));
        let runner = Runner::new().throttle(20_000.0).start_at(from);
        Simulation::new(seed)
            .with_disk(self.disk.clone())
            .parallelism(2)
            .runner(runner.checkpoints(options))
    }

    fn build(&self, job: &Job) {
        let numbers = job.source("numbers", dense(COUNT, 5));
        let once = numbers.key_by(|event| event.id).deduplicate("once");
        once.map(|event| event.id).sink("out", self.sink.clone());
    }

    fn start(&self, seed: u64) -> levada::Result<Simulated> {
        let simulation = self.simulation(seed, StartAt::Latest);
        simulation.start(|job: &Job| self.build(job))
    }

    #[track_caller]
    fn expect_exact(&self, what: &str) {
        let found = self.ledger.sorted();
        assert!(
            found.iter().copied().eq(0..COUNT),
            "{what}: {}",
            found.len()
        );
    }
}

#[track_caller]
fn expect_text(row: &Row, seed: u64, text: &str) {
    for part in row.expected {
        let what = row.what;
        assert!(
            text.contains(part),
            "{what}, seed {seed}: `{part}` is not in: {text}"
        );
    }
}

#[test]
fn a_job_does_not_begin_where_it_cannot_take_checkpoints() {
    for row in rows::BEFORE {
        for seed in 0..4 {
            let world = World::new();
            (row.harm)(&world.disk);
            let Err(error) = world.start(seed) else {
                panic!("{}, seed {seed}: it begins", row.what);
            };
            expect_text(row, seed, &format!("{error:?}"));
            assert_eq!(world.ledger.epochs(), 0);
        }
    }
}

/// The job goes on without checkpoints, and with them once the disk is well again.
#[test]
fn a_job_goes_on_while_its_checkpoints_fail() {
    for row in rows::WHILE {
        for seed in 0..10 {
            let what = format!("{}, seed {seed}", row.what);
            let world = World::new();
            let mut simulated = world.start(seed).unwrap();
            assert!(simulated.run_until(|simulated| simulated.checkpoints().completed == 1));
            (row.harm)(&world.disk);
            let failed = |simulated: &Simulated| simulated.checkpoints().failed >= 2;
            assert!(simulated.run_until(failed), "{what}");
            let before = simulated.checkpoints().completed;
            world.disk.fail_syncs_after(u64::MAX);
            world.disk.fill_after(usize::MAX);
            world.disk.put("/checkpoints/of-others.txt", "");
            simulated.checkpoint(Purpose::Recovery, false);
            simulated.settle();
            assert!(simulated.checkpoints().completed > before, "{what}");
            let run = simulated.finish();
            run.expect_finished();
            let first = run.events.iter().find_map(|event| match event {
                Event::CheckpointFailed { .. } => Some(event.to_string()),
                _ => None,
            });
            expect_text(row, seed, &first.unwrap());
            world.expect_exact(&what);
        }
    }
}

/// What a disk that stays as it is does to a job: it fails at its end, and nothing is lost.
#[test]
fn a_job_that_cannot_take_its_last_checkpoint_goes_on_later() {
    for row in rows::WHILE {
        for seed in 0..6 {
            let what = format!("{}, seed {seed}", row.what);
            let world = World::new();
            let mut simulated = world.start(seed).unwrap();
            assert!(simulated.run_until(|simulated| simulated.checkpoints().completed == 1));
            (row.harm)(&world.disk);
            simulated.settle();
            let error = simulated.finish().outcome.unwrap_err().to_string();
            assert!(
                error.starts_with("the last checkpoint failed: "),
                "{what}: {error}"
            );
            expect_text(row, seed, &error);
            if world
                .disk
                .paths()
                .iter()
                .all(|path| path.extension() != Some("json".as_ref()))
            {
                continue;
            }
            world.disk.fail_syncs_after(u64::MAX);
            world.disk.fill_after(usize::MAX);
            let mut simulated = world.start(seed + 100).unwrap();
            simulated.settle();
            simulated.finish().expect_finished();
            world.expect_exact(&what);
        }
    }
}

#[test]
fn two_jobs_cannot_share_a_directory() {
    let world = World::new();
    let mut first = world.start(1).unwrap();
    let Err(error) = world.start(2) else {
        panic!("both begin");
    };
    assert_eq!(
        format!("{error:?}"),
        "another job writes its checkpoints to /checkpoints: give each job a directory of its own"
    );
    first.settle();
    first.finish().expect_finished();
    world.expect_exact("the first one goes on");
}

#[test]
fn the_documentation_has_every_row() {
    let listed = include_str!("../../../../../docs/bad-input/checkpoints.md");
    for row in rows::BEFORE.iter().chain(rows::WHILE) {
        assert!(
            listed.contains(&format!("| {} |", row.what)),
            "docs/bad-input/checkpoints.md does not list: {}",
            row.what
        );
    }
}
