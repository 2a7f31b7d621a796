//! What a run depends on.

use std::time::Duration;

use crate::checkpoint::{Allowed, CheckpointOptions, StartAt};
use crate::restart::Restart;

/// What a run depends on besides the plan.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The name of the job, as it stands in its checkpoints.
    pub job_name: String,
    /// How long a record waits in a batch that is not full.
    pub buffer_timeout: Duration,
    /// Source records per second over the whole job.
    pub throttle: Option<f64>,
    /// The most that the emissions of one call of a closure may take while there is no room for them.
    pub overdraft_bytes_max: u64,
    /// The most memory that keyed state may take. If none, seven tenths of what the machine, or the control group that the
    /// process is in, has besides the memory for buffers; no limit where that is not known, as in a simulation.
    pub state_memory: Option<u64>,
    /// Checkpoints, if they are wanted.
    pub checkpoints: Option<CheckpointOptions>,
    /// Where the job begins.
    pub from: StartAt,
    /// What it may lose or repeat.
    pub allowed: Allowed,
    /// What becomes of it after a failure.
    pub restart: Restart,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            job_name: "job".to_owned(),
            buffer_timeout: Duration::from_millis(100),
            throttle: None,
            overdraft_bytes_max: 64 << 20,
            state_memory: None,
            checkpoints: None,
            from: StartAt::Beginning,
            allowed: Allowed::default(),
            restart: Restart::None,
        }
    }
}
