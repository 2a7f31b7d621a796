//! Window joins against nested loops, and aggregates in two phases against those in one.

use std::collections::BTreeMap;

use levada::prelude::*;
use levada_testing::{Harness, Simulation, collect};
use proptest::prelude::*;

/// Which stream, a key, and a number that tells records apart.
type Event = (bool, u8, u64);
type Pair = (Option<u64>, Option<u64>);
type Row = (u8, Span, Pair);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Inner,
    Left,
    Right,
    Full,
}

fn join(kind: Kind, width: u64, slide: u64) -> impl Fn(Stream<Event>) -> Stream<Row> {
    move |events| {
        let first = events
            .clone()
            .filter(|(second, ..)| !second)
            .key_by(|(_, key, _)| *key);
        let second = events
            .filter(|(second, ..)| *second)
            .key_by(|(_, key, _)| *key);
        let joined = first.window_join(second, sliding(millis(width), millis(slide)));
        let number = |event: Option<&Event>| event.map(|(.., n)| *n);
        match kind {
            Kind::Inner => joined.inner("join", |a, b| (Some(a.2), Some(b.2))),
            Kind::Left => joined.left("join", move |a, b| (Some(a.2), number(b))),
            Kind::Right => joined.right("join", move |a, b| (number(a), Some(b.2))),
            Kind::Full => joined.full("join", move |a, b| (number(a), number(b))),
        }
    }
}

/// All pairs of all windows, from their definition.
fn model(kind: Kind, events: &[(Event, i64)], width: i64, slide: i64) -> Vec<Row> {
    let mut windows = BTreeMap::<(u8, i64), [Vec<u64>; 2]>::new();
    for ((second, key, n), at) in events {
        let mut start = at.div_euclid(slide) * slide;
        while start + width > *at {
            windows.entry((*key, start)).or_default()[usize::from(*second)].push(*n);
            start -= slide;
        }
    }
    let mut rows = Vec::new();
    for ((key, start), [first, second]) in windows {
        let span = Span {
            start: Timestamp(start),
            end: Timestamp(start + width),
        };
        let mut row = |a, b| rows.push((key, span, (a, b)));
        for a in &first {
            for b in &second {
                row(Some(*a), Some(*b));
            }
            if second.is_empty() && matches!(kind, Kind::Left | Kind::Full) {
                row(Some(*a), None);
            }
        }
        if first.is_empty() && matches!(kind, Kind::Right | Kind::Full) {
            second.iter().for_each(|b| row(None, Some(*b)));
        }
    }
    rows.sort_unstable();
    rows
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Inner),
        Just(Kind::Left),
        Just(Kind::Right),
        Just(Kind::Full)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// In any order, saved and restored after any number of records and of polls.
    #[test]
    fn windows_join_as_nested_loops_do(
        kind in kind(),
        mut events in prop::collection::vec(((any::<bool>(), 0..3u8, any::<u64>()), -40..40i64), 0..40),
        width in 1..20i64,
        slide in 1..20i64,
        cut in 0..40usize,
        polls in 0..60u64,
        seed in any::<u64>(),
        to in 1..5usize,
    ) {
        let operators = join(kind, width as u64, slide as u64);
        let mut harness = Harness::new(&Simulation::new(seed), &operators).unwrap();
        let expected = model(kind, &events, width, slide);
        let later = events.split_off(cut.min(events.len()));
        harness.push_at(events);
        let snapshot = harness.snapshot().unwrap();
        let mut harness =
            Harness::restored(&Simulation::new(seed ^ 1).parallelism(to), &snapshot, &operators).unwrap();
        harness.push_at(later);
        harness.feed_watermark(100);
        for _ in 0..polls {
            harness.simulated().step();
        }
        let mut rows = harness.output();
        let snapshot = harness.snapshot().unwrap();
        let mut harness = Harness::restored(&Simulation::new(seed ^ 2), &snapshot, &operators).unwrap();
        harness.watermark(100);
        rows.extend(harness.output());
        rows.sort_unstable();
        prop_assert_eq!(rows, expected);
    }

    /// In one phase or two, whatever the number of senders, with everything that is not late.
    #[test]
    fn two_phases_give_what_one_does(
        events in prop::collection::vec((0..4u8, -200..200i64, 1..9u64), 0..200),
        width in 1..60u64,
        slide in 1..60u64,
        bound in 0..400u64,
        seed in any::<u64>(),
    ) {
        let run = |pre: bool| {
            let (sink, rows) = collect();
            let input = events.clone();
            let run = Simulation::new(seed).run(move |job: &Job| {
                let windows = job
                    .source("events", iterator(input.clone()))
                    .timestamps(|(_, at, _)| *at, millis(bound.max(400)))
                    .stream()
                    .rebalance()
                    .key_by(|(key, ..)| *key)
                    .window(sliding(millis(width), millis(slide)));
                let sums = if pre {
                    windows.pre_aggregate().aggregate("sums", |events| (events.count(), events.sum(|(.., n)| *n)))
                } else {
                    windows.aggregate("sums", |events| (events.count(), events.sum(|(.., n)| *n)))
                };
                sums.sink("out", sink.clone());
            });
            run.unwrap().expect_finished();
            rows.sorted()
        };
        prop_assert_eq!(run(true), run(false));
    }
}

/// A window with a hundred thousand pairs is interrupted in the middle of them.
#[test]
fn pairs_go_on_where_they_were_after_a_restore() {
    const SIDE: u64 = 320;
    let operators = join(Kind::Inner, 10, 10);
    let mut harness = Harness::new(&Simulation::new(3).parallelism(2), &operators).unwrap();
    let events = (0..2 * SIDE).map(|n| ((n % 2 == 1, 1, n), 5));
    harness.push_at(events);
    harness.feed_watermark(20);
    let mut rows = Vec::new();
    while rows.len() < (SIDE * SIDE / 2) as usize {
        harness.simulated().step();
        rows.extend(harness.output());
    }
    assert!(rows.len() < (SIDE * SIDE) as usize, "it was half-way");
    let before = rows.len();
    let snapshot = harness.snapshot().unwrap();
    let mut harness =
        Harness::restored(&Simulation::new(4).parallelism(3), &snapshot, &operators).unwrap();
    harness.watermark(20);
    rows.extend(harness.output());
    assert!(before < rows.len());
    assert_eq!(rows.len() as u64, SIDE * SIDE);
    // In the order in which the records came, from the first pair to the last.
    assert!(rows.is_sorted());
    rows.dedup();
    assert_eq!(rows.len() as u64, SIDE * SIDE);
}

/// What a sender has gathered is in the snapshot, and is sent by whoever gets it.
#[test]
fn partial_aggregates_survive_a_restore_at_another_parallelism() {
    let counts = |events: Stream<u64>| {
        events
            .rebalance()
            .key_by(|n| n % 7)
            .window(tumbling(millis(1_000)))
            .pre_aggregate()
            .count("counts")
    };
    for (seed, from, to) in [(1, 2, 3), (2, 3, 1), (3, 1, 2), (4, 4, 4)] {
        let simulation = |seed, parallelism| Simulation::new(seed).parallelism(parallelism);
        let mut harness = Harness::new(&simulation(seed, from), counts).unwrap();
        harness.push_at((0..700).map(|n| (n, n as i64)));
        let snapshot = harness.snapshot().unwrap();
        // Nothing has come to the windows yet.
        let empty = 2 * size_of::<i64>() + size_of::<bool>() + 2 * size_of::<u64>();
        let nothing = snapshot.groups("counts").all(|(_, size)| size == empty);
        assert!(nothing, "seed {seed}");
        let mut harness = Harness::restored(&simulation(seed, to), &snapshot, counts).unwrap();
        harness.push_at((0..70).map(|n| (n, n as i64)));
        let span = Span {
            start: Timestamp(0),
            end: Timestamp(1_000),
        };
        let mut rows = harness.finish();
        rows.sort_unstable();
        let expected: Vec<_> = (0..7).map(|key| (key, span, 110)).collect();
        assert_eq!(rows, expected, "seed {seed}");
    }
}
