//! How records are divided among subtasks: nothing is lost, and each goes where the partitioner says.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::collections::BTreeSet;

use levada::prelude::*;
use levada_testing::{Simulation, collect};

type Exchange = fn(Stream<u64>) -> Stream<u64>;

/// Sends numbers through an exchange from some subtasks to others; returns which consumer got each number from whom.
fn route(
    seed: u64,
    producers: usize,
    consumers: usize,
    exchange: impl Fn(Stream<u64>) -> Stream<u64>,
) -> Vec<Vec<u64>> {
    let (sink, collected) = collect();
    Simulation::new(seed)
        .one_credit()
        .run(|job: &Job| {
            let numbers = job
                .source("numbers", generator(|n| n).count(400))
                .parallelism(producers);
            exchange(numbers.stream())
                .parallelism(consumers)
                .sink("out", sink.clone());
        })
        .unwrap()
        .expect_finished();
    collected.by_subtask()
}

#[test]
fn every_number_arrives_once_however_it_is_sent() {
    let exchanges: [(&str, Exchange); 4] = [
        ("rebalance", Flow::rebalance),
        ("rescale", Flow::rescale),
        ("shuffle", Flow::shuffle),
        ("partition", |numbers| {
            numbers.partition(|n, subtasks| *n as usize % subtasks)
        }),
    ];
    for (name, exchange) in exchanges {
        for seed in 0..40 {
            let producers = 1 + (seed % 4) as usize;
            let consumers = 1 + (seed / 4 % 4) as usize;
            let mut all = route(seed, producers, consumers, exchange).concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..400), "{name}, seed {seed}");
        }
    }
}

/// The numbers with one remainder are made by one subtask.
#[test]
fn a_rescale_keeps_to_its_shares() {
    for seed in 0..20 {
        for (producers, consumers, share) in [(2, 6, 3), (6, 2, 1)] {
            let by_subtask = route(seed, producers, consumers, Flow::rescale);
            for remainder in 0..producers as u64 {
                let shares: BTreeSet<_> = (0..consumers)
                    .filter(|consumer| {
                        let mut numbers = by_subtask[*consumer].iter();
                        numbers.any(|n| n % producers as u64 == remainder)
                    })
                    .map(|consumer| consumer / share)
                    .collect();
                assert_eq!(shares.len(), 1, "seed {seed}: {shares:?}");
            }
        }
    }
}

#[test]
fn the_program_says_who_gets_what() {
    for seed in 0..20 {
        let by_subtask = route(seed, 3, 4, |numbers| {
            numbers.partition(|n, subtasks| (n / 100) as usize % subtasks)
        });
        for (subtask, mut numbers) in by_subtask.into_iter().enumerate() {
            numbers.sort_unstable();
            let first = subtask as u64 * 100;
            assert!(numbers.into_iter().eq(first..first + 100), "seed {seed}");
        }
    }
}

#[test]
fn a_shuffle_goes_to_all_and_by_no_pattern() {
    let by_subtask = route(1, 1, 4, Flow::shuffle);
    for numbers in &by_subtask {
        assert!((40..=180).contains(&numbers.len()), "{}", numbers.len());
    }
    let in_turn = by_subtask[0].windows(2).all(|two| two[1] - two[0] == 4);
    assert!(!in_turn, "random is not round robin");
}

/// Exchanges of equal shape that begin at one stream share their batches, but not where each record goes.
#[test]
fn two_partitioners_of_one_stream_each_have_their_say() {
    for seed in 0..20 {
        let ((low, by_low), (high, by_high)) = (collect(), collect());
        Simulation::new(seed)
            .run(|job: &Job| {
                let numbers = job
                    .source("numbers", generator(|n| n).count(400))
                    .parallelism(2)
                    .stream();
                numbers
                    .clone()
                    .partition(|n, subtasks| *n as usize % subtasks)
                    .parallelism(4)
                    .sink("low", low.clone());
                numbers
                    .partition(|n, subtasks| (n / 100) as usize % subtasks)
                    .parallelism(4)
                    .sink("high", high.clone());
            })
            .unwrap()
            .expect_finished();
        let check = |by_subtask: Vec<Vec<u64>>, subtask_of: fn(u64) -> u64| {
            assert_eq!(by_subtask.concat().len(), 400, "seed {seed}");
            for (subtask, numbers) in (0..).zip(by_subtask) {
                let strays = numbers.into_iter().find(|n| subtask_of(*n) != subtask);
                assert_eq!(strays, None, "seed {seed}, in subtask {subtask}");
            }
        };
        check(by_low.by_subtask(), |n| n % 4);
        check(by_high.by_subtask(), |n| n / 100);
    }
}
