//! Every operator with state: saved in the middle of its input, restored at another parallelism, and no different for it.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::fmt::Debug;

use levada::prelude::*;
use levada_core::Exchange;
use levada_testing::{Harness, Simulation};
use serde::{Deserialize, Serialize};

/// A simulation at a parallelism that the seed chooses, another one for each offset; half of them with one credit.
fn simulation(seed: u64, offset: u64) -> Simulation {
    let simulation = Simulation::new(seed).parallelism(1 + ((seed + offset) % 4) as usize);
    if seed % 8 < 4 {
        simulation.one_credit()
    } else {
        simulation
    }
}

/// Runs the operators over all records at once, and over their halves with a snapshot between; both must give the same.
#[track_caller]
fn check<I, O, F>(records: &[I], operators: impl Fn(Stream<I>) -> F)
where
    I: Exchange + Clone,
    O: Ord + Debug + Send + 'static,
    F: Flow<Item = O>,
{
    for seed in 0..30 {
        let simulation = |offset| simulation(seed, offset);
        let mut plain = Harness::new(&simulation(0), &operators).unwrap();
        plain.push(records.to_vec());
        let mut expected = plain.finish();
        expected.sort_unstable();

        let (first, second) = records.split_at(records.len() / 2);
        let mut before = Harness::new(&simulation(1), &operators).unwrap();
        before.push(first.to_vec());
        let snapshot = before.snapshot().unwrap();
        let mut found = before.output();
        let mut after = Harness::restored(&simulation(2), &snapshot, &operators).unwrap();
        after.push(second.to_vec());
        found.extend(after.finish());
        found.sort_unstable();
        assert_eq!(found, expected, "seed {seed}");
        assert!(snapshot.operators().count() > 0, "there was state to save");
    }
}

fn pairs() -> Vec<(u64, u64)> {
    (0..200).map(|n| (n * n % 17, n)).collect()
}

#[test]
fn count() {
    check(&pairs(), |pairs| pairs.keyed().count("counts"));
    check(&pairs(), |pairs| pairs.keyed().count("counts").at_end());
}

#[test]
fn fold() {
    check(&pairs(), |pairs| {
        pairs.keyed().fold("texts", |text: &mut String, n| {
            text.push_str(&n.to_string());
        })
    });
}

#[test]
fn reduce() {
    check(&pairs(), |pairs| {
        pairs
            .keyed()
            .reduce("largest", |most, n| *most = (*most).max(*n))
            .at_end()
    });
}

#[test]
fn aggregate() {
    check(&pairs(), |pairs| {
        pairs.keyed().aggregate("all", |n| {
            (n.count(), n.sum(|n| *n), n.min(|n| *n), n.max(|n| *n))
        })
    });
}

#[test]
fn top() {
    check(&pairs(), |pairs| {
        pairs.top("largest", 7, |(key, n)| (*key, *n))
    });
}

/// Passes every third record of a key; the others go to the side.
#[derive(Clone)]
struct Third {
    others: SideOutput<(u64, u64)>,
}

impl Process for Third {
    type Key = u64;
    type In = (u64, u64);
    type State = u32;
    type Out = (u64, u64);

    fn element(&self, pair: &(u64, u64), context: &mut Context<'_, Self>) {
        *context.state() += 1;
        if *context.state() == 3 {
            context.clear();
            context.emit(*pair);
        } else {
            context.emit_to(&self.others, (pair.0, pair.1 + 1_000));
        }
    }
}

#[test]
fn process() {
    check(&pairs(), |pairs| {
        let (third, others) = pairs
            .key_by(|(key, _)| *key)
            .process_with_side("third", |others| Third { others });
        third.union(others)
    });
}

#[test]
fn top_of_each_key() {
    check(&pairs(), |pairs| {
        pairs.keyed().top("largest", 3, |n| *n).at_end()
    });
}

#[test]
fn least_and_greatest_record_of_each_key() {
    check(&pairs(), |pairs| {
        pairs.keyed().min_by("least", |n| n % 10).at_end()
    });
    check(&pairs(), |pairs| {
        pairs.keyed().max_by("greatest", |n| n % 10).at_end()
    });
}

#[test]
fn deduplicate() {
    check(&pairs(), |pairs| {
        pairs.key_by(|(key, _)| *key).deduplicate("once")
    });
}

/// Joins what is even with what is odd: each record meets all of the other input that came before it.
#[derive(Clone)]
struct Join {
    alone: SideOutput<u64>,
}

#[derive(Default, Deserialize, Serialize)]
struct Sides {
    even: ListState<u64>,
    odd: MapState<u64, u64>,
}

impl CoProcess for Join {
    type Key = u64;
    type First = (u64, u64);
    type Second = (u64, u64);
    type State = Sides;
    type Out = (u64, u64);

    fn first(&self, (_, even): &(u64, u64), context: &mut CoContext<'_, Self>) {
        context.state().even.add(*even);
        let odd: Vec<_> = context.state().odd.iter().map(|(odd, _)| *odd).collect();
        if odd.is_empty() {
            context.emit_to(&self.alone, *even);
        }
        for odd in odd {
            context.emit((*even, odd));
        }
    }

    fn second(&self, (_, odd): &(u64, u64), context: &mut CoContext<'_, Self>) {
        context.state().odd.insert(*odd, 1);
        let even = context.state().even.get().to_vec();
        for even in even {
            context.emit((even, *odd));
        }
    }
}

/// There is no order between the inputs, but every pair meets once, in one operator or the other.
#[test]
fn connected_streams_meet_in_the_state_of_their_key() {
    check(&pairs(), |pairs| {
        let even = pairs.clone().filter(|(_, n)| n % 2 == 0);
        let odd = pairs.filter(|(_, n)| n % 2 == 1);
        let (joined, alone) = even
            .key_by(|(key, _)| *key)
            .connect(odd.key_by(|(key, _)| *key))
            .process_with_side("join", |alone| Join { alone });
        alone.discard();
        joined
    });
}

/// Adds up numbers by key, times what was broadcast.
#[derive(Clone)]
struct Weighted;

#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
enum Message {
    Weight(u64),
    Number(u64),
}

impl BroadcastProcess for Weighted {
    type Key = u64;
    type In = u64;
    type Broadcast = u64;
    type State = ValueState<u64>;
    type Shared = MapState<u64, u64>;
    type Out = (u64, u64, u64);

    fn element(
        &self,
        n: &u64,
        weights: &MapState<u64, u64>,
        context: &mut BroadcastContext<'_, Self>,
    ) {
        let key = *context.key();
        *context.state().get_or_default() += n;
        let sum = context.state().get().copied().unwrap_or_default();
        context.emit((key, sum, weights.iter().map(|(_, weight)| weight).sum()));
    }

    fn broadcast(
        &self,
        weight: &u64,
        weights: &mut MapState<u64, u64>,
        _: &mut SharedContext<'_, Self>,
    ) {
        weights.insert(*weight % 4, *weight);
    }
}

/// The weights come first, so that every number meets all of them; then a snapshot, another parallelism, and more numbers.
#[test]
fn broadcast_state_is_the_same_in_every_subtask_and_after_a_restore() {
    for seed in 0..60 {
        let operators = |messages: Stream<Message>| {
            let weights = messages.clone().flat_map(|message| match message {
                Message::Weight(weight) => Some(weight),
                Message::Number(_) => None,
            });
            let numbers = messages.flat_map(|message| match message {
                Message::Number(n) => Some(n),
                Message::Weight(_) => None,
            });
            numbers
                .key_by(|n| n % 7)
                .connect_broadcast(weights)
                .process("weighted", Weighted)
        };
        let simulation = |offset| simulation(seed, offset);
        let mut before = Harness::new(&simulation(0), operators).unwrap();
        before.push([1, 2, 3, 5].map(Message::Weight));
        before.push((0..50).map(Message::Number));
        let snapshot = before.snapshot().unwrap();
        let mut found = before.output();
        let mut after = Harness::restored(&simulation(1), &snapshot, operators).unwrap();
        after.push((50..100).map(Message::Number));
        found.extend(after.finish());
        let mut sums = std::collections::BTreeMap::new();
        let mut expected: Vec<_> = (0..100)
            .map(|n| {
                let sum = sums.entry(n % 7).or_insert(0);
                *sum += n;
                (n % 7, *sum, 2 + 3 + 5)
            })
            .collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "seed {seed}");
    }
}

/// Passes on what no rule forbids.
#[derive(Clone)]
struct Allowed {
    forbidden: SideOutput<u64>,
}

impl BroadcastProcess for Allowed {
    type Key = ();
    type In = u64;
    type Broadcast = u64;
    type State = ();
    type Shared = ListState<u64>;
    type Out = u64;

    fn element(&self, n: &u64, rules: &ListState<u64>, context: &mut BroadcastContext<'_, Self>) {
        if rules.get().iter().any(|rule| n.is_multiple_of(*rule)) {
            context.emit_to(&self.forbidden, *n);
        } else {
            context.emit(*n);
        }
    }

    fn broadcast(&self, rule: &u64, rules: &mut ListState<u64>, _: &mut SharedContext<'_, Self>) {
        rules.add(*rule);
    }
}

#[test]
fn rules_against_records_without_keys() {
    for seed in 0..60 {
        let operators = |messages: Stream<Message>| {
            let rules = messages.clone().flat_map(|message| match message {
                Message::Weight(rule) => Some(rule),
                Message::Number(_) => None,
            });
            let numbers = messages
                .flat_map(|message| match message {
                    Message::Number(n) => Some(n),
                    Message::Weight(_) => None,
                })
                .rebalance();
            let (allowed, forbidden) = numbers
                .connect_broadcast(rules)
                .process_with_side("allowed", |forbidden| Allowed { forbidden });
            allowed
                .connect(forbidden)
                .map(|n| (true, n), |n| (false, n))
        };
        let simulation = |offset| simulation(seed, offset);
        let mut before = Harness::new(&simulation(0), operators).unwrap();
        before.push([2, 3].map(Message::Weight));
        before.push((1..50).map(Message::Number));
        let snapshot = before.snapshot().unwrap();
        let mut found = before.output();
        let mut after = Harness::restored(&simulation(1), &snapshot, operators).unwrap();
        after.push((50..100).map(Message::Number));
        found.extend(after.finish());
        found.sort_unstable();
        let mut expected: Vec<_> = (1..100).map(|n| (n % 2 != 0 && n % 3 != 0, n)).collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "seed {seed}");
    }
}

/// The keys are taken out of the table while they are emitted: a snapshot in between holds exactly the others.
#[test]
fn a_snapshot_while_the_keys_are_emitted() {
    for seed in 0..100 {
        let operators = |pairs: Stream<(u64, u64)>| pairs.keyed().count("counts").at_end();
        let simulation = Simulation::new(seed).parallelism(1);
        let mut before = Harness::new(&simulation, operators).unwrap();
        before.push((0..500).map(|n| (n % 250, n)));
        before.end();
        let mut emitted = Vec::new();
        before
            .simulated()
            .run_until(|simulated| simulated.metrics().records_written() > 0);
        emitted.extend(before.output());
        let snapshot = before.snapshot().unwrap();
        let after =
            Harness::restored(&Simulation::new(seed).parallelism(3), &snapshot, operators).unwrap();
        emitted.extend(after.finish());
        emitted.sort_unstable();
        let expected: Vec<_> = (0..250).map(|key| (key, 2)).collect();
        assert_eq!(emitted, expected, "seed {seed}");
    }
}
