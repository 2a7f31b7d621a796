//! Metrics that a program names itself: from closures, from sources and sinks, over several subtasks.

use levada::metrics::user::{Counter, UserMetric, UserValue};
use levada::prelude::*;
use levada::{BoxError, Drain, Runner, Sink, SinkContext, Writer};
use levada_testing::Simulation;

/// The metrics of that name, by operator and subtask.
fn named<'a>(user: &'a [UserMetric], name: &str) -> Vec<&'a UserMetric> {
    user.iter().filter(|metric| metric.name == name).collect()
}

/// Counts what it takes, by subtask.
struct Counting;

struct CountingWriter(Counter);

impl Sink<u64> for Counting {
    type Writer = CountingWriter;

    fn open(&self, context: &SinkContext) -> Result<CountingWriter, BoxError> {
        Ok(CountingWriter(context.metrics.counter("taken")?))
    }
}

impl Writer<u64> for CountingWriter {
    type Pending = ();

    fn write(&mut self, records: &mut impl Drain<u64>) -> Result<(), BoxError> {
        self.0.add(records.count() as u64);
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    fn commit(&mut self, (): ()) -> Result<(), BoxError> {
        Ok(())
    }
}

fn counted(job: &Job) {
    let even = job.counter("even");
    let sizes = job.histogram("sizes");
    job.source("numbers", iterator(0..1_000u64))
        .rebalance()
        .inspect(move |n| {
            if n % 2 == 0 {
                even.increment();
            }
            sizes.record(*n);
        })
        .sink("taken", Counting);
}

#[test]
fn subtasks_count_together_for_the_job_and_apart_for_a_sink() {
    for seed in 0..50 {
        let run = Simulation::new(seed).parallelism(3).run(counted).unwrap();
        run.expect_finished();
        let user = &run.metrics.user;
        let even = named(user, "even");
        assert_eq!(even.len(), 1, "seed {seed}: {user:?}");
        assert_eq!(even[0].operator, None);
        assert_eq!(even[0].value, UserValue::Counter { value: 500 });
        let UserValue::Histogram { count, max, .. } = named(user, "sizes")[0].value else {
            panic!("seed {seed}: {user:?}")
        };
        assert_eq!(count, 1_000, "seed {seed}");
        assert!((999..1_010).contains(&max), "seed {seed}: {max}");

        let taken = named(user, "taken");
        let subtasks: Vec<_> = taken.iter().map(|metric| metric.subtask).collect();
        assert_eq!(subtasks, [Some(0), Some(1), Some(2)], "seed {seed}");
        let by_subtask: Vec<_> = taken
            .iter()
            .map(|metric| match metric.value {
                UserValue::Counter { value } => value,
                _ => panic!("seed {seed}: {metric:?}"),
            })
            .collect();
        let sink = run.metrics.operator("taken").unwrap();
        assert_eq!(by_subtask, sink.records_in, "seed {seed}");
    }
}

#[test]
fn the_report_shows_them_as_text_and_as_json() {
    let report = Runner::new().parallelism(2).run(counted).unwrap();
    let text = report.to_string();
    assert!(text.contains("\ncounter even: 500\n"), "{text}");
    assert!(
        text.contains("\nhistogram sizes: 1,000 values, p50 "),
        "{text}"
    );
    assert!(text.contains("\ncounter taken of taken: 1,000\n"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    let user = json["metrics"]["user"].as_array().unwrap();
    assert_eq!(user.len(), 4, "{user:?}");
    assert_eq!(
        user[0],
        serde_json::json!({
            "operator": null, "subtask": null, "name": "even", "kind": "counter", "value": 500
        })
    );
    assert_eq!(user[1]["kind"], "histogram");
    assert_eq!(user[3]["subtask"], 1);
}

#[test]
fn a_report_without_them_does_not_speak_of_them() {
    let report = Runner::new().run(|job: &Job| {
        job.source("numbers", iterator(0..3u64)).discard();
    });
    let text = report.unwrap().to_string();
    for word in ["counter", "gauge", "histogram"] {
        assert!(!text.contains(word), "{text}");
    }
}

#[test]
fn they_can_be_read_while_the_job_runs() {
    let (sink, receiver) = sink_channel(1);
    let handle = Runner::new()
        .start(move |job: &Job| {
            let last = job.gauge("last");
            job.source("numbers", iterator(0..i64::MAX))
                .inspect(move |n| last.set(*n))
                .sink("out", sink.clone());
        })
        .unwrap();
    let tenth = receiver.iter().nth(10);
    assert_eq!(tenth, Some(10));
    let metrics = handle.metrics();
    let UserValue::Gauge { value } = named(&metrics.user, "last")[0].value else {
        panic!("{:?}", metrics.user)
    };
    assert!(value >= 10);
    handle.cancel();
    drop(receiver);
    assert!(handle.wait().is_err());
}

/// The message of a job that cannot be built or opened, with the line that is to blame.
#[track_caller]
fn refused(job: impl Fn(&Job), expected: &[&str]) {
    let error = format!(
        "{:?}",
        Simulation::new(0)
            .run(job)
            .expect_err("the job does not start")
    );
    for part in expected {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn a_metric_that_cannot_be_is_told_when_the_job_is_built() {
    let discard = |job: &Job| job.source("numbers", iterator(0..3u64)).discard();
    refused(
        |job| {
            discard(job);
            let _ = job.counter("n");
            let _ = job.gauge("n");
        },
        &[
            "`n` is a counter and cannot be a gauge too",
            "jobs/metrics.rs:",
        ],
    );
    refused(
        |job| {
            discard(job);
            let _ = job.counter("bytes read");
        },
        &["`bytes read` is no name of a metric", "jobs/metrics.rs:"],
    );
    refused(
        |job| {
            discard(job);
            for n in 0..101 {
                let _ = job.counter(&format!("user-{n}"));
            }
        },
        &[
            "`user-100` is one metric too many",
            "100 already",
            "jobs/metrics.rs:",
        ],
    );
}

struct Wrong;

impl Sink<u64> for Wrong {
    type Writer = CountingWriter;

    fn open(&self, context: &SinkContext) -> Result<CountingWriter, BoxError> {
        context.metrics.gauge("taken")?;
        Counting.open(context)
    }
}

#[test]
fn a_sink_whose_metric_cannot_be_does_not_start() {
    refused(
        |job| {
            job.source("numbers", iterator(0..3u64))
                .sink("out", Wrong)
                .parallelism(1);
        },
        &["`out`", "`taken` is a gauge and cannot be a counter too"],
    );
}

#[test]
fn a_handle_is_the_same_in_every_clone() {
    let counter = Counter::default();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let counter = counter.clone();
            let run = move || (0..1_000).for_each(|_| counter.increment());
            std::thread::Builder::new().spawn(run).unwrap()
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(counter.get(), 4_000);
}
