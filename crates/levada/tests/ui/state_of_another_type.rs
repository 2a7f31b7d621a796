use levada::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct AttemptsV1 {
    failed: u32,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Attempts {
    failed: u64,
}

#[derive(Clone)]
struct Failing;

impl Process for Failing {
    type Key = u64;
    type In = u64;
    type State = Attempts;
    type Out = u64;

    fn element(&self, _: &u64, context: &mut Context<'_, Self>) {
        context.state().failed += 1;
    }
}

fn job(job: &Job) {
    job.source("numbers", iterator(0..10u64))
        .key_by(|n| *n)
        .state(version(2).from(1, |old: AttemptsV1| old.failed))
        .process("failing", Failing)
        .sink("out", for_each(|_| {}));
}

fn main() {
    let _ = job;
}
