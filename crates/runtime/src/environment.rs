//! The world outside a job: clock, randomness, disk, network, futures, standard output. One value carries all of it, so
//! that a simulation can own every bit.

#[cfg(not(any(loom, shuttle)))]
mod clock;
#[cfg(not(any(loom, shuttle)))]
mod disk;
#[cfg(not(any(loom, shuttle)))]
mod executor;
#[cfg(not(any(loom, shuttle)))]
mod net;
#[cfg(not(any(loom, shuttle)))]
mod output;
#[cfg(not(any(loom, shuttle)))]
mod random;

use std::sync::Arc;

use levada_core::Clock;
use levada_core::disk::Disk;
use levada_core::executor::Executor;
use levada_core::net::Network;
use levada_core::output::Output;
use levada_core::random::Random;

/// The world outside a job.
#[derive(Clone)]
pub struct Environment {
    /// Reads the time.
    pub clock: Arc<dyn Clock>,
    /// Reads and writes files.
    pub disk: Arc<dyn Disk>,
    /// Connects and listens.
    pub network: Arc<dyn Network>,
    /// Standard output.
    pub output: Arc<dyn Output>,
    /// Runs futures.
    pub executor: Arc<dyn Executor>,
    /// Seeds.
    pub random: Arc<dyn Random>,
}

impl Environment {
    /// The operating system's.
    #[cfg(not(any(loom, shuttle)))]
    #[must_use]
    pub fn system() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(clock::SystemClock::new());
        Self {
            clock: Arc::clone(&clock),
            disk: Arc::new(disk::SystemDisk),
            network: Arc::new(net::SystemNetwork::new(clock)),
            output: Arc::new(output::StandardOutput),
            executor: Arc::new(executor::SystemExecutor::default()),
            random: Arc::new(random::SystemRandom::new()),
        }
    }
}
