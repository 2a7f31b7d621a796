//! Jobs that are killed and go on from their checkpoints, under many seeds: what they commit in the end is what an undisturbed
//! run commits.

use std::collections::BTreeMap;
use std::time::Duration;

use levada::BoxError;
use levada::prelude::*;
use levada_core::Span;
use levada_testing::{LedgerSink, Simulation, ledger};

use crate::dense::{Event, dense};
use crate::story::{Story, live, tell};

/// A running count of each key: every step of it exactly once.
fn counts(sink: LedgerSink<(u64, u64)>) -> impl Fn(&Job) {
    move |job: &Job| {
        job.source("numbers", iterator(0..400u64))
            .rebalance()
            .flat_map(|n| [n % 7, 100 + n % 3])
            .key_by(|n| *n)
            .count("counts")
            .rebalance()
            .sink("out", sink.clone());
    }
}

fn expected_counts() -> Vec<(u64, u64)> {
    let mut counts = BTreeMap::new();
    let mut expected = Vec::new();
    for n in 0..400u64 {
        for key in [n % 7, 100 + n % 3] {
            let count = counts.entry(key).or_insert(0);
            *count += 1;
            expected.push((key, *count));
        }
    }
    expected.sort_unstable();
    expected
}

#[test]
fn counts_survive_crashes_at_any_moment() {
    let mut stories = Vec::new();
    for seed in 0..300 {
        let (sink, ledger) = ledger();
        let story = live(seed, &counts(sink), 4);
        assert_eq!(ledger.sorted(), expected_counts(), "seed {seed}: {story:?}");
        stories.push(story);
    }
    println!("{}", tell(&stories));
}

type Out = LedgerSink<String>;

/// What a job commits that nobody disturbs.
fn undisturbed(job: &dyn Fn(&Job, Out)) -> Vec<String> {
    let (sink, ledger) = ledger();
    let run = Simulation::new(1)
        .parallelism(1)
        .run(|building: &Job| job(building, sink.clone()));
    run.expect("it can start").expect_finished();
    ledger.sorted()
}

/// Lets a job live under many seeds; what it commits must be what it commits undisturbed.
fn survives(seeds: std::ops::Range<u64>, kills_max: u32, job: &dyn Fn(&Job, Out)) -> Vec<Story> {
    let expected = undisturbed(job);
    assert!(expected.len() > 20, "{} records", expected.len());
    let stories = seeds.map(|seed| {
        let (sink, ledger) = ledger();
        let story = live(
            seed,
            &|building: &Job| job(building, sink.clone()),
            kills_max,
        );
        let found = ledger.sorted();
        if found != expected {
            let lost: Vec<_> = expected.iter().filter(|row| !found.contains(row)).collect();
            let more: Vec<_> = found.iter().filter(|row| !expected.contains(row)).collect();
            panic!(
                "seed {seed}: {} records instead of {}; lost: {lost:?}; more: {more:?}; {story:?}",
                found.len(),
                expected.len()
            );
        }
        story
    });
    stories.collect()
}

fn text<T: std::fmt::Debug>(record: T) -> String {
    format!("{record:?}")
}

/// Events that are out of order by less than what the watermark allows.
fn events(job: &Job, name: &str, count: u64) -> Stream<Event> {
    job.source(name, dense(count, 5))
        .timestamps(|event: &Event| event.at, Duration::from_millis(500))
        .stream()
}

#[test]
fn windows_survive() {
    let job = |job: &Job, out: Out| {
        let events = events(job, "events", 600);
        let keyed = |events: &Stream<Event>| events.clone().key_by(|event| event.id % 5);
        let tumbling = keyed(&events).window(tumbling(seconds(1)));
        let sliding = keyed(&events).window(sliding(seconds(2), Duration::from_millis(500)));
        let sessions = keyed(&events).window(session(Duration::from_millis(40)));
        let tumbling = tumbling.count("tumbling").map(|row| format!("t {row:?}"));
        let sliding = sliding
            .aggregate("sliding", |events| events.sum(|event: &Event| event.id))
            .map(|row| format!("s {row:?}"));
        let sessions = sessions.count("sessions").map(|row| format!("n {row:?}"));
        let all = tumbling
            .stream()
            .union(sliding.stream())
            .union(sessions.stream());
        all.sink("out", out);
    };
    println!("{}", tell(&survives(0..120, 3, &job)));
}

#[test]
fn window_joins_and_partial_aggregates_survive() {
    let job = |job: &Job, out: Out| {
        let (left, right) = (events(job, "left", 300), events(job, "right", 200));
        let sums = left
            .clone()
            .key_by(|event| event.id % 3)
            .window(tumbling(seconds(1)))
            .pre_aggregate()
            .aggregate("sums", |events| events.sum(|event: &Event| event.id))
            .map(|row| format!("sum {row:?}"));
        let joined = left
            .key_by(|event| event.id % 40)
            .window_join(right.key_by(|event| event.id % 40), tumbling(seconds(1)))
            .full("joined", |left, right| {
                (left.map(|event| event.id), right.map(|event| event.id))
            })
            .map(|row: (u64, Span, (Option<u64>, Option<u64>))| format!("join {row:?}"));
        sums.stream().union(joined.stream()).sink("out", out);
    };
    println!("{}", tell(&survives(0..100, 3, &job)));
}

#[test]
fn joins_survive() {
    let job = |job: &Job, out: Out| {
        let (left, right) = (events(job, "left", 200), events(job, "right", 200));
        let regular = left
            .clone()
            .key_by(|event| event.id % 20)
            .join(right.clone().key_by(|event| event.id % 20))
            .inner("regular", |left, right| (left.id, right.id))
            .map(|row| format!("regular {row:?}"));
        let interval = left
            .key_by(|event| event.id % 10)
            .interval_join(
                right.key_by(|event| event.id % 10),
                before(Duration::from_millis(300)),
                Duration::from_millis(300),
            )
            .inner("interval", |left, right| (left.id, right.id))
            .map(|row| format!("interval {row:?}"));
        regular.stream().union(interval.stream()).sink("out", out);
    };
    println!("{}", tell(&survives(0..100, 3, &job)));
}

/// Emits the sum of a key once nothing has come for it for some time, and each record at once.
#[derive(Clone)]
struct Quiet;

impl Process for Quiet {
    type Key = u64;
    type In = Event;
    type State = (u64, i64);
    type Out = String;

    fn element(&self, event: &Event, context: &mut Context<'_, Self>) {
        let due = event.at + 100;
        let (sum, last) = context.state();
        *sum += event.id;
        *last = due.max(*last);
        context.set_timer(Timestamp(due));
        for part in 0..event.id % 4 {
            context.emit(format!("{} part {part}", event.id));
        }
    }

    fn timer(&self, timer: Timer, context: &mut Context<'_, Self>) {
        let (sum, last) = *context.state();
        if timer.at().0 == last {
            let key = *context.key();
            context.emit(format!("{key}: {sum} at {last}"));
            context.clear();
        }
    }
}

#[test]
fn timers_survive() {
    let job = |job: &Job, out: Out| {
        let events = events(job, "events", 500);
        let quiet = events.key_by(|event| event.id % 50).process("quiet", Quiet);
        quiet.sink("out", out);
    };
    println!("{}", tell(&survives(0..120, 3, &job)));
}

#[test]
fn the_end_of_the_input_survives() {
    let job = |job: &Job, out: Out| {
        let numbers = job.source("numbers", dense(500, 7));
        let numbers = numbers.map(|event| event.id).stream();
        let counts = numbers.clone().key_by(|n| n % 90).count("counts").at_end();
        let top = numbers
            .clone()
            .key_by(|n| n % 11)
            .top("top", 3, |n| *n)
            .at_end()
            .map(text);
        let distinct = numbers.key_by(|n| n / 3).deduplicate("distinct").map(text);
        let all = counts.map(text).stream().union(top.stream());
        all.union(
            distinct
                .stream()
                .key_by(|_| 0u64)
                .count("how-many")
                .at_end()
                .map(text)
                .stream(),
        )
        .sink("out", out);
    };
    println!("{}", tell(&survives(0..100, 3, &job)));
}

#[test]
fn broadcast_rescaled_and_shuffled_records_survive() {
    let job = |job: &Job, out: Out| {
        let numbers = job.source("numbers", dense(200, 4));
        let numbers = numbers.map(|event| event.id).stream();
        let shuffled = numbers.clone().shuffle().map(|n| format!("shuffled {n}"));
        let rescaled = numbers
            .clone()
            .rescale()
            .flat_map(|n| (0..n % 30).map(move |part| format!("rescaled {n} {part}")));
        let chosen = numbers.partition(|n, subtasks| (*n as usize * 7) % subtasks);
        let chosen = chosen.map(|n| format!("chosen {n}"));
        let all = shuffled
            .stream()
            .union(rescaled.stream())
            .union(chosen.stream());
        all.rebalance().sink("out", out);
    };
    println!("{}", tell(&survives(0..100, 3, &job)));
}

#[test]
fn calls_survive() {
    let job = |job: &Job, out: Out| {
        let numbers = job.source("numbers", dense(150, 4));
        numbers
            .map(|event| event.id)
            .rebalance()
            .call("calls", Calls::unordered(4), |n: u64| async move {
                levada::sleep(Duration::from_micros(50 * (n % 9))).await;
                Ok::<_, BoxError>(format!("answer to {n}"))
            })
            .sink("out", out);
    };
    println!("{}", tell(&survives(0..60, 3, &job)));
}

/// Every hundredth event from some point on is far too late. By then the watermark has come to each subtask, since no batch has so
/// many records; and after a restore it is late still, although the watermark of the sources begins anew.
#[test]
fn late_records_stay_late() {
    let job = |job: &Job, out: Out| {
        let events = job.source("events", iterator(0..4_500i64));
        let (windows, late) = events
            .map(|n| {
                let is_late = n > 2_500 && n % 100 == 0;
                (n, if is_late { n - 1_000_000 } else { 10 * n })
            })
            .timestamps(|(_, at)| *at, Duration::ZERO)
            .key_by(|(n, _)| n % 2)
            .window(tumbling(seconds(2)))
            .late();
        let windows = windows.count("windows").map(text).stream();
        windows
            .union(late.map(|(n, _)| format!("late {n}")).stream())
            .sink("out", out);
    };
    println!("{}", tell(&survives(0..60, 3, &job)));
}
