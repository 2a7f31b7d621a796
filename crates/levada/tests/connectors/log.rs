//! Jobs that write to a log and jobs that read from it, in the simulator.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use levada::connectors::LogSource;
use levada::prelude::*;
use levada_core::sync::Mutex;
use levada_testing::{campaign, collect};

use crate::reopening::Reopening;
use crate::world::{Bid, World, bids};

/// Records by partition, in order.
fn by_partition(records: &[(u64, Bid)]) -> BTreeMap<u64, Vec<u64>> {
    let mut partitions = BTreeMap::<_, Vec<_>>::new();
    for (_, bid) in records {
        partitions.entry(bid.auction).or_default().push(bid.price);
    }
    partitions
}

/// Appends bids in a job that fails.
pub(crate) fn append_and_fail(world: &World, numbers: Range<u64>) {
    let run = world
        .simulation()
        .run(|job: &Job| {
            let (begin, count) = (numbers.start, numbers.end - numbers.start);
            let numbers = job.source("numbers", generator(move |n| bids(begin + n)).count(count));
            let numbers = numbers.stream();
            numbers
                .clone()
                .sink("log", log_sink("orders").segment_bytes_max(300));
            let last = begin + count - 1;
            numbers
                .rebalance()
                .inspect(move |bid| assert!(bid.price != last, "the last one"))
                .sink("out", for_each(|_| {}));
        })
        .unwrap();
    assert!(run.outcome.is_err());
}

#[test]
fn what_one_job_writes_the_next_one_reads() {
    let campaign = campaign(0..200, |seed| {
        let world = World::new(seed);
        let simulation = if seed % 2 == 0 {
            world.simulation().one_credit()
        } else {
            world.simulation()
        };
        let run = simulation
            .run(|job: &Job| {
                job.source("numbers", iterator(0..300))
                    .map(bids)
                    .key_by(|bid| bid.auction)
                    .fold("same", |last: &mut Option<Bid>, bid| {
                        *last = Some(bid.clone());
                    })
                    .map(|(_, bid)| bid.expect("a bid was folded in"))
                    .sink(
                        "log",
                        log_sink("orders")
                            .partitions(3)
                            .partition_by(|bid: &Bid| bid.auction),
                    );
            })
            .unwrap();
        run.expect_finished();

        let (sink, collected) = collect();
        world
            .simulation()
            .run(|job: &Job| {
                job.source("bids", log_source::<Bid>("orders"))
                    .sink("out", sink.clone());
            })
            .unwrap()
            .expect_finished();
        let read = collected.take();
        let mut sorted = read.clone();
        sorted.sort_unstable_by_key(|bid| bid.price);
        assert_eq!(
            sorted,
            (0..300).map(bids).collect::<Vec<_>>(),
            "seed {seed}"
        );
        // Records of one key keep their order, on the way in and on the way out.
        let pairs: Vec<_> = read.into_iter().map(|bid| (0, bid)).collect();
        for prices in by_partition(&pairs).values() {
            assert!(prices.is_sorted(), "seed {seed}: {prices:?}");
        }
        run
    });
    println!("{campaign}");
}

#[test]
fn the_second_run_of_a_consumer_reads_what_is_new() {
    for seed in 0..60 {
        let world = World::new(seed);
        for round in 0..4u64 {
            world.append(round * 50..round * 50 + 50, |sink| sink);
            assert_eq!(world.log().lag("billing").unwrap().records(), 50);
            let read = world.consume(|source| source.consumer("billing")).unwrap();
            let expected: Vec<_> = (round * 50..round * 50 + 50).map(bids).collect();
            assert_eq!(read, expected, "seed {seed}, round {round}");
            assert_eq!(world.log().lag("billing").unwrap().records(), 0);
        }
        // Another consumer knows nothing of the first.
        assert_eq!(
            world
                .consume(|source| source.consumer("audit"))
                .unwrap()
                .len(),
            200
        );
        assert_eq!(
            world.consume(|source| source.consumer("audit")).unwrap(),
            []
        );
    }
}

#[test]
fn a_reader_begins_where_it_is_told() {
    let world = World::new(1);
    world.append(0..90, |sink| sink);
    assert_eq!(world.consume(LogSource::from_latest).unwrap(), []);
    assert_eq!(world.consume(LogSource::from_earliest).unwrap().len(), 90);
    let ends: Vec<_> = (0..3).map(|p| world.log().end(p).unwrap()).collect();
    assert_eq!(ends.iter().sum::<u64>(), 90);
    let offsets: Vec<_> = ends.iter().map(|end| end - 1).collect();
    assert_eq!(
        world
            .consume(|source| source.from_offsets(offsets.clone()))
            .unwrap()
            .len(),
        3
    );

    // A consumer that begins with the latest misses nothing from then on, even if there was nothing to read.
    let latest = |world: &World| {
        world
            .consume(|source| source.consumer("late").from_latest())
            .unwrap()
    };
    assert_eq!(latest(&world), []);
    world.append(90..100, |sink| sink);
    assert_eq!(latest(&world), (90..100).map(bids).collect::<Vec<_>>());
}

#[test]
fn timestamps_are_kept() {
    let world = World::new(3);
    world.append(0..20, |sink| sink);
    let bytes = world
        .disk
        .get("orders/0000/00000000000000000000.log")
        .unwrap();
    // The first frame begins behind the header, and its timestamp behind length and checksum.
    assert_eq!(
        bytes[36 + 8..36 + 16],
        i64::MIN.to_le_bytes(),
        "no timestamp was given"
    );
}

#[test]
fn a_job_that_fails_publishes_nothing_and_stores_no_offset() {
    let mut cut = 0;
    for seed in 0..80 {
        let world = World::new(seed);
        world.append(0..60, |sink| sink.segment_bytes_max(300));
        let before = world.disk.get("orders/ends.json").unwrap();
        let run = world
            .simulation()
            .run(|job: &Job| {
                let bids = job
                    .source("in", log_source::<Bid>("orders").consumer("billing"))
                    .stream();
                bids.clone()
                    .sink("log", log_sink("orders").segment_bytes_max(300));
                bids.rebalance()
                    .inspect(|bid| assert!(bid.price != 59, "too much"))
                    .sink("out", for_each(|_| {}));
            })
            .unwrap();
        assert!(run.outcome.is_err(), "seed {seed}");
        run.expect_empty();
        assert_eq!(
            world.disk.get("orders/ends.json").unwrap(),
            before,
            "seed {seed}"
        );
        assert!(
            world.disk.get("orders/consumers/billing.json").is_none(),
            "seed {seed}"
        );
        // What follows goes on as if it had not been.
        world.append(60..70, |sink| sink.segment_bytes_max(300));
        let read = world.consume(|source| source.consumer("billing")).unwrap();
        assert_eq!(read, (0..70).map(bids).collect::<Vec<_>>(), "seed {seed}");
        cut += 1;
    }
    assert_eq!(cut, 80);
}

#[test]
fn a_cancel_at_any_poll_publishes_all_or_nothing() {
    let mut whole = 0;
    for seed in 0..200 {
        let world = World::new(seed);
        world.append(0..30, |sink| sink);
        let run = world
            .simulation()
            .cancel_after(seed)
            .run(|job: &Job| {
                job.source("bids", generator(|n| bids(n + 30)).count(100))
                    .rebalance()
                    .sink("log", log_sink("orders").segment_bytes_max(500));
            })
            .unwrap();
        let expected = if run.outcome.is_ok() { 130 } else { 30 };
        whole += usize::from(run.outcome.is_ok());
        let read = world.consume(|source| source).unwrap();
        assert_eq!(
            read,
            (0..expected).map(bids).collect::<Vec<_>>(),
            "seed {seed}"
        );
    }
    assert!(
        (20..180).contains(&whole),
        "{whole} of 200 came to their end"
    );
}

#[test]
fn a_follower_sees_what_is_committed_while_it_reads() {
    for seed in 0..60 {
        let world = World::new(seed);
        world.append(0..20, |sink| sink.segment_bytes_max(200));
        let collected = Arc::new(Mutex::new(Vec::new()));
        let mut follower = world
            .simulation()
            .start(|job: &Job| {
                let source = log_source::<Bid>("orders").follow(Duration::from_millis(50));
                let collected = Arc::clone(&collected);
                job.source("bids", source)
                    .sink("out", for_each(move |bid| collected.lock().push(bid)));
            })
            .unwrap();
        let mut seen = Vec::new();
        for round in 1..6u64 {
            let until = round * 20;
            assert!(
                follower.run_until(|_| collected.lock().len() as u64 == until),
                "seed {seed}"
            );
            seen.clone_from(&collected.lock());
            // Somebody fails, then somebody else appends other records in the same place.
            append_and_fail(&world, 1_000..1_010);
            world.append(until..until + 20, |sink| sink.segment_bytes_max(200));
        }
        assert!(
            follower.run_until(|_| collected.lock().len() == 120),
            "seed {seed}"
        );
        seen.clone_from(&collected.lock());
        seen.sort_unstable_by_key(|bid| bid.price);
        assert_eq!(seen, (0..120).map(bids).collect::<Vec<_>>(), "seed {seed}");
        assert!(
            follower.elapsed() >= Duration::from_millis(50),
            "it has waited for the clock"
        );
        follower.cancel();
        follower.settle();
        assert!(follower.is_done());
    }
}

#[test]
fn two_writers_and_two_of_one_consumer_exclude_each_other() {
    let world = World::new(2);
    world.append(0..30, |sink| sink);
    let follow = |name: &'static str| {
        move |job: &Job| {
            let source = log_source::<Bid>("orders")
                .consumer(name)
                .follow(Duration::from_millis(1));
            job.source("bids", source).sink("out", for_each(|_| {}));
        }
    };
    let running = world.simulation().start(follow("billing")).unwrap();
    let refused = world.simulation().start(follow("billing")).err().unwrap();
    assert!(format!("{refused:?}").contains("another job reads orders as the consumer `billing`"));
    drop(world.simulation().start(follow("audit")).unwrap());
    drop(running);
    drop(world.simulation().start(follow("billing")).unwrap());

    let write = |job: &Job| {
        job.source("bids", generator(bids).count(10))
            .sink("log", log_sink("orders"));
    };
    let running = world.simulation().start(write).unwrap();
    let refused = world.simulation().start(write).err().unwrap();
    assert!(format!("{refused:?}").contains("another job appends to orders"));
    drop(running);
    world.simulation().run(write).unwrap().expect_finished();
}

#[test]
fn on_the_disk_of_the_machine_too() {
    let dir = tempfile::tempdir().unwrap();
    let orders = dir.path().join("orders");
    for round in 1..4u64 {
        let write = orders.clone();
        levada::Runner::new()
            .parallelism(2)
            .run(move |job: &Job| {
                let sink = log_sink(&write).partitions(2).segment_bytes_max(1_000);
                job.source("bids", generator(bids).count(500))
                    .sink("log", sink);
            })
            .unwrap();
        let read = orders.clone();
        let report = levada::Runner::new()
            .parallelism(2)
            .run(move |job: &Job| {
                job.source("bids", log_source::<Bid>(&read).consumer("billing"))
                    .sink("out", for_each(|_| {}));
            })
            .unwrap();
        assert_eq!(report.metrics.records_read(), 500, "round {round}");
        let log = levada::connectors::Log::open(&orders).unwrap();
        assert_eq!(log.end(0).unwrap() + log.end(1).unwrap(), round * 500);
        assert_eq!(log.lag("billing").unwrap().records(), 0);
    }
}

#[test]
fn a_simulation_of_the_log_replays() {
    let run = |seed| {
        let world = World::new(seed);
        world.append(0..40, |sink| sink);
        let files = world.disk.paths();
        let contents: Vec<_> = files.iter().map(|path| world.disk.get(path)).collect();
        (files, contents)
    };
    for seed in 0..10 {
        assert!(run(seed) == run(seed), "seed {seed}");
    }
}

#[test]
fn a_reader_that_is_opened_anywhere_brings_in_the_rest() {
    for seed in 0..20 {
        let world = World::new(seed);
        world.append(0..70, |sink| sink.segment_bytes_max(200));
        world.append(70..100, |sink| sink.segment_bytes_max(200));
        for every in 1..8 {
            let (sink, collected) = collect();
            let run = world.simulation().run(|job: &Job| {
                let source = Reopening::new(log_source::<Bid>("orders"), every);
                job.source("bids", source).sink("out", sink.clone());
            });
            run.unwrap().expect_finished();
            let expected: Vec<_> = (0..100).map(bids).collect();
            let mut read = collected.take();
            read.sort_unstable_by_key(|bid| bid.price);
            assert_eq!(read, expected, "seed {seed}, every {every}");
        }
    }
}

#[test]
fn records_that_cannot_be_decoded_may_be_left_out() {
    /// A bid of which some cannot be read: the note must be short.
    #[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
    struct Checked {
        auction: u64,
        price: u64,
        note: Short,
    }

    #[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
    #[serde(try_from = "String")]
    struct Short(String);

    impl TryFrom<String> for Short {
        type Error = &'static str;

        fn try_from(note: String) -> Result<Self, &'static str> {
            if note.len() == 4 {
                Err("four is too long")
            } else {
                Ok(Self(note))
            }
        }
    }

    for seed in 0..20 {
        let world = World::new(seed);
        world.append(0..100, |sink| sink.segment_bytes_max(300));
        let (sink, collected) = collect();
        let run = world.simulation().run(|job: &Job| {
            let source = log_source::<Checked>("orders").on_error(levada::OnError::Skip);
            job.source("bids", source)
                .map(|bid| (bid.auction, bid.price, bid.note.0.len()))
                .sink("out", sink.clone());
        });
        let run = run.unwrap();
        run.expect_finished();
        let expected: Vec<_> = (0..100).filter(|n| n % 5 != 4).collect();
        let mut read: Vec<_> = collected
            .take()
            .iter()
            .map(|(_, price, _)| *price)
            .collect();
        read.sort_unstable();
        assert_eq!(read, expected, "seed {seed}");
        assert_eq!(
            run.metrics
                .operators
                .iter()
                .map(levada::metrics::OperatorMetrics::sum_skipped)
                .sum::<u64>(),
            20,
            "seed {seed}"
        );

        let (sink, bad) = collect();
        let run = world.simulation().run(|job: &Job| {
            let source = log_source::<Checked>("orders").results();
            let (good, bad) = job.source("bids", source).split_results();
            good.discard();
            bad.sink("bad", sink.clone());
        });
        run.unwrap().expect_finished();
        let bad = bad.take();
        assert_eq!(bad.len(), 20);
        assert!(bad[0].message.contains("four is too long"), "{}", bad[0]);
    }
}

#[test]
fn a_follower_forgets_what_was_read_ahead_and_given_up() {
    let path = "orders/0001/00000000000000000000.log";
    for seed in 0..10 {
        let world = World::new(seed);
        world.append(0..20, |sink| sink);
        let collected = Arc::new(Mutex::new(Vec::new()));
        let follow = |job: &Job| {
            let source = log_source::<Bid>("orders").follow(Duration::from_millis(50));
            let collected = Arc::clone(&collected);
            job.source("bids", source).sink(
                "out",
                for_each(move |bid: Bid| collected.lock().push(bid.price)),
            );
        };
        let mut follower = world.simulation().start(follow).unwrap();
        for until in [20, 40, 60] {
            // A job has written behind the end while the follower reads up to the end.
            let committed = world.disk.get(path).unwrap().len();
            let mut writer = world
                .simulation()
                .parallelism(1)
                .start(|job: &Job| {
                    let numbers = iterator(1_000_000..1_020_000);
                    job.source("numbers", numbers)
                        .map(bids)
                        .sink("log", log_sink("orders"));
                })
                .unwrap();
            assert!(writer.run_until(|_| world.disk.get(path).unwrap().len() > committed));
            assert!(follower.run_until(|_| collected.lock().len() as u64 == until));
            drop(writer);
            assert_eq!(
                world.disk.get(path).unwrap().len(),
                committed,
                "it was given up"
            );
            world.append(until..until + 20, |sink| sink);
        }
        assert!(
            follower.run_until(|_| collected.lock().len() == 80),
            "seed {seed}"
        );
        let mut read = collected.lock().clone();
        read.sort_unstable();
        assert_eq!(read, (0..80).collect::<Vec<_>>(), "seed {seed}");
    }
}

/// The machine goes on after its device has failed: whatever step failed, the log is what it was or what it was to become.
#[test]
fn a_device_that_fails_at_any_sync_leaves_a_log_that_can_be_read() {
    let mut failed = [0; 2];
    for syncs in 0..60 {
        let world = World::new(syncs);
        world.append(0..20, |sink| sink.segment_bytes_max(150));
        world.disk.fail_syncs_after(syncs);
        let run = world.simulation().run(|job: &Job| {
            let sink = log_sink("orders").partitions(3).segment_bytes_max(150);
            job.source("numbers", generator(|n| bids(20 + n)).count(20))
                .rebalance()
                .sink("log", sink);
        });
        world.disk.fail_syncs_after(u64::MAX);
        let is_whole = matches!(&run, Ok(run) if run.outcome.is_ok());
        let read = world.consume(|source| source);
        let read = read.unwrap_or_else(|error| panic!("after {syncs} syncs: {error}"));
        let published = read.len() == 40;
        assert!(
            published || read.len() == 20 && !is_whole,
            "{syncs}: {}",
            read.len()
        );
        if !is_whole {
            failed[usize::from(published)] += 1;
        }
        // And it goes on.
        world.append(40..50, |sink| sink);
        let again = world.consume(|source| source).unwrap();
        assert_eq!(again.len(), read.len() + 10);
    }
    assert!(failed.iter().all(|count| *count > 0), "{failed:?}");
}
