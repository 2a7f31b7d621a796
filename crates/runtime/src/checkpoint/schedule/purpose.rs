//! What checkpoints are wanted for.

use std::path::PathBuf;

use crossbeam_channel::Sender;

use crate::checkpoint::summary::CheckpointSummary;

/// What a checkpoint is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// To go on from after a failure.
    Recovery,
    /// A savepoint, in a directory of its own.
    Savepoint(PathBuf),
    /// The last one of a job whose input has come to its end.
    Final,
}

/// A checkpoint that somebody wants.
#[derive(Debug)]
pub struct Asked {
    /// What for.
    pub purpose: Purpose,
    /// Whether the job is to stop there.
    pub stops: bool,
    /// Where the answer goes.
    pub answer: Option<Sender<Result<CheckpointSummary, String>>>,
}
