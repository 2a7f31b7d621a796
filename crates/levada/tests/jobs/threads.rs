//! The same job on worker threads, for every number of threads and subtasks.

use levada::prelude::*;
use levada::{BufferOptions, Outcome, Runner};

use crate::everything::Everything;

#[test]
fn every_number_of_threads_and_subtasks_gives_the_same_result() {
    for threads in [1, 2, 4] {
        for parallelism in [1, 2, 3, 8] {
            for batch_records_max in [1, 1_024] {
                let everything = Everything::new(3_000);
                Runner::new()
                    .threads(threads)
                    .parallelism(parallelism)
                    .force_exchange()
                    .buffers(BufferOptions {
                        batch_records_max,
                        ..BufferOptions::default()
                    })
                    .run(|job: &Job| everything.build(job))
                    .unwrap();
                assert_eq!(
                    everything.results(),
                    everything.expected(),
                    "{threads} threads, {parallelism} subtasks, {batch_records_max} to a batch"
                );
            }
        }
    }
}

#[test]
fn a_cancel_ends_a_job_without_end() {
    for _ in 0..20 {
        let (sink, receiver) = sink_channel(16);
        let handle = Runner::new()
            .parallelism(2)
            .start(move |job: &Job| {
                job.source("numbers", iterator(0..u64::MAX))
                    .key_by(|n| n % 10)
                    .count("counts")
                    .sink("out", sink.clone());
            })
            .unwrap();
        // It runs: some records have come out.
        assert!(receiver.iter().take(100).count() == 100);
        handle.cancel();
        let error = handle.wait().unwrap_err();
        assert_eq!(error.exit_code(), 130, "{error}");
    }
}

#[test]
fn a_handle_that_is_dropped_ends_its_job() {
    let (sink, receiver) = sink_channel(1);
    let handle = Runner::new()
        .start(move |job: &Job| {
            job.source("numbers", iterator(0..u64::MAX))
                .sink("out", sink.clone());
        })
        .unwrap();
    assert!(receiver.recv().is_some());
    drop(handle);
    // The writers are gone, so the stream ends.
    assert!(receiver.iter().count() <= 1);
}

#[test]
fn times_of_a_task_sum_to_its_age() {
    let handle = Runner::new()
        .parallelism(2)
        .start(|job: &Job| {
            job.source("numbers", iterator(0..200_000u64))
                .key_by(|n| n % 100)
                .count("counts")
                .at_end()
                .sink("out", for_each(|_| {}));
        })
        .unwrap();
    while !handle.wait_for(std::time::Duration::from_millis(1)) {
        let metrics = handle.metrics();
        // A task may have gone from one activity to the next after the age was read.
        let later = handle.metrics().age_nanos;
        for task in &metrics.tasks {
            assert!(task.times.total() <= later, "{task:?}");
            let gap = later - task.times.total();
            assert!(gap < 1_000_000_000, "{gap} ns are missing in {task:?}");
        }
    }
    let report = handle.wait().unwrap();
    assert_eq!(report.metrics.records_read(), 200_000);
    assert_eq!(report.metrics.records_written(), 100);
}

#[test]
fn a_job_that_fails_or_is_cancelled_has_a_report() {
    let failing = |job: &Job| {
        job.source("numbers", iterator(0..1_000u64))
            .map(|n| if n == 700 { panic!("seven hundred") } else { n })
            .sink("out", for_each(|_| {}))
    };
    let (report, result) = Runner::new().start(failing).unwrap().end();
    assert!(result.is_err());
    let Outcome::Failed { error } = &report.outcome else {
        panic!("{:?}", report.outcome);
    };
    assert!(error.contains("seven hundred"), "{error}");
    assert!(report.to_string().starts_with("failed after "), "{report}");
    assert_eq!(report.metrics.records_written(), 700);
    assert_eq!(report.metrics.records_read(), 701);

    let endless = |job: &Job| {
        job.source("numbers", iterator(0..u64::MAX))
            .sink("out", for_each(|_| {}))
    };
    let handle = Runner::new().start(endless).unwrap();
    handle.cancel();
    let (report, result) = handle.end();
    assert!(result.is_err());
    assert_eq!(report.outcome, Outcome::Cancelled);
    assert!(report.to_json().contains(r#""kind": "cancelled""#));
}
