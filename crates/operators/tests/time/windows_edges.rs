//! Windows where something is unusual: nothing to emit, the ends of time, another program after a restore.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use levada::prelude::*;
use levada_testing::{Harness, Simulation};
use serde::{Deserialize, Serialize};

/// How many polls it takes until a watermark is passed on.
fn polls_until_passed<I, O>(harness: &mut Harness<I, O>, watermark: i64) -> usize
where
    I: levada::Exchange + Clone,
    O: Send + 'static,
{
    harness.feed_watermark(watermark);
    let mut polls = 0;
    while harness.output_watermarks().is_empty() {
        harness.simulated().step();
        polls += 1;
        assert!(polls < 1_000_000, "the watermark is lost");
    }
    polls
}

/// Keys that have nothing to emit take time too.
#[test]
fn windows_that_emit_nothing_give_way() {
    const KEYS: u64 = 20_000;
    let sessions = |numbers: Stream<u64>| {
        let none = numbers.clone().filter(|_| false).key_by(|n| *n);
        numbers
            .key_by(|n| *n)
            .window_join(none, session(millis(10)))
            .inner("pairs", |_, _| ())
    };
    let tumbling = |numbers: Stream<u64>| {
        let none = numbers.clone().filter(|_| false).key_by(|n| *n);
        numbers
            .key_by(|n| *n)
            .window_join(none, tumbling(millis(10)))
            .inner("pairs", |_, _| ())
    };
    let polls = |mut harness: Harness<u64, (u64, Span, ())>| {
        harness.push_at((0..KEYS).map(|n| (n, 5)));
        polls_until_passed(&mut harness, 100)
    };
    let simulation = Simulation::new(1).parallelism(1);
    let counts = [
        polls(Harness::new(&simulation, sessions).unwrap()),
        polls(Harness::new(&simulation, tumbling).unwrap()),
    ];
    assert!(counts.iter().all(|polls| *polls > 20), "{counts:?} polls");
}

static DROPPED: AtomicUsize = AtomicUsize::new(0);

/// Counts how many of its like are dropped.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Noted(u64);

impl Drop for Noted {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Clone)]
struct Noting;

impl Aggregate<u64> for Noting {
    type Accumulator = Noted;
    type Out = u64;

    fn create(&self) -> Noted {
        Noted(0)
    }

    fn add(&self, noted: &mut Noted, n: &u64) {
        noted.0 += n;
    }

    fn merge(&self, into: &mut Noted, other: Noted) {
        into.0 += other.0;
    }

    fn finish(&self, noted: Noted) -> u64 {
        noted.0
    }
}

/// What windows share is forgotten with the last of them, a few keys at a time.
#[test]
fn slices_are_forgotten_in_slices_of_time() {
    const KEYS: u64 = 20_000;
    let mut harness = Harness::new(
        &Simulation::new(1).parallelism(1),
        |numbers: Stream<u64>| {
            numbers
                .key_by(|n| *n)
                .window(sliding(millis(20), millis(10)))
                .aggregate("noted", |_| Noting)
        },
    )
    .unwrap();
    harness.push_at((0..KEYS).map(|n| (n, 5)));
    harness.feed_watermark(100);
    let mut most = 0;
    while harness.output_watermarks().is_empty() {
        let before = DROPPED.load(Ordering::Relaxed);
        harness.simulated().step();
        most = most.max(DROPPED.load(Ordering::Relaxed) - before);
    }
    assert_eq!(harness.output().len() as u64, 2 * KEYS);
    let dropped = DROPPED.load(Ordering::Relaxed);
    assert!(dropped as u64 >= 3 * KEYS, "{dropped} dropped");
    assert!(most < 5_000, "{most} dropped in one poll");
}

/// A program that has stopped to wait for late records does not repeat what has fired.
#[test]
fn windows_that_have_fired_do_not_fire_again_without_lateness() {
    let counts = |lateness: u64| {
        move |numbers: Stream<u64>| {
            numbers
                .key_by(|n| *n)
                .window(tumbling(millis(10)))
                .allowed_lateness(millis(lateness))
                .count("counts")
        }
    };
    let simulation = Simulation::new(1).parallelism(2);
    let mut harness = Harness::new(&simulation, counts(1_000)).unwrap();
    harness.push_at((0..40).map(|n| (n, 5 + n as i64 % 20)));
    harness.watermark(12);
    let before = harness.output().len();
    assert!(before > 0);
    let snapshot = harness.snapshot().unwrap();
    let mut harness = Harness::restored(&simulation, &snapshot, counts(0)).unwrap();
    harness.watermark(50);
    assert_eq!(before + harness.output().len(), 40);
}

/// The least number means "no event time", also where windows reach as far as that.
#[test]
fn a_record_without_event_time_is_in_no_window_at_the_beginning_of_time() {
    fn is_refused<F>(operators: impl Fn(Stream<u64>) -> F) -> bool
    where
        F: Flow<Item = (u64, Span, u64)>,
    {
        let mut harness = Harness::new(&Simulation::new(1).parallelism(1), operators).unwrap();
        harness.push_at([(7, i64::MIN + 1)]);
        let pushed = catch_unwind(AssertUnwindSafe(|| harness.push([7])));
        let Err(panic) = pushed else { return false };
        panic.downcast_ref::<&str>() == Some(&"the operators have failed")
    }
    let refused = [
        is_refused(|n| {
            n.key_by(|n| *n)
                .window(tumbling(seconds(1)))
                .count("counts")
        }),
        is_refused(|n| n.key_by(|n| *n).window(session(seconds(1))).count("counts")),
        is_refused(|n| {
            let windows = n.key_by(|n| *n).window(tumbling(seconds(1)));
            windows.pre_aggregate().count("counts")
        }),
    ];
    assert_eq!(refused, [true; 3]);
}

/// A sender that stops to gather sends what it has before the records that pass.
#[test]
fn the_first_record_is_the_first_in_two_phases_too() {
    type Record = (u64, char);
    let firsts = |records: Stream<Record>| {
        records
            .key_by(|(key, _)| *key)
            .window(tumbling(millis(10)))
            .pre_aggregate()
            .reduce("firsts", |_, _| ())
    };
    let mut harness = Harness::new(&Simulation::new(1).parallelism(1), firsts).unwrap();
    harness.push_at((1..10_000).map(|key| ((key, 'x'), 5)));
    harness.watermark(9);
    harness.push_at((1..10_000).map(|key| ((key, 'x'), 15)));
    harness.push_at([((0, 'a'), 25)]);
    // No key came twice.
    harness.watermark(19);
    harness.push_at([((0, 'b'), 26)]);
    let rows = harness.finish();
    let (.., (_, first)) = rows.iter().find(|(key, ..)| *key == 0).unwrap();
    assert_eq!(*first, 'a');
}

/// An operator is saved in the middle of a firing, goes through the same windows again, and is saved in the middle of that.
#[test]
fn a_firing_that_is_interrupted_twice_fires_each_window_once() {
    const KEYS: u64 = 20_000;
    let counts = |numbers: Stream<u64>| {
        let windows = numbers
            .key_by(|n| *n)
            .window(sliding(millis(30), millis(10)));
        windows.count("counts")
    };
    let simulation = Simulation::new(1).parallelism(1);
    let mut harness = Harness::new(&simulation, counts).unwrap();
    for at in [5, 15, 25] {
        harness.push_at((0..KEYS).map(|n| (n, at)));
    }
    harness.feed_watermark(29);
    let mut begun = Vec::new();
    while begun.len() as u64 <= 2 * KEYS + KEYS / 10 {
        harness.simulated().step();
        begun.extend(harness.output());
    }
    assert!((begun.len() as u64) < 3 * KEYS, "it is half-way");
    let snapshot = harness.snapshot().unwrap();
    let mut again = 0;
    for polls in (0..60).step_by(2) {
        let mut rows = begun.clone();
        let mut harness = Harness::restored(&simulation, &snapshot, counts).unwrap();
        harness.feed_watermark(29);
        for _ in 0..polls {
            harness.simulated().step();
        }
        rows.extend(harness.output());
        again += u32::from(rows.len() == begun.len());
        let snapshot = harness.snapshot().unwrap();
        let mut harness = Harness::restored(&simulation, &snapshot, counts).unwrap();
        harness.watermark(29);
        rows.extend(harness.output());
        rows.sort_unstable();
        let fired = rows.len() as u64;
        rows.dedup();
        assert_eq!(
            (fired, rows.len() as u64),
            (3 * KEYS, 3 * KEYS),
            "{polls} polls"
        );
    }
    assert!(again > 5, "{again} times in windows that had fired");
}

static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Counts how many of its like there are.
#[derive(Debug, Eq, Hash, PartialEq)]
struct Token(());

impl Default for Token {
    fn default() -> Self {
        LIVE.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Clone for Token {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
struct LiveKey(u64, #[serde(skip)] Token);

/// A window that is purged again and again takes no memory for each time.
#[test]
fn what_has_been_purged_is_remembered_once_for_each_key() {
    let counts = |numbers: Stream<u64>| {
        let windows = numbers
            .key_by(|n| LiveKey(n % 10, Token::default()))
            .window(tumbling(days(1)));
        windows
            .trigger(every(1).purging())
            .count("counts")
            .map(|(key, _, count)| (key.0, count))
    };
    let simulation = Simulation::new(1).parallelism(1);
    let mut harness = Harness::new(&simulation, counts).unwrap();
    harness.push_at((0..10_000u64).map(|n| (n, 5)));
    harness.watermark(10);
    assert_eq!(harness.output().len(), 10_000);
    let live = LIVE.load(Ordering::Relaxed);
    assert!(live < 2_000, "{live} keys are kept");
    // They are forgotten with their windows, also by an operator that has been restored.
    let snapshot = harness.snapshot().unwrap();
    let mut harness = Harness::restored(&simulation, &snapshot, counts).unwrap();
    harness.watermark(20);
    harness.push_at((0..10u64).map(|n| (n, 5)));
    harness.watermark(days(2).as_millis() as i64);
    assert_eq!(harness.output().len(), 10);
}
