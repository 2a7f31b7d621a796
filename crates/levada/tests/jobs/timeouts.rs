//! A record does not wait in a batch for longer than the buffer timeout.

use std::time::Duration;

use levada::Runner;
use levada_testing::{Harness, Simulation};

#[test]
fn a_lonely_record_leaves_after_the_buffer_timeout() {
    for seed in 0..50 {
        let timeout = Duration::from_millis(1 + seed % 300);
        let simulation = Simulation::new(seed)
            .parallelism(2)
            .runner(Runner::new().force_exchange().buffer_timeout(timeout));
        let mut harness = Harness::new(&simulation, |numbers| {
            use levada::prelude::*;
            let numbers: Stream<u64> = numbers;
            numbers.rebalance().key_by(|n| n % 2).count("counts")
        })
        .unwrap();
        let begin = harness.simulated().elapsed();
        // The input does not end, so nothing but time brings the record through.
        harness.push([7]);
        assert_eq!(harness.output(), [(1, 1)], "seed {seed}");
        let took = harness.simulated().elapsed() - begin;
        // Three exchanges, and the time of some polls.
        assert!(
            took < 3 * timeout + Duration::from_millis(30),
            "seed {seed}: {took:?}"
        );
    }
}
