//! What can be wrong with a graph, in sentences that name the lines to look at.

use std::fmt;

use levada_core::{Origin, Place};

use crate::bounds::Shortage;

/// One thing that is wrong with a graph.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The job has no node at all.
    Empty,
    /// Two operators have one name, which is the uid of their state.
    DuplicateName {
        /// The operator that had the name first.
        first: Origin,
        /// The line that used it again.
        second: Place,
    },
    /// An operator's name is empty or has a line break in it.
    BadName {
        /// The operator.
        operator: Origin,
    },
    /// A stream has no consumer.
    EndsNowhere {
        /// The operator it comes from.
        operator: Origin,
        /// The line that made the stream.
        place: Place,
    },
    /// A parallelism of zero.
    ZeroParallelism {
        /// The operator.
        operator: Origin,
        /// The line that asked for it.
        place: Place,
    },
    /// More subtasks than there are key groups to share among them.
    AboveKeyGroups {
        /// The operator.
        operator: Origin,
        /// Its parallelism.
        parallelism: usize,
        /// The job's key groups.
        key_groups: u16,
    },
    /// More subtasks than the operator can have.
    AboveMaximum {
        /// The operator.
        operator: Origin,
        /// Its parallelism.
        parallelism: usize,
        /// The most it can have.
        maximum: usize,
        /// Why.
        reason: &'static str,
    },
    /// A stream is used by an operator of another parallelism with nothing between that could divide it.
    ParallelismChanges {
        /// The operator before.
        from: Origin,
        /// Its parallelism.
        from_parallelism: usize,
        /// The operator after.
        to: Origin,
        /// Its parallelism.
        to_parallelism: usize,
    },
    /// The buffers that the edges need at the least do not fit into the buffer memory.
    BufferMemory(Shortage),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the job has no source: call `job.source(..)`"),
            Self::DuplicateName { first, second } => write!(
                f,
                "the name `{}` is given twice, at {} and at {}: state is found by name, so each source, \
                 operator and sink needs its own",
                first.name(),
                At(&first.place()),
                At(second)
            ),
            Self::BadName { operator } => write!(
                f,
                "the name {:?} at {} cannot be used: a name is one line with something in it",
                operator.name(),
                At(&operator.place())
            ),
            Self::EndsNowhere { operator, place } => write!(
                f,
                "a stream of {operator} made at {} ends nowhere: give it a sink, or call `.discard()`",
                At(place)
            ),
            Self::ZeroParallelism { operator, place } => write!(
                f,
                "{operator} is given the parallelism 0 at {}: it needs at least one subtask",
                At(place)
            ),
            Self::AboveKeyGroups {
                operator,
                parallelism,
                key_groups,
            } => write!(
                f,
                "{operator} has parallelism {parallelism}, but the job has {key_groups} key groups to share among \
                 its subtasks: lower the parallelism, or raise `--key-groups`"
            ),
            Self::AboveMaximum {
                operator,
                parallelism,
                maximum,
                reason,
            } => write!(
                f,
                "{operator} has parallelism {parallelism}, but it can have at most {maximum}: {reason}"
            ),
            Self::ParallelismChanges {
                from,
                from_parallelism,
                to,
                to_parallelism,
            } => write!(
                f,
                "the parallelism changes from {from_parallelism} at {from} to {to_parallelism} at {to}: call \
                 `.rebalance()` between them"
            ),
            Self::BufferMemory(shortage) => shortage.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

/// Everything that is wrong with a graph; at least one thing.
#[derive(Debug)]
pub struct Errors(pub(crate) Vec<Error>);

impl Errors {
    /// The errors, in the order of the program's lines as far as possible.
    #[must_use]
    pub fn all(&self) -> &[Error] {
        &self.0
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// A line of the program, as an editor can jump to it.
pub(crate) struct At<'a>(pub(crate) &'a Place);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.file(), self.0.line())
    }
}
