//! Timers of every kind of process, at the edges of event time, and where there can be none.

use levada::prelude::*;
use levada_testing::{Harness, Simulation};
use serde::{Deserialize, Serialize};

/// Joins what comes within ten milliseconds; the timer says what was alone.
#[derive(Clone)]
struct Meet;

impl CoProcess for Meet {
    type Key = u64;
    type First = (u64, char);
    type Second = (u64, u32);
    type State = Option<(Timestamp, char)>;
    type Out = (u64, char, Option<u32>);

    fn first(&self, (_, letter): &(u64, char), context: &mut CoContext<'_, Self>) {
        let until = context.timestamp() + millis(10);
        context.set_timer(until);
        *context.state() = Some((until, *letter));
    }

    fn second(&self, (key, number): &(u64, u32), context: &mut CoContext<'_, Self>) {
        if let Some((until, letter)) = context.state().take() {
            context.delete_timer(until);
            context.clear();
            context.emit((*key, letter, Some(*number)));
        }
    }

    fn timer(&self, _: Timer, context: &mut CoContext<'_, Self>) {
        if let Some((_, letter)) = context.state().take() {
            context.clear();
            let key = *context.key();
            context.emit((key, letter, None));
        }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
enum Message {
    Letter(u64, char),
    Number(u64, u32),
}

#[test]
fn a_process_with_two_inputs_waits_for_the_other_one_until_its_timer() {
    let operators = |messages: Stream<Message>| {
        let letters = messages.clone().flat_map(|message| match message {
            Message::Letter(key, letter) => Some((key, letter)),
            Message::Number(..) => None,
        });
        let numbers = messages.flat_map(|message| match message {
            Message::Number(key, number) => Some((key, number)),
            Message::Letter(..) => None,
        });
        letters
            .key_by(|(key, _)| *key)
            .connect(numbers.key_by(|(key, _)| *key))
            .process("meet", Meet)
    };
    for seed in 0..30 {
        let mut before = Harness::new(&Simulation::new(seed), operators).unwrap();
        before.push_at((0..20).map(|key| (Message::Letter(key, 'a'), key as i64)));
        before.watermark(12);
        let mut found = before.output_at();
        let snapshot = before.snapshot().unwrap();
        let simulation = Simulation::new(seed + 1);
        let mut after = Harness::restored(&simulation, &snapshot, operators).unwrap();
        after.push_at((0..20).step_by(2).map(|key| (Message::Number(key, 7), 20)));
        after.end();
        after.simulated().settle();
        found.extend(after.output_at());
        found.sort_unstable();
        // The first three were alone when the watermark came to 10, 11, 12.
        let expected = (0..20).map(|key| {
            let met = key > 2 && key % 2 == 0;
            let at = if met { 20 } else { key as i64 + 10 };
            ((key, 'a', met.then_some(7)), Timestamp(at))
        });
        assert!(found.into_iter().eq(expected), "seed {seed}");
    }
}

/// Repeats what it was told last, for each key, at a key's time.
#[derive(Clone)]
struct Repeat;

impl BroadcastProcess for Repeat {
    type Key = u64;
    type In = u64;
    type Broadcast = String;
    type State = u64;
    type Shared = String;
    type Out = (u64, u64, String);

    fn element(&self, _: &u64, _: &String, context: &mut BroadcastContext<'_, Self>) {
        *context.state() += 1;
        context.set_timer(context.timestamp() + millis(5));
    }

    fn broadcast(&self, word: &String, last: &mut String, _: &mut SharedContext<'_, Self>) {
        last.clone_from(word);
    }

    fn timer(&self, _: Timer, last: &String, context: &mut BroadcastContext<'_, Self>) {
        let (key, count) = (*context.key(), *context.state());
        context.emit((key, count, last.clone()));
    }
}

#[test]
fn a_timer_sees_what_was_broadcast() {
    let operators = |messages: Stream<(u64, Option<String>)>| {
        let words = messages.clone().flat_map(|(_, word)| word);
        messages
            .flat_map(|(key, word)| word.is_none().then_some(key))
            .key_by(|key| *key)
            .connect_broadcast(words)
            .process("repeat", Repeat)
    };
    let key = |key| (key, None);
    let word = |word: &str| (0, Some(word.to_owned()));
    for seed in 0..30 {
        let mut harness = Harness::new(&Simulation::new(seed), operators).unwrap();
        harness.push_at([(key(1), 0), (key(2), 0), (key(1), 3)]);
        harness.push_at([(word("one"), 4)]);
        harness.watermark(5);
        harness.push_at([(word("two"), 6)]);
        let mut found = harness.output();
        found.extend(harness.finish());
        found.sort_unstable();
        let expected = [(1, 2, "one"), (1, 2, "two"), (2, 1, "one")];
        let expected = expected.map(|(key, count, word)| (key, count, word.to_owned()));
        assert_eq!(found, expected, "seed {seed}");
    }
}

/// Sets a timer at each of its records; the timer says when it fired, and when the watermark was.
#[derive(Clone)]
struct Echo;

impl Process for Echo {
    type Key = u64;
    type In = (u64, i64);
    type State = ();
    type Out = (u64, i64);

    fn element(&self, (_, at): &(u64, i64), context: &mut Context<'_, Self>) {
        assert!(
            context.timestamp() > context.watermark() || context.timestamp() == Timestamp::MIN,
            "no record is late"
        );
        context.set_timer(Timestamp(*at));
        context.set_timer(Timestamp(*at));
    }

    fn timer(&self, timer: Timer, context: &mut Context<'_, Self>) {
        assert!(timer.at() <= context.watermark());
        assert_eq!(timer.at(), context.timestamp());
        context.emit((*context.key(), timer.at().0));
    }
}

fn echo(records: Stream<(u64, i64)>) -> Stream<(u64, i64)> {
    records.key_by(|(key, _)| *key).process("echo", Echo)
}

/// Nothing that a watermark fires is late behind it: in the second process it would be.
#[test]
fn what_timers_emit_comes_before_the_watermark_that_fired_them() {
    let operators = |records| {
        let once = echo(records).rebalance();
        once.key_by(|(key, _)| *key).process("twice", Echo)
    };
    for seed in 0..40 {
        let simulation = Simulation::new(seed);
        let simulation = if seed % 2 == 0 {
            simulation.one_credit()
        } else {
            simulation
        };
        let mut harness = Harness::new(&simulation, operators).unwrap();
        harness.feed_at((0..200).map(|n| ((n % 30, n as i64), n as i64)));
        harness.feed_watermark(99);
        harness.feed_watermark(150);
        let mut found = harness.finish();
        found.sort_unstable_by_key(|(key, at)| (*at, *key));
        let expected = (0..200).map(|n| (n % 30, n as i64));
        assert!(found.into_iter().eq(expected), "seed {seed}");
    }
}

#[test]
fn the_end_of_the_input_fires_all_timers_and_those_at_the_end_of_time_last() {
    let times = [i64::MAX, i64::MAX - 1, 0, -1, i64::MIN + 1];
    for seed in 0..20 {
        let mut harness = Harness::new(&Simulation::new(seed), echo).unwrap();
        harness.push(times.map(|at| (1, at)));
        assert!(harness.output().is_empty(), "seed {seed}");
        harness.watermark(i64::MIN + 1);
        assert_eq!(harness.output(), [(1, i64::MIN + 1)], "seed {seed}");
        let rest = [-1, 0, i64::MAX - 1, i64::MAX].map(|at| (1, at));
        assert_eq!(harness.finish(), rest, "seed {seed}");
    }
}

/// Before there is a watermark, the first time of all has been reached.
#[test]
fn a_timer_at_or_before_the_watermark_fires_before_the_next_record() {
    for seed in 0..20 {
        let mut harness = Harness::new(&Simulation::new(seed), echo).unwrap();
        harness.push([(1, i64::MIN), (1, 5)]);
        assert_eq!(harness.output(), [(1, i64::MIN)], "seed {seed}");
        harness.watermark(10);
        harness.push([(2, 10), (2, 11), (2, 9)]);
        let found = harness.output();
        assert_eq!(found, [(1, 5), (2, 10), (2, 9)], "seed {seed}");
    }
}

/// Sets itself again for ever.
#[derive(Clone)]
struct Endless;

impl Process for Endless {
    type Key = u64;
    type In = u64;
    type State = ();
    type Out = u64;

    fn element(&self, _: &u64, context: &mut Context<'_, Self>) {
        context.set_timer(context.watermark());
    }

    fn timer(&self, timer: Timer, context: &mut Context<'_, Self>) {
        context.set_timer(timer.at());
        context.emit(1);
    }
}

#[test]
fn a_timer_that_sets_itself_for_ever_does_not_keep_the_job_from_being_cancelled() {
    for seed in 0..5 {
        let run = Simulation::new(seed)
            .cancel_after(500)
            .polls_max(2_000)
            .run(|job: &Job| {
                job.source("numbers", iterator(0..10u64))
                    .key_by(|n| *n)
                    .process("endless", Endless)
                    .discard();
            })
            .unwrap();
        assert!(run.polls < 1_000, "seed {seed}: {} polls", run.polls);
        let operators = run.metrics.operators.iter();
        let endless = operators.filter(|operator| operator.name == "endless");
        let fired: u64 = endless.flat_map(|operator| &operator.records_out).sum();
        assert!(fired > 100, "seed {seed}: {fired} have fired");
        run.expect_empty();
    }
}
