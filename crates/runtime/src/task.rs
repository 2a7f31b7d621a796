//! A task: one parallel instance of a stage, polled until it ends.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use levada_checkpoint::CheckpointError;
use levada_core::sync::Mutex;
use levada_core::sync::atomic::{AtomicU64, Ordering};
use levada_core::{Clock, Moment, Origin, Wake};
use levada_state::StateError;
use tracing::Span;

use crate::checkpoint::{Durable, Next, Participant, SavedByTask};
use crate::error::Failure;
use crate::metrics::{Activity, Clocked, TaskTimes};
use crate::push::{Ending, Visitor};
use crate::scheduler::{Schedule, TaskState};
use crate::stage::{Progress, Stage};
use crate::state_memory::Weigher;
use crate::turn::{Limits, Turn};

/// What the coordinator tells a task.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Command {
    /// The whole job has come to its end.
    Commit,
    /// Every sink has committed.
    Settle,
    /// Give up.
    Abort,
}

impl Command {
    /// A task is told to commit and to settle, and perhaps to abort at any time.
    pub(crate) const MAX: usize = 3;
}

/// What a task does at the end of the whole job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Duties {
    /// Its sinks commit.
    pub(crate) sink: bool,
    /// Its source keeps how far it has been read, once every sink has committed.
    pub(crate) source: bool,
}

/// What a task tells the coordinator: at most [`Report::MAX`] times in its life.
#[derive(Debug)]
pub(crate) enum Report {
    /// Its input is complete and its sinks have prepared; it waits for [`Command::Commit`].
    Prepared(usize),
    /// Its sinks have committed; it waits for [`Command::Settle`].
    Committed(usize),
    /// It is done, and has closed what it had.
    Finished(usize),
    /// It has failed, and has closed what it had.
    Failed(usize, Failure),
    /// It has saved its part of a checkpoint.
    Saved(usize, u64, SavedByTask),
    /// Its sinks have committed what they prepared for checkpoints up to this one.
    EpochCommitted(usize, u64),
    /// A checkpoint is durable, or could not be written.
    Written(u64, Result<Box<Durable>, Arc<CheckpointError>>),
}

impl Report {
    /// A task is prepared once, commits once, and ends once; and one checkpoint is taken at a time, while the reports of one
    /// that was given up, and the commits of the one before, may still be on their way.
    pub(crate) const MAX: usize = 3 + 4;
}

/// The target of the tasks' spans in the logs: they have no events, so that a filter can let them through by it.
pub const SPAN_TARGET: &str = "levada::task";

/// A task with everything that is needed to wake and to run it.
pub struct TaskCell {
    id: usize,
    head: Origin,
    subtask: usize,
    state: TaskState,
    body: Mutex<Option<Body>>,
    schedule: Arc<dyn Schedule>,
    clocked: Clocked,
    /// Says in the logs whose task it is; entered once per poll.
    span: Span,
    /// The deadline that is set with the scheduler, in nanoseconds.
    timer: AtomicU64,
}

struct Body {
    id: usize,
    stage: Box<dyn Stage>,
    duties: Duties,
    turn: Turn,
    participant: Participant,
    weigher: Weigher,
    commands: Receiver<Command>,
    reports: Sender<Report>,
    /// Waiting for the end of the whole job, or for the sinks of others.
    prepared: bool,
    closed: bool,
}

/// How a poll ended.
enum Polled {
    /// There is more to do.
    Yield,
    /// There is nothing to do until a wake-up, for this reason.
    Sleep(Activity),
    Done,
}

impl TaskCell {
    /// A task without a stage yet: its wakers are needed to build the stage.
    pub(crate) fn new(
        id: usize,
        head: Origin,
        subtask: usize,
        schedule: Arc<dyn Schedule>,
        times: Arc<TaskTimes>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        // At the highest level, so that it is there under every filter that lets an event through.
        let span = tracing::error_span!(
            target: SPAN_TARGET,
            parent: None,
            "task",
            operator = head.name(),
            subtask
        );
        Arc::new(Self {
            id,
            head,
            subtask,
            state: TaskState::ready(),
            body: Mutex::new(None),
            schedule,
            clocked: Clocked { times, clock },
            span,
            timer: AtomicU64::new(u64::MAX),
        })
    }

    /// Gives the task its stage and makes it ready.
    pub(crate) fn launch(
        self: &Arc<Self>,
        stage: Box<dyn Stage>,
        duties: Duties,
        participant: Participant,
        weigher: Weigher,
        commands: Receiver<Command>,
        reports: Sender<Report>,
    ) {
        *self.body.lock() = Some(Body {
            id: self.id,
            stage,
            duties,
            turn: Turn::new(Arc::clone(&self.clocked.clock)),
            participant,
            weigher,
            commands,
            reports,
            prepared: false,
            closed: false,
        });
        self.schedule.ready(Arc::clone(self));
    }

    /// Its number, from 0 in the order of the stages.
    #[must_use]
    pub fn id(&self) -> usize {
        self.id
    }

    /// The operator at its head.
    #[must_use]
    pub fn head(&self) -> &Origin {
        &self.head
    }

    /// The number of the subtask.
    pub(crate) fn subtask(&self) -> usize {
        self.subtask
    }

    /// Whether it is never polled again.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state.is_done()
    }

    /// What it is doing, for a message about a job that does not move.
    #[must_use]
    pub fn activity(&self) -> Activity {
        self.clocked.times.read(self.clocked.clock.now()).0
    }

    /// Shows the state of a task that is not running to a visitor; a task that has ended has none.
    ///
    /// # Errors
    /// What the visitor says.
    pub fn visit(&self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        match &mut *self.body.lock() {
            Some(body) => body.stage.visit(visitor),
            None => Ok(()),
        }
    }

    /// Polls the task once. Only for its scheduler, after the task was ready. Returns the time at which the poll ended.
    pub fn run(self: &Arc<Self>) -> Moment {
        let _entered = self.span.enter();
        self.state.start();
        let begin = self.clocked.enter(Activity::Busy);
        let mut slot = self.body.lock();
        let body = slot.as_mut().expect("a task runs after it was launched");
        let polled = body.poll(&self.head, self.schedule.limits(), begin);
        let wake_at = body.turn.waking();
        if let Polled::Done = polled {
            let body = slot.take();
            drop(slot);
            drop(body);
            let now = self.clocked.enter(Activity::Idle);
            self.state.finish();
            return now;
        }
        let now = self.clocked.clock.now();
        body.turn.end(now);
        drop(slot);
        match polled {
            Polled::Done => {}
            Polled::Yield => {
                self.clocked.times.enter(Activity::Waiting, now);
                self.state.go_on();
                self.schedule.yielded(Arc::clone(self));
            }
            Polled::Sleep(reason) => {
                self.clocked.times.enter(reason, now);
                if let Some(at) = wake_at {
                    self.set_timer(at);
                }
                if !self.state.sleep() {
                    self.clocked.times.enter(Activity::Waiting, now);
                    self.schedule.ready(Arc::clone(self));
                }
            }
        }
        now
    }

    /// Makes sure that the task is polled after this call.
    pub fn wake(self: &Arc<Self>) {
        if self.state.wake() {
            self.clocked.enter(Activity::Waiting);
            self.schedule.ready(Arc::clone(self));
        }
    }

    /// Ends a task that cannot run: closes what it has, here.
    pub(crate) fn abandon(&self) {
        if let Some(mut body) = self.body.lock().take()
            && let Err(failure) = body.stage.close(Ending::Abort)
        {
            tracing::warn!("{failure}, in a task that never ran");
        }
        self.state.finish();
    }

    /// Wakes the task because its time has come.
    pub fn wake_by_timer(self: &Arc<Self>) {
        self.timer.store(u64::MAX, Ordering::Release);
        self.wake();
    }

    /// Sets a timer unless an earlier one is set: so there is about one per task, however often it sleeps.
    fn set_timer(self: &Arc<Self>, at: Moment) {
        if at.as_nanos() < self.timer.load(Ordering::Acquire) {
            self.timer.store(at.as_nanos(), Ordering::Release);
            self.schedule.wake_at(self, at);
        }
    }
}

/// A task as the thing to be woken.
pub(crate) struct TaskWaker(pub(crate) Arc<TaskCell>);

impl Wake for TaskWaker {
    fn wake(&self) {
        self.0.wake();
    }
}

impl Body {
    fn poll(&mut self, head: &Origin, limits: Limits, now: Moment) -> Polled {
        let caught = panic::catch_unwind(AssertUnwindSafe(|| self.advance(limits, now, head)));
        let result = caught.unwrap_or_else(|payload| {
            let panicked = Failure::panic(&*payload, head);
            Err(self.turn.take_failure().unwrap_or(panicked))
        });
        match result {
            Ok(polled) => polled,
            Err(failure) => self.fail(failure, head),
        }
    }

    fn advance(&mut self, limits: Limits, now: Moment, head: &Origin) -> Result<Polled, Failure> {
        // In this order: what was told before a command is known with it.
        let command = self.commands.try_recv();
        self.participant.listen();
        if !self.closed {
            // What is complete counts, whatever comes next.
            self.participant.commit(&mut *self.stage, head)?;
        }
        match command {
            // Its sinks have committed, and its source keeps nothing: what it has read is read again.
            Ok(Command::Abort) if self.closed => return Ok(self.finish()),
            Ok(Command::Abort) => return self.close(Ending::Abort),
            Ok(Command::Commit) if self.duties.source => return self.commit(),
            Ok(Command::Commit) => return self.close(Ending::Commit),
            Ok(Command::Settle) => {
                self.stage.settle(None)?;
                return Ok(self.finish());
            }
            Err(_) => {}
        }
        self.turn.begin(limits, now);
        let mut progress = Progress::Ended;
        if !self.prepared {
            progress = self.stage.poll(&mut self.turn, &mut self.participant);
        }
        let has_ended = progress == Progress::Ended;
        let is_blocked = progress == Progress::Blocked;
        if has_ended && self.participant.wanted().is_some() {
            self.stage.begin(&mut self.turn, &mut self.participant);
        }
        if let Some(failure) = self.turn.take_failure() {
            return Err(failure);
        }
        let records = u64::from(self.turn.spent());
        self.weigher.after_poll(records, &mut *self.stage)?;
        let mut next = Next::Nothing;
        if self.participant.is_active() {
            next = self.participant.go_on(&mut *self.stage, head)?;
        }
        if self.participant.pending().is_some() {
            self.participant
                .say_what_holds(&mut *self.stage, &self.turn, is_blocked);
        }
        if has_ended && !self.prepared && (self.duties.sink || self.duties.source) {
            self.prepared = true;
            self.report(Report::Prepared(self.id));
        }
        match (progress, next) {
            (Progress::More, _) | (_, Next::More) => Ok(Polled::Yield),
            (Progress::Idle, _) => Ok(Polled::Sleep(Activity::Idle)),
            (Progress::Blocked, _) => Ok(Polled::Sleep(Activity::Backpressured)),
            (Progress::Ended, _) if self.prepared => Ok(Polled::Sleep(Activity::Idle)),
            // What it has saved of its state must be handed on before it is gone.
            (Progress::Ended, _) if self.participant.is_active() => {
                Ok(Polled::Sleep(Activity::Checkpointing))
            }
            (Progress::Ended, _) => self.close(Ending::Commit),
        }
    }

    fn close(&mut self, ending: Ending) -> Result<Polled, Failure> {
        self.closed = true;
        self.stage.close(ending)?;
        Ok(self.finish())
    }

    /// Closes a stage whose source has to settle when all others have committed too.
    fn commit(&mut self) -> Result<Polled, Failure> {
        self.closed = true;
        self.stage.close(Ending::Commit)?;
        self.report(Report::Committed(self.id));
        // An abort may have come with the same wake-up.
        Ok(Polled::Yield)
    }

    fn finish(&self) -> Polled {
        self.report(Report::Finished(self.id));
        Polled::Done
    }

    /// Closes what can be closed, and tells the coordinator the first thing that went wrong.
    fn fail(&mut self, failure: Failure, head: &Origin) -> Polled {
        if !self.closed {
            self.closed = true;
            let closed = panic::catch_unwind(AssertUnwindSafe(|| self.stage.close(Ending::Abort)));
            let second = match closed {
                Ok(closed) => closed.err(),
                Err(payload) => Some(Failure::panic(&*payload, head)),
            };
            if let Some(second) = second {
                tracing::warn!("{second}, while closing because {failure}");
            }
        }
        self.report(Report::Failed(self.id, failure));
        Polled::Done
    }

    fn report(&self, report: Report) {
        // The channel has room for all reports of all tasks. Without a coordinator nobody is left to tell.
        let sent = self.reports.try_send(report);
        debug_assert!(
            !matches!(sent, Err(TrySendError::Full(_))),
            "a task reports at most {} times",
            Report::MAX
        );
    }
}
