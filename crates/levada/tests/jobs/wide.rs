//! Many subtasks and many channels on two worker threads.

use levada::Runner;
use levada::prelude::*;
use levada_testing::collect;

/// A thousand subtasks, each with a channel of its own to the next.
#[test]
fn a_thousand_subtasks_run_on_two_workers() {
    const WIDTH: usize = 1_000;
    let (sink, collected) = collect();
    let runner = Runner::new().parallelism(WIDTH).threads(2).force_exchange();
    let job = move |job: &Job| {
        let numbers = job.source("numbers", generator(|n| n).count(50_000));
        let twins = numbers.clone();
        numbers
            .union(twins)
            .map(|n| n + 1)
            .sink("out", sink.clone());
    };
    let plan = runner.prepare(&job).unwrap();
    assert!(
        plan.plan().tasks() >= 2 * WIDTH,
        "{}",
        plan.plan().to_text()
    );
    runner.run(job).unwrap();
    let expected: Vec<_> = (1..=50_000u64).flat_map(|n| [n, n]).collect();
    assert!(collected.sorted() == expected);
}

/// A thousand channels in one exchange: 40 producers, 25 consumers.
#[test]
fn a_thousand_channels_in_one_exchange_run_on_two_workers() {
    let (sink, collected) = collect();
    Runner::new()
        .threads(2)
        .run(move |job: &Job| {
            job.source("numbers", generator(|n| n).count(100_000))
                .parallelism(40)
                .key_by(|n| n % 500)
                .count("counts")
                .parallelism(25)
                .at_end()
                .sink("out", sink.clone())
                .parallelism(25);
        })
        .unwrap();
    let expected: Vec<_> = (0..500).map(|key| (key, 200)).collect();
    assert!(collected.sorted() == expected);
}
