//! How soon a job hears something while one watermark fires very many windows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use levada::prelude::*;
use levada::{Environment, Runner};

use crate::measure::{Plan, median};

/// Says nothing about time: all windows fire at the end.
struct Silent;

impl WatermarkGenerator<(u64, i64)> for Silent {
    fn record(&mut self, _: &(u64, i64), _: Timestamp) {}

    fn watermark(&self) -> Timestamp {
        Timestamp::MIN
    }
}

/// Cancels a job after so many results of its one firing. Returns how long it took to end, and how many results there were.
fn cancelled_after(windows: u64, results: u64) -> (Duration, u64) {
    let fired = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&fired);
    let handle = Runner::new()
        .parallelism(1)
        .threads(1)
        .start(move |job: &Job| {
            let counter = Arc::clone(&counter);
            job.source("numbers", generator(|n| n).count(windows))
                .map(|n| (n, n as i64 * 10))
                .timestamps(|(_, at)| *at, Watermarks::custom(|| Silent))
                .key_by(|(n, _)| n % 1_000)
                .window(tumbling(millis(10)))
                .count("counts")
                .sink(
                    "out",
                    for_each(move |_| {
                        counter.fetch_add(1, Ordering::Relaxed);
                    }),
                );
        })
        .expect("the job starts");
    while fired.load(Ordering::Relaxed) < results {
        thread::yield_now();
    }
    let clock = Environment::system().clock;
    let begin = clock.now();
    handle.cancel();
    let _ = handle.end();
    (clock.now() - begin, fired.load(Ordering::Relaxed))
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
pub(crate) fn run(plan: &Plan) {
    let windows = 150_000;
    let runs = plan.runs as u64 * 5;
    let mut times = Vec::new();
    let mut interrupted = 0;
    for run in 0..runs {
        let (time, results) = cancelled_after(windows, 1 + run * windows / (2 * runs));
        times.push(time);
        interrupted += u64::from(results < windows);
    }
    let longest = times.iter().max().copied().unwrap_or_default();
    println!(
        "firing ({windows} windows by one watermark): {:.2} ms at most from a cancel to the end of the job, median {:.2} ms \
         ({interrupted} of {runs} were interrupted)",
        longest.as_secs_f64() * 1e3,
        median(times).as_secs_f64() * 1e3,
    );
}
