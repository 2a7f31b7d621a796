//! How a task fails: with the operator's name and the line of the user's program.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::mem;
use std::sync::Arc;

use levada_core::{BoxError, Origin};

use crate::checkpoint::CheckpointFailure;
use crate::state_memory::TooMuchState;

/// Why a task failed.
#[derive(Clone, Debug)]
pub struct Failure {
    operator: Origin,
    cause: Cause,
}

#[derive(Clone, Debug)]
enum Cause {
    /// An operator, or what it works with, returned an error.
    Error(Arc<dyn std::error::Error + Send + Sync>),
    /// A closure or method of the user panicked.
    Panic(String),
    /// The engine panicked: an invariant does not hold.
    Engine(String),
}

impl Failure {
    /// An error that an operator met.
    #[must_use]
    pub fn error(operator: Origin, error: BoxError) -> Self {
        Self {
            operator,
            cause: Cause::Error(error.into()),
        }
    }

    /// A panic that was caught around a task. The operator whose closure panicked is known if a [`Blame`] guarded it;
    /// otherwise `head` stands for the task.
    pub(crate) fn panic(payload: &(dyn Any + Send), head: &Origin) -> Self {
        let message = payload
            .downcast_ref::<&str>()
            .map(|message| (*message).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a value that is no text".to_owned());
        match BLAMED.take() {
            Some(Some(operator)) => Self {
                operator,
                cause: Cause::Panic(message),
            },
            Some(None) | None => Self {
                operator: head.clone(),
                cause: Cause::Engine(message),
            },
        }
    }

    /// Whether it would fail again, from whichever checkpoint it went on.
    pub(crate) fn is_final(&self) -> bool {
        matches!(&self.cause, Cause::Error(error) if error.is::<TooMuchState>())
    }

    /// The operator that failed.
    #[must_use]
    pub fn operator(&self) -> &Origin {
        &self.operator
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Error(_) => write!(f, "{} failed", self.operator),
            Cause::Panic(message) => write!(f, "{} panicked: {message}", self.operator),
            Cause::Engine(message) => write!(
                f,
                "the engine failed in the task of {}, please report it: {message}",
                self.operator
            ),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Error(error) => Some(&**error),
            Cause::Panic(_) | Cause::Engine(_) => None,
        }
    }
}

thread_local! {
    /// Whom the innermost guard of a panic blames: an operator, or the engine itself.
    static BLAMED: RefCell<Option<Option<Origin>>> = const { RefCell::new(None) };
}

/// Names the operator of a closure if it panics. Costs nothing if it does not.
///
/// ```
/// # use levada_runtime::Blame;
/// # let origin = levada_core::Origin::new("map", std::panic::Location::caller());
/// # let closure = |n: u64| n + 1;
/// let blame = Blame::on(&origin);
/// let result = closure(1);
/// blame.lift();
/// # assert_eq!(result, 2);
/// ```
#[derive(Debug)]
#[must_use = "the guard blames as long as it lives"]
pub struct Blame<'a>(Option<&'a Origin>);

impl<'a> Blame<'a> {
    /// From here on a panic is this operator's.
    #[inline]
    pub fn on(operator: &'a Origin) -> Self {
        Blame(Some(operator))
    }

    /// From here on a panic is the engine's own, although a closure of the user's has called it.
    #[inline]
    pub(crate) fn on_engine() -> Self {
        Blame(None)
    }

    /// The closure has returned.
    #[inline]
    pub fn lift(self) {
        // Without its destructor the guard leaves no code on the way of a record.
        mem::forget(self);
    }
}

/// Runs code of the user's for an operator: its error, and its panic, are the operator's.
///
/// # Errors
/// What the code returns, as the operator's failure.
pub fn blaming<R>(
    operator: &Origin,
    act: impl FnOnce() -> Result<R, BoxError>,
) -> Result<R, Failure> {
    let blame = Blame::on(operator);
    let result = act();
    blame.lift();
    result.map_err(|error| Failure::error(operator.clone(), error))
}

/// As [`blaming`], for what ends an operator: a panic is a failure too, so that the rest of the chain is closed after it.
///
/// # Errors
/// What the code returns or panics with, as the operator's failure.
pub fn closing(
    operator: &Origin,
    act: impl FnOnce() -> Result<(), BoxError>,
) -> Result<(), Failure> {
    guarded(operator, || blaming(operator, act))
}

impl Drop for Blame<'_> {
    fn drop(&mut self) {
        // Unwinding runs from the inside out: the first guard is the closure that panicked.
        BLAMED.with_borrow_mut(|blamed| {
            blamed.get_or_insert_with(|| self.0.cloned());
        });
    }
}

/// Why a job did not come to its end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// A task failed; the job was ended and its sinks gave up what they had not committed.
    Failed(Failure),
    /// The job was cancelled.
    Cancelled,
    /// Operators that block did not come back in time after a cancel; their threads were left behind.
    Stuck {
        /// The operators that did not stop.
        operators: Vec<Origin>,
        /// How long they were given, in seconds.
        seconds: u64,
    },
    /// A thread could not be started.
    Thread {
        /// Its name.
        name: String,
        /// What the operating system said.
        source: Arc<std::io::Error>,
    },
    /// The directory of checkpoints cannot be used, or the job cannot go on from the checkpoint that it was to.
    Checkpoint(CheckpointFailure),
    /// Checkpoints failed, and the job cannot go on without.
    NoCheckpoint {
        /// What went wrong.
        reason: String,
    },
    /// No task can run, none waits for a timer, and the job has not ended: only a scheduler with nothing else to wait
    /// for, the simulator's, can see this.
    Deadlock {
        /// What the tasks wait for.
        waiting: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::Cancelled => f.write_str("the job was cancelled"),
            Self::Stuck { operators, seconds } => {
                f.write_str("did not stop within ")?;
                write!(f, "{seconds} s of the cancel:")?;
                for operator in operators {
                    write!(f, " {operator}")?;
                }
                Ok(())
            }
            Self::Thread { name, .. } => write!(f, "the thread `{name}` could not be started"),
            Self::Checkpoint(failure) => failure.fmt(f),
            Self::NoCheckpoint { reason } => f.write_str(reason),
            Self::Deadlock { waiting } => write!(f, "no task can run: {waiting}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(failure) => failure.source(),
            Self::Thread { source, .. } => Some(&**source),
            Self::Checkpoint(failure) => failure.source(),
            Self::Cancelled
            | Self::Stuck { .. }
            | Self::NoCheckpoint { .. }
            | Self::Deadlock { .. } => None,
        }
    }
}

impl From<CheckpointFailure> for Error {
    fn from(failure: CheckpointFailure) -> Self {
        Self::Checkpoint(failure)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// An error with its sources, as one sentence.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Runs code that may be the user's, and turns a panic into a failure.
pub(crate) fn guarded<R>(
    head: &Origin,
    act: impl FnOnce() -> Result<R, Failure>,
) -> Result<R, Failure> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(act))
        .unwrap_or_else(|payload| Err(Failure::panic(&*payload, head)))
}
