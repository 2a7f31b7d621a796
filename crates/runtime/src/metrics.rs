//! What is counted while a job runs.
//!
//! A task's time is divided into five kinds that sum to the wall clock by construction: it is in exactly one at any
//! moment, and the clock is read when it goes from one to the next, never per record. Counters have one writer each, so
//! counting a record is an ordinary addition.

mod bottleneck;
mod report;
mod task;
pub mod user;

use std::sync::Arc;

use hdrhistogram::Histogram;
use levada_core::Timestamp;
use levada_core::sync::Mutex;
use levada_core::sync::atomic::{AtomicI64, AtomicU64, Ordering};

pub use bottleneck::Bottleneck;
pub use report::{
    ChannelMetrics, EdgeMetrics, JobMetrics, LatencyMetrics, OperatorMetrics, OverdraftMetrics,
    Registry, TaskMetrics,
};
pub use task::{Activity, Times};
pub(crate) use task::{Clocked, TaskTimes};

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n`. To be called by one thread at a time.
    #[inline]
    pub fn add(&self, n: u64) {
        // Not `fetch_add`: a locked addition per record would cost more than most operators.
        self.0
            .store(self.0.load(Ordering::Relaxed) + n, Ordering::Relaxed);
    }

    /// What has been counted.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is there now, and the most there has been. It has one writer.
#[derive(Debug, Default)]
pub struct Level {
    now: AtomicU64,
    most: AtomicU64,
}

impl Level {
    /// Shows what is there. To be called by one thread at a time.
    pub fn set(&self, level: u64) {
        self.now.store(level, Ordering::Relaxed);
        if level > self.most() {
            self.most.store(level, Ordering::Relaxed);
        }
    }

    /// What is there.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// The most there has been.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }
}

/// The last watermark of an operator in one subtask.
#[derive(Debug)]
pub struct WatermarkGauge(AtomicI64);

impl WatermarkGauge {
    /// Shows a watermark.
    pub fn set(&self, watermark: Timestamp) {
        self.0.store(watermark.0, Ordering::Relaxed);
    }

    /// The watermark, if there has been one.
    #[must_use]
    pub fn get(&self) -> Option<Timestamp> {
        Some(Timestamp(self.0.load(Ordering::Relaxed))).filter(|at| *at > Timestamp::MIN)
    }
}

impl Default for WatermarkGauge {
    fn default() -> Self {
        Self(AtomicI64::new(Timestamp::MIN.0))
    }
}

/// What one operator counts in one subtask.
#[derive(Debug)]
pub struct OperatorCounters {
    /// Records taken.
    pub records_in: Counter,
    /// Records given on.
    pub records_out: Counter,
    /// Records that could not be read, processed or written and were left out, as the program asked.
    pub records_skipped: Counter,
    /// Records that came after the watermark had passed what they belong to.
    pub records_late: Counter,
    /// How often a split of a source was held back because it was too far ahead of the others.
    pub splits_held: Counter,
    /// Bytes of memory that its keyed state takes, as it is estimated now and then.
    pub state_bytes: Level,
    /// The watermark.
    pub watermark: WatermarkGauge,
    /// Nanoseconds from a record's source to here; filled by sinks.
    latency: Mutex<Histogram<u64>>,
}

impl OperatorCounters {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            records_in: Counter::default(),
            records_out: Counter::default(),
            records_skipped: Counter::default(),
            records_late: Counter::default(),
            splits_held: Counter::default(),
            state_bytes: Level::default(),
            watermark: WatermarkGauge::default(),
            latency: Mutex::new(latency_histogram()),
        })
    }

    /// Counts the latency of `records` records. Called per batch: it takes a lock.
    pub fn record_latency(&self, nanos: u64, records: u64) {
        // Saturating: a latency beyond an hour counts as one hour.
        self.latency
            .lock()
            .saturating_record_n(nanos.max(1), records);
    }
}

/// One microsecond to one hour, with two significant digits: some 20 KiB once used.
fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 3_600_000_000_000, 2)
        .expect("the bounds are a microsecond and an hour")
}
