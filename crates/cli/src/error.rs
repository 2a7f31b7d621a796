//! Why a command failed.

use std::error::Error as _;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;

use levada_checkpoint::CheckpointError;

/// Why a command failed.
pub(crate) enum Error {
    /// A checkpoint cannot be read.
    Checkpoint(CheckpointError),
    /// There is no checkpoint in a directory.
    NoCheckpoint { dir: PathBuf },
    /// Some checkpoints are damaged; which, has been said.
    Damaged { damaged: usize, all: usize },
    /// The program of a job cannot be run.
    Job { job: OsString, source: io::Error },
    /// Standard output cannot be written.
    Output(io::Error),
}

impl From<CheckpointError> for Error {
    fn from(error: CheckpointError) -> Self {
        Self::Checkpoint(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// The sentence, with what it came from.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint(error) => f.write_str(&sentence(error)),
            Self::NoCheckpoint { dir } => write!(f, "there is no checkpoint in {}", dir.display()),
            Self::Damaged { damaged, all } => {
                write!(f, "{damaged} of {all} checkpoints cannot be used")
            }
            Self::Job { job, source } => write!(
                f,
                "cannot run {}: {source}: `--job` takes the path of the job's program, such as ./target/release/JOB",
                job.display()
            ),
            Self::Output(error) => write!(f, "cannot write to standard output: {error}"),
        }
    }
}

/// An error with all that it came from.
pub(crate) fn sentence(error: &CheckpointError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
