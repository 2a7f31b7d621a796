//! What happens to a run, for whoever watches it.

use std::fmt;
use std::time::Duration;

use levada_core::Origin;

use crate::checkpoint::{All, CheckpointSummary, HeldUp};

/// Something that happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The tasks are running.
    Started {
        /// How many there are.
        tasks: usize,
    },
    /// A task has failed; the run is being given up.
    TaskFailed {
        /// The operator that failed.
        operator: Origin,
        /// The number of its task.
        task: usize,
        /// What it said, with its causes.
        message: String,
    },
    /// Where the job begins: afresh, or from a checkpoint.
    Beginning {
        /// In a sentence.
        remark: String,
    },
    /// A checkpoint is complete.
    CheckpointCompleted(Box<CheckpointSummary>),
    /// A checkpoint takes long: a tenth of the time is over after which it is given up. Told once of each.
    CheckpointLate {
        /// Its number.
        number: u64,
        /// How long ago it began.
        after: Duration,
        /// What it waits for, and why; first those for whom others wait.
        held_up: Vec<HeldUp>,
    },
    /// A checkpoint failed or was given up; the job goes on, and the ones before are as good as they were.
    CheckpointFailed {
        /// Its number.
        number: u64,
        /// What went wrong.
        reason: String,
    },
    /// The job has stopped where it was to.
    Stopped,
    /// The job has failed and is started again.
    Restarting {
        /// The number of the attempt that begins.
        attempt: u32,
        /// When it does.
        after: Duration,
    },
    /// The run is being given up because it was cancelled.
    Cancelling,
    /// All input has been read and all sinks have prepared: they commit now.
    Committing,
    /// Operators that block have not come back in time.
    Stuck {
        /// The operators.
        operators: Vec<Origin>,
    },
    /// Every task has ended.
    Ended,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { tasks } => write!(f, "{tasks} tasks are running"),
            Self::TaskFailed { message, .. } => f.write_str(message),
            Self::Beginning { remark } => f.write_str(remark),
            Self::CheckpointCompleted(summary) => write!(
                f,
                "checkpoint {} is complete: {} bytes, durable after {:.1} ms",
                summary.number,
                summary.bytes,
                summary.durable_nanos as f64 / 1e6
            ),
            Self::CheckpointLate {
                number,
                after,
                held_up,
            } => write!(
                f,
                "checkpoint {number} is not complete after {after:.1?}: {}",
                All(held_up)
            ),
            Self::CheckpointFailed { number, reason } => {
                write!(f, "checkpoint {number} failed: {reason}")
            }
            Self::Restarting { attempt, after } => {
                write!(f, "starts again in {after:.1?}: attempt {attempt}")
            }
            Self::Stopped => f.write_str("stopped where it was to"),
            Self::Cancelling => f.write_str("cancelling"),
            Self::Committing => f.write_str("all input has been read, sinks commit"),
            Self::Stuck { operators } => {
                f.write_str("did not stop:")?;
                for operator in operators {
                    write!(f, " {operator}")?;
                }
                Ok(())
            }
            Self::Ended => f.write_str("all tasks have ended"),
        }
    }
}
