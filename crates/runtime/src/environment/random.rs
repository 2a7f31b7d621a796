//! Seeds from the operating system.

use std::hash::{BuildHasher, RandomState};

use levada_core::random::{Random, SplitMix64};
use levada_core::sync::Mutex;

pub(super) struct SystemRandom(Mutex<SplitMix64>);

impl SystemRandom {
    pub(super) fn new() -> Self {
        // The standard library seeds its hash maps from the operating system, and hands the seed out in this way.
        let seed = RandomState::new().hash_one(std::process::id());
        Self(Mutex::new(SplitMix64::new(seed)))
    }
}

impl Random for SystemRandom {
    fn next(&self) -> u64 {
        self.0.lock().next()
    }
}
