//! Event time and the splits of a source: whichever subtask reads them, in whichever order, no record is late.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use levada::prelude::*;
use levada_core::random::SplitMix64;
use levada_core::sync::Mutex;
use levada_testing::{Collected, Run, Simulated, Simulation, collect, valve};

use crate::scripted::{Act, Event, Scripted};

/// How many records there are for each window of a second, by its begin.
type Counts = BTreeMap<i64, u64>;

fn counts(acts: &[Vec<Act>]) -> Counts {
    let mut counts = Counts::new();
    for act in acts.iter().flatten() {
        if let Act::Record(at) = act {
            *counts.entry(at.div_euclid(1_000) * 1_000).or_default() += 1;
        }
    }
    counts
}

/// Counts in windows of a second; each window must fire once, and with all of its records.
fn windows(events: impl Flow<Item = Event>) -> Stream<(i64, u64)> {
    events
        .key_by(|_| 0u64)
        .window(tumbling(seconds(1)))
        .count("counts")
        .map(|(_, span, count)| (span.start.0, count))
        .stream()
}

fn late(run: &levada::metrics::JobMetrics) -> u64 {
    run.operators
        .iter()
        .map(levada::metrics::OperatorMetrics::sum_late)
        .sum()
}

/// The windows of a run that has come to its end.
#[track_caller]
fn check(run: &Run, collected: &Collected<(i64, u64)>, expected: &Counts) {
    run.expect_finished();
    assert_eq!(late(&run.metrics), 0, "seed {}", run.seed);
    let found = collected.sorted();
    let expected: Vec<_> = expected.iter().map(|(at, count)| (*at, *count)).collect();
    assert_eq!(found, expected, "seed {}", run.seed);
}

/// Up to seven splits with up to sixty records each, in the order of event time, with silences. They begin anywhere.
fn scripts(random: &mut SplitMix64, pauses: bool) -> Vec<Vec<Act>> {
    (0..random.below(8))
        .map(|_| {
            let mut at = random.below(20_000) as i64 - 10_000;
            (0..random.below(60))
                .map(|_| {
                    at += random.below(300) as i64;
                    match random.below(8) {
                        0 if pauses => Act::Nothing(Duration::from_millis(random.below(50))),
                        _ => Act::Record(at),
                    }
                })
                .collect()
        })
        .collect()
}

#[test]
fn splits_that_are_read_one_after_the_other_have_no_late_records() {
    let mut several = 0;
    for seed in 0..300 {
        let mut random = SplitMix64::new(seed);
        let acts = scripts(&mut random, seed % 3 == 0);
        let source = match seed % 2 {
            0 => Scripted::bounded(acts.clone()),
            _ => Scripted::bounded(acts.clone()).found_later(acts.len().min(2)),
        };
        several += usize::from(acts.len() > 4);
        let (sink, collected) = collect();
        let run = Simulation::new(seed)
            .run(|job: &Job| {
                let events = job.source("events", source.clone());
                windows(events.timestamps(|(_, at)| *at, millis(0))).sink("out", sink.clone());
            })
            .unwrap();
        if seed % 2 == 0 {
            check(&run, &collected, &counts(&acts));
        } else {
            // What is found later may be late; but it is counted.
            run.expect_finished();
            let found: u64 = collected.take().iter().map(|(_, count)| count).sum();
            let all: u64 = counts(&acts).values().sum();
            assert_eq!(found + late(&run.metrics), all, "seed {seed}");
        }
    }
    assert!(several > 50, "more splits than subtasks in {several} runs");
}

/// A job that never ends, up to a moment of its time, and the windows that it has fired by then.
fn until(
    seed: u64,
    span: Duration,
    job: impl Fn(&Job, Collector),
) -> (BTreeMap<i64, u64>, levada::metrics::JobMetrics) {
    let fired = Collector::default();
    let mut simulated = Simulation::new(seed)
        .start(|graph: &Job| job(graph, fired.clone()))
        .expect("the job can be started");
    simulated.advance(span);
    assert!(!simulated.is_done(), "seed {seed}");
    let metrics = simulated.metrics();
    assert_eq!(late(&metrics), 0, "seed {seed}");
    (fired.take(), metrics)
}

/// Windows that have fired.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(i64, u64)>>>);

impl Collector {
    fn sink(&self) -> impl levada::Sink<(i64, u64)> + use<> {
        let fired = Arc::clone(&self.0);
        levada::connectors::for_each(move |window| fired.lock().push(window))
    }

    fn take(&self) -> BTreeMap<i64, u64> {
        let fired = std::mem::take(&mut *self.0.lock());
        let count = fired.len();
        let fired: BTreeMap<_, _> = fired.into_iter().collect();
        assert_eq!(fired.len(), count, "each window fires once");
        fired
    }
}

fn records(times: impl IntoIterator<Item = i64>) -> Vec<Act> {
    times.into_iter().map(Act::Record).collect()
}

/// Four splits: one goes on for long, one stops, one never has anything, one is ended by nothing but its script.
fn partly_idle() -> Vec<Vec<Act>> {
    vec![
        records((0..60).map(|n| n * 100)),
        records((0..25).map(|n| n * 100)),
        Vec::new(),
        records((0..10).map(|n| n * 100)),
    ]
}

#[test]
fn a_split_in_which_there_is_nothing_holds_back_nobody_for_long() {
    for seed in 0..200 {
        let source = match seed % 2 {
            0 => Scripted::endless(partly_idle()),
            _ => Scripted::unbounded(partly_idle()),
        };
        let job = |idle_after: Option<Duration>| {
            let source = source.clone();
            move |job: &Job, fired: Collector| {
                let watermarks = Watermarks::ascending();
                let watermarks = match idle_after {
                    Some(span) => watermarks.idle_after(span),
                    None => watermarks,
                };
                let events = job.source("events", source.clone());
                windows(events.timestamps(|(_, at)| *at, watermarks)).sink("out", fired.sink());
            }
        };
        // All records are read in a fraction of a second, but three splits may have more.
        let span = Duration::from_secs(10);
        let (fired, _) = until(seed, Duration::from_secs(8), job(Some(span)));
        assert!(fired.is_empty(), "seed {seed}: {fired:?}");
        let (fired, metrics) = until(seed, Duration::from_secs(15), job(Some(span)));
        // All are idle: the one that was furthest counts.
        let expected: BTreeMap<_, _> = counts(&partly_idle()).into_iter().collect();
        let mut complete = expected.clone();
        complete.remove(&5_000);
        assert!(fired == complete, "seed {seed}: {fired:?}");
        assert_eq!(metrics.records_read(), 95, "seed {seed}");
        let (fired, metrics) = until(seed, Duration::from_secs(100_000), job(None));
        assert!(fired.is_empty(), "seed {seed}: nobody says that it is idle");
        assert_eq!(metrics.records_read(), 95, "seed {seed}");
    }
}

#[test]
fn a_source_without_splits_holds_back_nobody() {
    for seed in 0..100 {
        let window = |idle: Scripted, job: &Job, fired: &Collector| {
            let watermarks = || Watermarks::ascending().idle_after(Duration::from_secs(2));
            let silent = job.source("silent", idle);
            let silent = silent.timestamps(|(_, at)| *at, watermarks());
            let busy = job.source(
                "busy",
                Scripted::endless(vec![records((0..70).map(|n| n * 50))]),
            );
            let busy = busy.timestamps(|(_, at)| *at, millis(0));
            windows(silent.union(busy)).sink("out", fired.sink());
        };
        let fired = |silent: &Scripted, span| {
            let job = |job: &Job, fired: Collector| window(silent.clone(), job, &fired);
            until(seed, Duration::from_millis(span), job).0.len()
        };
        // None so far, and one that never has anything.
        let none = Scripted::endless(vec![Vec::new(); 100]).found_later(0);
        assert_eq!(fired(&none, 900), 3, "seed {seed}: none is idle at once");
        let empty = Scripted::unbounded(vec![Vec::new()]);
        assert_eq!(fired(&empty, 1_500), 0, "seed {seed}");
        assert_eq!(fired(&empty, 4_500), 3, "seed {seed}");
    }
}

/// For an hour the sink takes nothing. Meanwhile a split has records that nobody can read: it is not idle.
#[test]
fn nobody_is_idle_because_there_is_no_room() {
    let span = Duration::from_secs(10);
    let mut blocked = 0;
    for seed in 0..100 {
        let (fired, (sink, valve)) = (Collector::default(), valve());
        // In one subtask neither split can be read. In several the slow one may have been read before there was no room,
        // and is idle then.
        let alone = seed % 2 == 0;
        // The slow split has something while nobody can read it, or soon after.
        let silence = if seed % 4 == 0 { 3_603 } else { 1 };
        let mut slow = vec![Act::NothingUntil(Duration::from_secs(silence))];
        slow.extend(records((0..400).map(|n| n * 10)));
        let acts = vec![slow, records((0..2_000).map(|n| n * 10))];
        let simulation = Simulation::new(seed).one_credit();
        let simulation = if alone {
            simulation.parallelism(1)
        } else {
            simulation
        };
        let mut simulated = simulation
            .start(|job: &Job| {
                let watermarks = Watermarks::ascending().idle_after(span);
                let events = job
                    .source("events", Scripted::endless(acts.clone()))
                    .timestamps(|(_, at)| *at, watermarks)
                    .stream();
                events.clone().rebalance().sink("valve", sink.clone());
                windows(events).sink("out", fired.sink());
            })
            .unwrap();
        let read = |simulated: &Simulated| simulated.metrics().records_read();
        simulated.advance(Duration::from_secs(3_600));
        if read(&simulated) == 2_400 {
            // With large batches there is room for all of it.
            continue;
        }
        blocked += 1;
        let mut all = fired.take();
        assert!(all.is_empty() || !alone, "seed {seed}: {all:?}");
        valve.open();
        simulated.advance(Duration::from_secs(5));
        assert_eq!(read(&simulated), 2_400, "seed {seed}");
        all.append(&mut fired.take());
        if alone {
            assert_eq!(all.len(), 3, "seed {seed}: up to the slow one, {all:?}");
        }
        simulated.advance(Duration::from_secs(12));
        all.append(&mut fired.take());
        assert_eq!(late(&simulated.metrics()), 0, "seed {seed}");
        let mut expected = counts(&acts);
        expected.remove(&19_000);
        assert_eq!(all, expected, "seed {seed}: now it is idle");
    }
    assert!(blocked > 50, "{blocked} jobs had no room");
}

/// What a split read without end would do to the others, were they not read in turn.
#[test]
fn endless_splits_are_read_in_turn() {
    for seed in 0..50 {
        let order = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&order);
        let mut simulated = Simulation::new(seed)
            .parallelism(1)
            .start(move |job: &Job| {
                let splits = vec![records(0..10_000); 3];
                let seen = Arc::clone(&seen);
                job.source("events", Scripted::endless(splits)).sink(
                    "out",
                    levada::connectors::for_each(move |(split, _)| {
                        seen.lock().push(split);
                    }),
                );
            })
            .unwrap();
        assert!(simulated.run_until(|_| order.lock().len() >= 10_000));
        let order = order.lock();
        for split in 0..3 {
            let read = order[..10_000].iter().filter(|of| **of == split).count();
            assert!(read > 1_000, "seed {seed}: {read} of split {split}");
        }
    }
}

/// One subtask is busy for long and will not come for its share of what waits.
#[test]
fn a_subtask_with_nothing_to_read_takes_what_others_leave() {
    for seed in 0..10 {
        let order = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&order);
        let silent = |split| vec![Act::Record(split)];
        let mut splits = vec![records(0..400_000)];
        splits.extend((1..8).map(silent));
        let mut simulated = Simulation::new(seed)
            .parallelism(2)
            .start(move |job: &Job| {
                let seen = Arc::clone(&seen);
                let source = Scripted::unbounded(splits.clone());
                let record = move |(split, _)| seen.lock().push(split);
                let sink = levada::connectors::for_each(record);
                job.source("events", source).sink("out", sink);
            })
            .unwrap();
        assert!(simulated.run_until(|_| order.lock().len() >= 399_000));
        let order = order.lock();
        let others = order.iter().filter(|split| **split > 0).count();
        assert_eq!(others, 7, "seed {seed}");
    }
}

/// Splits of very different event time go both ways around and meet again, with one credit to a channel.
#[test]
fn splits_that_run_ahead_are_held_back_and_lock_nothing() {
    let mut held = 0;
    for seed in 0..100 {
        let mut random = SplitMix64::new(seed);
        let splits = 2 + random.below(4) as i64;
        let acts: Vec<_> = (0..splits)
            .map(|split| records((0..700).map(|n| split * 40_000 + n * 50)))
            .collect();
        let (sink, collected) = collect();
        let order = Arc::new(Mutex::new(Vec::new()));
        let run = Simulation::new(seed)
            .one_credit()
            .run(|job: &Job| {
                let order = Arc::clone(&order);
                let watermarks = Watermarks::ascending().max_drift(Duration::from_secs(1));
                let events = job
                    .source("events", Scripted::bounded(acts.clone()))
                    .inspect(move |(_, at)| order.lock().push(*at))
                    .timestamps(|(_, at)| *at, watermarks)
                    .stream();
                let few = events.clone().filter(|(_, at)| at % 100 == 0).rebalance();
                let many = events.flat_map(|event| [event, event]).rebalance();
                windows(few.union(many)).sink("out", sink.clone());
            })
            .unwrap();
        let expected = counts(&acts).into_iter();
        let expected = expected
            .map(|(at, count)| (at, 2 * count + count / 2))
            .collect();
        check(&run, &collected, &expected);
        held += run.metrics.operator("events").unwrap().sum_splits_held();
        // While the first split is read, the others have had their first run only.
        let order = order.lock();
        let first = order.iter().rposition(|at| *at < 20_000).unwrap();
        let ahead = order[..first].iter().filter(|at| **at >= 160_000).count();
        assert!(ahead < 700, "seed {seed}: {ahead} of the last split");
    }
    assert!(held > 100, "{held} splits were held back");
}

#[test]
fn a_split_is_held_for_no_split_that_is_idle() {
    for seed in 0..100 {
        let ahead = records((0..5_000).map(|n| 1_000_000 + n));
        let acts = vec![records(0..10), ahead];
        let read = |watermarks: fn() -> Watermarks<_>| {
            let source = Scripted::endless(acts.clone());
            let job = |job: &Job, fired: Collector| {
                let events = job.source("events", source.clone());
                windows(events.timestamps(|(_, at)| *at, watermarks())).sink("out", fired.sink());
            };
            until(seed, Duration::from_secs(30), job).1.records_read()
        };
        let idle = || {
            Watermarks::ascending()
                .max_drift(Duration::from_secs(1))
                .idle_after(Duration::from_secs(20))
        };
        assert_eq!(read(idle), 5_010, "seed {seed}");
        let held = read(|| Watermarks::ascending().max_drift(Duration::from_secs(1)));
        assert!(held < 5_010, "seed {seed}: {held}");
    }
}
