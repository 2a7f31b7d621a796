//! Running a job inside a program.

use std::ffi::OsString;
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::Receiver;
use levada_core::KeyGroups;
use levada_graph::{BufferOptions, Plan, PlanOptions};
use levada_runtime::checkpoint::{
    Allowed, CheckpointOptions, CheckpointSummary, Exported, StartAt, export,
};
use levada_runtime::metrics::JobMetrics;
use levada_runtime::wiring::Program;
use levada_runtime::{Environment, Event, Restart, RunOptions, embedded};

use crate::args::{CheckpointFlags, CommonFlags, Patience};
use crate::error::{Error, JobResult, Result};
use crate::job::Job;
use crate::report::{Outcome, Report};

/// Runs jobs on threads of this process: in tests, and inside larger programs.
///
/// Flags given with [`args`](Runner::args) count more than what is set here. The arguments of the process itself are not
/// looked at.
///
/// ```
/// use levada::prelude::*;
///
/// let (sink, receiver) = sink_channel(100);
/// let job = move |job: &Job| {
///     job.source("numbers", iterator(0..5u64)).map(|n| n * n).sink("out", sink.clone());
/// };
/// let handle = levada::Runner::new().parallelism(2).start(job)?;
/// assert_eq!(receiver.iter().collect::<Vec<_>>(), [0, 1, 4, 9, 16]);
/// handle.wait()?;
/// # Ok::<(), levada::Error>(())
/// ```
#[derive(Clone)]
pub struct Runner {
    args: Vec<OsString>,
    program: String,
    parallelism: Option<NonZeroUsize>,
    threads: Option<NonZeroUsize>,
    key_groups: Option<NonZeroU16>,
    force_exchange: bool,
    buffers: BufferOptions,
    options: RunOptions,
    environment: Option<Environment>,
}

impl Runner {
    /// A runner with the defaults of every flag.
    #[must_use]
    pub fn new() -> Self {
        Self {
            args: Vec::new(),
            program: "job".to_owned(),
            parallelism: None,
            threads: None,
            key_groups: None,
            force_exchange: false,
            buffers: BufferOptions::default(),
            options: RunOptions::default(),
            environment: None,
        }
    }

    /// The command line of the job: its own flags and the common ones.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// The name of the program in messages about its command line.
    #[must_use]
    pub fn program(mut self, name: impl Into<String>) -> Self {
        self.program = name.into();
        self
    }

    /// Subtasks of each operator that does not say otherwise.
    ///
    /// # Panics
    /// If it is zero.
    #[must_use]
    pub fn parallelism(mut self, parallelism: usize) -> Self {
        self.parallelism = Some(nonzero(parallelism));
        self
    }

    /// Worker threads.
    ///
    /// # Panics
    /// If it is zero.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(nonzero(threads));
        self
    }

    /// Key groups; the job's own number counts more.
    #[must_use]
    pub fn key_groups(mut self, count: NonZeroU16) -> Self {
        self.key_groups = Some(count);
        self
    }

    /// Keeps exchanges between two single subtasks.
    #[must_use]
    pub fn force_exchange(mut self) -> Self {
        self.force_exchange = true;
        self
    }

    /// Source records per second over the whole job.
    #[must_use]
    pub fn throttle(mut self, rate: f64) -> Self {
        self.options.throttle = Some(rate);
        self
    }

    /// How long a record waits in a batch that is not full.
    #[must_use]
    pub fn buffer_timeout(mut self, timeout: Duration) -> Self {
        self.options.buffer_timeout = timeout;
        self
    }

    /// Sizes of buffers and numbers of credits.
    #[must_use]
    pub fn buffers(mut self, buffers: BufferOptions) -> Self {
        self.buffers = buffers;
        self
    }

    /// The most memory that keyed state may take, in bytes: the job fails if it takes more, and is not started again. Seven
    /// tenths of what the machine or the control group has besides the memory for batches, unless it is set.
    #[must_use]
    pub fn state_memory(mut self, bytes: u64) -> Self {
        self.options.state_memory = Some(bytes);
        self
    }

    /// The most that the emissions of one call of a closure may take while there is no room for them, 64 MiB by default.
    #[must_use]
    pub fn overdraft_bytes_max(mut self, bytes: u64) -> Self {
        self.options.overdraft_bytes_max = bytes;
        self
    }

    /// Takes checkpoints. The flags of the command line count more.
    #[must_use]
    pub fn checkpoints(mut self, checkpoints: CheckpointOptions) -> Self {
        self.options.checkpoints = Some(checkpoints);
        self
    }

    /// Where the job begins: at its beginning, unless it is set.
    #[must_use]
    pub fn start_at(mut self, start: StartAt) -> Self {
        self.options.from = start;
        self
    }

    /// What the job may lose or repeat when it goes on from a checkpoint: nothing, unless it is set.
    #[must_use]
    pub fn allow(mut self, allowed: Allowed) -> Self {
        self.options.allowed = allowed;
        self
    }

    /// What becomes of the job after a failure: it has failed, unless it is set.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.options.restart = restart;
        self
    }

    /// The world outside the job, instead of the operating system.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Builds, checks and plans a job without starting it.
    ///
    /// # Errors
    /// If the command line is wrong, the function that builds the job fails, or the graph cannot be run.
    pub fn prepare<R: JobResult>(&self, job: impl Fn(&Job) -> R) -> Result<Prepared> {
        let building = Job::new(self.program.clone(), self.args.clone());
        job(&building).into_result()?;
        let built = building.build()?;
        let flags = built.flags;
        let key_groups = flags.key_groups.or(built.key_groups).or(self.key_groups);
        let options = PlanOptions {
            parallelism: flags
                .parallelism
                .or(self.parallelism)
                .unwrap_or_else(cores)
                .get(),
            key_groups: match key_groups {
                None => KeyGroups::default(),
                Some(count) => KeyGroups::new(count.get()).ok_or_else(|| {
                    Error::new(format!(
                        "a job has at most {} key groups, not {count}",
                        KeyGroups::MAX
                    ))
                })?,
            },
            force_exchange: flags.force_exchange || self.force_exchange,
            buffers: BufferOptions {
                memory: flags
                    .buffer_memory
                    .map_or(self.buffers.memory, |size| size.as_u64()),
                ..self.buffers
            },
        };
        let plan = built.graph.plan(options)?;
        let mut run_options = self.options.clone();
        run_options.job_name.clone_from(&self.program);
        if let Some(timeout) = flags.buffer_timeout {
            run_options.buffer_timeout = timeout;
        }
        if let Some(memory) = flags.state_memory {
            run_options.state_memory = Some(memory.as_u64());
        }
        if flags.throttle.is_some() {
            run_options.throttle = flags.throttle;
        }
        apply(&flags.checkpoints, &mut run_options);
        Ok(Prepared {
            program: built.program,
            plan,
            options: run_options,
            threads: flags.threads.or(self.threads).unwrap_or_else(cores).get(),
            environment: self.environment.clone().unwrap_or_else(Environment::system),
            flags,
        })
    }

    /// Starts a job.
    ///
    /// # Errors
    /// As [`prepare`](Runner::prepare), or if a source, sink or operator cannot be opened.
    pub fn start<R: JobResult>(&self, job: impl Fn(&Job) -> R) -> Result<Handle> {
        self.prepare(job)?.start()
    }

    /// Runs a job to its end.
    ///
    /// # Errors
    /// As [`start`](Runner::start), or if the job fails.
    pub fn run<R: JobResult>(&self, job: impl Fn(&Job) -> R) -> Result<Report> {
        self.start(job)?.wait()
    }
}

/// What the command line says of checkpoints.
fn apply(flags: &CheckpointFlags, options: &mut RunOptions) {
    if let Some(dir) = &flags.checkpoint_dir {
        match &mut options.checkpoints {
            Some(checkpoints) => checkpoints.dir.clone_from(dir),
            none => *none = Some(CheckpointOptions::new(dir)),
        }
    }
    if let Some(checkpoints) = &mut options.checkpoints {
        checkpoints.every = flags.checkpoint_every.or(checkpoints.every);
        checkpoints.timeout = flags.checkpoint_timeout.unwrap_or(checkpoints.timeout);
        checkpoints.pause_min = flags.checkpoint_pause.unwrap_or(checkpoints.pause_min);
        let retained = flags.checkpoints_retained.map(NonZeroUsize::get);
        checkpoints.retained = retained.unwrap_or(checkpoints.retained);
        let chain = flags.checkpoint_chain.map(NonZeroUsize::get);
        checkpoints.chain_max = chain.unwrap_or(checkpoints.chain_max);
        checkpoints.failures_max = flags.checkpoint_failures.or(checkpoints.failures_max);
        if let Some(Patience(timeout)) = flags.alignment_timeout {
            checkpoints.alignment_timeout = timeout;
        }
        checkpoints.exactly_once &= !flags.at_least_once;
    }
    match &flags.from {
        Some(path) if path.as_os_str() == "latest" => options.from = StartAt::Latest,
        Some(path) => options.from = StartAt::Path(path.clone()),
        None => {}
    }
    options.allowed.dropped |= flags.allow_dropped;
    options.allowed.duplicates |= flags.allow_duplicates;
    options.restart = flags.restart.unwrap_or(options.restart);
}

impl Default for Runner {
    fn default() -> Self {
        Self::new()
    }
}

fn nonzero(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("a job has at least one subtask and one thread")
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// A job that is built, checked and planned.
pub struct Prepared {
    program: Program,
    plan: Plan,
    options: RunOptions,
    threads: usize,
    environment: Environment,
    flags: CommonFlags,
}

impl Prepared {
    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The flags that were given.
    #[must_use]
    pub fn flags(&self) -> &CommonFlags {
        &self.flags
    }

    /// Starts the job on threads of this process.
    ///
    /// # Errors
    /// If a source, sink or operator cannot be opened, or a thread cannot be started.
    pub fn start(self) -> Result<Handle> {
        let handle = embedded::start(
            self.program,
            self.plan,
            &self.environment,
            &self.options,
            self.threads,
        )?;
        Ok(Handle { handle })
    }

    /// Shows the keyed state in a checkpoint of this job, without running it: operator by operator, a row for each key.
    ///
    /// # Errors
    /// If there is no checkpoint at the path, it is damaged, or its state is not that of this job.
    pub fn export(&self, path: &Path, take: &mut dyn FnMut(Exported)) -> Result {
        Ok(export(
            &self.program,
            &self.plan,
            &self.environment,
            path,
            take,
        )?)
    }

    /// The parts, for another driver than threads of this process: the simulator.
    #[must_use]
    pub fn into_parts(self) -> (Program, Plan, RunOptions, Environment) {
        (self.program, self.plan, self.options, self.environment)
    }
}

/// A job that runs. Dropping it cancels the job and waits for its threads.
pub struct Handle {
    handle: embedded::Handle,
}

impl Handle {
    /// Gives up the job: its sinks give up what they have not committed. Returns at once.
    pub fn cancel(&self) {
        self.handle.cancel();
    }

    /// Takes a savepoint: a checkpoint in a directory of its own, which is made and must be empty. Waits for it.
    ///
    /// # Errors
    /// If it fails, the job ends before, or it takes no checkpoints.
    pub fn savepoint(&self, dir: impl Into<PathBuf>) -> Result<CheckpointSummary> {
        Ok(self.handle.savepoint(dir)?)
    }

    /// Takes a savepoint and stops the job there: what comes after it is not read, and what comes before it is committed. Waits
    /// for the savepoint; the job ends soon after, without an error.
    ///
    /// # Errors
    /// If it fails; then the job goes on. If the job ends before, or takes no checkpoints.
    pub fn stop_with_savepoint(&self, dir: impl Into<PathBuf>) -> Result<CheckpointSummary> {
        Ok(self.handle.stop_with_savepoint(dir)?)
    }

    /// Takes a last checkpoint and stops the job there. Waits for the checkpoint.
    ///
    /// # Errors
    /// As [`stop_with_savepoint`](Handle::stop_with_savepoint).
    pub fn stop(&self) -> Result<CheckpointSummary> {
        Ok(self.handle.stop()?)
    }

    /// Takes a checkpoint now. Waits for it.
    ///
    /// # Errors
    /// As [`savepoint`](Handle::savepoint).
    pub fn checkpoint(&self) -> Result<CheckpointSummary> {
        Ok(self.handle.checkpoint()?)
    }

    /// Waits for the job to end and for all of its threads.
    ///
    /// # Errors
    /// The first thing that went wrong, or that the job was cancelled.
    pub fn wait(self) -> Result<Report> {
        let (report, result) = self.end();
        result.map(|()| report)
    }

    /// Waits for the job to end and for all of its threads. Returns what it has done, even if it has failed.
    ///
    /// # Errors
    /// As [`wait`](Handle::wait).
    pub fn end(self) -> (Report, Result) {
        let (registry, result) = self.handle.end();
        let result = result.map_err(Error::from);
        let metrics = registry.metrics();
        let report = Report {
            outcome: Outcome::of(&result, &metrics),
            metrics,
        };
        (report, result)
    }

    /// Waits at most for `timeout`; true if the job has ended.
    #[must_use]
    pub fn wait_for(&self, timeout: Duration) -> bool {
        self.handle.wait_for(timeout)
    }

    /// What is counted, as of now.
    #[must_use]
    pub fn metrics(&self) -> JobMetrics {
        self.handle.metrics()
    }

    /// What has happened since the start. At most 1,024 events wait here; later ones are dropped and counted.
    #[must_use]
    pub fn events(&self) -> &Receiver<Event> {
        self.handle.events()
    }

    /// Events that were dropped because nobody took them.
    #[must_use]
    pub fn events_lost(&self) -> u64 {
        self.handle.events_lost()
    }
}
