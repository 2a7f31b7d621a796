//! How long a job takes that has nothing to do.

use levada::Runner;
use levada::prelude::*;

use crate::measure::{Plan, median, time};

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
pub(crate) fn run(plan: &Plan) {
    let mut job = || {
        Runner::new()
            .parallelism(2)
            .threads(2)
            .run(|job: &Job| {
                job.source("one", iterator([1u64]))
                    .key_by(|n| *n)
                    .count("counts")
                    .sink("out", for_each(|_| {}))
            })
            .expect("the job ends");
    };
    let times = (0..plan.runs * 20).map(|_| time(&mut job)).collect();
    println!(
        "start (source, keyed count, sink; 2 x 2 subtasks): {:.2} ms from start to end, median of {}",
        median(times).as_secs_f64() * 1e3,
        plan.runs * 20
    );
}
