//! Joins that are not windows, against a nested loop.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::time::Duration;

use levada::prelude::*;
use levada_core::random::SplitMix64;
use levada_testing::{Harness, Simulation};

mod clocked;
mod model;

use model::{Event, Row, Rule, Script, Side};

/// A simulation at a parallelism that the seed chooses, another one for each offset; half of them with one credit.
fn simulation(seed: u64, offset: u64) -> Simulation {
    let simulation =
        Simulation::new(seed ^ offset << 32).parallelism(1 + ((seed + offset) % 4) as usize);
    if (seed / 4 + offset).is_multiple_of(2) {
        simulation.one_credit()
    } else {
        simulation
    }
}

type ById = Keyed<u64, Row>;

fn sides(rows: Stream<Side>) -> (ById, ById) {
    let left = rows.clone().flat_map(|row| match row {
        Side::Left(row) => Some(row),
        Side::Right(_) => None,
    });
    let right = rows.flat_map(|row| match row {
        Side::Right(row) => Some(row),
        Side::Left(_) => None,
    });
    (left.key_by(|row| row.key), right.key_by(|row| row.key))
}

type Joins = Harness<Side, (u32, u32)>;

fn feed(harness: &mut Joins, event: Event) {
    match event {
        Event::Row(side) => harness.feed_at([side.timed()]),
        Event::Watermark(at) => harness.feed_watermark(at),
    }
}

fn push(harness: &mut Joins, sides: impl IntoIterator<Item = Side>) {
    harness.push_at(sides.into_iter().map(Side::timed));
}

/// Brings in a step of a script, and waits until all of it has come.
fn step(harness: &mut Joins, events: &[Event]) {
    for event in events {
        feed(harness, *event);
    }
    harness.simulated().settle();
}

fn pair(left: &Row, right: &Row) -> (u32, u32) {
    assert_eq!(left.key, right.key);
    (left.id, right.id)
}

/// A join by this rule.
fn join(rule: Rule, rows: Stream<Side>) -> Stream<(u32, u32)> {
    let (left, right) = sides(rows);
    match rule {
        Rule::Forever => left.join(right).inner("join", pair),
        Rule::Lives(first, second) => left
            .join(right)
            .ttls(JoinTtl::event_time(first), JoinTtl::event_time(second))
            .inner("join", pair),
        Rule::Interval {
            lower,
            upper,
            exclusive,
        } => {
            let offset = |at: i64| {
                let length = Duration::from_millis(at.unsigned_abs());
                if at < 0 {
                    before(length)
                } else {
                    after(length)
                }
            };
            let joined = left.interval_join(right, offset(lower), offset(upper));
            match exclusive {
                (false, false) => joined,
                (true, false) => joined.lower_exclusive(),
                (false, true) => joined.upper_exclusive(),
                (true, true) => joined.lower_exclusive().upper_exclusive(),
            }
            .inner("join", pair)
        }
    }
}

#[test]
fn pairs_are_those_of_a_nested_loop() {
    let mut late = 0;
    let mut most = 0;
    for seed in 0..120 {
        let mut random = SplitMix64::new(seed);
        let script = Script::new(&mut random);
        let rule = Rule::new(&mut random);
        let operators = |rows| join(rule, rows);
        let expected = script.pairs(rule);
        let cut = random.below(script.steps.len() as u64) as usize;
        let (first, second) = script.steps.split_at(cut);

        let mut before = Harness::new(&simulation(seed, 0), operators).unwrap();
        for events in first {
            step(&mut before, events);
        }
        let snapshot = before.snapshot().unwrap();
        let mut found = before.output_at();
        let mut after = Harness::restored(&simulation(seed, 1), &snapshot, operators).unwrap();
        for events in second {
            step(&mut after, events);
        }
        found.extend(after.output_at());
        let late_here = late_records(&mut before) + late_records(&mut after);
        assert_eq!(late_here, script.late(rule) as u64, "seed {seed}");
        assert_eq!(after.finish(), [], "seed {seed}: nothing waits for the end");
        found.sort_unstable();
        assert_eq!(found, expected, "seed {seed}, {rule:?}, cut at {cut}");
        late += script.late(rule);
        most = most.max(expected.len());
    }
    assert!(late > 300, "{late} late records");
    assert!(most > 100, "{most} pairs");
}

/// The record that is cut off in the middle of its pairs is wherever the random script has a step of one record.
#[test]
fn a_snapshot_between_two_pairs_of_a_record_holds_the_rest() {
    let mut halfway = 0;
    for seed in 0..120 {
        let mut random = SplitMix64::new(seed + 1_000);
        let script = Script::new(&mut random);
        let rule = Rule::new(&mut random);
        let operators = |events| join(rule, events);
        let expected = script.pairs(rule);
        let mut found = Vec::new();
        let mut harness = Harness::new(&simulation(seed, 0), operators).unwrap();
        for (n, event) in script.steps.iter().flatten().enumerate() {
            feed(&mut harness, *event);
            let before = harness.simulated().metrics().records_written();
            let stop = random.below(3) == 0;
            let stopped = harness
                .simulated()
                .run_until(|simulated| stop && simulated.metrics().records_written() > before);
            if !stopped {
                found.extend(harness.output_at());
                harness.checkpoint(0).unwrap();
                continue;
            }
            let emitted = harness.output_at();
            let snapshot = harness.checkpoint(n as u64 % 7).unwrap();
            harness =
                Harness::restored(&simulation(seed, 1 + n as u64), &snapshot, operators).unwrap();
            harness.simulated().settle();
            let rest = harness.output_at();
            if !emitted.is_empty() && !rest.is_empty() {
                halfway += 1;
            }
            found.extend(emitted);
            found.extend(rest);
        }
        assert_eq!(
            harness.finish(),
            [],
            "seed {seed}: nothing waits for the end"
        );
        found.sort_unstable();
        assert_eq!(found, expected, "seed {seed}, {rule:?}");
    }
    assert!(halfway > 50, "{halfway} records were cut off");
}

fn row(key: u64, at: i64, id: u32) -> Row {
    Row { key, at, id }
}

const WIDE: Rule = Rule::Interval {
    lower: -1_000_000,
    upper: 1_000_000,
    exclusive: (false, false),
};

/// How many records the join has dropped.
fn late_records(harness: &mut Joins) -> u64 {
    let metrics = harness.simulated().metrics();
    let join = metrics.operators.iter().find(|o| o.name == "join");
    join.unwrap().records_late.iter().sum()
}

/// How many pairs have come out.
fn written(harness: &mut Joins) -> u64 {
    harness.simulated().metrics().records_written()
}

/// A record with two thousand pairs is saved in the middle of them, time and again, and goes on at another parallelism each
/// time; the order of its pairs is that in which the rows came, whatever their times.
#[test]
fn a_long_list_of_pairs_survives_many_restores_in_its_order() {
    const ROWS: u32 = 2_000;
    let mut cuts = 0;
    for seed in 0..16 {
        let rule = [Rule::Forever, WIDE][(seed % 2) as usize];
        let operators = |events| join(rule, events);
        let mut random = SplitMix64::new(seed);
        let mut side = |n: u32| {
            let row = row(7, random.below(1_000) as i64, n);
            if seed % 4 < 2 {
                Side::Left(row)
            } else {
                Side::Right(row)
            }
        };
        let probe = if seed % 4 < 2 {
            Side::Right
        } else {
            Side::Left
        };
        let mut harness = Harness::new(&simulation(seed, 0), operators).unwrap();
        push(&mut harness, (0..ROWS).map(&mut side));
        feed(&mut harness, Event::Row(probe(row(7, 500, ROWS))));
        let mut found = Vec::new();
        for offset in 1.. {
            let before = written(&mut harness);
            let stopped = harness
                .simulated()
                .run_until(|simulated| simulated.metrics().records_written() > before);
            found.extend(harness.output());
            if !stopped {
                break;
            }
            cuts += u32::from(found.len() < ROWS as usize);
            let snapshot = harness.snapshot().unwrap();
            harness = Harness::restored(&simulation(seed, offset), &snapshot, operators).unwrap();
        }
        let left = if seed % 4 < 2 {
            |n| (n, ROWS)
        } else {
            |n| (ROWS, n)
        };
        assert_eq!(
            found,
            (0..ROWS).map(left).collect::<Vec<_>>(),
            "seed {seed}"
        );
    }
    assert!(cuts > 40, "cut {cuts} times");
}

/// The rows that a record passes over without meeting them are work too.
#[test]
fn one_key_with_all_the_records_lets_others_run() {
    const ROWS: u32 = 100_000;
    for (at, pairs) in [(0, ROWS as usize), (2_000_000, 1)] {
        let mut harness = Harness::new(&Simulation::new(3).parallelism(1), |events| {
            join(WIDE, events)
        })
        .unwrap();
        let rows = (0..ROWS).map(|n| Side::Left(row(7, if n == 77 { 1_500_000 } else { 0 }, n)));
        let rows: Vec<_> = rows.collect();
        push(&mut harness, rows);
        let polls = harness.simulated().polls();
        push(&mut harness, [Side::Right(row(7, at, ROWS))]);
        let polls = harness.simulated().polls() - polls;
        assert_eq!(harness.output().len(), pairs - usize::from(at == 0));
        assert!(polls > 8, "{polls} polls for {pairs} pairs");
    }
}

/// What the state of the join takes.
fn bytes(harness: &mut Joins) -> usize {
    let snapshot = harness.snapshot().unwrap();
    snapshot.groups("join").map(|(_, bytes)| bytes).sum()
}

#[test]
fn rows_are_removed_when_nothing_they_could_meet_will_come() {
    let none = bytes(&mut Harness::new(&simulation(0, 0), |e| join(WIDE, e)).unwrap());
    let mut cuts = 0;
    for seed in 0..12 {
        let rule = Rule::Interval {
            lower: -5,
            upper: 10,
            exclusive: (false, false),
        };
        let operators = |events| join(rule, events);
        let mut harness = Harness::new(&simulation(seed, 0), operators).unwrap();
        // Most keys have one row; one has many, and one of these is from the future.
        let rows = (0..3_000u32).flat_map(|n| {
            let key = if n % 2 == 0 { 0 } else { u64::from(n) };
            let at = if n == 1_000 { 1_000 } else { 100 };
            [
                Side::Left(row(key, at, n)),
                Side::Right(row(key + 10_000, at, n)),
            ]
        });
        push(&mut harness, rows);
        let all = bytes(&mut harness);
        harness.watermark(104);
        assert_eq!(bytes(&mut harness), all, "seed {seed}");
        // The rows of the second side are gone, bit by bit: a snapshot in between is of the same use.
        harness.feed_watermark(105);
        for _ in 0..4 + seed {
            harness.simulated().step();
        }
        let cut = bytes(&mut harness);
        let snapshot = harness.snapshot().unwrap();
        let mut harness = Harness::restored(&simulation(seed, 1), &snapshot, operators).unwrap();
        harness.watermark(105);
        let half = bytes(&mut harness);
        assert!(half < all * 2 / 3, "seed {seed}: {half} of {all} bytes");
        cuts += u32::from(half < cut && cut < all);
        harness.watermark(110);
        let few = bytes(&mut harness);
        assert!(
            none < few && few < none + 300,
            "seed {seed}: {few} bytes, {none} for none"
        );
        push(&mut harness, [Side::Right(row(0, 1_003, 1))]);
        harness.watermark(1_010);
        assert_eq!(harness.output(), [(1_000, 1)], "seed {seed}");
        assert_eq!(bytes(&mut harness), none, "seed {seed}");
    }
    assert!(cuts > 3, "{cuts} removals were cut off");
}

#[test]
fn a_stream_can_be_joined_with_itself() {
    for seed in 0..8 {
        let mut harness = Harness::new(&simulation(seed, 0), |numbers: Stream<u64>| {
            let left = numbers.clone().key_by(|n| n % 3);
            left.join(numbers.key_by(|n| n % 3))
                .inner("join", |a, b| (*a, *b))
        })
        .unwrap();
        harness.push(0..30);
        let mut found = harness.finish();
        found.sort_unstable();
        let all = (0..30).flat_map(|a| (0..30).map(move |b| (a, b)));
        let expected: Vec<_> = all.filter(|(a, b)| a % 3 == b % 3).collect();
        assert_eq!(found, expected, "seed {seed}");
    }
}

/// What a job is told that joins these two streams of numbers.
#[track_caller]
fn failure(join: impl Fn(Stream<i64>, Stream<i64>) -> Stream<i64>) -> String {
    let message = Simulation::new(1).failure(|job: &Job| {
        let left = job.source("left", iterator(0..5i64)).stream();
        let right = job.source("right", iterator(0..5i64)).stream();
        join(left, right).sink("out", for_each(|_| {}));
    });
    message.expect("the job fails")
}

#[test]
fn what_cannot_be_joined_is_refused_by_name_and_line() {
    let (seconds, millis) = (seconds(1), millis(1));
    let crossed = failure(|left, right| {
        let right = right.keyed_by_itself();
        left.keyed_by_itself()
            .interval_join(right, seconds, before(seconds))
            .inner("crossed", |a, b| a + b)
    });
    assert!(
        crossed.contains("1000 ms from a record, and the last one -1000 ms"),
        "{crossed}"
    );
    assert!(crossed.contains("joins.rs:"), "{crossed}");
    let nothing = failure(|left, right| {
        left.keyed_by_itself()
            .interval_join(right.keyed_by_itself(), Duration::ZERO, millis)
            .lower_exclusive()
            .upper_exclusive()
            .inner("nothing", |a, b| a + b)
    });
    assert!(
        nothing.contains("no time lies between the bounds"),
        "{nothing}"
    );
    let no_life = failure(|left, right| {
        let ttl = JoinTtl::processing_time(Duration::from_micros(999));
        left.keyed_by_itself()
            .join(right.keyed_by_itself())
            .ttl(ttl)
            .inner("no life", |a, b| a + b)
    });
    assert!(no_life.contains("keeps records for 999µs"), "{no_life}");
    let no_time = failure(|left, right| {
        left.keyed_by_itself()
            .interval_join(right.keyed_by_itself(), Duration::ZERO, seconds)
            .inner("no time", |a, b| a + b)
    });
    assert!(
        no_time.contains("`no time`") && no_time.contains("without event time"),
        "{no_time}"
    );
    let panics = failure(|left, right| {
        left.keyed_by_itself()
            .join(right.keyed_by_itself())
            .inner("panics", |a, b| 1 / (a - b))
    });
    assert!(
        panics.contains("`panics`") && panics.contains("divide by zero"),
        "{panics}"
    );
}

trait KeyedByItself {
    fn keyed_by_itself(self) -> Keyed<i64, i64>;
}

impl KeyedByItself for Stream<i64> {
    fn keyed_by_itself(self) -> Keyed<i64, i64> {
        self.key_by(|n| *n)
    }
}

/// A record that serde writes in one way and reads in another is found when the first one is kept.
#[test]
fn a_record_that_cannot_be_kept_fails_the_job() {
    let message = Simulation::new(1).parallelism(1).failure(|job: &Job| {
        let numbers = job.source("numbers", iterator(0..5u64)).stream();
        let keyed = |numbers: Stream<u64>| numbers.map(Lost).key_by(|lost| lost.0 % 2);
        keyed(numbers.clone())
            .join(keyed(numbers))
            .inner("join", |a, b| (a.0, b.0))
            .sink("out", for_each(|_| {}));
    });
    let message = message.unwrap();
    assert!(message.contains("Lost"), "{message}");
}

#[derive(Clone)]
struct Lost(u64);

impl serde::Serialize for Lost {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Lost {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(|n| Self(n + 1))
    }
}

/// By the clock of the machine: events come seconds apart, so that what a buffer waits for does not matter.
#[test]
fn rows_that_have_lived_long_enough_meet_nothing() {
    let mut unmet = 0;
    for seed in 0..60 {
        let mut random = SplitMix64::new(seed);
        let script = clocked::script(&mut random);
        let (first, second) = (10 + random.below(60), 10 + random.below(60));
        let (expected, all) = clocked::pairs(&script, first, second);
        let found = clocked::run(&simulation(seed, 0), &script, first, second);
        assert_eq!(found, expected, "seed {seed}: {first} s, {second} s");
        unmet += all - expected.len();
    }
    assert!(
        unmet > 100,
        "{unmet} pairs that would have met but for their lives"
    );
}

/// Also while nothing comes, and after a restore, where the time of day begins anew in a simulation: a clock that was set
/// back. The rows of the second side live longer.
#[test]
fn rows_that_have_lived_long_enough_are_removed() {
    let operators = |rows| {
        let (left, right) = sides(rows);
        let ttl = |length| JoinTtl::processing_time(seconds(length));
        left.join(right).ttls(ttl(10), ttl(20)).inner("join", pair)
    };
    let none = bytes(&mut Harness::new(&simulation(0, 0), operators).unwrap());
    for seed in 0..8 {
        let mut harness = Harness::new(&simulation(seed, 0), operators).unwrap();
        let rows = (0..2_000).map(|n| {
            let row = row(u64::from(n % 700), 0, n);
            if n % 2 == 0 {
                Side::Left(row)
            } else {
                Side::Right(row)
            }
        });
        harness.feed_at(rows.map(Side::timed));
        harness.advance(seconds(9));
        let pairs = harness.output().len();
        let all = bytes(&mut harness);
        harness.advance(seconds(3));
        let half = bytes(&mut harness);
        assert!(
            none < half && half < all * 2 / 3,
            "seed {seed}: {half} of {all} bytes"
        );

        let snapshot = harness.snapshot().unwrap();
        let mut restored = Harness::restored(&simulation(seed, 1), &snapshot, operators).unwrap();
        for harness in [&mut harness, &mut restored] {
            harness.feed_at([Side::Left(row(1, 0, 2_000)).timed()]);
            harness.advance(seconds(1));
            let expected = [1, 701, 1_401].map(|n| (2_000, n));
            assert_eq!(
                harness.output(),
                expected,
                "seed {seed}, {pairs} pairs before"
            );
        }
        harness.advance(seconds(10));
        assert_eq!(bytes(&mut harness), none, "seed {seed}");
        restored.advance(seconds(22));
        assert_eq!(bytes(&mut restored), none, "seed {seed}");
    }
}
