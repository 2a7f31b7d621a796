//! What a checkpoint waits for at a task.

use std::fmt;
use std::sync::Arc;

use levada_core::Origin;
use levada_state::StateError;

use crate::push::{Epochs, Sends, Visitor};

/// Why a task has not saved its part of a checkpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Hold {
    /// It has not been polled since the checkpoint began: it is in a call that has not come back, or no thread was free.
    Away,
    /// What cannot be saved half-way must be emitted first: the rest of an iterator, or of what a closure has emitted.
    Unfinished {
        /// The operator that emits it, if that is known.
        operator: Option<String>,
    },
    /// Barriers have not come.
    Barriers {
        /// The edges on which they are missing.
        edges: Vec<Arc<str>>,
        /// Whether the task reads nothing, since it has no room for what it would emit.
        is_blocked: bool,
    },
    /// There is more state to be written.
    State,
    /// There is, and the disk has not caught up with what has been written.
    Disk,
    /// A sink has not prepared what it has to commit.
    Sink(String),
    /// A barrier waits for room, at the end of this operator's stage.
    Room(String),
    /// All tasks have saved their parts, which are not on the disk yet.
    Files,
}

/// What holds up a checkpoint.
#[derive(Clone, Debug)]
pub struct HeldUp {
    /// The operator at the head of the task; none if it is no task.
    pub operator: Option<Origin>,
    /// The number of the subtask.
    pub subtask: usize,
    /// Why.
    pub hold: Hold,
}

impl Hold {
    /// Who waits for nobody comes first, then who waits for room, which those behind have, then who waits for those before.
    fn rank(&self) -> u8 {
        match self {
            Self::Away
            | Self::State
            | Self::Disk
            | Self::Sink(_)
            | Self::Files
            | Self::Unfinished { operator: Some(_) } => 0,
            Self::Room(_)
            | Self::Unfinished { operator: None }
            | Self::Barriers {
                is_blocked: true, ..
            } => 1,
            Self::Barriers {
                is_blocked: false, ..
            } => 2,
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away => f.write_str("is in a call that has not come back, or waits for a thread"),
            Self::Unfinished { operator: None } => {
                f.write_str("has no room for the rest of what it emits")
            }
            Self::Unfinished {
                operator: Some(operator),
            } => write!(
                f,
                "must first emit the rest of what `{operator}` has begun to emit, which cannot be saved half-way"
            ),
            Self::Barriers { edges, is_blocked } => {
                f.write_str("waits for the barrier on ")?;
                for (place, edge) in edges.iter().enumerate() {
                    let comma = if place == 0 { "" } else { ", " };
                    write!(f, "{comma}`{edge}`")?;
                }
                if *is_blocked {
                    f.write_str(", and reads nothing since it has no room for what it would emit")?;
                }
                Ok(())
            }
            Self::State => f.write_str("is writing its state"),
            Self::Disk => f.write_str("waits for the disk to catch up with its state"),
            Self::Sink(sink) => {
                write!(
                    f,
                    "waits for the sink `{sink}`, which has not prepared what it commits"
                )
            }
            Self::Room(operator) => write!(
                f,
                "waits for room to send the barrier on, in the stage that ends with `{operator}`"
            ),
            Self::Files => {
                f.write_str("all tasks have saved, and the files are not on the disk yet")
            }
        }
    }
}

impl fmt::Display for HeldUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.operator {
            Some(operator) => write!(f, "{operator} [{}] {}", self.subtask, self.hold),
            None => self.hold.fmt(f),
        }
    }
}

/// What holds up a checkpoint, in a sentence: first those for whom others wait.
pub(crate) struct All<'a>(pub(crate) &'a [HeldUp]);

/// Tasks that are named.
const NAMED_MAX: usize = 3;

impl fmt::Display for All<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, held) in self.0.iter().take(NAMED_MAX).enumerate() {
            let semicolon = if place == 0 { "" } else { "; " };
            write!(f, "{semicolon}{held}")?;
        }
        match self.0.len().saturating_sub(NAMED_MAX) {
            0 => Ok(()),
            1 => f.write_str("; and another task waits"),
            more => write!(f, "; and {more} other tasks wait"),
        }
    }
}

/// Puts those first for whom others wait. They come in the order of the stages.
pub(crate) fn sort(held: &mut [HeldUp]) {
    held.reverse();
    held.sort_by_key(|held| held.hold.rank());
}

/// Looks for the sink or the sender that a task waits for.
pub(crate) struct Outside {
    pub(crate) checkpoint: u64,
    pub(crate) found: Option<Hold>,
}

impl Visitor for Outside {
    fn sink(
        &mut self,
        operator: &Origin,
        _: usize,
        sink: &mut dyn Epochs,
    ) -> Result<(), StateError> {
        if !sink.has_prepared(self.checkpoint) {
            self.found = Some(Hold::Sink(operator.name().to_owned()));
        }
        Ok(())
    }

    fn sender(&mut self, operator: &Origin, sender: &mut dyn Sends) -> Result<(), StateError> {
        if !sender.has_delivered(self.checkpoint) {
            self.found = Some(Hold::Room(operator.name().to_owned()));
        }
        Ok(())
    }
}
