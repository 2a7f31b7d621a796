//! State with a time-to-live: never seen when it is gone, freed in slices, the same after a restore.

use std::collections::{BTreeMap, BTreeSet};

use levada::prelude::*;
use levada_testing::{Harness, Simulation};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
enum Command {
    Add,
    Look,
    Clear,
    /// Sets a timer so many milliseconds from the record's time, which looks.
    LookAfter(i64),
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Record {
    key: u8,
    command: Command,
}

/// The state of a key as it was seen at a time.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
struct Seen {
    key: u8,
    at: i64,
    count: Option<u64>,
}

#[derive(Clone)]
struct Counting;

impl Process for Counting {
    type Key = u8;
    type In = Record;
    type State = u64;
    type Out = Seen;

    fn element(&self, record: &Record, context: &mut Context<'_, Self>) {
        match record.command {
            Command::Add => *context.state() += 1,
            Command::Look => {}
            Command::Clear => context.clear(),
            Command::LookAfter(span) => context.set_timer(Timestamp(context.timestamp().0 + span)),
        }
        see(context);
    }

    fn timer(&self, _: Timer, context: &mut Context<'_, Self>) {
        see(context);
    }
}

fn see(context: &mut Context<'_, Counting>) {
    let seen = Seen {
        key: *context.key(),
        at: context.timestamp().0,
        count: context.existing_state().copied(),
    };
    context.emit(seen);
}

const TTL: i64 = 10;

fn ttl(on_read: bool) -> Ttl {
    let ttl = Ttl::event_time(millis(TTL as u64));
    if on_read {
        ttl.refreshed_on_read()
    } else {
        ttl
    }
}

fn counting(ttl: Ttl) -> impl Fn(Stream<Record>) -> Stream<Seen> {
    move |records| {
        records
            .key_by(|record| record.key)
            .ttl(ttl)
            .process("counting", Counting)
    }
}

/// The process as a loop, with a state for each key and its last use.
struct Model {
    on_read: bool,
    states: BTreeMap<u8, (i64, u64)>,
    timers: BTreeMap<u8, BTreeSet<i64>>,
    watermark: i64,
    seen: BTreeMap<u8, Vec<Seen>>,
}

impl Model {
    fn record(&mut self, Record { key, command }: Record, at: i64) {
        match command {
            Command::Add => {
                let now = self.watermark;
                let (used, count) = self.states.entry(key).or_insert((at, 0));
                if *used + TTL <= now {
                    (*used, *count) = (at, 0);
                }
                *used = at.max(*used);
                *count += 1;
                // The state that has just been used is seen, even if it is gone with the next record.
                let count = Some(*count);
                self.seen
                    .entry(key)
                    .or_default()
                    .push(Seen { key, at, count });
                return;
            }
            Command::Look => {}
            Command::Clear => {
                self.states.remove(&key);
            }
            Command::LookAfter(span) => {
                self.timers.entry(key).or_default().insert(at + span);
            }
        }
        self.see(key, at, self.watermark);
        self.fire(key, self.watermark);
    }

    fn see(&mut self, key: u8, at: i64, now: i64) {
        let state = self.states.get_mut(&key);
        let count = state.filter(|(used, _)| *used + TTL > now).map(|state| {
            if self.on_read {
                state.0 = state.0.max(at);
            }
            state.1
        });
        self.seen
            .entry(key)
            .or_default()
            .push(Seen { key, at, count });
    }

    fn watermark(&mut self, at: i64) {
        if at <= self.watermark {
            return;
        }
        let before = std::mem::replace(&mut self.watermark, at);
        for key in 0..=u8::MAX {
            self.fire(key, before);
        }
    }

    /// A timer sees the state at its time, or at the watermark before, if that has passed it already.
    fn fire(&mut self, key: u8, before: i64) {
        while let Some(timers) = self.timers.get_mut(&key)
            && let Some(at) = timers.first().copied()
            && at <= self.watermark
        {
            timers.remove(&at);
            self.see(key, at, at.max(before));
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Record(Record, i64),
    Watermark(i64),
    /// Saves the state, and goes on with so many subtasks.
    Restore(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let command = prop_oneof![
        4 => Just(Command::Add),
        3 => Just(Command::Look),
        1 => Just(Command::Clear),
        2 => (-15..25i64).prop_map(Command::LookAfter),
    ];
    // Time goes on, and records are before and behind the watermark.
    let act = prop_oneof![
        8 => (0..4u8, command, -15..15i64)
            .prop_map(|(key, command, at)| Act::Record(Record { key, command }, at)),
        3 => (0..12i64).prop_map(Act::Watermark),
        1 => (1..5usize).prop_map(Act::Restore),
    ];
    prop::collection::vec(act, 1..80).prop_map(|mut acts| {
        let mut now = -20;
        for act in &mut acts {
            match act {
                Act::Record(_, at) => *at += now,
                Act::Watermark(at) => {
                    now += *at;
                    *at = now;
                }
                Act::Restore(_) => {}
            }
        }
        acts
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn state_in_event_time_is_seen_as_in_the_model(
        acts in acts(),
        on_read in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let operators = counting(ttl(on_read));
        let mut harness = Harness::new(&Simulation::new(seed), &operators).unwrap();
        let mut model = Model {
            on_read,
            states: BTreeMap::new(),
            timers: BTreeMap::new(),
            watermark: i64::MIN,
            seen: BTreeMap::new(),
        };
        let mut seen = Vec::new();
        let mut last = None;
        for act in acts {
            match act {
                Act::Record(record, at) => {
                    harness.push_at([(record, at)]);
                    model.record(record, at);
                    last = Some((record, at));
                }
                Act::Watermark(at) => {
                    harness.watermark(at);
                    model.watermark(at);
                    harness.checkpoint(0).unwrap();
                }
                Act::Restore(parallelism) => {
                    // What comes while it is saved is not in the snapshot.
                    harness.feed_at(last);
                    let snapshot = harness.checkpoint(9).unwrap();
                    seen.extend(harness.output());
                    let simulation = Simulation::new(seed ^ 1).parallelism(parallelism);
                    harness = Harness::restored(&simulation, &snapshot, &operators).unwrap();
                }
            }
            seen.extend(harness.output());
        }
        seen.extend(harness.finish());
        model.watermark(i64::MAX);
        let mut by_key = BTreeMap::<_, Vec<_>>::new();
        for seen in seen {
            by_key.entry(seen.key).or_default().push(seen);
        }
        prop_assert_eq!(by_key, model.seen, "seed {}", seed);
    }
}

/// How many bytes the states of an operator take in a snapshot.
fn bytes(harness: &mut Harness<(u64, i64), (u64, i64)>) -> usize {
    let snapshot = harness.snapshot().expect("everything can be written");
    snapshot.groups("once").map(|(_, bytes)| bytes).sum()
}

fn once(ttl: Ttl) -> impl Fn(Stream<(u64, i64)>) -> Stream<(u64, i64)> {
    move |records| records.key_by(|(key, _)| *key).ttl(ttl).deduplicate("once")
}

#[test]
fn the_first_record_of_each_key_comes_again_after_its_time_to_live() {
    for seed in 0..20 {
        let records = [(1, 0), (1, 9), (2, 9), (1, 10), (1, 12), (2, 18), (1, 25)];
        let run = |ttl| {
            let mut harness = Harness::new(&Simulation::new(seed), once(ttl)).unwrap();
            for (key, at) in records {
                harness.watermark(at);
                harness.push_at([((key, at), at)]);
            }
            harness.finish()
        };
        let kept = run(Ttl::event_time(millis(10)));
        assert_eq!(kept, [(1, 0), (2, 9), (1, 10), (1, 25)], "seed {seed}");
        let kept = run(Ttl::event_time(millis(10)).refreshed_on_read());
        assert_eq!(kept, [(1, 0), (2, 9), (1, 25)], "seed {seed}");
    }
}

/// One watermark ends the state of 100,000 keys; the task does not go on for long in one go.
#[test]
fn what_is_gone_is_freed_in_slices() {
    let ttl = Ttl::event_time(millis(10));
    let mut harness = Harness::new(&Simulation::new(3).parallelism(1), once(ttl)).unwrap();
    let none = bytes(&mut harness);
    harness.push_at((0..100_000).map(|key| ((key, 0), (key % 50) as i64)));
    assert_eq!(harness.output().len(), 100_000);
    let all = bytes(&mut harness);
    assert!(all > none + 100_000 * 8);

    harness.watermark(59);
    assert_eq!(bytes(&mut harness), none);

    harness.push_at((0..100_000).map(|key| ((key, 0), 100)));
    let polls = harness.simulated().polls();
    harness.watermark(110);
    // Nothing but the sweep is done; a poll of the simulator has at most 4,096 records.
    let polls = harness.simulated().polls() - polls;
    assert!(polls > 25, "{polls} polls");
    assert_eq!(bytes(&mut harness), none);
}

#[test]
fn state_in_processing_time_is_forgotten_and_freed_in_an_idle_task() {
    for seed in 0..20 {
        let ttl = Ttl::processing_time(minutes(1));
        let mut harness = Harness::new(&Simulation::new(seed), once(ttl)).unwrap();
        let none = bytes(&mut harness);
        harness.feed((0..100).map(|key| (key, 0)));
        harness.advance(seconds(30));
        assert_eq!(harness.output().len(), 100, "seed {seed}");
        harness.feed((0..150).map(|key| (key, 1)));
        harness.advance(seconds(20));
        assert_eq!(harness.output().len(), 50, "seed {seed}");
        let all = bytes(&mut harness);

        let snapshot = harness.snapshot().unwrap();
        // A write is a use, a look is none: the first 100 are gone, though nobody has come to see it.
        harness.advance(seconds(20));
        let rest = bytes(&mut harness);
        assert_eq!((all - none) / 150, (rest - none) / 50, "seed {seed}");
        harness.feed((0..150).map(|key| (key, 2)));
        harness.advance(seconds(5));
        assert_eq!(harness.output().len(), 100, "seed {seed}");
        harness.advance(minutes(2));
        assert_eq!(bytes(&mut harness), none, "seed {seed}");

        // The other world begins at the epoch again: until a minute in it, and half a minute for those that came later.
        let simulation = Simulation::new(seed + 1);
        let mut restored = Harness::restored(&simulation, &snapshot, once(ttl)).unwrap();
        restored.feed((0..150).map(|key| (key, 3)));
        restored.advance(seconds(55));
        assert!(restored.output().is_empty(), "seed {seed}");
        restored.advance(seconds(20));
        assert_eq!(bytes(&mut restored), rest, "seed {seed}");
        restored.advance(seconds(30));
        assert_eq!(bytes(&mut restored), none, "seed {seed}");
    }
}

/// Adds up by key; a broadcast record asks for all sums.
#[derive(Clone)]
struct Sums;

impl BroadcastProcess for Sums {
    type Key = u64;
    type In = u64;
    type Broadcast = bool;
    type State = u64;
    type Shared = ();
    type Out = (u64, u64);

    fn element(&self, n: &u64, (): &(), context: &mut BroadcastContext<'_, Self>) {
        *context.state() += n;
    }

    fn broadcast(&self, _: &bool, (): &mut (), context: &mut SharedContext<'_, Self>) {
        context.for_each_key(|key, sum, out| out.emit((*key, *sum)));
    }
}

#[test]
fn whoever_asks_for_all_keys_does_not_see_those_that_are_gone() {
    let operators = |numbers: Stream<u64>| {
        let ask = numbers.clone().filter(|n| *n == 0).map(|_| true);
        numbers
            .filter(|n| *n > 0)
            .key_by(|n| *n)
            .connect_broadcast(ask)
            .ttl(Ttl::event_time(millis(10)))
            .process("sums", Sums)
    };
    for seed in 0..20 {
        let mut harness = Harness::new(&Simulation::new(seed), operators).unwrap();
        harness.watermark(100);
        // The first two are late: gone as soon as they have come, though no watermark has freed them.
        harness.push_at([(7, 90), (8, 89), (9, 91)]);
        harness.push_at([(0, 100)]);
        assert_eq!(harness.output(), [(9, 9)], "seed {seed}");
    }
}

#[test]
fn a_record_without_event_time_fails_the_job() {
    for seed in 0..6 {
        let failure = Simulation::new(seed).failure(|job: &Job| {
            job.source("numbers", iterator(0..10u64))
                .key_by(|n| *n)
                .ttl(Ttl::event_time(hours(1)))
                .deduplicate("once")
                .discard();
        });
        let failure = failure.unwrap_or_default();
        for part in ["`once`", "ttl.rs:", "`timestamps` gives it one"] {
            assert!(failure.contains(part), "seed {seed}: {failure}");
        }
    }
}

#[test]
fn the_end_of_the_input_ends_no_state() {
    for seed in 0..20 {
        let operators = counting(ttl(false));
        let mut harness = Harness::new(&Simulation::new(seed), &operators).unwrap();
        let record = |command| (Record { key: 1, command }, 0);
        harness.push_at([record(Command::Add), record(Command::LookAfter(i64::MAX))]);
        harness.watermark(9);
        harness.output();
        let at_the_end = Seen {
            key: 1,
            at: i64::MAX,
            count: Some(1),
        };
        assert_eq!(harness.finish(), [at_the_end], "seed {seed}");
    }
}
