//! An exchange between two threads against a bounded channel of batches.

use std::hint::black_box;
use std::thread;

use levada::Runner;
use levada::prelude::*;

use crate::measure::{Plan, compare};
use crate::record::Record;

const BATCH: usize = 1_024;

pub(crate) fn run(plan: &Plan) {
    let records = 50_000_000 / plan.share;
    compare(
        plan,
        "exchange (64-byte records, two threads)",
        records,
        ("crossbeam bounded channel of 1,024-record batches", || {
            let (sender, receiver) = crossbeam_channel::bounded::<Vec<Record>>(10);
            thread::scope(|scope| {
                scope.spawn(move || {
                    let mut batch = Vec::with_capacity(BATCH);
                    for n in 0..records {
                        batch.push(Record::new(n));
                        if batch.len() == BATCH {
                            let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                            sender.send(full).expect("the receiver waits for all");
                        }
                    }
                    sender.send(batch).expect("the receiver waits for all");
                });
                for batch in receiver {
                    for record in batch {
                        black_box(record.sum());
                    }
                }
            });
        }),
        ("job", || {
            Runner::new()
                .parallelism(1)
                .threads(2)
                .force_exchange()
                .run(move |job: &Job| {
                    job.source("records", iterator((0..records).map(Record::new)))
                        .rebalance()
                        .sink(
                            "out",
                            for_each(|record: Record| {
                                black_box(record.sum());
                            }),
                        )
                })
                .expect("the job ends");
        }),
    );
}
