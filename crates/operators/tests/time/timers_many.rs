//! Timers in great numbers, of all kinds of processes, and by the time of day.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use levada::prelude::*;
use levada_testing::{Harness, Simulation, valve};
use serde::{Deserialize, Serialize};

/// Says when the timers of its keys fire: each record sets one.
#[derive(Clone)]
struct Alarm {
    processing: bool,
}

#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
struct Rung {
    key: u64,
    at: i64,
    /// The time of day.
    now: i64,
    timestamp: Timestamp,
}

impl Process for Alarm {
    type Key = u64;
    type In = (u64, i64);
    type State = ();
    type Out = Rung;

    fn element(&self, (_, at): &(u64, i64), context: &mut Context<'_, Self>) {
        if self.processing {
            context.set_processing_timer(Timestamp(*at));
        } else {
            context.set_timer(Timestamp(*at));
        }
    }

    fn timer(&self, timer: Timer, context: &mut Context<'_, Self>) {
        context.emit(Rung {
            key: *context.key(),
            at: timer.at().0,
            now: context.processing_time().0,
            timestamp: context.timestamp(),
        });
    }
}

/// All records at 0, the last one at 1,000: the watermark reaches 999 with it.
fn alarms(records: Stream<(u64, i64)>) -> Stream<Rung> {
    records
        .timestamps(
            |(key, _)| if *key == u64::MAX { 1_000i64 } else { 0 },
            Duration::ZERO,
        )
        .key_by(|(key, _)| *key)
        .process("alarm", Alarm { processing: false })
}

const LAST: (u64, i64) = (u64::MAX, i64::MAX);

const MANY: u64 = 150_000;

fn many() -> impl Iterator<Item = (u64, i64)> {
    (0..MANY).map(|key| (key, (key % 900) as i64))
}

/// The task is polled again and again while it fires, and each time whoever controls it is heard.
#[test]
fn one_watermark_that_fires_150_000_timers_does_so_in_slices() {
    let mut harness = Harness::new(&Simulation::new(1).parallelism(1), alarms).unwrap();
    harness.push(many());
    assert!(harness.output().is_empty());
    harness.feed([LAST]);
    let (mut fired, mut polls, mut most) = (0, 0, 0);
    while fired < MANY as usize {
        assert!(harness.simulated().step());
        let now = harness.output().len();
        fired += now;
        polls += u32::from(now > 0);
        most = most.max(now);
    }
    // A poll of the simulator has at most 4,096 outputs.
    assert!(
        polls > 100 && most <= 4_096,
        "{polls} polls, {most} at most"
    );
}

#[test]
fn a_cancel_is_heard_while_timers_fire() {
    let mut harness = Harness::new(&Simulation::new(2).parallelism(1), alarms).unwrap();
    harness.push(many());
    harness.feed([LAST]);
    let fires = |simulated: &levada_testing::Simulated| simulated.metrics().records_written() > 0;
    assert!(harness.simulated().run_until(fires));
    let begun = harness.output().len();
    harness.simulated().cancel();
    harness.simulated().settle();
    assert!(harness.simulated().is_done());
    let fired = begun + harness.output().len();
    assert!(fired < 20_000, "{fired} timers have fired");
}

#[test]
fn what_has_not_fired_when_state_is_saved_fires_after_the_restore() {
    for seed in 0..4 {
        let mut before = Harness::new(&Simulation::new(seed).parallelism(1), alarms).unwrap();
        before.push(many());
        before.feed([LAST]);
        let half = MANY / 2;
        before
            .simulated()
            .run_until(|simulated| simulated.metrics().records_written() >= half);
        let snapshot = before.checkpoint(20).unwrap();
        let mut fired = before.output();
        assert!(fired.len() < 80_000, "{} timers have fired", fired.len());
        let parallelism = 1 + seed as usize;
        let simulation = Simulation::new(seed + 9).parallelism(parallelism);
        let mut after = Harness::restored(&simulation, &snapshot, alarms).unwrap();
        // No record and no watermark is needed.
        after.simulated().settle();
        fired.extend(after.output());
        let once: BTreeMap<_, _> = fired.iter().map(|rung| (rung.key, rung.at)).collect();
        assert_eq!(fired.len(), MANY as usize, "seed {seed}: each fires once");
        assert!(once.into_iter().eq(many()), "seed {seed}");
        assert!(
            fired
                .iter()
                .all(|rung| rung.timestamp == Timestamp(rung.at))
        );
    }
}

/// A task that has nothing else to do is polled when a timer is due, and hardly ever before.
#[test]
fn timers_of_processing_time_fire_at_their_time_in_an_idle_task() {
    for seed in 0..20 {
        let alarms = |records: Stream<(u64, i64)>| {
            records
                .key_by(|(key, _)| *key)
                .process("alarm", Alarm { processing: true })
        };
        let mut harness = Harness::new(&Simulation::new(seed), alarms).unwrap();
        let hour = 3_600_000;
        let set: BTreeSet<(u64, i64)> = (1..=20).map(|n| (n % 7, n as i64 * hour)).collect();
        // Each twice, those in the past at once.
        harness.push(set.iter().chain(&set).copied());
        harness.push([(3, 5)]);
        let rung = harness.output();
        let found: BTreeSet<_> = rung.iter().map(|rung| (rung.key, rung.at)).collect();
        assert_eq!(found.len(), rung.len(), "seed {seed}: each fires once");
        let mut expected = set.clone();
        expected.insert((3, 5));
        assert_eq!(found, expected, "seed {seed}");
        let late = |rung: &&Rung| rung.at > 5;
        for rung in rung.iter().filter(late) {
            let late = rung.now - rung.at;
            assert!((0..20).contains(&late), "seed {seed}: {rung:?}");
            assert_eq!(rung.timestamp, Timestamp::MIN);
        }
        let polls = harness.simulated().polls();
        assert!(polls < 2_000, "seed {seed}: {polls} polls");
    }
}

#[test]
fn timers_of_processing_time_survive_a_restore_and_end_with_the_input() {
    for seed in 0..20 {
        let alarms = |records: Stream<(u64, i64)>| {
            records
                .key_by(|(key, _)| *key)
                .process("alarm", Alarm { processing: true })
        };
        let mut before = Harness::new(&Simulation::new(seed), alarms).unwrap();
        before.feed((0..50).map(|key| (key, 60_000)));
        before
            .simulated()
            .run_until(|simulated| simulated.elapsed() > Duration::from_secs(30));
        assert!(before.output().is_empty(), "seed {seed}");
        let snapshot = before.snapshot().unwrap();

        let simulation = Simulation::new(seed + 1);
        let mut after = Harness::restored(&simulation, &snapshot, alarms).unwrap();
        after.simulated().settle();
        assert_eq!(after.output().len(), 50, "seed {seed}");
        assert!(after.simulated().elapsed() >= Duration::from_secs(60));

        let ended = Harness::restored(&simulation, &snapshot, alarms).unwrap();
        assert!(ended.finish().is_empty(), "seed {seed}");
    }
}

/// The task waits for its sink, and no timer wakes it meanwhile.
#[test]
fn without_room_no_timer_wakes_the_task() {
    for seed in 0..20 {
        let (sink, valve) = valve();
        let mut simulated = Simulation::new(seed)
            .parallelism(1)
            .start(|job: &Job| {
                job.source(
                    "records",
                    generator(|n| (n, 2_000 + n as i64 * 100)).rate(5.0),
                )
                .key_by(|(key, _)| *key)
                .process("alarm", Alarm { processing: true })
                .sink("out", sink.clone());
            })
            .unwrap();
        let spins = simulated.run_until(|simulated| simulated.polls() > 5_000);
        assert!(!spins, "seed {seed}");
        assert!(valve.take().is_empty(), "seed {seed}");
        valve.open();
        let mut rung = 0;
        let goes_on = simulated.run_until(|_| {
            rung += valve.take().len();
            rung > 100
        });
        assert!(goes_on, "seed {seed}");
    }
}
