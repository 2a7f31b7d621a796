use levada::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Deserialize, Serialize)]
struct Sensor(String);

fn job(job: &Job) {
    job.source("numbers", iterator(0..10u64))
        .key_by(|n| Sensor(n.to_string()))
        .count("counts")
        .discard();
}

fn main() {
    let _ = job;
}
