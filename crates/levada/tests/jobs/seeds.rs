//! The same job under many seeds: every schedule gives the same result, and none gets stuck.

use levada::prelude::*;
use levada_testing::{Simulation, campaign, collect};

use crate::everything::Everything;

#[test]
fn a_thousand_seeds_give_the_same_result() {
    let campaign = campaign(0..1_000, |seed| {
        let everything = Everything::new(60);
        let run = Simulation::new(seed)
            .run(|job: &Job| everything.build(job))
            .unwrap();
        run.expect_finished();
        assert_eq!(everything.results(), everything.expected(), "seed {seed}");
        run
    });
    println!("{campaign}");
    assert!(campaign.distinct >= 990, "{campaign}");
}

#[test]
fn one_credit_to_a_channel_is_enough_for_everything() {
    let campaign = campaign(5_000..5_200, |seed| {
        let everything = Everything::new(200);
        let run = Simulation::new(seed)
            .one_credit()
            .run(|job: &Job| everything.build(job))
            .unwrap();
        run.expect_finished();
        assert_eq!(everything.results(), everything.expected(), "seed {seed}");
        run
    });
    println!("{campaign}");
}

/// A record goes both ways around and meets itself again: with bounded buffers, such a job locks if a consumer ever stops
/// reading one of its inputs.
#[test]
fn a_diamond_with_one_credit_does_not_lock() {
    let campaign = campaign(0..200, |seed| {
        let (sink, collected) = collect();
        let run = Simulation::new(seed)
            .one_credit()
            .run(move |job: &Job| {
                let numbers = job.source("numbers", iterator(0..500u64)).rebalance();
                let few = numbers.clone().filter(|n| n % 100 == 0).rebalance();
                let many = numbers.flat_map(|n| [n, n, n]).rebalance();
                few.union(many)
                    .key_by(|n| n % 10)
                    .count("counts")
                    .at_end()
                    .sink("out", sink.clone());
            })
            .unwrap();
        run.expect_finished();
        let expected: Vec<_> = (0..10)
            .map(|key| (key, 150 + if key == 0 { 5 } else { 0 }))
            .collect();
        assert_eq!(collected.sorted(), expected, "seed {seed}");
        run
    });
    println!("{campaign}");
}

#[test]
fn a_seed_replays_exactly() {
    let run = |seed| {
        let everything = Everything::new(100);
        Simulation::new(seed)
            .run(|job: &Job| everything.build(job))
            .unwrap()
    };
    for seed in 0..20 {
        let (first, second) = (run(seed), run(seed));
        assert_eq!(first.schedule, second.schedule, "seed {seed}");
        assert_eq!(first.elapsed, second.elapsed, "seed {seed}");
        assert_ne!(first.schedule, run(seed + 1).schedule, "seed {seed}");
    }
}

#[test]
fn a_cancel_at_any_poll_leaves_nothing_behind() {
    campaign(0..300, |seed| {
        let everything = Everything::new(200);
        let run = Simulation::new(seed)
            .cancel_after(seed)
            .run(|job: &Job| everything.build(job))
            .unwrap();
        match &run.outcome {
            Err(error) => {
                assert_eq!(error.to_string(), "the job was cancelled", "seed {seed}");
                let results = everything.results();
                assert!(
                    results.left.is_empty() && results.even.is_empty(),
                    "seed {seed}"
                );
            }
            Ok(()) => assert_eq!(everything.results(), everything.expected(), "seed {seed}"),
        }
        run.expect_empty();
        run
    });
}

#[test]
fn a_broadcast_reaches_every_subtask_once() {
    campaign(0..100, |seed| {
        let (sink, collected) = collect();
        let run = Simulation::new(seed)
            .parallelism(3)
            .run(move |job: &Job| {
                job.source("numbers", iterator(0..50u64))
                    .broadcast()
                    .sink("out", sink.clone());
            })
            .unwrap();
        run.expect_finished();
        let expected: Vec<_> = (0..50).flat_map(|n| [n; 3]).collect();
        assert_eq!(collected.sorted(), expected, "seed {seed}");
        run
    });
}

#[test]
fn records_of_one_key_keep_their_order() {
    campaign(0..200, |seed| {
        let (sink, collected) = collect();
        let run = Simulation::new(seed)
            .run(move |job: &Job| {
                job.source("numbers", iterator(0..300u64))
                    .key_by(|n| n % 10)
                    .fold("in-order", |last: &mut Option<u64>, n| {
                        assert!(last.is_none_or(|last| last < *n), "{last:?} before {n}");
                        *last = Some(*n);
                    })
                    .at_end()
                    .sink("out", sink.clone());
            })
            .unwrap();
        run.expect_finished();
        assert_eq!(collected.take().len(), 10);
        run
    });
}
