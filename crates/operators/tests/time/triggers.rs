//! Triggers, and the windows that are made of them.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use levada::prelude::*;
use levada::window::{Decision, Trigger, TriggerContext};
use levada_testing::{Harness, Simulation};

fn simulation(seed: u64, parallelism: usize) -> Simulation {
    let simulation = Simulation::new(seed).parallelism(parallelism);
    if seed.is_multiple_of(2) {
        simulation.one_credit()
    } else {
        simulation
    }
}

type Clicks = Stream<(u8, i64)>;
type Counts = Harness<(u8, i64), (u8, Span, u64)>;

/// What happens to an operator.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Records of key 7 at these times.
    Records(&'static [i64]),
    Watermark(i64),
    /// Virtual time passes.
    Pass(u64),
    End,
}
use Event::{End, Pass, Records, Watermark};

fn keyed(clicks: Clicks) -> Keyed<u8, (u8, i64)> {
    clicks.key_by(|(key, _)| *key)
}

/// What comes of each event: windows by start and end, with their counts.
type Script<'a> = &'a [(Event, &'a [(i64, i64, u64)])];

/// Goes through a script; the operators are saved between any two events of it and go on at another parallelism.
#[track_caller]
fn check<F>(operators: impl Fn(Clicks) -> F, script: Script<'_>)
where
    F: Flow<Item = (u8, Span, u64)>,
{
    for seed in 0..24u64 {
        let simulation = |n: usize| simulation(seed + n as u64, 1 + (seed as usize + n) % 4);
        let mut harness: Counts = Harness::new(&simulation(0), &operators).unwrap();
        for (n, (event, expected)) in script.iter().enumerate() {
            if seed % 3 > 0 {
                restore(&mut harness, &operators, &simulation(n));
            }
            match event {
                Records(times) => harness.push_at(times.iter().map(|at| ((7, *at), *at))),
                Watermark(at) => harness.watermark(*at),
                Pass(_) => unreachable!("time is not saved"),
                End => end(&mut harness),
            }
            assert_eq!(
                results(&mut harness),
                *expected,
                "seed {seed}, {n}: {event:?}"
            );
        }
    }
}

/// Goes through a script in which time matters.
#[track_caller]
fn check_in_time<F>(operators: impl Fn(Clicks) -> F, script: Script<'_>)
where
    F: Flow<Item = (u8, Span, u64)>,
{
    for seed in 0..24u64 {
        let mut harness: Counts =
            Harness::new(&simulation(seed, 1 + (seed % 4) as usize), &operators).unwrap();
        for (n, (event, expected)) in script.iter().enumerate() {
            match event {
                Records(times) => harness.feed_at(times.iter().map(|at| ((7, *at), *at))),
                Watermark(at) => harness.feed_watermark(*at),
                Pass(span) => harness.advance(millis(*span)),
                End => end(&mut harness),
            }
            if !matches!(event, End) {
                // Through the exchanges.
                harness.advance(millis(250));
            }
            assert_eq!(
                results(&mut harness),
                *expected,
                "seed {seed}, {n}: {event:?}"
            );
        }
    }
}

fn end(harness: &mut Counts) {
    harness.end();
    harness.simulated().settle();
    assert!(harness.simulated().is_done());
}

fn results(harness: &mut Counts) -> Vec<(i64, i64, u64)> {
    let results = harness.output_at().into_iter();
    results
        .map(|((key, span, count), at)| {
            assert_eq!((key, at), (7, span.last()));
            (span.start.0, span.end.0, count)
        })
        .collect()
}

/// Saves the operators and goes on at another parallelism.
fn restore<F>(harness: &mut Counts, operators: impl Fn(Clicks) -> F, simulation: &Simulation)
where
    F: Flow<Item = (u8, Span, u64)>,
{
    let snapshot = harness.snapshot().unwrap();
    *harness = Harness::restored(simulation, &snapshot, operators).unwrap();
}

#[test]
fn global_windows_fire_at_the_end_or_by_a_trigger() {
    let all = (i64::MIN, i64::MAX);
    let (min, max) = all;
    check(
        |clicks| keyed(clicks).window(global_window()).count("all"),
        &[
            (Records(&[5, 5, -3]), &[]),
            (Watermark(1_000), &[]),
            (Records(&[1]), &[]),
            (End, &[(min, max, 4)]),
        ],
    );
    check(
        |clicks| {
            keyed(clicks)
                .window(global_window())
                .trigger(every(2))
                .count("all")
        },
        &[
            (Records(&[5, 5, -3]), &[(min, max, 2)]),
            (Records(&[1, 1, 1]), &[(min, max, 4), (min, max, 6)]),
            (End, &[]),
        ],
    );
    check(
        |clicks| {
            let windows = keyed(clicks).window(global_window());
            windows.trigger(every(2).purging()).count("all")
        },
        &[
            (Records(&[5, 5, -3]), &[(min, max, 2)]),
            (Records(&[1, 1, 1]), &[(min, max, 2), (min, max, 2)]),
            (End, &[]),
        ],
    );
}

#[test]
fn windows_of_a_count_need_no_event_time_and_drop_what_is_incomplete() {
    let (min, max) = (i64::MIN, i64::MAX);
    check(
        |clicks| keyed(clicks).window(count_window(3)).count("threes"),
        &[
            (Records(&[i64::MIN, 5]), &[]),
            (
                Records(&[i64::MIN, 1, 1, 1, 1]),
                &[(min, max, 3), (min, max, 3)],
            ),
            (Watermark(10), &[]),
            (Records(&[0, 0]), &[(min, max, 3)]),
            (Records(&[0, 0]), &[]),
            (End, &[]),
        ],
    );
}

#[test]
fn continuous_windows_fire_early_once_for_each_step_of_the_watermark() {
    check(
        |clicks| {
            let windows = keyed(clicks).window(tumbling(millis(100)));
            let windows = windows.allowed_lateness(millis(50));
            windows.trigger(continuous(millis(10))).count("so far")
        },
        &[
            (Records(&[3, 5]), &[]),
            (Watermark(9), &[]),
            (Watermark(10), &[(0, 100, 2)]),
            (Records(&[17]), &[]),
            (Watermark(45), &[(0, 100, 3)]),
            (Watermark(49), &[]),
            (Watermark(98), &[(0, 100, 3)]),
            (Records(&[98]), &[]),
            (Watermark(99), &[(0, 100, 4)]),
            // Late, but allowed: once for both.
            (Records(&[20, 30]), &[]),
            (Watermark(120), &[(0, 100, 6)]),
            (Watermark(148), &[]),
            (Records(&[20]), &[]),
            (Watermark(149), &[(0, 100, 7)]),
            (Records(&[20]), &[]),
            (End, &[]),
        ],
    );
    // The order of records does not matter.
    check(
        |clicks| {
            let windows = keyed(clicks).window(tumbling(millis(100)));
            windows.trigger(continuous(millis(10))).count("so far")
        },
        &[
            (Records(&[55, 3]), &[]),
            (Watermark(15), &[(0, 100, 2)]),
            (Watermark(57), &[(0, 100, 2)]),
            (Records(&[58]), &[]),
            (Watermark(75), &[(0, 100, 3)]),
            (End, &[(0, 100, 3)]),
        ],
    );
    // A watermark that passes an early result and the end makes one result of both.
    check(
        |clicks| {
            let windows = keyed(clicks).window(tumbling(millis(100)));
            windows
                .trigger(continuous(millis(10)).purging())
                .count("parts")
        },
        &[
            (Records(&[-1, 5, 3]), &[]),
            (Watermark(12), &[(-100, 0, 1), (0, 100, 2)]),
            (Records(&[50]), &[]),
            (Watermark(500), &[(0, 100, 1)]),
            (End, &[]),
        ],
    );
}

#[test]
fn sliding_windows_and_sessions_have_triggers() {
    check(
        |clicks| {
            let windows = keyed(clicks).window(sliding(millis(20), millis(10)));
            windows.trigger(every(2)).count("twos")
        },
        &[
            (Records(&[5]), &[]),
            (Records(&[15]), &[(0, 20, 2)]),
            (Records(&[12]), &[(10, 30, 2)]),
            (Watermark(19), &[]),
            // Late for one of its windows.
            (Records(&[13, 13]), &[(10, 30, 4)]),
            (End, &[]),
        ],
    );
    check(
        |clicks| {
            keyed(clicks)
                .window(session(millis(10)))
                .trigger(every(3))
                .count("threes")
        },
        &[
            (Records(&[0, 12]), &[]),
            // Makes one session of both, which has three records.
            (Records(&[5]), &[(0, 22, 3)]),
            (Records(&[30, 21]), &[]),
            (Records(&[31]), &[(0, 41, 6)]),
            (End, &[]),
        ],
    );
}

#[test]
fn windows_of_processing_time_fire_when_it_has_passed() {
    check_in_time(
        |clicks| {
            let windows = tumbling(seconds(10)).processing_time();
            keyed(clicks).window(windows).count("tens")
        },
        &[
            (Records(&[i64::MIN, 5]), &[]),
            (Pass(5_000), &[]),
            (Records(&[-7]), &[]),
            (Pass(5_000), &[(0, 10_000, 3)]),
            (Records(&[1]), &[]),
            (Pass(20_000), &[(10_000, 20_000, 1)]),
            (Records(&[1]), &[]),
            (End, &[]),
        ],
    );
    check_in_time(
        |clicks| {
            let windows = sliding(seconds(20), seconds(10)).processing_time();
            keyed(clicks)
                .window(windows)
                .fold("tens", |n: &mut u64, _| *n += 1)
        },
        &[
            (Records(&[1, 1]), &[]),
            (Pass(10_000), &[(-10_000, 10_000, 2)]),
            (Records(&[1]), &[]),
            (Pass(10_000), &[(0, 20_000, 3)]),
            (Pass(60_000), &[(10_000, 30_000, 1)]),
            (End, &[]),
        ],
    );
    let sessions = |clicks: Clicks| {
        let windows = keyed(clicks).window(session(seconds(10)).processing_time());
        windows.reduce("last", |last, next| *last = *next)
    };
    for seed in 0..8 {
        let mut harness = Harness::new(&simulation(seed, 1 + seed as usize % 4), sessions).unwrap();
        for at in [1, 2] {
            harness.feed([(7, at)]);
            harness.advance(seconds(8));
        }
        assert_eq!(harness.output(), []);
        harness.advance(seconds(3));
        let [(7, span, (7, 2))] = harness.output()[..] else {
            panic!("seed {seed}: one session");
        };
        let length = span.length().as_secs_f64();
        assert!((17.5..18.5).contains(&length), "seed {seed}: {length} s");
    }
}

#[test]
fn triggers_of_processing_time_fire_by_the_time_of_day() {
    check_in_time(
        |clicks| {
            let windows = keyed(clicks).window(tumbling(millis(100)));
            windows
                .trigger(continuous_processing(seconds(10)))
                .count("so far")
        },
        &[
            (Records(&[1, 2]), &[]),
            (Pass(10_000), &[(0, 100, 2)]),
            (Records(&[3]), &[]),
            (Pass(10_000), &[(0, 100, 3)]),
            (Pass(8_000), &[]),
            (Pass(1_000), &[(0, 100, 3)]),
            (Watermark(99), &[(0, 100, 3)]),
            (Pass(30_000), &[]),
            (Records(&[3]), &[]),
            (Records(&[103]), &[]),
            (End, &[(100, 200, 1)]),
        ],
    );
    check_in_time(
        |clicks| {
            let windows = keyed(clicks).window(tumbling(millis(15_000)));
            windows
                .trigger(at_processing_time().purging())
                .count("by the clock")
        },
        &[
            (Records(&[1, 2]), &[]),
            (Pass(14_000), &[]),
            (Pass(1_000), &[(0, 15_000, 2)]),
            (Records(&[1]), &[(0, 15_000, 1)]),
            (Watermark(20_000), &[]),
            (Records(&[2, 17_000]), &[]),
            (End, &[]),
        ],
    );
}

/// Fires with each record whose time is a multiple of ten, and five milliseconds of event time after each of them; forgets
/// everything with a negative one.
#[derive(Clone)]
struct Tens;

impl Trigger<(u8, i64)> for Tens {
    type State = u64;

    fn record(
        &self,
        (_, n): &(u8, i64),
        at: Timestamp,
        span: Span,
        tens: &mut u64,
        context: &mut TriggerContext<'_>,
    ) -> Decision {
        assert!(span.contains(at) && at.0 == *n);
        if *n < 0 {
            return Decision::Purge;
        }
        if n % 10 != 0 {
            return Decision::Continue;
        }
        *tens += 1;
        context.set_timer(at + millis(5));
        context.set_timer(at + millis(6));
        context.delete_timer(at + millis(6));
        // It would come after the window.
        context.set_timer(span.end + seconds(1));
        Decision::Fire
    }

    fn event_time(
        &self,
        at: Timestamp,
        span: Span,
        tens: &mut u64,
        context: &mut TriggerContext<'_>,
    ) -> Decision {
        assert!(*tens > 0 && at.0 % 10 == 5 && span.contains(at) && at <= context.watermark());
        *tens -= 1;
        Decision::Fire
    }
}

#[test]
fn a_trigger_of_ones_own_does_what_it_says() {
    check(
        |clicks| {
            keyed(clicks)
                .window(tumbling(millis(100)).offset(millis(50)))
                .trigger(Tens)
                .count("tens")
        },
        &[
            (Records(&[1, 2]), &[]),
            (Records(&[10]), &[(-50, 50, 3)]),
            (Records(&[-1]), &[]),
            (Watermark(14), &[]),
            (Records(&[20, 30]), &[(-50, 50, 1), (-50, 50, 2)]),
            (Watermark(15), &[(-50, 50, 2)]),
            (Watermark(40), &[(-50, 50, 2), (-50, 50, 2)]),
            (Records(&[33]), &[]),
            (End, &[]),
        ],
    );
    let error = Simulation::new(1)
        .failure(|job: &Job| {
            let clicks = job.source("clicks", iterator([(7, 1)]));
            keyed(clicks.stream())
                .window(session(millis(10)))
                .trigger(Tens)
                .count("tens")
                .discard();
        })
        .unwrap();
    assert!(
        error.contains("its trigger cannot be") && error.contains("triggers.rs"),
        "{error}"
    );
}

type Operators = Box<dyn Fn(Clicks) -> Stream<(u8, Span, u64)>>;

#[test]
fn what_is_purged_and_over_leaves_nothing_behind() {
    let saved = |harness: &mut Counts| -> usize {
        let snapshot = harness.snapshot().unwrap();
        snapshot.groups("counts").map(|(_, bytes)| bytes).sum()
    };
    let operators: [Operators; 3] = [
        Box::new(|clicks| keyed(clicks).window(count_window(2)).count("counts")),
        Box::new(|clicks| {
            let windows = keyed(clicks).window(tumbling(millis(10)));
            windows.trigger(continuous(millis(3))).count("counts")
        }),
        Box::new(|clicks| {
            let windows = keyed(clicks).window(session(millis(10)));
            windows.trigger(every(2).purging()).count("counts")
        }),
    ];
    for operators in operators {
        let mut harness: Counts = Harness::new(&simulation(3, 2), &operators).unwrap();
        harness.watermark(0);
        let empty = saved(&mut harness);
        for round in 0..3i64 {
            harness.push_at((0..200).map(|n| ((n % 100, 0), round * 100 + 5)));
            harness.watermark(round * 100 + 50);
            assert!(harness.output().len() >= 100);
            assert_eq!(saved(&mut harness), empty);
        }
    }
}

#[test]
fn windows_of_processing_time_are_saved_with_their_timers() {
    let operators = |clicks| {
        let windows = tumbling(seconds(10)).processing_time();
        keyed(clicks).window(windows).count("tens")
    };
    for seed in 0..12 {
        let parallelism = 1 + seed as usize % 4;
        let mut harness: Counts = Harness::new(&simulation(seed, parallelism), operators).unwrap();
        harness.feed_at([((7, 0), 0)]);
        harness.advance(seconds(2));
        // Time begins again with the next simulation: the window is still open there.
        let next = simulation(seed, 1 + (seed as usize + 1) % 4);
        restore(&mut harness, operators, &next);
        harness.feed_at([((7, 0), 0)]);
        harness.advance(seconds(9));
        assert_eq!(results(&mut harness), []);
        harness.advance(seconds(2));
        assert_eq!(results(&mut harness), [(0, 10_000, 2)], "seed {seed}");
    }
}

/// Ten thousand windows fire because of one watermark, and are saved again and again meanwhile.
#[test]
fn a_great_firing_by_triggers_goes_on_where_it_was_saved() {
    const KEYS: u64 = 10_000;
    let operators = |records: Stream<(u64, i64)>| {
        let windows = records.key_by(|(key, _)| *key).window(tumbling(millis(10)));
        windows.trigger(at_watermark()).count("counts")
    };
    for seed in 0..6 {
        let mut harness = Harness::new(&simulation(seed, 1), operators).unwrap();
        harness.push_at((0..2 * KEYS).map(|n| ((n % KEYS, 0), (n / KEYS) as i64)));
        harness.feed_watermark(9);
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
            let snapshot = harness.checkpoint(u64::from(cuts) % 4).unwrap();
            let next = simulation(seed ^ u64::from(cuts), 1 + found.len() % 4);
            harness = Harness::restored(&next, &snapshot, operators).unwrap();
        }
        assert_eq!(harness.finish(), [], "seed {seed}");
        assert!(cuts >= 2, "seed {seed}: {cuts} cuts in the middle");
        found.sort_unstable();
        let span = Span {
            start: Timestamp(0),
            end: Timestamp(10),
        };
        assert!(
            found.into_iter().eq((0..KEYS).map(|key| (key, span, 2))),
            "seed {seed}"
        );
    }
}
