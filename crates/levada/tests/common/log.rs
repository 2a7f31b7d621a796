//! A disk with a log, and jobs that use it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use levada::connectors::{Log, LogSink, LogSource, RoundRobin};
use levada::prelude::*;
use levada_core::disk::Disk;
use levada_testing::{MemoryDisk, Simulation, collect};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Bid {
    pub(crate) auction: u64,
    pub(crate) price: u64,
    pub(crate) note: String,
}

/// The bid of a number.
pub(crate) fn bids(n: u64) -> Bid {
    Bid {
        auction: n % 7,
        price: n,
        note: "x".repeat(n as usize % 5),
    }
}

/// A disk that outlives its jobs.
pub(crate) struct World {
    seed: AtomicU64,
    pub(crate) disk: MemoryDisk,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed: AtomicU64::new(seed << 16),
            disk: MemoryDisk::default(),
        }
    }

    /// A simulation with another seed and the same disk.
    pub(crate) fn simulation(&self) -> Simulation {
        let seed = self.seed.fetch_add(1, Ordering::Relaxed);
        Simulation::new(seed).with_disk(self.disk.clone())
    }

    pub(crate) fn log(&self) -> Log {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        Log::open_on(&disk, "orders").unwrap()
    }

    /// Appends bids to the log `orders`, which has three partitions.
    pub(crate) fn append(
        &self,
        numbers: Range<u64>,
        options: impl Fn(LogSink<RoundRobin>) -> LogSink<RoundRobin>,
    ) {
        let simulation = self.simulation();
        simulation
            .run(|job: &Job| {
                let begin = numbers.start;
                let numbers = generator(move |n| bids(begin + n)).count(numbers.end - begin);
                let sink = options(log_sink("orders").partitions(3));
                job.source("numbers", numbers).rebalance().sink("log", sink);
            })
            .unwrap()
            .expect_finished();
        assert_eq!(self.log().partitions(), 3);
    }

    /// Reads the log, and sorts what was read; the error as text.
    pub(crate) fn consume(
        &self,
        options: impl Fn(LogSource<Bid>) -> LogSource<Bid>,
    ) -> Result<Vec<Bid>, String> {
        let (sink, collected) = collect();
        let run = self.simulation().run(|job: &Job| {
            let source = options(log_source("orders"));
            job.source("bids", source).sink("out", sink.clone());
        });
        let run = run.map_err(|error| format!("{error:?}"))?;
        run.expect_empty();
        run.outcome
            .map_err(|error| format!("{:?}", levada::Error::Run(error)))?;
        let mut read = collected.take();
        read.sort_unstable_by_key(|bid| bid.price);
        Ok(read)
    }
}
