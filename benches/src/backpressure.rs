//! A job whose sink has stopped: what it holds, and that its memory stays where it is.

use std::fs;
use std::time::Duration;

use levada::Runner;
use levada::prelude::*;
use levada_testing::valve;

use crate::measure::Plan;
use crate::record::Record;

/// Memory of this process, in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let digits = line.and_then(|line| line.split_whitespace().nth(1));
    digits
        .and_then(|kib| kib.parse().ok())
        .expect("Linux says how much memory a process has")
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
pub(crate) fn run(plan: &Plan) {
    let records = 20_000_000 / plan.share;
    let (stopping, valve) = valve();
    let handle = Runner::new()
        .parallelism(2)
        .threads(2)
        .start(move |job: &Job| {
            let left = job.source("left", iterator((0..records).map(Record::new)));
            let right = job.source("right", iterator((0..records).map(Record::new)));
            let rows = left
                .rebalance()
                .union(right.rebalance())
                .key_by(|record| record.words[1] % 997)
                .fold("first", |last: &mut u64, record| *last = record.words[0])
                .key_by(|(_, n)| n % 991)
                .count("second")
                .stream();
            rows.clone().rebalance().sink("fast", for_each(|_| {}));
            rows.map(|_| ())
                .rebalance()
                .sink("stopped", stopping.clone());
        })
        .expect("the job starts");
    assert!(
        !handle.wait_for(Duration::from_secs(1)),
        "the sink has stopped"
    );
    let mut samples = Vec::new();
    for _ in 0..plan.stopped_for * 10 {
        assert!(
            !handle.wait_for(Duration::from_millis(100)),
            "the sink has stopped"
        );
        samples.push(resident());
    }
    let metrics = handle.metrics();
    println!(
        "backpressure: {} s with a stopped sink, resident memory {} to {} KiB",
        plan.stopped_for,
        samples.iter().min().expect("there is a sample"),
        samples.iter().max().expect("there is a sample"),
    );
    for edge in &metrics.edges {
        println!(
            "  {}: at most {} of {} KiB held",
            edge.name,
            edge.held_max >> 10,
            edge.bound >> 10
        );
    }
    if let Some(bottleneck) = metrics.bottleneck() {
        println!("  {bottleneck}");
    }
    valve.open();
    let report = handle.wait().expect("the job goes on and ends");
    let written = report
        .metrics
        .operator("stopped")
        .map_or(0, levada::metrics::OperatorMetrics::sum_in);
    assert_eq!(written, 2 * records, "nothing is lost or doubled");
    println!("  went on: {written} records came out of {}", 2 * records);
}
