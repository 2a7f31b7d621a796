use levada::prelude::*;

#[derive(Clone)]
struct Reading {
    value: u64,
}

fn job(job: &Job) {
    job.source("numbers", iterator(0..10u64))
        .map(|value| Reading { value })
        .rebalance()
        .sink("out", for_each(|reading: Reading| drop(reading.value)));
}

fn main() {
    let _ = job;
}
