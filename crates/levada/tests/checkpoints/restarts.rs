//! Jobs that fail and are started again within their process, on threads: what they commit is exact, and they give up when they
//! are to.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

mod sinks;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use levada::prelude::*;
use levada::{
    BoxError, CheckpointOptions, Environment, Event, Handle, Intake, Outcome, Reader,
    ReaderContext, Restart, Runner, Source, SourceContext, StartAt, Status,
};
use levada_core::Clock;
use levada_testing::{Ledger, LedgerSink, MemoryDisk, ledger};
use sinks::{Holding, Refusing};

const COUNT: u64 = 3_000;
const SPLITS: u64 = 3;

/// How far the source may be read: so that a test knows what has been read when it takes a checkpoint.
#[derive(Clone, Default)]
struct Gate {
    open_to: Arc<AtomicU64>,
}

impl Gate {
    fn open_to(&self, end: u64) {
        self.open_to.store(end, Ordering::Release);
    }
}

/// Numbers, as far as the gate is open.
struct Gated(Gate, Fragile);

impl Source for Gated {
    type Out = u64;
    type Split = u64;
    type Reader = GatedReader;

    fn splits(&self, _: &SourceContext) -> Result<Vec<u64>, BoxError> {
        Ok((0..SPLITS).collect())
    }

    fn open(
        &self,
        split: u64,
        position: Option<u64>,
        context: &ReaderContext,
    ) -> Result<GatedReader, BoxError> {
        Ok(GatedReader {
            next: position.unwrap_or(split),
            gate: self.0.clone(),
            fragile: self.1.clone(),
            clock: Arc::clone(&context.environment.clock),
        })
    }

    fn is_endless(&self) -> bool {
        true
    }
}

struct GatedReader {
    next: u64,
    gate: Gate,
    fragile: Fragile,
    clock: Arc<dyn Clock>,
}

impl Reader for GatedReader {
    type Out = u64;
    type Position = u64;

    fn read(&mut self, intake: &mut impl Intake<u64>) -> Result<Status, BoxError> {
        let end = self.gate.open_to.load(Ordering::Acquire);
        while self.next < end.min(COUNT) {
            if intake.is_full() {
                return Ok(Status::More);
            }
            intake.push(self.fragile.look_at(self.next)?);
            self.next += SPLITS;
        }
        if self.next >= COUNT {
            return Ok(Status::Done);
        }
        Ok(Status::Idle(Some(
            self.clock.now() + Duration::from_millis(1),
        )))
    }

    fn position(&self) -> u64 {
        self.next
    }
}

/// Fails at a record, so many times in all attempts together.
#[derive(Clone)]
struct Fragile {
    at: u64,
    times: Arc<AtomicU32>,
    panics: bool,
}

impl Fragile {
    fn new(at: u64, times: u32, panics: bool) -> Self {
        Self {
            at,
            times: Arc::new(AtomicU32::new(times)),
            panics,
        }
    }

    /// An error, in the reader of the source.
    fn look_at(&self, n: u64) -> Result<u64, BoxError> {
        if !self.panics
            && let Some(left) = self.left_at(n)
        {
            return Err(format!("an error, and {left} more to come").into());
        }
        Ok(n)
    }

    /// A panic, in an operator.
    fn touch(&self, n: u64) -> u64 {
        if self.panics
            && let Some(left) = self.left_at(n)
        {
            panic!("a panic, and {left} more to come");
        }
        n
    }

    /// How many failures are left after the one that is due here, if one is.
    fn left_at(&self, n: u64) -> Option<u32> {
        if n != self.at {
            return None;
        }
        let less = |left: u32| left.checked_sub(1);
        let left = self
            .times
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        left.ok().map(|left| left - 1)
    }
}

struct World {
    disk: MemoryDisk,
    gate: Gate,
    sink: LedgerSink<(u64, u64)>,
    ledger: Ledger<(u64, u64)>,
}

impl World {
    fn new() -> Self {
        let (sink, ledger) = ledger();
        Self {
            disk: MemoryDisk::default(),
            gate: Gate::default(),
            sink,
            ledger,
        }
    }

    fn runner(&self, restart: Restart) -> Runner {
        let mut options = CheckpointOptions::new("/checkpoints");
        options.every = None;
        options.retained = 100;
        let environment = Environment {
            disk: Arc::new(self.disk.clone()),
            ..Environment::system()
        };
        Runner::new()
            .parallelism(2)
            .threads(2)
            .environment(environment)
            .checkpoints(options)
            .restart(restart)
    }

    fn start(&self, runner: &Runner, fragile: &Fragile) -> Handle {
        let handle = runner.start(|job: &Job| {
            let fragile = fragile.clone();
            job.source("numbers", Gated(self.gate.clone(), fragile.clone()))
                .rebalance()
                .map(move |n| fragile.touch(n))
                .key_by(|n| n % 10)
                .count("counts")
                .rebalance()
                .sink("out", self.sink.clone());
        });
        handle.unwrap()
    }

    /// The runs and attempts in the names of the files of checkpoints.
    fn attempts(&self) -> Vec<(u64, u32)> {
        let paths = self.disk.paths();
        let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
        let names = names.filter_map(|name| name.strip_prefix("data-")?.strip_suffix(".blocks"));
        let attempts = names.map(|name| {
            let parts: Vec<_> = name.split('-').collect();
            (parts[0].parse().unwrap(), parts[2].parse().unwrap())
        });
        attempts.collect()
    }

    #[track_caller]
    fn expect_exact(&self) {
        let found = self.ledger.sorted();
        assert!(found == expected(), "{} records", found.len());
    }
}

fn expected() -> Vec<(u64, u64)> {
    let counts = (0..10).flat_map(|key| (1..=COUNT / 10).map(move |count| (key, count)));
    counts.collect()
}

fn fixed(restarts_max: u32) -> Restart {
    Restart::Fixed {
        delay: Duration::from_millis(1),
        restarts_max,
    }
}

fn exponential() -> Restart {
    Restart::Exponential {
        first: Duration::from_millis(1),
        cap: Duration::from_millis(4),
        reset_after: Duration::from_secs(3_600),
        restarts_max: Some(10),
    }
}

/// The next event that is wanted; what comes before it goes by.
#[track_caller]
fn wait_for<T>(handle: &Handle, wanted: impl Fn(&Event) -> Option<T>) -> T {
    loop {
        let event = handle.events().recv_timeout(Duration::from_secs(60));
        if let Some(found) = wanted(&event.expect("the job goes on")) {
            return found;
        }
    }
}

fn restarting(event: &Event) -> Option<u32> {
    match event {
        Event::Restarting { attempt, .. } => Some(*attempt),
        _ => None,
    }
}

fn beginning(event: &Event) -> Option<String> {
    match event {
        Event::Beginning { remark } => Some(remark.clone()),
        _ => None,
    }
}

#[test]
fn a_job_goes_on_from_its_latest_checkpoint_and_its_results_are_exact() {
    for (restart, panics) in [(fixed(3), false), (exponential(), true)] {
        let world = World::new();
        let fragile = Fragile::new(1_500, 3, panics);
        world.gate.open_to(1_000);
        let handle = world.start(&world.runner(restart), &fragile);
        let first = handle.checkpoint().unwrap();
        assert_eq!(first.number, 1);
        world.gate.open_to(COUNT);
        for attempt in 2..=4 {
            assert_eq!(wait_for(&handle, restarting), attempt);
            let remark = wait_for(&handle, beginning);
            assert!(
                remark.starts_with("goes on from checkpoint 1 of /checkpoints: kept: "),
                "{remark}"
            );
        }
        let (report, result) = handle.end();
        result.unwrap();
        assert_eq!(report.outcome, Outcome::Finished);
        world.expect_exact();
        // Of each attempt that has taken one; their numbers grow.
        let attempts = world.attempts();
        assert_eq!(attempts.first(), Some(&(1, 1)), "{attempts:?}");
        assert_eq!(attempts.last().unwrap().1, 4, "{attempts:?}");
        assert!(attempts.is_sorted(), "{attempts:?}");
    }
}

#[test]
fn every_attempt_takes_checkpoints_of_its_own() {
    let world = World::new();
    let fragile = Fragile::new(1_000, 1, false);
    world.gate.open_to(900);
    let handle = world.start(&world.runner(fixed(2)), &fragile);
    assert_eq!(handle.checkpoint().unwrap().number, 1);
    world.gate.open_to(1_100);
    wait_for(&handle, restarting);
    wait_for(&handle, beginning);
    wait_for(&handle, |event| {
        matches!(event, Event::Started { .. }).then_some(())
    });
    assert_eq!(handle.checkpoint().unwrap().number, 2);
    assert_eq!(handle.checkpoint().unwrap().number, 3);
    world.gate.open_to(COUNT);
    handle.end().1.unwrap();
    world.expect_exact();
    assert_eq!(world.attempts(), [(1, 1), (2, 2), (3, 2), (4, 2)]);
}

#[test]
fn it_gives_up_after_so_many_restarts_with_the_last_error() {
    let world = World::new();
    let fragile = Fragile::new(1_500, 100, false);
    world.gate.open_to(COUNT);
    let handle = world.start(&world.runner(fixed(3)), &fragile);
    let (report, result) = handle.end();
    let error = format!("{:?}", result.unwrap_err());
    assert!(error.contains("an error, and 96 more to come"), "{error}");
    assert!(error.contains("restarts.rs:"), "{error}");
    assert!(matches!(report.outcome, Outcome::Failed { .. }));
    assert_eq!(
        fragile.times.load(Ordering::Acquire),
        96,
        "one and three more"
    );
    assert_eq!(world.ledger.epochs(), 0);
}

#[test]
fn a_failure_before_the_first_checkpoint_begins_where_the_job_began() {
    let world = World::new();
    world.gate.open_to(COUNT);
    let handle = world.start(&world.runner(fixed(1)), &Fragile::new(40, 1, true));
    handle.end().1.unwrap();
    world.expect_exact();

    // One that goes on from a savepoint, in another directory of checkpoints than the one it was taken beside.
    let world = World::new();
    world.gate.open_to(1_200);
    let handle = world.start(&world.runner(Restart::None), &Fragile::new(0, 0, false));
    let taken = handle.stop_with_savepoint("/savepoints/a").unwrap();
    assert_eq!(handle.end().0.outcome, Outcome::Stopped);
    world.disk.remove_dir("/checkpoints");
    world.gate.open_to(COUNT);
    let runner = world.runner(fixed(2)).start_at(StartAt::Path(taken.path));
    let handle = world.start(&runner, &Fragile::new(2_000, 2, false));
    for _ in 0..3 {
        let remark = wait_for(&handle, beginning);
        assert!(
            remark.starts_with("goes on from checkpoint 1 of /savepoints/a"),
            "{remark}"
        );
    }
    handle.end().1.unwrap();
    world.expect_exact();
}

#[test]
fn a_cancel_ends_the_wait_for_a_restart() {
    let world = World::new();
    world.gate.open_to(COUNT);
    let restart = Restart::Fixed {
        delay: Duration::from_secs(3_600),
        restarts_max: 1,
    };
    let handle = world.start(&world.runner(restart), &Fragile::new(7, 1, false));
    assert_eq!(wait_for(&handle, restarting), 2);
    let error = handle.checkpoint().unwrap_err().to_string();
    assert_eq!(
        error,
        "no checkpoint was taken: the job is being started again"
    );
    handle.cancel();
    let (report, result) = handle.end();
    assert_eq!(result.unwrap_err().exit_code(), 130);
    assert_eq!(report.outcome, Outcome::Cancelled);
    assert_eq!(world.ledger.epochs(), 0);
}

/// A task is in the code of the program when another one fails, and the job is cancelled before it comes back.
#[test]
fn a_cancel_while_an_attempt_fails_is_not_forgotten() {
    let (both, release) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (of_held, of_failing) = ((Arc::clone(&both), Arc::clone(&release)), both);
    let handle = Runner::new()
        .parallelism(1)
        .threads(2)
        .force_exchange()
        .restart(fixed(5))
        .start(move |job: &Job| {
            let numbers = job.source("numbers", generator(|n| n).count(10)).stream();
            let (both, release) = of_held.clone();
            numbers.clone().rebalance().sink(
                "held",
                for_each(move |n: u64| {
                    if n == 0 {
                        both.wait();
                        release.wait();
                    }
                }),
            );
            let both = Arc::clone(&of_failing);
            numbers.rebalance().sink(
                "failing",
                for_each(move |_| {
                    both.wait();
                    panic!("as it was told");
                }),
            );
        })
        .unwrap();
    let failed = |event: &Event| matches!(event, Event::TaskFailed { .. }).then_some(());
    wait_for(&handle, failed);
    handle.cancel();
    let cancelling = |event: &Event| matches!(event, Event::Cancelling).then_some(());
    wait_for(&handle, cancelling);
    let events = handle.events().clone();
    release.wait();
    let (_, result) = handle.end();
    let error = result.unwrap_err().to_string();
    assert!(error.contains("as it was told"), "{error}");
    let after: Vec<_> = events.try_iter().collect();
    assert!(
        after.iter().all(|event| restarting(event).is_none()),
        "{after:?}"
    );
}

/// Without checkpoints a job that fails begins anew.
#[test]
fn a_job_without_checkpoints_begins_anew() {
    let (sink, ledger) = ledger();
    let fragile = Fragile::new(300, 2, true);
    let runner = Runner::new().parallelism(2).restart(fixed(2));
    let handle = runner.start(|job: &Job| {
        let fragile = fragile.clone();
        job.source("numbers", iterator(0..500u64))
            .map(move |n| fragile.touch(n))
            .sink("out", sink.clone());
    });
    handle.unwrap().end().1.unwrap();
    assert_eq!(ledger.sorted(), (0..500).collect::<Vec<_>>());
}

#[test]
fn nothing_of_an_attempt_is_left_when_the_next_one_begins() {
    let (open, openings) = (Arc::default(), Arc::default());
    let fragile = Fragile::new(300, 5, true);
    let runner = Runner::new().parallelism(3).restart(fixed(5));
    let handle = runner.start(|job: &Job| {
        let fragile = fragile.clone();
        let holding = Holding {
            open: Arc::clone(&open),
            openings: Arc::clone(&openings),
        };
        job.source("numbers", iterator(0..500u64))
            .map(move |n| fragile.touch(n))
            .rebalance()
            .sink("out", holding);
    });
    handle.unwrap().end().1.unwrap();
    assert_eq!(*open.lock(), 0);
    assert_eq!(openings.load(Ordering::Relaxed), 18);
}

/// It was told to stop: if it were started again, it and the job that goes on from the savepoint would both commit.
#[test]
fn a_job_that_fails_while_it_stops_is_not_started_again() {
    let world = World::new();
    world.gate.open_to(1_200);
    let none = Fragile::new(0, 0, false);
    let refusals = Arc::new(AtomicU32::new(1));
    let runner = world.runner(fixed(3));
    let handle = runner.start(|job: &Job| {
        let refusing = Refusing {
            sink: world.sink.clone(),
            refusals: Arc::clone(&refusals),
        };
        job.source("numbers", Gated(world.gate.clone(), none.clone()))
            .rebalance()
            .key_by(|n| n % 10)
            .count("counts")
            .rebalance()
            .sink("out", refusing);
    });
    let handle = handle.unwrap();
    let taken = handle.stop_with_savepoint("/savepoints/a").unwrap();
    let was_restarted = wait_for(&handle, |event| match event {
        Event::Restarting { .. } => Some(true),
        Event::Ended => Some(false),
        _ => None,
    });
    assert!(!was_restarted);
    let (report, result) = handle.end();
    assert!(matches!(report.outcome, Outcome::Failed { .. }));
    let error = format!("{:?}", result.unwrap_err());
    assert!(error.contains("the ledger is locked"), "{error}");

    // What it had not committed is committed by the one that goes on.
    world.gate.open_to(COUNT);
    let runner = world.runner(Restart::None);
    let runner = runner.start_at(StartAt::Path(taken.path));
    world.start(&runner, &none).end().1.unwrap();
    world.expect_exact();
}
