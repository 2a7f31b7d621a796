//! What happens to a run, for whoever watches it.

use std::fmt;

use levada_core::Origin;

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
