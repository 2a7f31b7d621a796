//! What a run depends on for its checkpoints.

use std::path::PathBuf;
use std::time::Duration;

/// Where checkpoints are taken, how often, and when one is given up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CheckpointOptions {
    /// The directory, which is this job's alone.
    pub dir: PathBuf,
    /// How long from the beginning of one to that of the next; none are taken by themselves if none.
    pub every: Option<Duration>,
    /// The least time from the end of one to the beginning of the next.
    pub pause_min: Duration,
    /// How long one may take until it is given up.
    pub timeout: Duration,
    /// How long barriers wait behind records before they overtake; they never do if none.
    pub alignment_timeout: Option<Duration>,
    /// Whether a channel whose barrier has come waits for the others. If not, records may be processed twice after a restore.
    pub exactly_once: bool,
    /// How many in a row may fail before the job does; any number if none.
    pub failures_max: Option<u32>,
    /// How many are kept.
    pub retained: usize,
    /// How many may be based on each other; 1 means that each stands alone.
    pub chain_max: usize,
    /// How much may wait for the disk.
    pub queue_bytes: u64,
}

impl CheckpointOptions {
    /// The defaults, for this directory.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            every: Some(Duration::from_secs(10)),
            pause_min: Duration::ZERO,
            timeout: Duration::from_mins(10),
            alignment_timeout: Some(Duration::from_millis(100)),
            exactly_once: true,
            failures_max: None,
            retained: 2,
            chain_max: 16,
            queue_bytes: 64 << 20,
        }
    }
}

/// Where a job goes on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum StartAt {
    /// At its beginning.
    #[default]
    Beginning,
    /// At the latest checkpoint in its directory; at its beginning if there is none.
    Latest,
    /// At this checkpoint: a directory, of which the latest counts, or a manifest.
    Path(PathBuf),
}

/// What a job may do that loses or repeats something.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Allowed {
    /// State of operators that it does not have any more may be dropped.
    pub dropped: bool,
    /// It may go back behind output that has been committed.
    pub duplicates: bool,
}
