//! A whole job on one thread, in virtual time, from a seed.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use levada::metrics::JobMetrics;
use levada::{BufferOptions, Environment, Job, Runner};
use levada_core::random::SplitMix64;
use levada_core::{Clock, Moment};
use levada_runtime::checkpoint::{
    Asked, CheckpointMetrics, CheckpointWriter, Purpose, Setup, Start,
};
use levada_runtime::metrics::Registry;
use levada_runtime::scheduler::Schedule;
use levada_runtime::{Attempt, Coordinator, Error, Event, TaskCell, Visitor, launch};
use levada_state::StateError;

use crate::scheduler::{SimulatedScheduler, Step};
use crate::world::{
    MemoryDisk, MemoryNet, MemoryOutput, SeededRandom, SimulatedExecutor, VirtualClock,
};

/// A run of a job that is decided by a seed.
#[derive(Clone)]
pub struct Simulation {
    seed: u64,
    runner: Runner,
    disk: MemoryDisk,
    network: MemoryNet,
    output: MemoryOutput,
    parallelism: Option<usize>,
    one_credit: bool,
    cancel_after: Option<u64>,
    polls_max: u64,
}

impl Simulation {
    /// The simulation of this seed. The seed chooses the parallelism (1 to 4) and the sizes of the buffers (down to one
    /// credit and one record to a batch) too, unless they are set.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            runner: Runner::new(),
            disk: MemoryDisk::default(),
            network: MemoryNet::new(seed ^ 0x5ea_0f1e7),
            output: MemoryOutput::default(),
            parallelism: None,
            one_credit: false,
            cancel_after: None,
            polls_max: 50_000_000,
        }
    }

    /// Starts from this runner's flags and options.
    #[must_use]
    pub fn runner(mut self, runner: Runner) -> Self {
        self.runner = runner;
        self
    }

    /// Subtasks of each operator that does not say otherwise.
    #[must_use]
    pub fn parallelism(mut self, parallelism: usize) -> Self {
        self.parallelism = Some(parallelism);
        self
    }

    /// Starves every exchange: one credit to a channel, none to lend.
    #[must_use]
    pub fn one_credit(mut self) -> Self {
        self.one_credit = true;
        self
    }

    /// Cancels the job after so many polls.
    #[must_use]
    pub fn cancel_after(mut self, polls: u64) -> Self {
        self.cancel_after = Some(polls);
        self
    }

    /// The polls after which a job that has not ended is given up: 50 million unless it is set. A job without end would
    /// otherwise hang its test.
    #[must_use]
    pub fn polls_max(mut self, polls: u64) -> Self {
        self.polls_max = polls;
        self
    }

    /// Sees the files of a disk that other simulations see too: what one job leaves, the next one finds.
    #[must_use]
    pub fn with_disk(mut self, disk: MemoryDisk) -> Self {
        self.disk = disk;
        self
    }

    /// The files that the job sees.
    #[must_use]
    pub fn disk(&self) -> &MemoryDisk {
        &self.disk
    }

    /// Whom the job can talk to.
    #[must_use]
    pub fn network(&self) -> &MemoryNet {
        &self.network
    }

    /// What the job writes to standard output.
    #[must_use]
    pub fn output(&self) -> &MemoryOutput {
        &self.output
    }

    /// Builds a job and makes its tasks ready.
    ///
    /// # Errors
    /// If the job cannot be built, planned or opened.
    pub fn start<R: levada::JobResult>(
        &self,
        job: impl Fn(&Job) -> R,
    ) -> levada::Result<Simulated> {
        let clock = Arc::new(VirtualClock::default());
        let mut random = SplitMix64::new(self.seed ^ 0x1e7a_da00);
        let executor = SimulatedExecutor::new(Arc::clone(&clock));
        let environment = Environment {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            disk: Arc::new(self.disk.clone()),
            executor: Arc::new(executor.clone()),
            network: Arc::new(self.network.clone()),
            output: Arc::new(self.output.clone()),
            random: Arc::new(SeededRandom::new(random.next())),
        };
        let drawn = 1 + random.below(4) as usize;
        let runner = self
            .runner
            .clone()
            .parallelism(self.parallelism.unwrap_or(drawn))
            .threads(1)
            .buffers(self.buffers(&mut random))
            .environment(environment.clone());
        let (program, plan, options, _) = runner.prepare(job)?.into_parts();
        let scheduler = SimulatedScheduler::new(random.next(), Arc::clone(&clock), executor);
        let plan = Arc::new(plan);
        let setup = options.checkpoints.clone();
        let setup = setup.map(|checkpoints| Setup::open(checkpoints, &environment));
        let setup = setup.transpose().map_err(Error::from)?;
        let start = Start::find(
            &options.from,
            setup.as_deref(),
            options.allowed,
            &program,
            &plan,
            &environment,
        );
        let start = start.map_err(Error::from)?;
        let remarks = start.remarks.into_iter();
        let events = remarks.map(|remark| Event::Beginning { remark });
        let events = events.collect();
        let attempt = Attempt {
            number: 1,
            setup,
            restored: start.restored,
            threads: 1,
        };
        let launched = launch(
            &program,
            &plan,
            &environment,
            &options,
            &attempt,
            &mut |_, _| Arc::clone(&scheduler) as Arc<dyn Schedule>,
        )
        .map_err(Error::from)?;
        let tasks = launched.tasks().to_vec();
        let (coordinator, registry, writer) = launched.into_parts();
        Ok(Simulated {
            seed: self.seed,
            scheduler,
            clock,
            network: self.network.clone(),
            disk: self.disk.clone(),
            coordinator: Some(coordinator),
            writer,
            random,
            tasks,
            registry,
            events,
        })
    }

    /// Runs a job to its end.
    ///
    /// # Errors
    /// If the job cannot be built, planned or opened. How it ended is in [`Run::outcome`].
    pub fn run<R: levada::JobResult>(&self, job: impl Fn(&Job) -> R) -> levada::Result<Run> {
        let mut simulated = self.start(job)?;
        let mut given_up = None;
        while !simulated.is_done() {
            if self.cancel_after == Some(simulated.polls()) {
                simulated.cancel();
            }
            if given_up.is_none() && simulated.polls() >= self.polls_max {
                given_up = Some(Error::Deadlock {
                    waiting: format!(
                        "the job did not end within {} polls; {}",
                        self.polls_max,
                        simulated.waiting()
                    ),
                });
                simulated.cancel();
            }
            if !simulated.step() {
                given_up = Some(simulated.give_up());
                break;
            }
        }
        Ok(simulated.into_run(given_up))
    }

    /// What a job is told that cannot start or fails, as its program would print it; none if it comes to its end.
    ///
    /// # Panics
    /// If it holds buffers at its end, or cannot go on; the message names the seed.
    #[track_caller]
    pub fn failure<R: levada::JobResult>(&self, job: impl Fn(&Job) -> R) -> Option<String> {
        let error = match self.run(job) {
            Err(error) => error,
            Ok(run) => {
                run.expect_empty();
                let error = run.outcome.err()?;
                assert!(
                    !matches!(error, Error::Deadlock { .. }),
                    "seed {}: {error}",
                    self.seed
                );
                levada::Error::Run(error)
            }
        };
        Some(format!("{error:?}"))
    }

    fn buffers(&self, random: &mut SplitMix64) -> BufferOptions {
        let records = [1, 3, 16, 1_024];
        let small = BufferOptions {
            batch_records_max: records[random.below(4) as usize],
            exclusive: 1 + random.below(2) as u32,
            floating: random.below(4) as u32,
            ..BufferOptions::default()
        };
        if self.one_credit {
            BufferOptions {
                exclusive: 1,
                floating: 0,
                ..small
            }
        } else {
            small
        }
    }
}

/// A job in the middle of its simulation.
pub struct Simulated {
    seed: u64,
    scheduler: Arc<SimulatedScheduler>,
    clock: Arc<VirtualClock>,
    network: MemoryNet,
    disk: MemoryDisk,
    /// There until the job has ended.
    coordinator: Option<Coordinator>,
    writer: Option<CheckpointWriter>,
    /// Decides when the disk is written to.
    random: SplitMix64,
    tasks: Vec<Arc<TaskCell>>,
    registry: Arc<Registry>,
    events: Vec<Event>,
}

impl Simulated {
    /// Lets a peer in the network act, and polls one task or moves time to the next timer. False if none of this is
    /// possible.
    pub fn step(&mut self) -> bool {
        self.step_until(Moment::NEVER)
    }

    /// A step that does not move time beyond a moment.
    fn step_until(&mut self, until: Moment) -> bool {
        let acted = self.network.step();
        // Peers are quick: time stands still while one of them has something to do.
        let limit = if acted { Moment::ZERO } else { until };
        let due = self.coordinator().due().unwrap_or(Moment::NEVER);
        let step = self.scheduler.step(&self.tasks, limit.min(due));
        let mut wrote = false;
        // The disk is a little behind, or far.
        if (step == Step::Stuck || self.random.below(8) == 0)
            && let Some(writer) = &mut self.writer
        {
            wrote = writer.work();
        }
        let mut heard = self.hear() || wrote;
        if step == Step::Stuck && !heard && !acted && due <= until && due < Moment::NEVER {
            self.clock.advance_to(due);
            self.hear();
            heard = true;
        }
        step != Step::Stuck || heard || acted
    }

    /// Takes what tasks and the writer report, and what is due of checkpoints; false if there was nothing.
    fn hear(&mut self) -> bool {
        let mut heard = self.coordinator().has_reports();
        let mut events = self.coordinator().hear();
        events.extend(self.coordinator().tick());
        heard |= !events.is_empty();
        self.events.extend(events);
        heard
    }

    /// Asks for a checkpoint; it is taken within the next steps.
    pub fn checkpoint(&mut self, purpose: Purpose, stops: bool) {
        self.coordinator().ask(Asked {
            purpose,
            stops,
            answer: None,
        });
    }

    /// What there is to say about checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> CheckpointMetrics {
        let coordinator = self.coordinator.as_ref();
        let checkpoints = coordinator.and_then(Coordinator::checkpoints);
        checkpoints.cloned().unwrap_or_default()
    }

    /// What has happened so far.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Ends the process: nothing is closed, nothing is committed any more, and nobody holds a lock. What the disk keeps is up to
    /// [`MemoryDisk::crash`].
    pub fn kill(mut self) {
        // What tasks do while they are dropped they do on a disk that does not listen any more.
        self.disk.power_off_after(0);
        self.coordinator = None;
        self.writer = None;
        self.scheduler.clear();
    }

    /// Goes on until nothing can run and no timer is set, or the job has ended.
    pub fn settle(&mut self) {
        while !self.is_done() && self.step() {}
    }

    /// Lets virtual time pass: what is due meanwhile is done, and nothing that is due later. Every poll takes some
    /// microseconds, so that a little more may pass.
    pub fn advance(&mut self, span: Duration) {
        let until = self.clock.now() + span;
        while !self.is_done() && self.step_until(until) {}
        self.clock.advance_to(until);
    }

    /// Goes on until a condition holds; false if the job ended or got stuck before.
    pub fn run_until(&mut self, mut condition: impl FnMut(&Self) -> bool) -> bool {
        loop {
            if condition(self) {
                return true;
            }
            if self.is_done() || !self.step() {
                return false;
            }
        }
    }

    /// Gives up the job; it ends within the next steps.
    pub fn cancel(&mut self) {
        self.coordinator().cancel();
    }

    /// Whether the job has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.coordinator.as_ref().is_none_or(Coordinator::is_done)
    }

    /// How many polls there were.
    #[must_use]
    pub fn polls(&self) -> u64 {
        self.scheduler.polls()
    }

    /// What is counted, as of now.
    #[must_use]
    pub fn metrics(&self) -> JobMetrics {
        self.registry.metrics()
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.clock.now().as_nanos())
    }

    /// Shows the state of all tasks to a visitor.
    ///
    /// # Errors
    /// What the visitor says.
    pub fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        self.tasks.iter().try_for_each(|task| task.visit(visitor))
    }

    /// How the job ended, once it has; as a deadlock if it has not.
    #[must_use]
    pub fn finish(mut self) -> Run {
        let given_up = (!self.is_done()).then(|| self.give_up());
        self.into_run(given_up)
    }

    fn coordinator(&mut self) -> &mut Coordinator {
        self.coordinator
            .as_mut()
            .expect("the coordinator is there until the job has ended")
    }

    /// What the tasks that have not ended are doing.
    fn waiting(&self) -> String {
        let mut text = format!("seed {}:", self.seed);
        let tasks = self.coordinator.iter().flat_map(Coordinator::unended);
        for task in tasks {
            let _ = write!(
                text,
                " [{}] {} is {:?};",
                task.id(),
                task.head(),
                task.activity()
            );
        }
        text
    }

    /// Nothing can run, but the job has not ended: says who waits, and closes what is left.
    fn give_up(&mut self) -> Error {
        let deadlock = Error::Deadlock {
            waiting: self.waiting(),
        };
        self.cancel();
        while !self.is_done() {
            assert!(self.step(), "a cancel wakes every task");
        }
        deadlock
    }

    fn into_run(mut self, given_up: Option<Error>) -> Run {
        let outcome = self
            .coordinator
            .take()
            .expect("a job ends once")
            .into_outcome();
        // What the job has sent arrives.
        while self.network.step() {}
        Run {
            seed: self.seed,
            outcome: match given_up {
                Some(error) => Err(error),
                None => outcome,
            },
            schedule: self.scheduler.schedule(),
            polls: self.polls(),
            elapsed: self.elapsed(),
            metrics: self.metrics(),
            events: std::mem::take(&mut self.events),
        }
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.cancel();
            while !self.is_done() && self.step() {}
        }
        self.scheduler.clear();
    }
}

/// How a simulated job ended.
#[derive(Debug)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// How the job ended; [`Error::Deadlock`] if nothing could run any more.
    pub outcome: Result<(), Error>,
    /// A number that two runs share if they polled the same tasks in the same order.
    pub schedule: u64,
    /// How many polls there were.
    pub polls: u64,
    /// How much virtual time has passed.
    pub elapsed: Duration,
    /// What was counted.
    pub metrics: JobMetrics,
    /// What has happened.
    pub events: Vec<Event>,
}

impl Run {
    /// Asserts that the job came to its end, and that it gave back every buffer.
    ///
    /// # Panics
    /// If it did not; the message names the seed.
    #[track_caller]
    pub fn expect_finished(&self) {
        if let Err(error) = &self.outcome {
            panic!("seed {}: {error}", self.seed);
        }
        self.expect_empty();
    }

    /// Asserts that every buffer has been given back.
    ///
    /// # Panics
    /// If one has not; the message names the seed.
    #[track_caller]
    pub fn expect_empty(&self) {
        for edge in &self.metrics.edges {
            assert_eq!(
                (edge.held, edge.overdraft),
                (0, 0),
                "seed {}: {edge:?}",
                self.seed
            );
            assert!(edge.held_max <= edge.bound, "seed {}: {edge:?}", self.seed);
        }
        assert_eq!(self.metrics.overdraft.bytes, 0, "seed {}", self.seed);
    }
}
