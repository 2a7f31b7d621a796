//! A job on threads of this process.
//!
//! | thread | what it does |
//! |---|---|
//! | `levada-worker-N` | polls the tasks that do not block |
//! | `levada-own-N` | polls one task that may block |
//! | `levada-network` | wakes the tasks that wait for sockets, while there are some |
//! | `levada-async` | runs futures, if there are some |
//! | `levada-coordinator` | hears from all tasks, ends the run, joins all other threads |
//!
//! The handle joins the coordinator, so that no thread is left when [`Handle::wait`] returns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select, tick};
use levada_core::executor::Executor;
use levada_graph::Plan;

use crate::coordinator::Coordinator;
use crate::environment::Environment;
use crate::error::Error;
use crate::event::Event;
use crate::launch::{RunOptions, launch};
use crate::metrics::{JobMetrics, Registry};
use crate::scheduler::{OwnThread, Pool, Schedule, Workers};
use crate::task::TaskCell;
use crate::thread::{self, Joined};
use crate::wiring::Program;

/// Events that nobody has read yet; later ones are dropped and counted.
const EVENTS_MAX: usize = 1_024;

/// How long a task that blocks has to come back after a cancel.
const STOP_SECONDS: u64 = 30;

/// A job that runs on threads of this process.
pub struct Handle {
    requests: Sender<Request>,
    done: Receiver<()>,
    events: Receiver<Event>,
    events_lost: Arc<AtomicU64>,
    registry: Arc<Registry>,
    coordinator: Option<Joined>,
    outcome: Receiver<Result<(), Error>>,
}

enum Request {
    Cancel,
}

/// Starts a job on `threads` worker threads and as many threads of their own as it has tasks that may block.
///
/// # Errors
/// If a source, sink or operator cannot be opened, or a thread cannot be started.
pub fn start(
    program: &Program,
    plan: Plan,
    environment: &Environment,
    options: &RunOptions,
    threads: usize,
) -> Result<Handle, Error> {
    let environment = &Environment {
        executor: environment.executor.for_run(),
        ..environment.clone()
    };
    let pool = Pool::new(threads, Arc::clone(&environment.clock));
    let mut own = Vec::new();
    let launched = launch(program, plan, environment, options, &mut |stage, _| {
        if stage.own_thread {
            let thread = OwnThread::new(Arc::clone(&environment.clock));
            own.push(Some(Arc::clone(&thread)));
            thread as Arc<dyn Schedule>
        } else {
            own.push(None);
            Arc::clone(&pool) as Arc<dyn Schedule>
        }
    })
    .inspect_err(|_| {
        environment.executor.stop(Duration::from_secs(STOP_SECONDS));
    })?;
    let tasks = launched.tasks().to_vec();
    let (coordinator, registry) = launched.into_parts();
    let (requests, asked) = bounded(4);
    let (finished, done) = bounded(0);
    let (outcome_sender, outcome) = bounded(1);
    let (event_sender, events) = bounded(EVENTS_MAX);
    let events_lost = Arc::new(AtomicU64::new(0));
    let run = Run {
        coordinator,
        pool,
        executor: Arc::clone(&environment.executor),
        threads: own.into_iter().zip(tasks).collect(),
        asked,
        events: event_sender,
        events_lost: Arc::clone(&events_lost),
    };
    let coordinator = thread::start("levada-coordinator".to_owned(), move || {
        let outcome = run.drive();
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

    /// Waits for the job to end and for all of its threads.
    ///
    /// # Errors
    /// The first thing that went wrong, or [`Error::Cancelled`].
    pub fn wait(mut self) -> Result<(), Error> {
        self.finish()
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

    /// What is counted, as of now.
    #[must_use]
    pub fn metrics(&self) -> JobMetrics {
        self.registry.metrics()
    }

    /// A reader of metrics that outlives the handle.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
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

/// What the coordinator's thread drives.
struct Run {
    coordinator: Coordinator,
    pool: Arc<Pool>,
    executor: Arc<dyn Executor>,
    /// Each task, with the scheduler that is its own, if it has one.
    threads: Vec<(Option<Arc<OwnThread>>, Arc<TaskCell>)>,
    asked: Receiver<Request>,
    events: Sender<Event>,
    events_lost: Arc<AtomicU64>,
}

impl Run {
    fn drive(mut self) -> Result<(), Error> {
        let tasks = self.threads.len();
        let (workers, own) = self.start_threads();
        self.tell(Event::Started { tasks });
        if self.coordinate() {
            if let Some(workers) = workers {
                workers.join();
            }
            own.into_iter().for_each(Joined::join);
        }
        // Else some threads are in the user's code or in a system call; they are left behind, and their tasks named.
        if !self.executor.stop(Duration::from_secs(STOP_SECONDS)) {
            tracing::error!(
                "a future that blocks its thread is left behind, and the thread with it"
            );
        }
        self.tell(Event::Ended);
        self.coordinator.into_outcome()
    }

    /// Starts the threads. A task whose thread cannot be started is lost, and the run with it.
    fn start_threads(&mut self) -> (Option<Workers>, Vec<Joined>) {
        let mut workers = None;
        if self.threads.iter().any(|(own, _)| own.is_none()) {
            match self.pool.start() {
                Ok(started) => workers = Some(started),
                Err(error) => {
                    for (own, task) in &self.threads {
                        if own.is_none() {
                            self.coordinator.lose(task.id(), error.clone());
                        }
                    }
                }
            }
        }
        let mut threads = Vec::new();
        for (own, task) in &self.threads {
            if let Some(own) = own {
                match own.start(Arc::clone(task)) {
                    Ok(thread) => threads.push(thread),
                    Err(error) => self.coordinator.lose(task.id(), error),
                }
            }
        }
        (workers, threads)
    }

    /// Brings all tasks to their end; false if some do not stop.
    fn coordinate(&mut self) -> bool {
        let reports = self.coordinator.reports().clone();
        let asked = self.asked.clone();
        let second = tick(Duration::from_secs(1));
        let mut seconds_left = STOP_SECONDS;
        while !self.coordinator.is_done() {
            select! {
                recv(reports) -> report => {
                    for event in report.map(|report| self.coordinator.take(report)).into_iter().flatten() {
                        self.tell(event);
                    }
                }
                recv(asked) -> request => {
                    // Without a handle nobody waits for the job: it is cancelled like one that was asked to.
                    if let Ok(Request::Cancel) = request {
                        self.tell(Event::Cancelling);
                    }
                    self.coordinator.cancel();
                }
                recv(second) -> _ => {
                    if self.coordinator.is_aborting() {
                        seconds_left -= 1;
                    }
                    if seconds_left == 0 {
                        let operators = self.coordinator.give_up(STOP_SECONDS);
                        self.tell(Event::Stuck { operators });
                        return false;
                    }
                }
            }
        }
        true
    }

    fn tell(&self, event: Event) {
        match event {
            // A failure is the result of the run; whoever waits for it learns of it there.
            Event::Stuck { .. } => tracing::error!("{event}"),
            _ => tracing::info!("{event}"),
        }
        if self.events.try_send(event).is_err() {
            self.events_lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}
