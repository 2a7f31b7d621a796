//! A job whose state has had three versions, kept by every kind of operator that has versions, and the world it runs in.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use levada::prelude::*;
use levada::{CheckpointOptions, CheckpointSummary, Environment, Runner, StartAt, State};
use levada_checkpoint::{Archive, Manifest};
use levada_core::disk::Disk;
use levada_runtime::checkpoint::Purpose;
use levada_testing::{Ledger, LedgerSink, MemoryDisk, Run, Simulation, ledger};
use serde::{Deserialize, Serialize};

use crate::dense::{Event, dense};

pub(crate) type Row = (u64, u64);
pub(crate) type Out = LedgerSink<Row>;

pub(crate) const COUNT: u64 = 2_000;

/// What is kept in the first version of the program.
#[derive(Clone, Default, Deserialize, Serialize)]
pub(crate) struct V1 {
    pub(crate) count: u32,
}

/// In the second.
#[derive(Clone, Default, Deserialize, Serialize)]
pub(crate) struct V2 {
    pub(crate) count: u64,
    pub(crate) doubled: u64,
}

/// In the third.
#[derive(Clone, Default, Deserialize, Serialize)]
pub(crate) struct V3 {
    pub(crate) doubled: u64,
    pub(crate) count: Option<u64>,
    pub(crate) note: String,
}

pub(crate) fn v2() -> StateVersion<V2> {
    version(2).from(1, |old: V1| V2 {
        count: old.count.into(),
        doubled: 2 * u64::from(old.count),
    })
}

pub(crate) fn v3() -> StateVersion<V3> {
    let from = |count: u64, note: &str| V3 {
        doubled: 2 * count,
        count: Some(count),
        note: note.to_owned(),
    };
    version(3)
        .from(1, move |old: V1| from(old.count.into(), "from 1"))
        .from(2, move |old: V2| {
            assert_eq!(old.doubled, 2 * old.count);
            from(old.count, "from 2")
        })
}

/// A state that counts.
pub(crate) trait Kept: State + Clone + Sync {
    fn add(&mut self, count: u64);
    fn count(&self) -> u64;
}

impl Kept for V1 {
    fn add(&mut self, count: u64) {
        self.count += u32::try_from(count).unwrap();
    }

    fn count(&self) -> u64 {
        self.count.into()
    }
}

impl Kept for V2 {
    fn add(&mut self, count: u64) {
        self.count += count;
        self.doubled += 2 * count;
    }

    fn count(&self) -> u64 {
        assert_eq!(self.doubled, 2 * self.count);
        self.count
    }
}

impl Kept for V3 {
    fn add(&mut self, count: u64) {
        *self.count.get_or_insert_default() += count;
        self.doubled += 2 * count;
    }

    fn count(&self) -> u64 {
        let count = self.count.unwrap_or_default();
        assert_eq!(self.doubled, 2 * count, "{}", self.note);
        count
    }
}

/// The kinds of operators.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flavour {
    Process,
    Clearing,
    Dated,
    Connected,
    Broadcast,
    Fold,
    Aggregate,
    Tumbling,
    Sliding,
    Session,
    Triggered,
    OfCount,
}

impl Flavour {
    pub(crate) const ALL: [Self; 12] = [
        Self::Process,
        Self::Clearing,
        Self::Dated,
        Self::Connected,
        Self::Broadcast,
        Self::Fold,
        Self::Aggregate,
        Self::Tumbling,
        Self::Sliding,
        Self::Session,
        Self::Triggered,
        Self::OfCount,
    ];
}

/// A process that emits the count of its key with each record, and once its timer when that has come.
#[derive(Clone)]
struct Counting<S>(std::marker::PhantomData<fn() -> S>);

impl<S> Counting<S> {
    fn new() -> Self {
        Self(std::marker::PhantomData)
    }
}

/// What a timer adds to the count that it emits.
const TIMER: u64 = 1_000_000;

fn counted<S: Kept>(state: &mut S, id: u64) -> Row {
    state.add(1);
    (id % 10, state.count())
}

impl<S: Kept> Process for Counting<S> {
    type Key = u64;
    type In = Event;
    type State = S;
    type Out = Row;

    fn element(&self, event: &Event, context: &mut Context<'_, Self>) {
        if context.existing_state().is_none() {
            context.set_timer(Timestamp(50_000));
        }
        let row = counted(context.state(), event.id);
        context.emit(row);
    }

    /// All records have come by then.
    fn timer(&self, _: Timer, context: &mut Context<'_, Self>) {
        let row = (*context.key(), TIMER + context.state().count());
        context.emit(row);
    }
}

/// A process that forgets what it has counted with every third record of a key.
#[derive(Clone)]
struct Clearing<S>(std::marker::PhantomData<fn() -> S>);

impl<S: Kept> Process for Clearing<S> {
    type Key = u64;
    type In = Event;
    type State = S;
    type Out = Row;

    fn element(&self, event: &Event, context: &mut Context<'_, Self>) {
        let (_, count) = counted(context.state(), event.id);
        if count == 3 {
            context.clear();
        }
        context.emit((event.id % 300, count));
    }
}

impl<S: Kept> CoProcess for Counting<S> {
    type Key = u64;
    type First = Event;
    type Second = Event;
    type State = S;
    type Out = Row;

    fn first(&self, event: &Event, context: &mut CoContext<'_, Self>) {
        let row = counted(context.state(), event.id);
        context.emit(row);
    }

    fn second(&self, event: &Event, context: &mut CoContext<'_, Self>) {
        let row = counted(context.state(), event.id);
        context.emit(row);
    }
}

impl<S: Kept> BroadcastProcess for Counting<S> {
    type Key = u64;
    type In = Event;
    type Broadcast = Event;
    type State = S;
    type Shared = u64;
    type Out = Row;

    fn element(&self, event: &Event, _: &u64, context: &mut BroadcastContext<'_, Self>) {
        let row = counted(context.state(), event.id);
        context.emit(row);
    }

    fn broadcast(&self, _: &Event, shared: &mut u64, _: &mut SharedContext<'_, Self>) {
        *shared += 1;
    }
}

impl<S: Kept> Aggregate<Event> for Counting<S> {
    type Accumulator = S;
    type Out = u64;

    fn create(&self) -> S {
        S::default()
    }

    fn add(&self, state: &mut S, _: &Event) {
        state.add(1);
    }

    fn merge(&self, into: &mut S, other: S) {
        into.add(other.count());
    }

    fn finish(&self, state: S) -> u64 {
        state.count()
    }
}

/// The job, with a state of this version in an operator called `counted`.
pub(crate) fn counting<S: Kept>(job: &Job, flavour: Flavour, version: StateVersion<S>, out: Out) {
    let numbers = job.source("numbers", dense(COUNT, 5));
    let numbers = numbers
        .timestamps(|event| event.at, seconds(1_000))
        .stream();
    let keyed = numbers.clone().key_by(|event| event.id % 10);
    let counting = Counting::<S>::new();
    let of_window = |(key, span, count): (u64, Span, u64)| (key, span.start.0 as u64 + count);
    let rows = match flavour {
        Flavour::Process => keyed.state(version).process("counted", counting),
        Flavour::Clearing => {
            let keyed = numbers.key_by(|event| event.id % 300);
            let clearing = Clearing(std::marker::PhantomData);
            keyed.state(version).process("counted", clearing)
        }
        Flavour::Dated => {
            let keyed = keyed.ttl(Ttl::event_time(days(1)));
            keyed.state(version).process("counted", counting)
        }
        Flavour::Connected => {
            let odd = numbers.filter(|event| event.id % 20 < 10);
            let even = keyed.connect(odd.key_by(|event| event.id % 10));
            even.state(version).process("counted", counting)
        }
        Flavour::Broadcast => {
            let rules = job.source("rules", dense(20, 1));
            let both = keyed.connect_broadcast(rules);
            both.state(version).process("counted", counting)
        }
        Flavour::Fold => {
            let folded = keyed.state(version);
            let folded = folded.fold("counted", |state: &mut S, _| state.add(1));
            folded.map(|(key, state)| (key, state.count())).stream()
        }
        Flavour::Aggregate => {
            let aggregated = keyed.state(version);
            aggregated.aggregate("counted", |_| counting).stream()
        }
        Flavour::Tumbling => {
            let windows = keyed.window(tumbling(seconds(7))).state(version);
            let windows = windows.fold("counted", |state: &mut S, _| state.add(1));
            let windows = windows.map(|(key, span, state)| (key, span, state.count()));
            windows.map(of_window).stream()
        }
        Flavour::Sliding => {
            let windows = keyed.window(sliding(seconds(7), seconds(2))).state(version);
            let windows = windows.aggregate("counted", |_| counting);
            windows.map(of_window).stream()
        }
        Flavour::Session => {
            let windows = keyed.window(session(millis(120))).state(version);
            let windows = windows.aggregate("counted", |_| counting);
            windows.map(of_window).stream()
        }
        Flavour::Triggered => {
            let windows = keyed.window(tumbling(seconds(7))).trigger(every(20));
            let windows = windows.state(version).aggregate("counted", |_| counting);
            windows.map(of_window).stream()
        }
        Flavour::OfCount => {
            let windows = keyed.window(count_window(37)).state(version);
            let windows = windows.fold("counted", |state: &mut S, _| state.add(1));
            windows.map(|(key, _, state)| (key, state.count())).stream()
        }
    };
    rows.rebalance().sink("out", out);
}

/// A job with records of this type in flight before an operator whose state is the same in all versions of the program.
pub(crate) fn flying<R: levada::Exchange + Clone>(
    job: &Job,
    make: impl Fn(u64) -> R + Send + Sync + 'static,
    id: impl Fn(&R) -> u64 + Clone + Send + Sync + 'static,
    out: Out,
) {
    let numbers = job.source("numbers", dense(20 * COUNT, 5));
    let records = numbers.map(move |event| make(event.id));
    let of_key = id.clone();
    let keyed = records.key_by(move |record| of_key(record) % 10);
    let counted = keyed.fold("counted", move |sum: &mut u64, record| *sum += id(record));
    counted.rebalance().sink("out", out);
}

/// A disk, and what is committed beyond it.
pub(crate) struct World {
    seed: u64,
    /// How many jobs there have been: each is a run of its own.
    jobs: Cell<u64>,
    pub(crate) disk: MemoryDisk,
    sink: Out,
    ledger: Ledger<Row>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let (sink, ledger) = ledger();
        Self {
            seed,
            jobs: Cell::new(0),
            disk: MemoryDisk::default(),
            sink,
            ledger,
        }
    }

    /// From the beginning, and slow enough that there is time for checkpoints.
    pub(crate) fn afresh(&self) -> Runner {
        let mut options = CheckpointOptions::new("/checkpoints");
        options.every = None;
        options.retained = 10;
        Runner::new().throttle(40_000.0).checkpoints(options)
    }

    pub(crate) fn latest(&self) -> Runner {
        self.afresh().start_at(StartAt::Latest)
    }

    /// A job that is full to its sink, takes a checkpoint whose barriers overtake, and is killed then.
    pub(crate) fn killed_in_flight(&self, job: impl Fn(&Job, Out)) -> CheckpointSummary {
        self.ledger.hold();
        let mut options = CheckpointOptions::new("/checkpoints");
        options.every = None;
        options.alignment_timeout = Some(std::time::Duration::ZERO);
        let simulation = self.simulation(Runner::new().checkpoints(options), 2);
        let simulation = simulation.one_credit();
        let started = simulation.start(|building: &Job| job(building, self.sink.clone()));
        let mut simulated = started.unwrap();
        simulated.settle();
        simulated.checkpoint(Purpose::Recovery, false);
        assert!(simulated.run_until(|simulated| simulated.checkpoints().completed == 1));
        let last = simulated.checkpoints().last.unwrap();
        simulated.kill();
        self.disk.crash(self.seed);
        self.ledger.release();
        last
    }

    /// The state that a program finds in the latest checkpoint, as JSON by key.
    pub(crate) fn exported(
        &self,
        number: u64,
        job: impl Fn(&Job, Out),
    ) -> levada::Result<BTreeMap<String, serde_json::Value>> {
        let environment = Environment {
            disk: Arc::new(self.disk.clone()),
            ..Environment::system()
        };
        let runner = Runner::new().environment(environment);
        let prepared = runner.prepare(|building: &Job| job(building, self.sink.clone()))?;
        let mut found = BTreeMap::new();
        let path = self.manifest_path(number);
        prepared.export(&path, &mut |row| {
            // Timers are other parts.
            if row.part > 0 {
                return;
            }
            let entry = row.json.and_then(|json| serde_json::from_str(&json).ok());
            if let Some(serde_json::Value::Object(entry)) = entry {
                found.insert(entry["key"].to_string(), entry["value"].clone());
            }
        })?;
        Ok(found)
    }

    fn manifest_path(&self, number: u64) -> std::path::PathBuf {
        format!("/checkpoints/checkpoint-{number:08}.json").into()
    }

    fn simulation(&self, runner: Runner, parallelism: usize) -> Simulation {
        self.jobs.set(self.jobs.get() + 1);
        Simulation::new(100 * self.seed + self.jobs.get())
            .with_disk(self.disk.clone())
            .parallelism(parallelism)
            .runner(runner)
    }

    /// A job that takes so many checkpoints from its beginning on and is killed then.
    pub(crate) fn killed_after(
        &self,
        checkpoints: u64,
        parallelism: usize,
        job: impl Fn(&Job, Out),
    ) -> CheckpointSummary {
        self.until_killed(self.afresh(), checkpoints, parallelism, job)
    }

    /// The same from the latest checkpoint on.
    pub(crate) fn went_on_and_killed(
        &self,
        checkpoints: u64,
        parallelism: usize,
        job: impl Fn(&Job, Out),
    ) -> CheckpointSummary {
        self.until_killed(self.latest(), checkpoints, parallelism, job)
    }

    fn until_killed(
        &self,
        runner: Runner,
        checkpoints: u64,
        parallelism: usize,
        job: impl Fn(&Job, Out),
    ) -> CheckpointSummary {
        let simulation = self.simulation(runner, parallelism);
        let started = simulation.start(|building: &Job| job(building, self.sink.clone()));
        let mut simulated = started.unwrap_or_else(|error| panic!("seed {}: {error:?}", self.seed));
        for number in 1..=checkpoints {
            // Most of it before the first, so that the next ones are worth less than a full one.
            let records = COUNT / 4 + number * COUNT / 20;
            simulated.run_until(|simulated| simulated.metrics().records_read() >= records);
            simulated.checkpoint(Purpose::Recovery, false);
            let is_complete =
                simulated.run_until(|simulated| simulated.checkpoints().completed == number);
            assert!(is_complete, "seed {}", self.seed);
        }
        let last = simulated.checkpoints().last.unwrap();
        simulated.kill();
        self.disk.crash(self.seed);
        last
    }

    /// Lets a job come to its end.
    pub(crate) fn run(&self, runner: Runner, parallelism: usize, job: impl Fn(&Job, Out)) -> Run {
        let simulation = self.simulation(runner, parallelism);
        let run = simulation.run(|building: &Job| job(building, self.sink.clone()));
        let run = run.unwrap_or_else(|error| panic!("seed {}: {error:?}", self.seed));
        run.expect_finished();
        run
    }

    /// What a job is told that cannot begin; what is committed stays as it is.
    pub(crate) fn refused(&self, runner: Runner, job: impl Fn(&Job, Out)) -> String {
        let before = self.ledger.sorted();
        let told = self.failed(runner, job);
        assert!(self.ledger.sorted() == before, "seed {}", self.seed);
        told
    }

    /// What a job is told that cannot begin.
    pub(crate) fn failed(&self, runner: Runner, job: impl Fn(&Job, Out)) -> String {
        let simulation = self.simulation(runner, 2);
        let started = simulation.start(|building: &Job| job(building, self.sink.clone()));
        let Err(error) = started else {
            panic!("seed {}: it does not fail", self.seed);
        };
        format!("{error:?}")
    }

    /// The manifest of a checkpoint.
    pub(crate) fn manifest(&self, number: u64) -> Manifest {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        Archive::new(disk, "/checkpoints").manifest(number).unwrap()
    }

    /// All that was committed.
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.ledger.sorted()
    }

    /// All that was committed is what one program commits that runs from the beginning to the end.
    #[track_caller]
    pub(crate) fn expect_as_without_break(&self, flavour: Flavour) {
        let alone = Self::new(self.seed);
        alone.run(Runner::new(), 2, |job, out| {
            counting::<V3>(job, flavour, version(3), out);
        });
        let (found, expected) = (self.ledger.sorted(), alone.ledger.sorted());
        assert!(expected.len() > 20, "{flavour:?}: {} rows", expected.len());
        assert!(
            found == expected,
            "{flavour:?}, seed {}: {} rows instead of {}",
            self.seed,
            found.len(),
            expected.len()
        );
    }
}
