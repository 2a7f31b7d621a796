//! The world of a simulation: nothing in it comes from the operating system.

mod clock;
mod disk;
mod executor;
mod net;
mod output;

use levada_core::random::{Random, SplitMix64};
use levada_core::sync::Mutex;

pub use clock::VirtualClock;
pub use disk::MemoryDisk;
pub(crate) use executor::SimulatedExecutor;
pub use net::{MemoryNet, Peer};
pub use output::MemoryOutput;

/// Random numbers from a seed.
#[derive(Debug)]
pub struct SeededRandom(Mutex<SplitMix64>);

impl SeededRandom {
    /// The sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(SplitMix64::new(seed)))
    }
}

impl Random for SeededRandom {
    fn next(&self) -> u64 {
        self.0.lock().next()
    }
}
