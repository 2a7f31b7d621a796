use levada::prelude::*;

fn job(job: &Job) {
    let mut seen = 0;
    job.source("numbers", iterator(0..10u64))
        .map(move |n| {
            seen += 1;
            n + seen
        })
        .discard();
}

fn main() {
    let _ = job;
}
