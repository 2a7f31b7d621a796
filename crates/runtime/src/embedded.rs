//! A job on threads of this process.
//!
//! | thread | what it does |
//! |---|---|
//! | `levada-worker-N` | polls the tasks that do not block |
//! | `levada-own-N` | polls one task that may block |
//! | `levada-network` | wakes the tasks that wait for sockets, while there are some |
//! | `levada-async` | runs futures, if there are some |
//! | `levada-checkpoint` | writes checkpoints, if there are any |
//! | `levada-coordinator` | hears from all tasks, ends the run, joins all other threads, and starts it again if it is to |
//!
//! The handle joins the coordinator, so that no thread is left when [`Handle::wait`] returns.

mod attempt;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use levada_core::sync::Mutex;
use levada_graph::Plan;

use crate::checkpoint::{Asked, CheckpointSummary, Purpose, Setup, Start, StartAt};
use crate::embedded::attempt::Running;
use crate::environment::Environment;
use crate::error::Error;
use crate::event::Event;
use crate::launch::RunOptions;
use crate::metrics::{JobMetrics, Registry};
use crate::restart::Restarts;
use crate::thread::{self, Joined};
use crate::wiring::Program;

/// Events that nobody has read yet; later ones are dropped and counted.
const EVENTS_MAX: usize = 1_024;

/// A job that runs on threads of this process.
pub struct Handle {
    requests: Sender<Request>,
    done: Receiver<()>,
    events: Receiver<Event>,
    events_lost: Arc<AtomicU64>,
    registry: Arc<Mutex<Arc<Registry>>>,
    coordinator: Option<Joined>,
    outcome: Receiver<Result<(), Error>>,
}

/// What a handle asks of the run.
pub(crate) enum Request {
    Cancel,
    Checkpoint(Asked),
}

/// Why there is no checkpoint where one was wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NotTaken(pub String);

impl std::fmt::Display for NotTaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no checkpoint was taken: {}", self.0)
    }
}

impl std::error::Error for NotTaken {}

/// Starts a job on `threads` worker threads and as many threads of their own as it has tasks that may block.
///
/// # Errors
/// If the directory of checkpoints cannot be used, the job cannot go on from the checkpoint that it is to, a source, sink or
/// operator cannot be opened, or a thread cannot be started.
pub fn start(
    program: Program,
    plan: Plan,
    environment: &Environment,
    options: &RunOptions,
    threads: usize,
) -> Result<Handle, Error> {
    let (requests, asked) = bounded(4);
    let (finished, done) = bounded(0);
    let (outcome_sender, outcome) = bounded(1);
    let (event_sender, events) = bounded(EVENTS_MAX);
    let teller = Teller {
        events: event_sender,
        lost: Arc::new(AtomicU64::new(0)),
    };
    let checkpoints = options.checkpoints.clone();
    let setup = checkpoints.map(|checkpoints| Setup::open(checkpoints, environment));
    let mut supervisor = Supervisor {
        program,
        plan: Arc::new(plan),
        environment: environment.clone(),
        options: options.clone(),
        threads,
        setup: setup.transpose()?,
        asked,
        teller,
        attempt: 0,
    };
    let events_lost = Arc::clone(&supervisor.teller.lost);
    let first = supervisor.launch()?;
    let registry = Arc::new(Mutex::new(Arc::clone(first.registry())));
    let seen = Arc::clone(&registry);
    let coordinator = thread::start("levada-coordinator".to_owned(), move || {
        let outcome = supervisor.drive(first, &seen);
        // The channel holds one outcome, and this is it.
        let _ = outcome_sender.try_send(outcome);
        drop(finished);
    })?;
    Ok(Handle {
        requests,
        done,
        events,
        events_lost,
        registry,
        coordinator: Some(coordinator),
        outcome,
    })
}

impl Handle {
    /// Gives up the job: sources stop, sinks give up what they have not committed. Returns at once.
    pub fn cancel(&self) {
        // A full channel means that it has been asked already.
        let _ = self.requests.try_send(Request::Cancel);
    }

    /// Takes a savepoint: a checkpoint in a directory of its own, which is made and must be empty. Waits for it.
    ///
    /// # Errors
    /// If it fails, the job ends before, or it takes no checkpoints.
    pub fn savepoint(&self, dir: impl Into<PathBuf>) -> Result<CheckpointSummary, NotTaken> {
        self.take(Purpose::Savepoint(dir.into()), false)
    }

    /// Takes a savepoint and stops the job there: nothing that comes after it is read, and its output is committed. Waits for
    /// the savepoint; the job ends soon after, without an error.
    ///
    /// # Errors
    /// If it fails; then the job goes on. If the job ends before, or takes no checkpoints.
    pub fn stop_with_savepoint(
        &self,
        dir: impl Into<PathBuf>,
    ) -> Result<CheckpointSummary, NotTaken> {
        self.take(Purpose::Savepoint(dir.into()), true)
    }

    /// Takes a last checkpoint and stops the job there. Waits for the checkpoint.
    ///
    /// # Errors
    /// As [`stop_with_savepoint`](Self::stop_with_savepoint).
    pub fn stop(&self) -> Result<CheckpointSummary, NotTaken> {
        self.take(Purpose::Recovery, true)
    }

    /// Takes a checkpoint now. Waits for it.
    ///
    /// # Errors
    /// As [`savepoint`](Self::savepoint).
    pub fn checkpoint(&self) -> Result<CheckpointSummary, NotTaken> {
        self.take(Purpose::Recovery, false)
    }

    fn take(&self, purpose: Purpose, stops: bool) -> Result<CheckpointSummary, NotTaken> {
        let (answer, answered) = bounded(1);
        let asked = Asked {
            purpose,
            stops,
            answer: Some(answer),
        };
        let ended = || NotTaken("the job has ended".to_owned());
        self.requests
            .send(Request::Checkpoint(asked))
            .map_err(|_| ended())?;
        let result = answered.recv().map_err(|_| ended())?;
        result.map_err(NotTaken)
    }

    /// Waits for the job to end and for all of its threads.
    ///
    /// # Errors
    /// The first thing that went wrong, or [`Error::Cancelled`].
    pub fn wait(mut self) -> Result<(), Error> {
        self.finish()
    }

    /// Waits for the job to end and for all of its threads. Returns what has been counted, too.
    pub fn end(mut self) -> (Arc<Registry>, Result<(), Error>) {
        let outcome = self.finish();
        (self.registry(), outcome)
    }

    /// Waits at most for `timeout`; true if the job has ended.
    #[must_use]
    pub fn wait_for(&self, timeout: Duration) -> bool {
        // Nothing is ever sent: the channel is disconnected at the end.
        !matches!(
            self.done.recv_timeout(timeout),
            Err(crossbeam_channel::RecvTimeoutError::Timeout)
        )
    }

    /// What is counted, as of now. After a restart it is counted anew.
    #[must_use]
    pub fn metrics(&self) -> JobMetrics {
        self.registry().metrics()
    }

    /// A reader of metrics that outlives the handle.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry.lock())
    }

    /// What has happened since the start.
    #[must_use]
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// Events that were lost because nobody read them.
    #[must_use]
    pub fn events_lost(&self) -> u64 {
        self.events_lost.load(Ordering::Relaxed)
    }

    fn finish(&mut self) -> Result<(), Error> {
        if let Some(coordinator) = self.coordinator.take() {
            coordinator.join();
        }
        self.outcome.recv().unwrap_or(Ok(()))
    }
}

impl Drop for Handle {
    /// A job that nobody waits for is cancelled, and its threads are joined.
    fn drop(&mut self) {
        if self.coordinator.is_some() {
            self.cancel();
            let _ = self.finish();
        }
    }
}

/// Tells whoever watches what happens.
#[derive(Clone)]
pub(crate) struct Teller {
    events: Sender<Event>,
    lost: Arc<AtomicU64>,
}

impl Teller {
    pub(crate) fn tell(&self, event: Event) {
        match event {
            // A failure is the result of the run; whoever waits for it learns of it there.
            Event::Stuck { .. } => tracing::error!("{event}"),
            Event::CheckpointFailed { .. } | Event::Restarting { .. } => tracing::warn!("{event}"),
            Event::CheckpointCompleted(_) => tracing::debug!("{event}"),
            _ => tracing::info!("{event}"),
        }
        if self.events.try_send(event).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Starts the job, and starts it again after a failure.
struct Supervisor {
    program: Program,
    plan: Arc<Plan>,
    environment: Environment,
    options: RunOptions,
    threads: usize,
    setup: Option<Arc<Setup>>,
    asked: Receiver<Request>,
    teller: Teller,
    /// The number of the last attempt.
    attempt: u32,
}

impl Supervisor {
    /// Launches the next attempt: from where the job is to begin, or from the latest checkpoint that this run has taken.
    fn launch(&mut self) -> Result<Running, Error> {
        let is_again = self.attempt > 0;
        self.attempt += 1;
        let setup = self.setup.as_deref();
        let has_taken = match setup.filter(|_| is_again) {
            Some(setup) => setup.has_taken()?,
            None => false,
        };
        let from = match has_taken {
            true => &StartAt::Latest,
            false => &self.options.from,
        };
        let start = Start::find(
            from,
            setup,
            self.options.allowed,
            &self.program,
            &self.plan,
            &self.environment,
        )?;
        for remark in start.remarks {
            self.teller.tell(Event::Beginning { remark });
        }
        Running::launch(
            &self.program,
            &self.plan,
            &self.environment,
            &self.options,
            self.threads,
            &crate::launch::Attempt {
                number: self.attempt,
                setup: self.setup.clone(),
                restored: start.restored,
                threads: self.threads,
            },
        )
    }

    fn drive(mut self, first: Running, seen: &Mutex<Arc<Registry>>) -> Result<(), Error> {
        let clock = Arc::clone(&self.environment.clock);
        let mut restarts = Restarts::new(self.options.restart, clock.now());
        let mut running = first;
        let outcome = loop {
            let ended = running.drive(&self.asked, &self.teller);
            let Err(error) = ended.outcome else {
                break Ok(());
            };
            if !ended.may_restart {
                break Err(error);
            }
            let random = Arc::clone(&self.environment.random);
            let Some(mut wait) = restart_after(&error, &mut restarts, clock.now(), &*random) else {
                break Err(error);
            };
            let next = loop {
                self.teller.tell(Event::Restarting {
                    attempt: self.attempt + 1,
                    after: wait,
                });
                if self.is_cancelled_within(wait) {
                    break Err(Error::Cancelled);
                }
                match self.launch() {
                    Ok(next) => break Ok(next),
                    Err(error) => {
                        match restart_after(&error, &mut restarts, clock.now(), &*random) {
                            Some(longer) => wait = longer,
                            None => break Err(error),
                        }
                    }
                }
            };
            match next {
                Ok(next) => {
                    *seen.lock() = Arc::clone(next.registry());
                    restarts.started(clock.now());
                    running = next;
                }
                Err(error) => break Err(error),
            }
        };
        self.teller.tell(Event::Ended);
        outcome
    }

    /// Waits; true if the job is cancelled meanwhile.
    fn is_cancelled_within(&self, wait: Duration) -> bool {
        let timer = crossbeam_channel::after(wait);
        loop {
            crossbeam_channel::select! {
                recv(timer) -> _ => return false,
                recv(self.asked) -> request => match request {
                    Ok(Request::Checkpoint(asked)) => {
                        if let Some(answer) = asked.answer {
                            let _ = answer.try_send(Err("the job is being started again".to_owned()));
                        }
                    }
                    Ok(Request::Cancel) | Err(_) => return true,
                },
            }
        }
    }
}

/// How long to wait before the job is started again after this error; none if it is not.
fn restart_after(
    error: &Error,
    restarts: &mut Restarts,
    now: levada_core::Moment,
    random: &dyn levada_core::random::Random,
) -> Option<Duration> {
    match error {
        Error::Failed(failure) if failure.is_final() => None,
        Error::Failed(_) | Error::NoCheckpoint { .. } => restarts.failed(now, random),
        _ => None,
    }
}
