//! The same job under many seeds.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use crate::simulation::Run;

/// What a campaign saw.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Campaign {
    /// Seeds that were run.
    pub seeds: u64,
    /// Schedules that differ in the order of their tasks.
    pub distinct: usize,
    /// Polls of all runs.
    pub polls: u64,
}

/// Runs a test for each seed, and counts how many different schedules it saw.
///
/// The test returns the run; it panics, naming the seed, if something is wrong.
pub fn campaign(seeds: Range<u64>, mut test: impl FnMut(u64) -> Run) -> Campaign {
    let mut schedules = HashSet::new();
    let mut polls = 0;
    for seed in seeds.clone() {
        let run = test(seed);
        schedules.insert(run.schedule);
        polls += run.polls;
    }
    Campaign {
        seeds: seeds.end - seeds.start,
        distinct: schedules.len(),
        polls,
    }
}

impl fmt::Display for Campaign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} seeds: {} distinct schedules, {} polls",
            self.seeds, self.distinct, self.polls
        )
    }
}
