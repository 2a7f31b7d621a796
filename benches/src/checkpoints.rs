//! How long checkpoints take: under full backpressure, while very many windows fire, and with much state; and how soon a job
//! that has failed goes on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use levada::prelude::*;
use levada::{CheckpointOptions, CheckpointSummary, Environment, Handle, Restart, Runner, StartAt};
use levada_core::Clock;

use crate::measure::Plan;

/// A sink that is busy with each record for so long: the set-up of the figures of other engines.
const BUSY: Duration = Duration::from_micros(20);

fn spin(clock: &dyn Clock) {
    let begin = clock.now();
    while clock.now() - begin < BUSY {}
}

fn options(dir: &Path, alignment_timeout: Option<Duration>) -> CheckpointOptions {
    let mut options = CheckpointOptions::new(dir);
    options.every = None;
    options.alignment_timeout = alignment_timeout;
    options
}

fn runner(options: CheckpointOptions) -> Runner {
    Runner::new()
        .parallelism(1)
        .threads(2)
        .force_exchange()
        .checkpoints(options)
}

/// Takes checkpoints one after the other, with a pause between them.
fn take(handle: &Handle, count: usize) -> Vec<CheckpointSummary> {
    let take = |_| {
        assert!(
            !handle.wait_for(Duration::from_millis(10)),
            "the job goes on"
        );
        handle.checkpoint().expect("the checkpoint is taken")
    };
    (0..count).map(take).collect()
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn tell(what: &str, taken: &[CheckpointSummary]) {
    let of = |nanos: &dyn Fn(&CheckpointSummary) -> u64| {
        let mut millis: Vec<_> = taken
            .iter()
            .map(|taken| nanos(taken) as f64 / 1e6)
            .collect();
        millis.sort_by(f64::total_cmp);
        let at = |share: f64| millis[((millis.len() - 1) as f64 * share).round() as usize];
        format!("{:.2}, {:.2}, {:.2} ms", at(0.5), at(0.99), at(1.0))
    };
    let sum = |of: &dyn Fn(&CheckpointSummary) -> u64| taken.iter().map(of).sum::<u64>();
    println!(
        "checkpoints, {what}: p50, p99, max to the last task {}; to durable {}; syncs {}; in flight {} records and {} KiB each, \
         {} KiB written each ({} checkpoints)",
        of(&|taken| taken.saved_nanos),
        of(&|taken| taken.durable_nanos),
        of(&|taken| taken.sync_nanos),
        sum(&|taken| taken.in_flight_records) / taken.len() as u64,
        sum(&|taken| taken.in_flight_bytes) / (taken.len() as u64 * 1_024),
        sum(&|taken| taken.bytes) / (taken.len() as u64 * 1_024),
        taken.len()
    );
}

/// A source that is never done, ten thousand keys, and a slow sink behind an exchange.
fn under_backpressure(what: &str, alignment_timeout: Option<Duration>, count: usize) {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let handle = runner(options(dir.path(), alignment_timeout))
        .start(|job: &Job| {
            let clock = Environment::system().clock;
            job.source("numbers", generator(|n| n))
                .key_by(|n| n % 10_000)
                .count("counts")
                .rebalance()
                .sink("slow", for_each(move |_| spin(&*clock)));
        })
        .expect("the job starts");
    assert!(!handle.wait_for(Duration::from_secs(1)), "it fills up");
    let taken = take(&handle, count);
    handle.cancel();
    let _ = handle.end();
    tell(what, &taken);
}

/// Says nothing about time: all windows fire at the end.
struct Silent;

impl WatermarkGenerator<(u64, i64)> for Silent {
    fn record(&mut self, _: &(u64, i64), _: Timestamp) {}

    fn watermark(&self) -> Timestamp {
        Timestamp::MIN
    }
}

/// While one watermark fires very many windows into the slow sink.
fn while_firing(windows: u64, count: usize) {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let fired = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&fired);
    let timeout = Some(Duration::from_millis(100));
    let handle = runner(options(dir.path(), timeout))
        .start(move |job: &Job| {
            let clock = Environment::system().clock;
            let seen = Arc::clone(&seen);
            job.source("numbers", generator(|n| n).count(windows))
                .map(|n| (n, n as i64 * 10))
                .timestamps(|(_, at)| *at, Watermarks::custom(|| Silent))
                .key_by(|(n, _)| n % 1_000)
                .window(tumbling(millis(10)))
                .count("counts")
                .rebalance()
                .sink(
                    "slow",
                    for_each(move |_| {
                        seen.fetch_add(1, Ordering::Relaxed);
                        spin(&*clock);
                    }),
                );
        })
        .expect("the job starts");
    while fired.load(Ordering::Relaxed) == 0 {
        std::thread::yield_now();
    }
    let mut taken = Vec::new();
    while taken.len() < count && fired.load(Ordering::Relaxed) < windows * 9 / 10 {
        taken.extend(take(&handle, 1));
    }
    handle.cancel();
    let _ = handle.end();
    tell(&format!("while {windows} windows fire"), &taken);
}

/// So many keys with 100 bytes each: a whole checkpoint, and one after a hundredth of them has changed.
#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn with_state(keys: u64, count: usize) {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let done = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&done);
    let handle = runner(options(dir.path(), Some(Duration::from_millis(100))))
        .throttle(2_000_000.0)
        .start(move |job: &Job| {
            let seen = Arc::clone(&seen);
            // At first each key once, then a hundredth of them again and again.
            job.source("numbers", generator(|n| n))
                .key_by(move |n| if *n < keys { *n } else { *n % (keys / 100) })
                .fold("bytes", |state: &mut (u64, [u64; 12]), n| {
                    state.0 += 1;
                    state.1[(*n % 12) as usize] = *n;
                })
                .sink(
                    "out",
                    for_each(move |_| {
                        seen.fetch_add(1, Ordering::Relaxed);
                    }),
                );
        })
        .expect("the job starts");
    while done.load(Ordering::Relaxed) < keys + keys / 20 {
        std::thread::yield_now();
    }
    let full = take(&handle, 1);
    tell(&format!("{keys} keys of 104 bytes, all of them"), &full);
    let changes = take(&handle, count);
    tell("a hundredth of them changed", &changes);
    let metrics = handle.metrics();
    handle.cancel();
    let _ = handle.end();
    let latency = metrics
        .operators
        .iter()
        .filter_map(|operator| operator.latency);
    for latency in latency.filter(|latency| latency.count > 0) {
        println!(
            "  latency over the whole run: p99.9 {:?}, max {:?}",
            Duration::from_nanos(latency.p999),
            Duration::from_nanos(latency.max)
        );
    }
}

/// From a failure to the first record after the restart, with so many keys.
#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn after_a_failure(keys: u64, runs: usize) {
    let mut times = Vec::new();
    for _ in 0..runs {
        let dir = tempfile::tempdir().expect("there is room for a directory");
        let clock = Environment::system().clock;
        let (fail, failed_at, next_at) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicU64::new(0)),
        );
        let done = Arc::new(AtomicU64::new(0));
        let shared = (
            Arc::clone(&fail),
            Arc::clone(&failed_at),
            Arc::clone(&next_at),
        );
        let (seen, time) = (Arc::clone(&done), Arc::clone(&clock));
        let handle = runner(options(dir.path(), Some(Duration::from_millis(100))))
            .start_at(StartAt::Beginning)
            .restart(Restart::Fixed {
                delay: Duration::ZERO,
                restarts_max: 1,
            })
            .start(move |job: &Job| {
                let (fail, failed_at, next_at) = shared.clone();
                let (seen, time) = (Arc::clone(&seen), Arc::clone(&time));
                job.source("numbers", generator(|n| n))
                    .key_by(move |n| n % keys)
                    .fold("bytes", |state: &mut (u64, [u64; 12]), n| {
                        state.0 += 1;
                        state.1[(*n % 12) as usize] = *n;
                    })
                    .sink(
                        "out",
                        for_each(move |_| {
                            let now = time.now().as_nanos();
                            seen.fetch_add(1, Ordering::Relaxed);
                            if fail.swap(0, Ordering::Relaxed) == 1 {
                                failed_at.store(now, Ordering::Relaxed);
                                panic!("as it was told");
                            }
                            if failed_at.load(Ordering::Relaxed) > 0 {
                                let _ = next_at.compare_exchange(
                                    0,
                                    now,
                                    Ordering::Relaxed,
                                    Ordering::Relaxed,
                                );
                            }
                        }),
                    );
            })
            .expect("the job starts");
        while done.load(Ordering::Relaxed) < keys + keys / 10 {
            std::thread::yield_now();
        }
        let _ = take(&handle, 1);
        fail.store(1, Ordering::Relaxed);
        while next_at.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        handle.cancel();
        let _ = handle.end();
        let nanos = next_at.load(Ordering::Relaxed) - failed_at.load(Ordering::Relaxed);
        times.push(nanos as f64 / 1e6);
    }
    times.sort_by(f64::total_cmp);
    println!(
        "checkpoints, from a failure to the first record with {keys} keys: median {:.1} ms, most {:.1} ms (of {runs})",
        times[times.len() / 2],
        times[times.len() - 1]
    );
}

/// Latencies at the sink, in nanoseconds, over a run of some seconds: how many, p50, p99.9, the greatest.
fn latency(
    every: Option<Duration>,
    keys: u64,
    seconds: u64,
) -> (levada::metrics::LatencyMetrics, u64) {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let mut options = options(dir.path(), Some(Duration::from_millis(100)));
    options.every = every;
    let handle = runner(options)
        .throttle(300_000.0)
        .buffer_timeout(Duration::from_millis(1))
        .start(move |job: &Job| {
            job.source("numbers", generator(|n| n))
                .key_by(move |n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys)
                .fold("bytes", |state: &mut (u64, [u64; 12]), n| {
                    state.0 += 1;
                    state.1[(*n % 12) as usize] = *n;
                })
                .sink("out", for_each(|_| {}));
        })
        .expect("the job starts");
    assert!(
        !handle.wait_for(Duration::from_secs(seconds)),
        "the job goes on"
    );
    let metrics = handle.metrics();
    handle.cancel();
    let _ = handle.end();
    let latency = metrics
        .operators
        .iter()
        .find_map(|operator| operator.latency);
    let taken = metrics.checkpoints.map_or(0, |of| of.completed);
    (latency.expect("a sink has a latency"), taken)
}

/// The latency of records while checkpoints are taken all the time, against that without.
#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
pub(crate) fn run_latency(plan: &Plan) {
    let (keys, seconds) = (100_000 / plan.share, 1 + 9 / plan.share);
    let mut ratios = Vec::new();
    for _ in 0..plan.runs.min(5) {
        let (without, _) = latency(None, keys, seconds);
        let (with, taken) = latency(Some(Duration::from_millis(20)), keys, seconds);
        let text = |latency: levada::metrics::LatencyMetrics| {
            let millis = |nanos| nanos as f64 / 1e6;
            format!(
                "p50 {:.2}, p99.9 {:.2}, max {:.2} ms",
                millis(latency.p50),
                millis(latency.p999),
                millis(latency.max)
            )
        };
        println!(
            "latency, {keys} keys, 300,000 records/s: {} without checkpoints; {} with one every 20 ms ({taken} taken)",
            text(without),
            text(with)
        );
        ratios.push(with.p999 as f64 / without.p999 as f64);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "latency, p99.9 with checkpoints against that without: median {:.2}",
        ratios[ratios.len() / 2]
    );
}

pub(crate) fn run(plan: &Plan) {
    let count = if plan.share > 1 { 5 } else { 100 };
    let millis = Duration::from_millis;
    under_backpressure(
        "backpressure, overtaking at once",
        Some(Duration::ZERO),
        count,
    );
    under_backpressure("backpressure, after 100 ms", Some(millis(100)), count);
    under_backpressure("backpressure, in order", None, count.div_ceil(5));
    while_firing(150_000 / plan.share.min(10), count);
    with_state(1_000_000 / plan.share, count.div_ceil(5));
}

pub(crate) fn run_restarts(plan: &Plan) {
    after_a_failure(1_000_000 / plan.share, plan.runs.min(5));
    after_a_failure(1_000, plan.runs.min(5));
}
