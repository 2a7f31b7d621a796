//! One attempt of a run, on its threads.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, after, never, select, tick};
use levada_core::executor::Executor;
use levada_core::{Clock, Moment};
use levada_graph::Plan;

use crate::checkpoint::CheckpointWriter;
use crate::coordinator::Coordinator;
use crate::embedded::{Request, Teller};
use crate::environment::Environment;
use crate::error::Error;
use crate::event::Event;
use crate::launch::{Attempt, RunOptions, launch};
use crate::metrics::Registry;
use crate::scheduler::{OwnThread, Pool, Schedule, Workers};
use crate::task::TaskCell;
use crate::thread::{self, Joined};
use crate::wiring::Program;

/// How long a task that blocks has to come back after a cancel.
const STOP_SECONDS: u64 = 30;

/// What the coordinator's thread drives.
pub(crate) struct Running {
    coordinator: Coordinator,
    registry: Arc<Registry>,
    pool: Arc<Pool>,
    executor: Arc<dyn Executor>,
    clock: Arc<dyn Clock>,
    writer: Option<CheckpointWriter>,
    /// Somebody has asked for it: also if the attempt had failed by then, no other one follows.
    is_cancelled: bool,
    /// Each task, with the scheduler that is its own, if it has one.
    threads: Vec<(Option<Arc<OwnThread>>, Arc<TaskCell>)>,
}

/// How an attempt has ended.
pub(crate) struct Ended {
    pub(crate) outcome: Result<(), Error>,
    /// Whether another one may follow.
    pub(crate) may_restart: bool,
}

impl Running {
    pub(crate) fn launch(
        program: &Program,
        plan: &Arc<Plan>,
        environment: &Environment,
        options: &RunOptions,
        threads: usize,
        attempt: &Attempt,
    ) -> Result<Self, Error> {
        let environment = &Environment {
            executor: environment.executor.for_run(),
            ..environment.clone()
        };
        let pool = Pool::new(threads, Arc::clone(&environment.clock));
        let mut own = Vec::new();
        let launched = launch(
            program,
            plan,
            environment,
            options,
            attempt,
            &mut |stage, _| {
                if stage.own_thread {
                    let thread = OwnThread::new(Arc::clone(&environment.clock));
                    own.push(Some(Arc::clone(&thread)));
                    thread as Arc<dyn Schedule>
                } else {
                    own.push(None);
                    Arc::clone(&pool) as Arc<dyn Schedule>
                }
            },
        )
        .inspect_err(|_| {
            environment.executor.stop(Duration::from_secs(STOP_SECONDS));
        })?;
        let tasks = launched.tasks().to_vec();
        let (coordinator, registry, writer) = launched.into_parts();
        Ok(Self {
            coordinator,
            registry,
            pool,
            executor: Arc::clone(&environment.executor),
            clock: Arc::clone(&environment.clock),
            writer,
            is_cancelled: false,
            threads: own.into_iter().zip(tasks).collect(),
        })
    }

    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Runs the attempt to its end.
    pub(crate) fn drive(mut self, asked: &Receiver<Request>, teller: &Teller) -> Ended {
        let tasks = self.threads.len();
        let writer = match self.start_writer() {
            Ok(writer) => writer,
            Err(error) => {
                for (_, task) in &self.threads {
                    self.coordinator.lose(task.id(), error.clone());
                }
                return Ended {
                    outcome: self.coordinator.into_outcome(),
                    may_restart: true,
                };
            }
        };
        let (workers, own) = self.start_threads();
        teller.tell(Event::Started { tasks });
        let all_stopped = self.coordinate(asked, teller);
        if all_stopped {
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
        let was_stopping = self.coordinator.is_stopping() || self.is_cancelled;
        let outcome = self.coordinator.into_outcome();
        drop(self.threads);
        // Nobody can send any more, so that it ends, unless a task was left behind.
        if let Some(writer) = writer.filter(|_| all_stopped) {
            writer.join();
        }
        Ended {
            outcome,
            // What is left behind may still write; and whoever asked it to stop has been told that it does, and may have gone on
            // from there.
            may_restart: all_stopped && !was_stopping,
        }
    }

    fn start_writer(&mut self) -> Result<Option<Joined>, Error> {
        let Some(writer) = self.writer.take() else {
            return Ok(None);
        };
        let name = "levada-checkpoint".to_owned();
        thread::start(name, move || writer.run()).map(Some)
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
    fn coordinate(&mut self, asked: &Receiver<Request>, teller: &Teller) -> bool {
        let reports = self.coordinator.reports().clone();
        let second = tick(Duration::from_secs(1));
        let mut seconds_left = STOP_SECONDS;
        while !self.coordinator.is_done() {
            for event in self.coordinator.tick() {
                teller.tell(event);
            }
            self.registry
                .set_checkpoints(self.coordinator.checkpoints());
            let due = match self.coordinator.due() {
                Some(due) => after(self.until(due)),
                None => never(),
            };
            select! {
                recv(reports) -> report => {
                    for event in report.map(|report| self.coordinator.take(report)).into_iter().flatten() {
                        teller.tell(event);
                    }
                }
                recv(asked) -> request => self.answer(request.unwrap_or(Request::Cancel), teller),
                recv(due) -> _ => {}
                recv(second) -> _ => {
                    if self.coordinator.is_aborting() {
                        seconds_left -= 1;
                    }
                    if seconds_left == 0 {
                        let operators = self.coordinator.give_up(STOP_SECONDS);
                        teller.tell(Event::Stuck { operators });
                        return false;
                    }
                }
            }
        }
        self.registry
            .set_checkpoints(self.coordinator.checkpoints());
        true
    }

    fn until(&self, due: Moment) -> Duration {
        due - self.clock.now()
    }

    fn answer(&mut self, request: Request, teller: &Teller) {
        match request {
            // Without a handle nobody waits for the job: it is cancelled like one that was asked to.
            Request::Cancel => {
                teller.tell(Event::Cancelling);
                self.is_cancelled = true;
                self.coordinator.cancel();
            }
            Request::Checkpoint(asked) => {
                let answer = asked.answer.clone();
                if !self.coordinator.ask(asked)
                    && let Some(answer) = answer
                {
                    let reason = "the job takes no checkpoints, or is at its end";
                    let _ = answer.try_send(Err(reason.to_owned()));
                }
            }
        }
    }
}
