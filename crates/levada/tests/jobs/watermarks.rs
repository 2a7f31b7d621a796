//! Watermarks and idleness on their way through a job.

use std::time::Duration;

use levada::prelude::*;
use levada::sleep;
use levada_testing::{Harness, Simulation};

fn times(watermarks: &[Timestamp]) -> Vec<i64> {
    watermarks.iter().map(|at| at.0).collect()
}

/// All ways along which a signal can go: an exchange by key, two branches of a stream, a union, a call, a side output.
fn everywhere(numbers: Stream<u64>) -> Stream<u64> {
    let (good, bad) = numbers
        .map(|n| if n % 5 == 0 { Err(n) } else { Ok(n) })
        .split_results();
    let slow = good
        .clone()
        .rebalance()
        .call("slow", Calls::unordered(4), |n: u64| async move {
            sleep(Duration::from_millis(n % 7)).await;
            Ok::<_, String>(n)
        });
    good.union(slow)
        .union(bad)
        .key_by(|n| n % 3)
        .count("counts")
        .map(|(_, count)| count)
        .stream()
}

#[test]
fn watermarks_and_idleness_come_through_everything() {
    for seed in 0..100 {
        let simulation = Simulation::new(seed);
        let mut harness = Harness::new(&simulation, everywhere).unwrap();
        harness.push_at((0..50).map(|n| (n, n as i64)));
        assert_eq!(harness.output().len(), 50 + 40, "seed {seed}");
        assert!(harness.output_watermarks().is_empty(), "seed {seed}");
        harness.watermark(49);
        assert_eq!(times(&harness.output_watermarks()), [49], "seed {seed}");
        assert!(!harness.output_is_idle(), "seed {seed}");
        harness.idle();
        assert!(harness.output_is_idle(), "seed {seed}");

        // A record makes the input active again, and what follows keeps its order.
        harness.feed_at((50..60).map(|n| (n, n as i64)));
        harness.feed_watermark(59);
        harness.feed_idle();
        harness.feed_watermark(70);
        harness.feed_at([(71, 71)]);
        harness.push([]);
        assert!(!harness.output_is_idle(), "seed {seed}");
        assert_eq!(times(&harness.output_watermarks()).last(), Some(&70));
        assert_eq!(harness.output().len(), 10 + 8 + 2, "seed {seed}");
        harness.idle();
        assert!(harness.output_is_idle(), "seed {seed}");
        harness.end();
        harness.simulated().settle();
        assert!(harness.simulated().is_done(), "seed {seed}");
        assert_eq!(
            times(&harness.output_watermarks()),
            [i64::MAX],
            "seed {seed}"
        );
    }
}

#[test]
fn records_keep_their_event_times_and_places_between_watermarks() {
    for seed in 0..100 {
        let simulation = Simulation::new(seed).one_credit();
        let parity = |numbers: Stream<u64>| numbers.rebalance().key_by(|n| *n).count("each");
        let mut harness = Harness::new(&simulation, parity).unwrap();
        harness.push_at([(1, -5), (2, 7)]);
        harness.push([3]);
        let mut out = harness.output_at();
        out.sort_unstable();
        let expected = [((1, 1), -5), ((2, 1), 7), ((3, 1), i64::MIN)];
        let expected = expected.map(|(row, at)| (row, Timestamp(at)));
        assert_eq!(out, expected, "seed {seed}");
    }
}

#[test]
fn an_operator_shows_its_watermark() {
    let simulation = Simulation::new(7).parallelism(2);
    let counts = |words: Stream<u64>| words.key_by(|n| *n).count("counts");
    let mut harness = Harness::new(&simulation, counts).unwrap();
    let metrics = harness.simulated().metrics();
    let counts = metrics.operator("counts").unwrap();
    assert_eq!(counts.watermark, [None, None]);
    assert_eq!(counts.watermark_lag_millis, None);
    harness.watermark(-2_000);
    harness.advance(Duration::from_secs(3));
    let metrics = harness.simulated().metrics();
    let counts = metrics.operator("counts").unwrap();
    assert_eq!(counts.watermark, [Some(-2_000); 2]);
    let lag = counts.watermark_lag_millis.unwrap();
    assert!((5_000..5_300).contains(&lag), "{lag}");
    assert_eq!((counts.sum_late(), counts.sum_splits_held()), (0, 0));
}
