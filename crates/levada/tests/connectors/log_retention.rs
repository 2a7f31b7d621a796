//! What a log removes, when, and what becomes of who had not read it.

use std::time::Duration;

use levada::connectors::OnGap;
use levada::prelude::*;

use crate::log::append_and_fail;
use crate::world::{World, bids};

#[test]
fn retention_removes_whole_segments_of_what_is_committed() {
    let world = World::new(5);
    let keep =
        |sink: levada::connectors::LogSink<_>| sink.segment_bytes_max(400).retain_bytes(1_000);
    for round in 0..20 {
        world.append(round * 20..round * 20 + 20, keep);
    }
    let log = world.log();
    for partition in 0..3 {
        let (earliest, end) = (
            log.earliest(partition).unwrap(),
            log.end(partition).unwrap(),
        );
        assert!(earliest > 0, "old segments are gone");
        let dir = format!("orders/{partition:04}");
        let files = world
            .disk
            .paths()
            .into_iter()
            .filter(|path| path.starts_with(&dir));
        let bytes: usize = files.map(|path| world.disk.get(path).unwrap().len()).sum();
        assert!(
            (1_000..1_400 + 400).contains(&bytes),
            "partition {partition}: {bytes} bytes"
        );
        assert!(end - earliest >= 20);
    }
    // A job that fails removes nothing to make room for its own records.
    let before: Vec<_> = (0..3).map(|p| log.earliest(p).unwrap()).collect();
    append_and_fail(&world, 0..500);
    assert_eq!(
        before,
        (0..3).map(|p| log.earliest(p).unwrap()).collect::<Vec<_>>()
    );
}

#[test]
fn retention_by_age_counts_from_the_next_segment() {
    let world = World::new(5);
    let hour = Duration::from_secs(3_600);
    world.append(0..30, |sink| sink.retain_for(hour));
    assert_eq!(world.log().earliest(0).unwrap(), 0);
    let end = world.log().end(0).unwrap();
    // A simulation begins at the epoch, and lasts as long as its slowest source.
    let lasting = |hours: u64| {
        let run = world.simulation().parallelism(1).run(|job: &Job| {
            let hourly = generator(bids).count(hours + 1).rate(1.0 / 3_600.0);
            let sink = log_sink("orders").retain_for(hour);
            job.source("bids", hourly).sink("log", sink);
        });
        let run = run.unwrap();
        run.expect_finished();
        let hours = Duration::from_secs(hours * 3_600 - 60);
        assert!(run.elapsed >= hours, "{:?}", run.elapsed);
    };
    lasting(2);
    // The first segment was an hour old and has a successor, which is new.
    assert_eq!(world.log().earliest(0).unwrap(), 0);
    assert!(
        world
            .disk
            .get(format!("orders/0000/{end:020}.log"))
            .is_some()
    );
    lasting(4);
    assert_eq!(world.log().earliest(0).unwrap(), end);
}

#[test]
fn a_consumer_whose_offset_is_gone_is_told_or_goes_on() {
    let world = World::new(9);
    world.append(0..30, |sink| sink.segment_bytes_max(100));
    assert_eq!(
        world
            .consume(|source| source.consumer("slow"))
            .unwrap()
            .len(),
        30
    );
    let read = world.log().end(0).unwrap();
    for round in 1..10 {
        let range = round * 30..round * 30 + 30;
        world.append(range, |sink| sink.segment_bytes_max(100).retain_bytes(200));
    }
    let lag = world.log().lag("slow").unwrap();
    assert!(lag.partitions.iter().all(|lag| lag.lost > 0), "{lag:?}");
    let earliest = world.log().earliest(0).unwrap();
    let error = world.consume(|source| source.consumer("slow")).unwrap_err();
    for part in [
        &format!("offset {read} of partition 0"),
        &format!("is {earliest}"),
        "OnGap::Earliest",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    let read = world
        .consume(|source| source.consumer("slow").on_gap(OnGap::Earliest))
        .unwrap();
    assert_eq!(read.len() as u64, lag.records());
    assert_eq!(world.consume(|source| source.consumer("slow")).unwrap(), []);
    // Who never read begins with what there is.
    assert_eq!(
        world
            .consume(|source| source.consumer("new"))
            .unwrap()
            .len(),
        read.len()
    );
}
