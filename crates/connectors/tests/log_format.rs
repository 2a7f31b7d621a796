//! Logs as the released versions wrote them (`data/log-v1`): they are read, and what is written today is the same, byte by
//! byte.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use levada::prelude::*;
use levada::{BoxError, Intake, Reader, ReaderContext, Source, SourceContext, Status};
use levada_connectors::Log;
use levada_core::disk::Disk;
use levada_testing::{MemoryDisk, Simulation, collect};
use serde::{Deserialize, Serialize};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/log-v1");

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Bid {
    auction: u64,
    price: f64,
    note: Option<String>,
}

/// Eleven records, with event time and without.
fn bids() -> Vec<(Bid, Timestamp)> {
    let bid = |n: u64| Bid {
        auction: n % 5,
        price: n as f64 / 4.0,
        note: n.is_multiple_of(2).then(|| format!("note {n}")),
    };
    let at = |n| {
        if n == 5 {
            Timestamp::MIN
        } else {
            Timestamp(1_700_000_000_000 + n as i64)
        }
    };
    (0..11).map(|n| (bid(n), at(n))).collect()
}

struct Bids;

impl Source for Bids {
    type Out = Bid;
    type Split = ();
    type Reader = Remaining;

    fn splits(&self, _: &SourceContext) -> Result<Vec<()>, BoxError> {
        Ok(vec![()])
    }

    fn open(&self, (): (), _: Option<u64>, _: &ReaderContext) -> Result<Remaining, BoxError> {
        Ok(Remaining(bids().into_iter()))
    }
}

struct Remaining(std::vec::IntoIter<(Bid, Timestamp)>);

impl Reader for Remaining {
    type Out = Bid;
    type Position = u64;

    fn read(&mut self, intake: &mut impl Intake<Bid>) -> Result<Status, BoxError> {
        while !intake.is_full() {
            match self.0.next() {
                Some((bid, at)) => intake.push_at(bid, at),
                None => return Ok(Status::Done),
            }
        }
        Ok(Status::More)
    }

    fn position(&self) -> u64 {
        0
    }
}

/// Writes the log, in segments of a few records, and reads it as a consumer.
fn write() -> MemoryDisk {
    let disk = MemoryDisk::default();
    let simulation = || Simulation::new(0).parallelism(1).with_disk(disk.clone());
    let written = simulation().run(|job: &Job| {
        let sink = log_sink("log-v1").partitions(2).segment_bytes_max(200);
        let sink = sink.partition_by(|bid: &Bid| bid.auction);
        job.source("bids", Bids).sink("log", sink);
    });
    written.unwrap().expect_finished();
    let read = simulation().run(|job: &Job| {
        let source = log_source::<Bid>("log-v1").consumer("billing");
        job.source("bids", source).discard();
    });
    read.unwrap().expect_finished();
    disk
}

/// The golden files by their path in the log, without locks.
fn golden() -> Vec<(PathBuf, Vec<u8>)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(Path::new(GOLDEN), &mut paths);
    paths.sort();
    let relative = |path: &Path| path.strip_prefix(GOLDEN).unwrap().to_owned();
    paths
        .iter()
        .map(|path| (relative(path), fs::read(path).unwrap()))
        .collect()
}

fn is_lock(path: &Path) -> bool {
    path.ends_with("lock")
        || path
            .extension()
            .is_some_and(|extension| extension == "lock")
}

#[test]
fn what_is_written_today_is_what_version_1_wrote() {
    let disk = write();
    if std::env::var("LEVADA_GOLDEN").as_deref() == Ok("write") {
        write_the_golden_files(&disk);
    }
    let written: Vec<_> = disk
        .paths()
        .into_iter()
        .filter(|path| !is_lock(path))
        .collect();
    let golden = golden();
    let names: Vec<_> = golden
        .iter()
        .map(|(path, _)| Path::new("log-v1").join(path))
        .collect();
    assert_eq!(written, names);
    for (path, bytes) in golden {
        let written = disk.get(Path::new("log-v1").join(&path)).unwrap();
        assert!(
            written == bytes,
            "{} has changed: {written:?}",
            path.display()
        );
    }
}

#[test]
fn what_version_1_wrote_is_read() {
    let disk = MemoryDisk::default();
    for (path, bytes) in golden() {
        disk.put(Path::new("log-v1").join(path), bytes);
    }
    let (sink, collected) = collect();
    let simulation = Simulation::new(7).with_disk(disk.clone());
    let run = simulation.run(|job: &Job| {
        job.source("bids", log_source::<Bid>("log-v1"))
            .sink("out", sink.clone());
    });
    run.unwrap().expect_finished();
    let mut read = collected.take();
    read.sort_by(|a, b| a.price.total_cmp(&b.price));
    let expected: Vec<_> = bids().into_iter().map(|(bid, _)| bid).collect();
    assert_eq!(read, expected);

    let disk: Arc<dyn Disk> = Arc::new(disk);
    let log = Log::open_on(&disk, "log-v1").unwrap();
    assert_eq!(log.end(0).unwrap() + log.end(1).unwrap(), 11);
    assert_eq!(log.lag("billing").unwrap().records(), 0);
    assert_eq!(log.lag("nobody").unwrap().records(), 11);
}

/// Writes the golden files anew, for a new version of the format: `LEVADA_GOLDEN=write`.
fn write_the_golden_files(disk: &MemoryDisk) {
    for path in disk.paths().into_iter().filter(|path| !is_lock(path)) {
        let target = Path::new(GOLDEN).parent().unwrap().join(&path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, disk.get(path).unwrap()).unwrap();
    }
}
