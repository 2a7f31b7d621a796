//! Every operator with state: saved in the middle of its input, restored at another parallelism, and no different for it.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::fmt::Debug;

use levada::prelude::*;
use levada_core::Exchange;
use levada_testing::{Harness, Simulation};

/// Runs the operators over all records at once, and over their halves with a snapshot between; both must give the same.
#[track_caller]
fn check<I, O, F>(records: &[I], operators: impl Fn(Stream<I>) -> F)
where
    I: Exchange + Clone,
    O: Ord + Debug + Send + 'static,
    F: Flow<Item = O>,
{
    for seed in 0..30 {
        let simulation =
            |offset: u64| Simulation::new(seed).parallelism(1 + ((seed + offset) % 4) as usize);
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
