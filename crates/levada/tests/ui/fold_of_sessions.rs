use levada::prelude::*;

fn job(job: &Job) {
    job.source("clicks", iterator([(1u64, 5i64)]))
        .timestamps(|(_, at)| *at, seconds(1))
        .key_by(|(user, _)| *user)
        .window(session(minutes(30)))
        .fold("clicks", |clicks: &mut u64, _| *clicks += 1)
        .discard();
}

fn main() {
    let _ = job;
}
