//! Streams of results, divided.

use levada::prelude::*;
use levada_testing::{Simulation, campaign, collect, valve};

#[test]
fn results_go_where_they_belong_in_their_order_at_one_credit() {
    let campaign = campaign(0..300, |seed| {
        let (good, goods) = collect();
        let (bad, bads) = collect();
        let simulation = if seed % 2 == 0 {
            Simulation::new(seed).one_credit()
        } else {
            Simulation::new(seed)
        };
        let run = simulation
            .run(move |job: &Job| {
                let (good_numbers, bad_numbers) = job
                    .source("numbers", iterator(0..400u64))
                    .flat_map(|n| [n, n + 1_000])
                    .map(|n| {
                        if n % 7 == 0 {
                            Err(format!("{n:05}"))
                        } else {
                            Ok(n)
                        }
                    })
                    .split_results();
                // One of the two goes through a slower way, and both are used more than once.
                good_numbers
                    .clone()
                    .rebalance()
                    .key_by(|n| n % 3)
                    .fold("in-order", |seen: &mut Vec<u64>, n| seen.push(*n))
                    .at_end()
                    .sink("good", good.clone());
                good_numbers.discard();
                bad_numbers.clone().discard();
                bad_numbers
                    .flat_map(|text| [text.clone(), text])
                    .rebalance()
                    .sink("bad", bad.clone());
            })
            .unwrap();
        run.expect_finished();
        let all = || (0..400u64).chain(1_000..1_400);
        let mut seen: Vec<u64> = goods
            .take()
            .into_iter()
            .flat_map(|(_, seen)| seen)
            .collect();
        seen.sort_unstable();
        assert_eq!(
            seen,
            all().filter(|n| n % 7 != 0).collect::<Vec<_>>(),
            "seed {seed}"
        );
        let expected: Vec<_> = all()
            .filter(|n| n % 7 == 0)
            .flat_map(|n| [format!("{n:05}"), format!("{n:05}")])
            .collect();
        assert_eq!(bads.sorted(), expected, "seed {seed}");
        run
    });
    println!("{campaign}");
}

/// What is bad does not pass by what holds it up, and stops what is good.
#[test]
fn an_output_without_room_stops_the_source() {
    for seed in 0..50 {
        let (sink, valve) = valve();
        let mut simulated = Simulation::new(seed)
            .one_credit()
            .start(move |job: &Job| {
                let (good, bad) = job
                    .source("numbers", iterator(0..100_000u64))
                    .map(|n| if n % 2 == 0 { Ok(n) } else { Err(n) })
                    .split_results();
                good.rebalance().sink("good", for_each(|_| {}));
                bad.rebalance().sink("bad", sink.clone());
            })
            .unwrap();
        simulated.settle();
        let read = simulated.metrics().records_read();
        assert!(read < 50_000, "seed {seed}: {read} records were read");
        assert!(!simulated.is_done(), "seed {seed}");
        valve.open();
        simulated.settle();
        simulated.finish().expect_finished();
        let mut bad = valve.take();
        bad.sort_unstable();
        assert!(
            bad == (0..50_000).map(|n| 2 * n + 1).collect::<Vec<_>>(),
            "seed {seed}"
        );
    }
}
