//! A fused chain of stateless steps against the same chain of `std::iter`.

use std::hint::black_box;

use levada::Runner;
use levada::prelude::*;

use crate::measure::{Plan, compare};
use crate::record::Record;

fn first(mut record: Record) -> Record {
    record.words[0] = record.words[0].wrapping_mul(3) ^ record.words[1];
    record
}

fn keeps(record: &Record) -> bool {
    record.words[0] & 7 != 0
}

fn second(record: Record) -> u64 {
    record.sum() >> 3
}

pub(crate) fn run(plan: &Plan) {
    let records = 50_000_000 / plan.share;
    compare(
        plan,
        "chain (map, filter, map; 64-byte records)",
        records,
        ("iterator", || {
            (0..records)
                .map(Record::new)
                .map(first)
                .filter(keeps)
                .map(second)
                .for_each(|sum| {
                    black_box(sum);
                });
        }),
        ("job", || {
            Runner::new()
                .parallelism(1)
                .threads(1)
                .run(move |job: &Job| {
                    job.source("records", iterator((0..records).map(Record::new)))
                        .map(first)
                        .filter(keeps)
                        .map(second)
                        .sink(
                            "out",
                            for_each(|sum| {
                                black_box(sum);
                            }),
                        )
                })
                .expect("the job ends");
        }),
    );
}
