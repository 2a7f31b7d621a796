//! The world outside a job: clock, randomness, disk, standard output. One value carries all of it, so that a simulation
//! can own every bit.

mod clock;
mod disk;
mod output;
mod random;

use std::sync::Arc;

use levada_core::Clock;
use levada_core::disk::Disk;
use levada_core::output::Output;
use levada_core::random::Random;

/// The world outside a job.
#[derive(Clone)]
pub struct Environment {
    /// Reads the time.
    pub clock: Arc<dyn Clock>,
    /// Reads and writes files.
    pub disk: Arc<dyn Disk>,
    /// Standard output.
    pub output: Arc<dyn Output>,
    /// Seeds.
    pub random: Arc<dyn Random>,
}

impl Environment {
    /// The operating system's.
    #[must_use]
    pub fn system() -> Self {
        Self {
            clock: Arc::new(clock::SystemClock::new()),
            disk: Arc::new(disk::SystemDisk),
            output: Arc::new(output::StandardOutput),
            random: Arc::new(random::SystemRandom::new()),
        }
    }
}
