//! The coordinator of a run: hears from every task, and brings the job to one end.
//!
//! ```text
//!            all prepared or finished           last checkpoint complete      all committed or finished
//!  Running ─────────────────────────▶ Finishing ────────────────────▶ Committing ────────▶ Settling ──▶ Ended
//!     │ failure, cancel, stop             │ failure                      │ failure            │ failure
//!     └──────────────▶ Aborting ◀─────────┴──────────────────────────────┴────────────────────┘
//!                          └───────────────────────────────────── all finished ────────────────────────▶ Ended
//! ```
//!
//! Sinks commit first; then the sources that keep how far they have been read do so. In the other order a crash in between
//! would lose what the sinks had not committed yet.
//!
//! It is a state machine without a thread: one drives it in production, the simulator calls it between two polls.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use levada_core::{Clock, Moment, Origin};

use crate::checkpoint::{Asked, CheckpointMetrics, Decision, Purpose, Schedule, Tasks};
use crate::error::Error;
use crate::event::Event;
use crate::task::{Command, Report, TaskCell};
use crate::wiring::NodeFactory;

/// Brings the tasks of a run to one end.
pub struct Coordinator {
    tasks: Vec<Arc<TaskCell>>,
    commands: Vec<Sender<Command>>,
    reports: Receiver<Report>,
    nodes: Vec<Arc<dyn NodeFactory>>,
    phase: Phase,
    /// By task.
    state: Vec<State>,
    /// Takes checkpoints, if there are any.
    schedule: Option<Schedule>,
    clock: Arc<dyn Clock>,
    outcome: Result<(), Error>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Running,
    /// The last checkpoint is being taken.
    Finishing,
    Committing,
    Settling,
    Aborting,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Running,
    Prepared,
    Committed,
    Ended,
}

impl Coordinator {
    pub(crate) fn new(
        tasks: Vec<Arc<TaskCell>>,
        commands: Vec<Sender<Command>>,
        reports: Receiver<Report>,
        nodes: Vec<Arc<dyn NodeFactory>>,
        schedule: Option<Schedule>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            schedule,
            clock,
            state: vec![State::Running; tasks.len()],
            tasks,
            commands,
            reports,
            nodes,
            phase: Phase::Running,
            outcome: Ok(()),
        }
    }

    /// Where the tasks' reports arrive.
    pub(crate) fn reports(&self) -> &Receiver<Report> {
        &self.reports
    }

    /// Whether reports have arrived that nobody has taken.
    #[must_use]
    pub fn has_reports(&self) -> bool {
        !self.reports.is_empty()
    }

    /// Takes all reports that have arrived. Returns what is worth telling.
    pub fn hear(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Ok(report) = self.reports.try_recv() {
            events.extend(self.take(report));
        }
        events
    }

    /// Takes one report.
    pub(crate) fn take(&mut self, report: Report) -> Vec<Event> {
        let mut events = Vec::new();
        let now = self.clock.now();
        let mut decision = Decision::GoOn;
        match report {
            Report::Prepared(task) => self.state[task] = State::Prepared,
            Report::Committed(task) => self.state[task] = State::Committed,
            Report::Finished(task) => {
                self.state[task] = State::Ended;
                decision = self.schedule(|schedule, tasks| schedule.ended(task, now, tasks));
            }
            Report::Failed(task, failure) => {
                self.state[task] = State::Ended;
                events.push(Event::TaskFailed {
                    operator: failure.operator().clone(),
                    task,
                    message: crate::error::chain(&failure),
                });
                self.abort(Err(failure.into()));
            }
            Report::Saved(task, number, saved) => {
                self.schedule(|schedule, tasks| {
                    schedule.saved(task, number, saved, now, tasks);
                    Decision::GoOn
                });
            }
            Report::EpochCommitted(task, number) => {
                decision = self.schedule(|schedule, tasks| schedule.committed(task, number, tasks));
            }
            Report::Written(number, result) => {
                decision = self.schedule(|schedule, tasks| {
                    let (told, decision) = schedule.written(number, result, now, tasks);
                    events.extend(told);
                    decision
                });
            }
        }
        self.decide(decision, &mut events);
        let all_prepared = self.state.iter().all(|state| *state != State::Running);
        if self.phase == Phase::Running && all_prepared {
            self.phase = Phase::Finishing;
            match &mut self.schedule {
                Some(schedule) => schedule.ask(Asked {
                    purpose: Purpose::Final,
                    stops: false,
                    answer: None,
                }),
                None => self.commit(&mut events),
            }
        }
        let mut states = self.state.iter();
        let all_committed = states.all(|state| matches!(state, State::Committed | State::Ended));
        if self.phase == Phase::Committing && all_committed {
            self.phase = Phase::Settling;
            self.tell_all(State::Committed, Command::Settle);
        }
        events
    }

    /// Takes checkpoints that are due. To be called when [`due`](Self::due) says, and after reports.
    pub fn tick(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        if !matches!(self.phase, Phase::Running | Phase::Finishing) {
            return events;
        }
        let now = self.clock.now();
        let decision = self.schedule(|schedule, tasks| {
            let (told, decision) = schedule.tick(now, tasks);
            events.extend(told);
            decision
        });
        self.decide(decision, &mut events);
        events
    }

    /// When something is due, if no report comes before.
    #[must_use]
    pub fn due(&self) -> Option<Moment> {
        match self.phase {
            Phase::Running | Phase::Finishing => self.schedule.as_ref()?.due(),
            Phase::Committing | Phase::Settling | Phase::Aborting => None,
        }
    }

    /// Asks for a checkpoint; what comes of it goes to whoever asked. False if there are none in this run.
    pub fn ask(&mut self, asked: Asked) -> bool {
        match &mut self.schedule {
            Some(schedule) if matches!(self.phase, Phase::Running | Phase::Finishing) => {
                schedule.ask(asked);
                true
            }
            _ => false,
        }
    }

    /// What is counted of checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> Option<&CheckpointMetrics> {
        self.schedule.as_ref().map(Schedule::metrics)
    }

    fn schedule(&mut self, act: impl FnOnce(&mut Schedule, &Tasks<'_>) -> Decision) -> Decision {
        let Some(schedule) = &mut self.schedule else {
            return Decision::GoOn;
        };
        let tasks = Tasks {
            is_live: &|task| self.state[task] != State::Ended,
            wake: &|task| self.tasks[task].wake(),
            place: &|task| (self.tasks[task].head().clone(), self.tasks[task].subtask()),
        };
        act(schedule, &tasks)
    }

    fn decide(&mut self, decision: Decision, events: &mut Vec<Event>) {
        match decision {
            Decision::GoOn => {}
            Decision::Finish if self.phase == Phase::Finishing => self.commit(events),
            Decision::Finish => {}
            Decision::Stop => {
                events.push(Event::Stopped);
                self.abort(Ok(()));
            }
            Decision::Fail(reason) => self.abort(Err(Error::NoCheckpoint { reason })),
        }
    }

    /// Lets all sinks commit, for good.
    fn commit(&mut self, events: &mut Vec<Event>) {
        self.phase = Phase::Committing;
        events.push(Event::Committing);
        self.tell_all(State::Prepared, Command::Commit);
    }

    /// Gives up the run, unless its sinks are committing: some may have by now, so the others must too.
    pub fn cancel(&mut self) {
        if !matches!(self.phase, Phase::Committing | Phase::Settling) {
            self.abort(Err(Error::Cancelled));
        }
    }

    /// A task cannot run at all: no thread could be started for it.
    pub(crate) fn lose(&mut self, task: usize, error: Error) {
        self.tasks[task].abandon();
        self.state[task] = State::Ended;
        self.abort(Err(error));
    }

    /// Whether every task has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state.iter().all(|state| *state == State::Ended)
    }

    /// Whether the run is being given up.
    #[must_use]
    pub fn is_aborting(&self) -> bool {
        self.phase == Phase::Aborting
    }

    /// Whether it is to stop at a checkpoint that is complete: from there another job may go on at any time.
    pub(crate) fn is_stopping(&self) -> bool {
        self.schedule.as_ref().is_some_and(Schedule::is_stopping)
    }

    /// How the run ended.
    ///
    /// # Errors
    /// The first thing that went wrong.
    pub fn into_outcome(self) -> Result<(), Error> {
        self.outcome
    }

    /// The tasks that have not ended.
    pub fn unended(&self) -> impl Iterator<Item = &Arc<TaskCell>> {
        self.tasks
            .iter()
            .zip(&self.state)
            .filter(|(_, state)| **state != State::Ended)
            .map(|(task, _)| task)
    }

    /// Gives up on tasks that do not come back.
    pub(crate) fn give_up(&mut self, seconds: u64) -> Vec<Origin> {
        let operators: Vec<_> = self.unended().map(|task| task.head().clone()).collect();
        if self.outcome.is_ok() || matches!(self.outcome, Err(Error::Cancelled)) {
            self.outcome = Err(Error::Stuck {
                operators: operators.clone(),
                seconds,
            });
        }
        operators
    }

    fn abort(&mut self, outcome: Result<(), Error>) {
        if self.outcome.is_ok() {
            self.outcome = outcome;
        }
        if self.phase == Phase::Aborting {
            return;
        }
        self.phase = Phase::Aborting;
        if let Some(schedule) = &mut self.schedule {
            schedule.stop();
        }
        for node in &self.nodes {
            node.cancel();
        }
        for task in 0..self.tasks.len() {
            if self.state[task] != State::Ended {
                self.tell(task, Command::Abort);
            }
        }
    }

    fn tell_all(&self, state: State, command: Command) {
        for task in 0..self.tasks.len() {
            if self.state[task] == state {
                self.tell(task, command);
            }
        }
    }

    fn tell(&self, task: usize, command: Command) {
        // The mailbox has room for all commands a task can get; one that has ended does not listen.
        let _ = self.commands[task].try_send(command);
        self.tasks[task].wake();
    }
}
