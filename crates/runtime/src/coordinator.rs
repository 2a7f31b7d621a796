//! The coordinator of a run: hears from every task, and brings the job to one end.
//!
//! ```text
//!            all prepared or finished            all committed or finished           all finished
//!  Running ─────────────────────────▶ Committing ────────────────────────▶ Settling ─────────────▶ Ended
//!     │ failure, cancel                   │ failure                           │ failure
//!     └──────────────▶ Aborting ◀─────────┴───────────────────────────────────┘
//!                          └───────────────────────────────────── all finished ──────────────────▶ Ended
//! ```
//!
//! Sinks commit first; then the sources that keep how far they have been read do so. In the other order a crash in between
//! would lose what the sinks had not committed yet.
//!
//! It is a state machine without a thread: one drives it in production, the simulator calls it between two polls.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use levada_core::Origin;

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
    outcome: Result<(), Error>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Running,
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
    ) -> Self {
        Self {
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
        match report {
            Report::Prepared(task) => self.state[task] = State::Prepared,
            Report::Committed(task) => self.state[task] = State::Committed,
            Report::Finished(task) => self.state[task] = State::Ended,
            Report::Failed(task, failure) => {
                self.state[task] = State::Ended;
                events.push(Event::TaskFailed {
                    operator: failure.operator().clone(),
                    task,
                    message: crate::error::chain(&failure),
                });
                self.abort(Err(failure.into()));
            }
        }
        let all_prepared = self.state.iter().all(|state| *state != State::Running);
        if self.phase == Phase::Running && all_prepared {
            self.phase = Phase::Committing;
            events.push(Event::Committing);
            self.tell_all(State::Prepared, Command::Commit);
        }
        let mut states = self.state.iter();
        let all_committed = states.all(|state| matches!(state, State::Committed | State::Ended));
        if self.phase == Phase::Committing && all_committed {
            self.phase = Phase::Settling;
            self.tell_all(State::Committed, Command::Settle);
        }
        events
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
