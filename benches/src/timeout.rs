//! The price of a short buffer timeout.

use std::hint::black_box;
use std::time::Duration;

use levada::Runner;
use levada::prelude::*;

use crate::measure::{Plan, compare};
use crate::record::Record;

fn job(records: u64, timeout: Duration) {
    Runner::new()
        .parallelism(2)
        .threads(2)
        .buffer_timeout(timeout)
        .run(move |job: &Job| {
            job.source("records", generator(Record::new).count(records))
                .key_by(|record| record.words[1] % 1_000)
                .fold("sums", |sum: &mut u64, record| {
                    *sum = sum.wrapping_add(record.sum());
                })
                .sink(
                    "out",
                    for_each(|row| {
                        black_box(row);
                    }),
                )
        })
        .expect("the job ends");
}

pub(crate) fn run(plan: &Plan) {
    let records = 20_000_000 / plan.share;
    compare(
        plan,
        "timeout (keyed sums, 2 x 2 subtasks)",
        records,
        ("--buffer-timeout 100ms", || {
            job(records, Duration::from_millis(100));
        }),
        ("--buffer-timeout 1ms", || {
            job(records, Duration::from_millis(1));
        }),
    );
}
