//! Asynchronous calls against tokio's own way to have many under way.

use std::hint::black_box;

use futures_util::StreamExt;
use futures_util::stream;
use levada::prelude::*;
use levada::{BoxError, Runner};

use crate::measure::{Plan, compare};

/// Gives way once, as a client does that waits for an answer.
async fn square(n: u64) -> Result<u64, BoxError> {
    tokio::task::yield_now().await;
    Ok(n * n)
}

const IN_FLIGHT: usize = 100;

fn by_hand(count: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without a thread");
    runtime.block_on(async {
        stream::iter(0..count)
            .map(|n| {
                let call = tokio::spawn(tokio::time::timeout(TIMEOUT, square(n)));
                async { call.await.expect("nothing panics") }
            })
            .buffered(IN_FLIGHT)
            .for_each(|result| async {
                let _ = black_box(result);
            })
            .await;
    });
}

const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

fn by_job(count: u64) {
    Runner::new()
        .parallelism(1)
        .run(move |job: &Job| {
            job.source("numbers", iterator(0..count))
                .call(
                    "squares",
                    Calls::ordered(IN_FLIGHT).timeout(TIMEOUT),
                    square,
                )
                .sink(
                    "out",
                    for_each(|n| {
                        black_box(n);
                    }),
                )
        })
        .expect("the job ends");
}

pub(crate) fn run(plan: &Plan) {
    let count = 500_000 / plan.share;
    compare(
        plan,
        "calls (ordered, 100 at a time, each with a time limit)",
        count,
        ("tokio tasks and `buffered`", || by_hand(count)),
        ("job", || by_job(count)),
    );
}
