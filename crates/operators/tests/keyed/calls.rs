//! Asynchronous calls: bounded, in order or not, repeated, given up, ended with the job, and made again after a restore.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use levada::prelude::*;
use levada::{BoxError, Permanent, Retry, Runner};
use levada_core::sync::Mutex;
use levada_testing::{Harness, Simulation, collect};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Waits for a time that depends on the number alone, in no order.
async fn square(n: u64) -> Result<u64, BoxError> {
    levada::sleep(millis(n * 7919 % 97)).await;
    Ok(n * n)
}

/// How many futures there are now, and were at most.
#[derive(Clone, Default)]
struct Running {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct Guard(Arc<AtomicUsize>);

impl Running {
    fn enter(&self) -> Guard {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        Guard(Arc::clone(&self.now))
    }

    fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn ordered_results_come_in_the_order_of_their_records() {
    for seed in 0..100 {
        let (sink, collected) = collect();
        let running = Running::default();
        let in_flight = 1 + (seed % 7) as usize;
        let counted = running.clone();
        let run = Simulation::new(seed)
            .one_credit()
            .run(move |job: &Job| {
                let running = counted.clone();
                job.source("numbers", iterator(0..300u64))
                    .call("squares", Calls::ordered(in_flight), move |n| {
                        let guard = running.enter();
                        async move {
                            let _guard = guard;
                            square(n).await
                        }
                    })
                    .sink("out", sink.clone());
            })
            .unwrap();
        run.expect_finished();
        let expected: Vec<u64> = (0..300).map(|n| n * n).collect();
        assert_eq!(collected.take(), expected, "seed {seed}");
        assert_eq!(
            running.most.load(Ordering::Relaxed),
            in_flight,
            "seed {seed}"
        );
        assert_eq!(running.now(), 0);
    }
}

#[test]
fn unordered_results_are_complete_and_overtake_each_other() {
    let mut overtaken = 0;
    for seed in 0..100 {
        let (sink, collected) = collect();
        Simulation::new(seed)
            .run(move |job: &Job| {
                job.source("numbers", iterator(0..300u64))
                    .rebalance()
                    .call("squares", Calls::unordered(20), square)
                    .sink("out", sink.clone());
            })
            .unwrap()
            .expect_finished();
        let mut found = collected.take();
        overtaken += usize::from(!found.is_sorted());
        found.sort_unstable();
        let expected: Vec<u64> = (0..300).map(|n| n * n).collect();
        assert_eq!(found, expected, "seed {seed}");
    }
    assert!(overtaken > 90, "{overtaken} of 100 runs were out of order");
}

/// A snapshot while calls run: what had been emitted, and what the restored operator emits, is every result once.
#[test]
fn calls_that_run_are_part_of_a_snapshot() {
    let mut cut = 0;
    for seed in 0..100 {
        let ordered = seed % 2 == 0;
        let operators = move |numbers: Stream<u64>| {
            let calls = if ordered {
                Calls::ordered(50)
            } else {
                Calls::unordered(50)
            };
            numbers.rebalance().call("squares", calls, square)
        };
        let mut before = Harness::new(&Simulation::new(seed).parallelism(1), operators).unwrap();
        before.feed(0..40);
        before
            .simulated()
            .run_until(|simulated| simulated.metrics().records_written() >= seed % 40);
        let read = before.simulated().metrics().records_read();
        let snapshot = before.snapshot().unwrap();
        let mut found = before.output();
        cut += usize::from((found.len() as u64) < read);
        let parallelism = 1 + (seed % 3) as usize;
        let simulation = Simulation::new(seed + 1_000).parallelism(parallelism);
        let mut after = Harness::restored(&simulation, &snapshot, operators).unwrap();
        after.push(read..60);
        let rest = after.finish();
        if ordered && parallelism == 1 {
            assert!(found.iter().chain(&rest).is_sorted(), "seed {seed}");
        }
        found.extend(rest);
        found.sort_unstable();
        let expected: Vec<u64> = (0..60).map(|n| n * n).collect();
        assert_eq!(found, expected, "seed {seed}");
    }
    assert!(cut > 50, "{cut} snapshots were taken while calls ran");
}

/// Fails the first attempts of each number; counts them.
#[derive(Clone, Default)]
struct Flaky(Arc<Mutex<BTreeMap<u64, u64>>>);

impl Flaky {
    fn attempt(&self, n: u64) -> u64 {
        let mut attempts = self.0.lock();
        let attempt = attempts.entry(n).or_insert(0);
        *attempt += 1;
        *attempt
    }
}

#[test]
fn a_call_that_fails_is_repeated_and_waits_in_between() {
    for seed in 0..30 {
        let (sink, collected) = collect();
        let flaky = Flaky::default();
        let counted = flaky.clone();
        let run = Simulation::new(seed)
            .run(move |job: &Job| {
                let flaky = counted.clone();
                let retry = Retry::exponential(millis(1_000), millis(8_000)).attempts(5);
                job.source("numbers", iterator(0..20u64))
                    .call("flaky", Calls::ordered(10).retry(retry), move |n| {
                        let attempt = flaky.attempt(n);
                        async move {
                            if attempt <= n % 5 {
                                return Err(format!("attempt {attempt} of {n}"));
                            }
                            Ok(n)
                        }
                    })
                    .sink("out", sink.clone());
            })
            .unwrap();
        run.expect_finished();
        assert!(collected.take().into_iter().eq(0..20), "seed {seed}");
        for (n, attempts) in &*flaky.0.lock() {
            assert_eq!(*attempts, 1 + n % 5, "seed {seed}, number {n}");
        }
        // The longest call waits for 0 to 1, 2, 4 and 8 seconds.
        assert!(
            run.elapsed > millis(1_000),
            "seed {seed}: {:?}",
            run.elapsed
        );
    }
}

/// Runs calls that all end in the same way; returns what the job failed with.
#[track_caller]
fn failure<R>(calls: Calls, call: fn(u64) -> R) -> String
where
    R: Future<Output = Result<u64, BoxError>> + Send + 'static,
{
    let mut message = String::new();
    for seed in 0..10 {
        let running = Running::default();
        let counted = running.clone();
        let run = Simulation::new(seed)
            .run(move |job: &Job| {
                let running = counted.clone();
                job.source("numbers", iterator(0..100u64))
                    .call("calls", calls, move |n| {
                        let guard = running.enter();
                        let future = call(n);
                        async move {
                            let _guard = guard;
                            future.await
                        }
                    })
                    .sink("out", for_each(|_| {}));
            })
            .unwrap();
        run.expect_empty();
        assert_eq!(running.now(), 0, "seed {seed}: futures end with the job");
        message = format!("{:?}", levada::Error::from(run.outcome.unwrap_err()));
        assert!(
            message.contains("`calls` (crates/operators/tests/keyed/calls.rs:"),
            "{message}"
        );
    }
    message
}

#[test]
fn a_call_that_fails_for_good_fails_the_job() {
    let retry = Retry::exponential(millis(10), millis(10)).attempts(3);
    let said = failure(Calls::ordered(4).retry(retry), |n| async move {
        Err(format!("no route to {n}").into())
    });
    assert!(
        said.contains("failed in 3 attempts, at last: no route to 0"),
        "{said}"
    );

    let said = failure(Calls::unordered(4).retry(retry), |_| async {
        Err(Permanent::new("404 not found").into())
    });
    assert!(said.contains("the call failed: 404 not found"), "{said}");
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let said = failure(Calls::ordered(4).timeout(millis(300)), |_| {
        std::future::pending()
    });
    assert!(said.contains("there was no answer within 300ms"), "{said}");

    let retry = Retry::exponential(millis(1), millis(1)).attempts(3);
    let calls = Calls::ordered(4).attempt_timeout(millis(50)).retry(retry);
    let said = failure(calls, |_| std::future::pending());
    assert!(
        said.contains("failed in 3 attempts, at last: there was no answer within 50ms"),
        "{said}"
    );

    // The time for all attempts ends while one of them runs.
    let retry = Retry::exponential(millis(1), millis(1));
    let calls = Calls::ordered(1)
        .attempt_timeout(millis(40))
        .timeout(millis(100))
        .retry(retry);
    let said = failure(calls, |_| std::future::pending());
    assert!(
        said.contains("at last: there was no answer within 100ms"),
        "{said}"
    );
}

#[test]
fn a_panic_in_a_future_fails_the_job() {
    let said = failure(
        Calls::ordered(4),
        |n| async move { panic!("cannot handle {n}") },
    );
    assert!(said.contains("panicked: cannot handle"), "{said}");
}

/// An error that cannot say what it is.
#[derive(Debug)]
struct Unspeakable;

impl std::fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("words fail")
    }
}

impl std::error::Error for Unspeakable {}

#[test]
fn a_panic_in_the_display_of_an_error_fails_the_job() {
    let said = failure(Calls::ordered(4), |_| async { Err(Unspeakable.into()) });
    assert!(said.contains("panicked: words fail"), "{said}");
}

/// A record that cannot be dropped where futures run.
#[derive(Clone, serde::Deserialize, serde::Serialize)]
struct Sticky(u64);

impl Drop for Sticky {
    fn drop(&mut self) {
        let in_future = std::thread::current().name() == Some("levada-async");
        if in_future && !std::thread::panicking() {
            panic!("it sticks");
        }
    }
}

#[test]
fn a_panic_in_the_drop_of_a_record_fails_the_job() {
    let run = Runner::new().parallelism(1).run(|job: &Job| {
        job.source("numbers", iterator(0..10u64))
            .map(Sticky)
            .call("calls", Calls::ordered(4), |record: Sticky| {
                let n = record.0;
                std::mem::forget(record);
                async move { Ok::<_, BoxError>(n) }
            })
            .sink("out", for_each(|_| {}));
    });
    let said = format!("{:?}", run.unwrap_err());
    assert!(
        said.contains("`calls`") && said.contains("panicked: it sticks"),
        "{said}"
    );
}

/// A sink's latency is counted from when a record left its source, whatever results came between it and the others of its
/// batch.
#[test]
fn the_latency_of_a_result_is_that_of_its_record() {
    for seed in 0..20 {
        let run = Simulation::new(seed)
            .runner(
                Runner::new()
                    .throttle(500.0)
                    .buffer_timeout(millis(500))
                    .force_exchange(),
            )
            .parallelism(1)
            .run(move |job: &Job| {
                job.source("numbers", iterator(0..5_000u64))
                    .rebalance()
                    .call("calls", Calls::unordered(3), |n| async move {
                        // A few last for long.
                        let wait = if n % 2_500 == 0 { 5_000 } else { 1 };
                        levada::sleep(millis(wait)).await;
                        Ok::<_, BoxError>(n)
                    })
                    .sink("out", for_each(|_| {}));
            })
            .unwrap();
        run.expect_finished();
        let latency = run.metrics.operator("out").unwrap().latency.unwrap();
        assert_eq!(latency.count, 5_000);
        let nanos = Duration::from_nanos;
        let (p999, max) = (nanos(latency.p999), nanos(latency.max));
        assert!(max >= millis(4_900), "seed {seed}: {max:?}");
        assert!(p999 < millis(2_000), "seed {seed}: {p999:?}");
    }
}

#[test]
fn what_fails_is_left_out_or_goes_to_the_side() {
    let odd = |n: u64| async move {
        if n % 2 == 1 {
            return Err("odd");
        }
        Ok(n)
    };
    for seed in 0..20 {
        let (sink, collected) = collect();
        let run = Simulation::new(seed)
            .run(move |job: &Job| {
                job.source("numbers", iterator(0..50u64))
                    .call_or_skip("even", Calls::unordered(5), odd)
                    .sink("out", sink.clone());
            })
            .unwrap();
        run.expect_finished();
        assert_eq!(run.metrics.operator("even").unwrap().sum_skipped(), 25);
        assert_eq!(collected.sorted().len(), 25);

        let ((even, found), (failed, left)) = (collect(), collect());
        Simulation::new(seed)
            .run(move |job: &Job| {
                let (results, errors) = job
                    .source("numbers", iterator(0..50u64))
                    .call_results("even", Calls::ordered(5), odd)
                    .split_results();
                results.sink("out", even.clone());
                errors.sink("failed", failed.clone());
            })
            .unwrap()
            .expect_finished();
        assert!(found.take().into_iter().eq((0..50).step_by(2)));
        for (error, n) in left.take().iter().zip((1..50).step_by(2)) {
            assert_eq!(
                (error.record, &*error.message, error.attempts),
                (n, "odd", 1)
            );
        }
    }
}

/// A cancel ends the futures that run: nobody waits for them.
#[test]
fn a_cancel_ends_the_calls() {
    for seed in 0..20 {
        let running = Running::default();
        let counted = running.clone();
        let mut simulated = Simulation::new(seed)
            .start(move |job: &Job| {
                let running = counted.clone();
                job.source("numbers", iterator(0..100u64))
                    .call("calls", Calls::ordered(8), move |_| {
                        let guard = running.enter();
                        async move {
                            let _guard = guard;
                            std::future::pending::<Result<u64, BoxError>>().await
                        }
                    })
                    .sink("out", for_each(|_| {}));
            })
            .unwrap();
        assert!(simulated.run_until(|_| running.now() == 8));
        simulated.cancel();
        simulated.settle();
        assert!(simulated.is_done());
        assert_eq!(running.now(), 0, "seed {seed}");
        simulated.finish().expect_empty();
    }
}

/// A type that serde cannot rebuild cannot wait in a snapshot.
#[test]
fn a_record_that_cannot_be_kept_fails_the_job() {
    #[derive(Clone, serde::Deserialize, serde::Serialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u64),
    }
    let run = Simulation::new(0)
        .parallelism(1)
        .run(|job: &Job| {
            job.source("numbers", iterator(0..10u64))
                .map(Untagged::Number)
                .call("calls", Calls::ordered(8), |record| async move {
                    let Untagged::Number(n) = record;
                    Ok::<_, BoxError>(n)
                })
                .sink("out", for_each(|_| {}));
        })
        .unwrap();
    let said = format!("{:?}", levada::Error::from(run.outcome.unwrap_err()));
    assert!(
        said.contains("`calls`") && said.contains("cannot be kept"),
        "{said}"
    );
}

/// On threads: tokio's own timers work, and the thread is joined.
#[test]
fn calls_on_threads() {
    let sum = Arc::new(AtomicU64::new(0));
    let total = Arc::clone(&sum);
    let report = Runner::new()
        .parallelism(2)
        .run(move |job: &Job| {
            let total = Arc::clone(&total);
            job.source("numbers", generator(|n| n).count(2_000))
                .call("squares", Calls::unordered(64), |n| async move {
                    if n % 100 == 0 {
                        levada::sleep(millis(1)).await;
                    }
                    Ok::<_, BoxError>(n * n)
                })
                .sink(
                    "out",
                    for_each(move |n| {
                        total.fetch_add(n, Ordering::Relaxed);
                    }),
                );
        })
        .unwrap();
    assert_eq!(report.metrics.records_written(), 2_000);
    assert_eq!(
        sum.load(Ordering::Relaxed),
        (0..2_000u64).map(|n| n * n).sum::<u64>()
    );
}
