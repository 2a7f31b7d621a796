//! A sink that stops stops its sources, through two keyed exchanges, a union and a fan-out.

use std::time::Duration;

use levada::metrics::{Activity, JobMetrics};
use levada::prelude::*;
use levada::{Handle, Runner, Sink};
use levada_testing::{Collecting, Simulation, Valved, campaign, collect, valve};

/// One row for each record, in order of its key.
type Row = (u64, u64);

/// `left` and `right` meet before `first`; behind `second` the stream goes to a sink that may stop and to one that does
/// not.
fn build(job: &Job, records: u64, stopping: impl Sink<Row>, other: Collecting<Row>) {
    let left = job.source("left", iterator((0..records).step_by(2)));
    let right = job
        .source("right", iterator((1..records).step_by(2)))
        .rebalance();
    let rows = left
        .rebalance()
        .union(right)
        .key_by(|n| n % 97)
        .fold("first", |last: &mut u64, n| *last = *n)
        .key_by(|(_, n)| n % 89)
        .fold("second", |last: &mut Row, row| *last = *row)
        .map(|(_, row)| row)
        .stream();
    rows.clone().rebalance().sink("other", other);
    rows.rebalance().sink("stopping", stopping);
}

/// The exchanges from the sources to the sink that stops.
fn path(metrics: &JobMetrics) -> Vec<&levada::metrics::EdgeMetrics> {
    let path: Vec<_> = metrics
        .edges
        .iter()
        .filter(|edge| !edge.name.contains("other"))
        .collect();
    assert!(path.len() >= 5, "{:?}", metrics.edges);
    path
}

/// Asserts that each exchange on the path was filled to half of its bound at least, and never above.
fn expect_full(metrics: &JobMetrics) {
    for edge in path(metrics) {
        assert!(
            edge.bound / 2 <= edge.held_max && edge.held_max <= edge.bound,
            "{}: at most {} of {} held",
            edge.name,
            edge.held_max,
            edge.bound
        );
    }
}

/// Waits until no source has brought in anything for a hundred looks, and all of them say that there is no room.
fn await_standstill(handle: &Handle) -> JobMetrics {
    let mut quiet = 0;
    let mut before = 0;
    loop {
        assert!(
            !handle.wait_for(Duration::from_millis(1)),
            "the job has ended"
        );
        let metrics = handle.metrics();
        let read = metrics.records_read();
        let mut sources = metrics
            .tasks
            .iter()
            .filter(|t| t.head == "left" || t.head == "right");
        let stopped = sources.all(|task| task.activity == Activity::Backpressured);
        quiet = if read == before && stopped {
            quiet + 1
        } else {
            0
        };
        before = read;
        if quiet == 100 {
            return metrics;
        }
    }
}

fn sorted(mut rows: Vec<Row>) -> Vec<u64> {
    rows.sort_unstable();
    let mut numbers: Vec<_> = rows.into_iter().map(|(_, n)| n).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_stopped_sink_stops_its_sources_and_everything_goes_on_when_it_does() {
    const RECORDS: u64 = 600_000;
    let (stopping, valve) = valve();
    let (other, collected) = collect();
    let handle = Runner::new()
        .args(["--buffer-memory", "32MiB"])
        .parallelism(2)
        .threads(2)
        .start(move |job: &Job| build(job, RECORDS, stopping.clone(), other.clone()))
        .unwrap();
    let metrics = await_standstill(&handle);
    assert!(
        metrics.records_read() < RECORDS,
        "the sources have stopped before their end"
    );
    expect_full(&metrics);
    let bottleneck = metrics.bottleneck().expect("everybody waits");
    assert_eq!(bottleneck.operators, ["stopping"], "{bottleneck}");

    valve.open();
    let report = handle.wait().unwrap();
    expect_full(&report.metrics);
    let all: Vec<_> = (0..RECORDS).collect();
    assert!(sorted(valve.take()) == all, "nothing is lost or doubled");
    assert!(
        sorted(collected.take()) == all,
        "nothing is lost or doubled"
    );
}

#[test]
fn a_sink_a_hundred_times_too_slow_is_named() {
    const RECORDS: u64 = 150_000;
    let (other, collected) = collect();
    let report = Runner::new()
        .args(["--buffer-memory", "2MiB"])
        .parallelism(2)
        .threads(2)
        .run(move |job: &Job| {
            let slow = for_each(|row: Row| {
                // Some twenty microseconds, where a record costs a tenth of one elsewhere; a turn is slow without optimisation.
                let turns = if cfg!(debug_assertions) {
                    1_500
                } else {
                    20_000
                };
                std::hint::black_box(
                    (0..turns).fold(row.1, |sum, n| std::hint::black_box(sum ^ n)),
                );
            });
            build(job, RECORDS, slow, other.clone());
        })
        .unwrap();
    expect_full(&report.metrics);
    let bottleneck = report.metrics.bottleneck().expect("everybody waited");
    assert_eq!(bottleneck.operators, ["stopping"], "{bottleneck}");
    assert!(sorted(collected.take()) == (0..RECORDS).collect::<Vec<_>>());
    assert_eq!(
        report.metrics.operator("stopping").unwrap().sum_in(),
        RECORDS
    );
}

#[test]
fn no_exchange_ever_holds_more_than_its_bound() {
    campaign(0..100, |seed| {
        let (stopping, valve): (Valved<Row>, _) = valve();
        let (other, _collected) = collect();
        let mut simulated = Simulation::new(seed)
            .start(move |job: &Job| build(job, 20_000, stopping.clone(), other.clone()))
            .unwrap();
        simulated.settle();
        assert!(!simulated.is_done(), "seed {seed}: the sink has stopped");
        valve.open();
        simulated.settle();
        let run = simulated.finish();
        run.expect_finished();
        assert!(
            sorted(valve.take()) == (0..20_000).collect::<Vec<_>>(),
            "seed {seed}"
        );
        run
    });
}

/// Records from 1 KiB to 1 MiB: what is beyond the target of a batch is overdraft, and the budget holds for all of it.
#[test]
fn large_records_stay_within_the_budget() {
    const RECORDS: u64 = 3_000;
    let size = |n: u64| 1usize << (10 + n % 11);
    let (stopping, valve) = valve();
    let handle = Runner::new()
        .args(["--buffer-memory", "24MiB"])
        .parallelism(2)
        .threads(2)
        .start(move |job: &Job| {
            let left = job.source("left", iterator((0..RECORDS).step_by(2)));
            let right = job.source("right", iterator((1..RECORDS).step_by(2)));
            let text = move |n| (n, "x".repeat(size(n)));
            left.map(text)
                .rebalance()
                .union(right.map(text).rebalance())
                .key_by(|(n, _)| *n)
                .reduce("texts", |_, _| {})
                .map(|(_, row)| row)
                .rebalance()
                .sink("out", stopping.clone());
        })
        .unwrap();
    let metrics = await_standstill(&handle);
    let held: u64 = metrics.edges.iter().map(|edge| edge.held_max).sum();
    // A producer without overdraft of its own may always go on, with one batch: else two could wait for each other.
    let slack = 1 << 20;
    let producers = metrics.tasks.len() as u64;
    assert!(
        metrics.overdraft.bytes_max > 0,
        "large records were in overdraft: {:?}",
        metrics.overdraft
    );
    assert!(
        held + metrics.overdraft.bytes_max <= (24 << 20) + producers * slack,
        "{held} bytes held, {:?}",
        metrics.overdraft
    );
    valve.open();
    handle.wait().unwrap();
    let mut rows: Vec<_> = valve
        .take()
        .into_iter()
        .map(|(n, text)| (n, text.len()))
        .collect();
    rows.sort_unstable();
    let expected: Vec<_> = (0..RECORDS).map(|n| (n, size(n))).collect();
    assert!(rows == expected);
}
