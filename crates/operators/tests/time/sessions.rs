//! Session windows against their definition and against a model, saved and restored at any moment.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Debug;

use levada::prelude::*;
use levada_testing::{Harness, Simulation, collect};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

mod model;

use model::{Fired, Model};

fn simulation(seed: u64, parallelism: usize) -> Simulation {
    let simulation = Simulation::new(seed).parallelism(parallelism);
    if seed.is_multiple_of(2) {
        simulation.one_credit()
    } else {
        simulation
    }
}

/// Runs a test over many cases.
#[track_caller]
fn try_all<S: Strategy>(
    cases: u32,
    strategy: &S,
    test: impl Fn(S::Value) -> Result<(), TestCaseError>,
) where
    S::Value: Debug,
{
    let config = ProptestConfig {
        failure_persistence: None,
        cases,
        ..ProptestConfig::default()
    };
    if let Err(error) = TestRunner::new(config).run(strategy, test) {
        panic!("{error}");
    }
}

/// The sessions of some times, as they are defined.
fn defined(times: &[i64], gap: i64) -> Vec<(Span, u64)> {
    let mut times = times.to_vec();
    times.sort_unstable();
    times
        .chunk_by(|before, after| after - before < gap)
        .map(|session| {
            let span = Span {
                start: Timestamp(session[0]),
                end: Timestamp(session[session.len() - 1] + gap),
            };
            (span, session.len() as u64)
        })
        .collect()
}

#[test]
fn sessions_are_what_lies_less_than_a_gap_apart() {
    let events = prop::collection::vec((0..4u8, -300..300i64), 0..80);
    let touching = Cell::new(0);
    let strategy = (events, 1..40i64, any::<u64>());
    try_all(150, &strategy, |(events, gap, seed)| {
        let (sink, counts) = collect();
        let input = events.clone();
        let run = Simulation::new(seed).run(move |job: &Job| {
            job.source("events", iterator(input.clone()))
                .timestamps(|(_, at)| *at, millis(600))
                .key_by(|(key, _)| *key)
                .window(session(millis(gap as u64)))
                .count("counts")
                .sink("out", sink.clone());
        });
        run.unwrap().expect_finished();
        let mut expected = Vec::new();
        for key in 0..4 {
            let of_key = events.iter().filter(|(other, _)| *other == key);
            let times: Vec<_> = of_key.map(|(_, at)| *at).collect();
            let sessions = defined(&times, gap);
            let ends = sessions.windows(2);
            touching.set(touching.get() + ends.filter(|s| s[0].0.end == s[1].0.start).count());
            expected.extend(sessions.into_iter().map(|(span, n)| (key, span, n)));
        }
        prop_assert_eq!(counts.sorted(), expected, "seed {}", seed);
        Ok(())
    });
    assert!(touching.get() > 50, "{} sessions touch", touching.get());
}

#[derive(Clone, Debug)]
enum Act {
    Record(u8, i64),
    Watermark(i64),
    /// The operator is saved when it has made so many results because of a watermark, and goes on in so many subtasks.
    Cut(i64, u64, usize),
    /// It is saved, goes on in so many subtasks, and hears of no watermark for now.
    Restore(usize),
}

fn act(times: impl Strategy<Value = i64> + Clone + 'static) -> impl Strategy<Value = Act> {
    prop_oneof![
        24 => (0..6u8, times.clone()).prop_map(|(key, at)| Act::Record(key, at)),
        4 => times.clone().prop_map(Act::Watermark),
        3 => (times, 0..5u64, 1..5usize).prop_map(|(at, n, p)| Act::Cut(at, n, p)),
        1 => (1..5usize).prop_map(Act::Restore),
    ]
}

/// In the middle of time, mostly, and at its ends.
fn times() -> impl Strategy<Value = i64> + Clone {
    prop_oneof![
        12 => -60..60i64,
        1 => 1..40i64,
        1 => (1..40i64).prop_map(|n| i64::MIN + n),
        1 => (1..40i64).prop_map(|n| i64::MAX - n),
    ]
}

fn sessions(
    gap: i64,
    lateness: i64,
    by_trigger: bool,
) -> impl Fn(Stream<(u8, i64)>) -> Stream<Fired> {
    move |records| {
        let windows = records
            .key_by(|(key, _)| *key)
            .window(session(millis(gap as u64)))
            .allowed_lateness(millis(lateness as u64));
        let sessions = if by_trigger {
            let windows = windows.trigger(at_watermark());
            windows.apply("sessions", |_, _, records| records)
        } else {
            windows.apply("sessions", |_, _, records| records)
        };
        sessions
            .map(|(key, span, records)| {
                let records = records.into_iter().map(|(_, at)| at).collect();
                (key, (span.start.0, span.end.0), records, 0)
            })
            .stream()
    }
}

type Running = Harness<(u8, i64), Fired>;

/// What has come out, with its timestamps.
fn fired(harness: &mut Running) -> Vec<Fired> {
    let fired = harness.output_at().into_iter();
    fired
        .map(|((key, span, records, _), at)| (key, span, records, at.0))
        .collect()
}

/// By key: there is no order between keys.
fn by_key(fired: Vec<Fired>) -> BTreeMap<u8, Vec<Fired>> {
    let mut keys = BTreeMap::<_, Vec<_>>::new();
    for fired in fired {
        keys.entry(fired.0).or_default().push(fired);
    }
    keys
}

fn late_records(harness: &mut Running) -> u64 {
    let metrics = harness.simulated().metrics();
    let sessions = metrics.operators.iter().find(|o| o.name == "sessions");
    sessions.unwrap().records_late.iter().sum()
}

#[test]
fn sessions_fire_as_in_the_model() {
    fire_as_in_the_model(false);
}

/// The operator of triggers does the same with the trigger that windows have anyway.
#[test]
fn sessions_with_a_trigger_fire_as_in_the_model() {
    fire_as_in_the_model(true);
}

fn fire_as_in_the_model(by_trigger: bool) {
    let half_ways = Cell::new(0);
    let late = Cell::new(0);
    let lateness = prop_oneof![Just(0), 1..40i64, Just(i64::MAX)];
    let acts = prop::collection::vec(act(times()), 1..120);
    let strategy = (acts, 1..30i64, lateness, 1..5usize, any::<u64>());
    try_all(400, &strategy, |(acts, gap, lateness, before, seed)| {
        let operators = sessions(gap, lateness, by_trigger);
        let mut model = Model::new(gap, lateness);
        let mut harness = Harness::new(&simulation(seed, before), &operators).unwrap();
        let mut found = Vec::new();
        let mut dropped = 0;
        for act in acts {
            match act {
                Act::Record(key, at) => {
                    model.record(key, at);
                    harness.feed_at([((key, at), at)]);
                }
                Act::Watermark(at) => {
                    let at = at.max(model.own);
                    model.raise(at);
                    // Records that follow at once may come before it.
                    harness.watermark(at);
                    harness.checkpoint(0).unwrap();
                }
                // A trigger makes late records wait for the watermark after the one that was saved.
                Act::Restore(_) if by_trigger && lateness > 0 => {}
                Act::Restore(after) => {
                    harness.simulated().settle();
                    dropped += late_records(&mut harness);
                    found.extend(fired(&mut harness));
                    harness.feed_at([((0, 0), model.own.saturating_add(5))]);
                    let snapshot = harness.checkpoint(9).unwrap();
                    let simulation = simulation(seed ^ 2, after);
                    harness = Harness::restored(&simulation, &snapshot, &operators).unwrap();
                    model.restore();
                }
                Act::Cut(..) if by_trigger && model.own >= i64::MAX - 1 => {}
                Act::Cut(at, results, after) => {
                    harness.simulated().settle();
                    found.extend(fired(&mut harness));
                    // A trigger waits for a later watermark than the one that was saved, not for that one to come again.
                    let at = at.max(model.own + i64::from(by_trigger));
                    model.raise(at);
                    harness.feed_watermark(at);
                    let until = harness.simulated().metrics().records_written() + results;
                    let simulated = harness.simulated();
                    simulated.run_until(|running| running.metrics().records_written() >= until);
                    dropped += late_records(&mut harness);
                    let snapshot = harness.checkpoint(results).unwrap();
                    let first = fired(&mut harness);
                    let simulation = simulation(seed ^ 1, after);
                    harness = Harness::restored(&simulation, &snapshot, &operators).unwrap();
                    harness.simulated().settle();
                    let rest = fired(&mut harness);
                    // What comes now was due when the operator was saved.
                    let half_way = !first.is_empty() && !rest.is_empty();
                    half_ways.set(half_ways.get() + u32::from(half_way));
                    found.extend(first);
                    found.extend(rest);
                    // The watermark may not have come to all subtasks.
                    model.restore();
                    model.raise(at);
                    harness.watermark(at);
                }
            }
        }
        harness.simulated().settle();
        dropped += late_records(&mut harness);
        found.extend(fired(&mut harness));
        model.raise(i64::MAX);
        harness.end();
        harness.simulated().settle();
        prop_assert!(harness.simulated().is_done());
        found.extend(fired(&mut harness));
        late.set(late.get() + dropped);
        prop_assert_eq!(dropped, model.late.len() as u64, "seed {}", seed);
        let mut expected = model.fired;
        if by_trigger {
            // Late sessions of a key fire in any order.
            found.sort_unstable();
            expected.sort_unstable();
        }
        prop_assert_eq!(by_key(found), by_key(expected), "seed {}", seed);
        Ok(())
    });
    assert!(half_ways.get() > 10, "{} cuts half-way", half_ways.get());
    assert!(late.get() > 100, "{} late records", late.get());
}

/// The bytes in which the sessions are saved.
fn saved(harness: &mut Running) -> usize {
    let snapshot = harness.snapshot().unwrap();
    snapshot.groups("sessions").map(|(_, bytes)| bytes).sum()
}

#[test]
fn sessions_that_are_over_leave_nothing_behind() {
    for seed in 0..8 {
        let parallelism = 1 + (seed % 4) as usize;
        let mut harness =
            Harness::new(&simulation(seed, parallelism), sessions(10, 100, false)).unwrap();
        let empty = saved(&mut harness);
        for round in 0..5 {
            let begin = round * 1_000;
            harness.push_at((0..=u8::MAX).map(|key| ((key, begin), begin + i64::from(key) % 7)));
            let full = saved(&mut harness);
            assert!(full > empty + 256 * 20, "{full} bytes for 256 sessions");
            harness.watermark(begin + 50);
            assert_eq!(harness.output().len(), 256);
            assert_eq!(saved(&mut harness), full, "they may still get records");
            // The last of them lasts until `begin + 16`.
            harness.watermark(begin + 15 + 99);
            assert!(saved(&mut harness) > empty, "one key in seven has its time");
            harness.watermark(begin + 15 + 100);
            assert_eq!(saved(&mut harness), empty);
        }
        assert_eq!(harness.finish(), []);
    }
}

#[test]
fn a_great_firing_goes_on_where_it_was_saved() {
    const KEYS: u64 = 12_000;
    let operators = |records: Stream<(u64, i64)>| {
        records
            .key_by(|(key, _)| *key)
            .window(session(millis(10)))
            .count("sessions")
    };
    for seed in 0..8 {
        let mut harness = Harness::new(&simulation(seed, 1), operators).unwrap();
        harness.push_at((0..3 * KEYS).map(|n| ((n % KEYS, 0), (n / KEYS * 5) as i64)));
        harness.feed_watermark(i64::MAX - 1);
        let mut found = Vec::new();
        let mut cuts = 0;
        while found.len() < KEYS as usize {
            let until = harness.simulated().metrics().records_written() + 400;
            let simulated = harness.simulated();
            simulated.run_until(|running| running.metrics().records_written() >= until);
            let some = harness.output();
            assert!(!some.is_empty(), "seed {seed}: {} of {KEYS}", found.len());
            found.extend(some);
            cuts += u32::from(found.len() < KEYS as usize);
            let snapshot = harness.snapshot().unwrap();
            // The first one has the watermark; the others go on by what is saved.
            let parallelism = 1 + found.len() % 4;
            let simulation = simulation(seed ^ cuts as u64, parallelism);
            harness = Harness::restored(&simulation, &snapshot, operators).unwrap();
        }
        assert_eq!(harness.finish(), [], "seed {seed}");
        assert!(cuts >= 2, "seed {seed}: {cuts} cuts in the middle");
        found.sort_unstable();
        let span = Span {
            start: Timestamp(0),
            end: Timestamp(20),
        };
        assert!(
            found.into_iter().eq((0..KEYS).map(|key| (key, span, 3))),
            "seed {seed}"
        );
    }
}

#[test]
fn late_records_are_a_stream_and_the_others_are_not() {
    let lates = |lateness: u64| {
        move |records: Stream<(u8, i64)>| {
            let keyed = records.key_by(|(key, _)| *key).window(session(millis(10)));
            let (windows, late) = keyed.allowed_lateness(millis(lateness)).late();
            windows.count("sessions").discard();
            late
        }
    };
    for (lateness, expected) in [(0, vec![(1, 5), (1, 81)]), (15, vec![(1, 5)])] {
        let mut harness = Harness::new(&simulation(7, 2), lates(lateness)).unwrap();
        harness.push_at([((1, 100), 100), ((2, 100), 100)]);
        harness.watermark(100);
        // Of those that end at 100 or before some are near to others: 95 to 100, 91 to 95.
        let records = [(1, 5), (1, 95), (1, 91), (2, 100), (1, 81), (3, 92)];
        for record in records {
            harness.push_at([(record, record.1)]);
        }
        let late = harness.output();
        let expected: Vec<_> = expected.into_iter().collect();
        assert_eq!(late, expected, "lateness {lateness}");
    }
}

#[test]
fn a_key_with_all_records_and_no_records_at_all() {
    let run = |events: Vec<(u8, i64)>| {
        let (sink, counts) = collect();
        let run = Simulation::new(3).run(move |job: &Job| {
            job.source("events", iterator(events.clone()))
                .timestamps(|(_, at)| *at, millis(0))
                .key_by(|(key, _)| *key)
                .window(session(millis(2)))
                .count("counts")
                .sink("out", sink.clone());
        });
        run.unwrap().expect_finished();
        counts.sorted()
    };
    assert_eq!(run(Vec::new()), []);
    let span = |start, end| Span {
        start: Timestamp(start),
        end: Timestamp(end),
    };
    let one = run((-5_000..5_000).map(|at| (0, at)).collect());
    assert_eq!(one, [(0, span(-5_000, 5_001), 10_000)]);
}

#[test]
fn records_without_event_time_and_gaps_of_nothing_are_refused() {
    let job = |gap: u64| {
        move |job: &Job| {
            job.source("events", iterator([1u8]))
                .key_by(|n| *n)
                .window(session(millis(gap)))
                .count("visits")
                .discard();
        }
    };
    let simulation = Simulation::new(1);
    let error = simulation.failure(job(1)).unwrap();
    assert!(
        error.contains("`visits`") && error.contains("no event time"),
        "{error}"
    );
    let error = simulation.failure(job(0)).unwrap();
    assert!(
        error.contains("the gap of its windows") && error.contains("sessions.rs"),
        "{error}"
    );
}
