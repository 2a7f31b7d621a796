//! A log on a machine that loses its power at any change to the disk: what was committed stays, and of a job that had not
//! committed nothing is seen. Against a plain model: the records that were published, and how far the consumer was.

use std::collections::BTreeSet;
use std::path::PathBuf;

use levada::connectors::{LogSink, OnGap, RoundRobin};
use levada::prelude::*;
use levada_core::random::SplitMix64;
use levada_testing::collect;

use crate::world::{Bid, World, bids};

/// Whether old segments are removed.
type Retains = bool;

fn small(sink: LogSink<RoundRobin>, retains: Retains) -> LogSink<RoundRobin> {
    let sink = sink.segment_bytes_max(150);
    if retains {
        sink.retain_bytes(300)
    } else {
        sink
    }
}

/// What the log should hold.
struct Model {
    world: World,
    random: SplitMix64,
    /// Numbers of the records that were published, whether they are still there or not.
    published: BTreeSet<u64>,
    /// Those that the consumer has read.
    consumed: BTreeSet<u64>,
    next: u64,
    retains: Retains,
    crashes: u32,
    /// Jobs that were stopped and had published, or had not.
    stopped: [u32; 2],
}

impl Model {
    fn new(seed: u64) -> Self {
        Self {
            world: World::new(seed),
            random: SplitMix64::new(seed),
            published: BTreeSet::new(),
            consumed: BTreeSet::new(),
            next: 0,
            retains: seed % 2 == 1,
            crashes: 0,
            stopped: [0; 2],
        }
    }

    /// Appends some records; the power may fail meanwhile, or the device.
    fn append(&mut self) {
        let begin = self.next;
        self.next += 1 + self.random.below(40);
        let numbers = begin..self.next;
        let disk = &self.world.disk;
        match self.random.below(4) {
            0 => {}
            1 => disk.fail_syncs_after(self.random.below(12)),
            _ => disk.power_off_after(self.random.below(60)),
        }
        let count = numbers.end - begin;
        let retains = self.retains;
        let run = self.world.simulation().run(|job: &Job| {
            let sink = small(log_sink("orders").partitions(3), retains);
            let records = generator(move |n| bids(begin + n)).count(count);
            job.source("bids", records).rebalance().sink("log", sink);
        });
        let is_whole = matches!(&run, Ok(run) if run.outcome.is_ok());
        if is_whole && self.random.below(2) == 0 {
            self.world.disk.power_off_after(u64::MAX);
            self.world.disk.fail_syncs_after(u64::MAX);
            self.published.extend(numbers);
            let read = self.read_all();
            assert!(self.fits(&read, &self.published), "{read:?}");
            return;
        }
        self.crash();
        let read = self.read_all();
        let expected: BTreeSet<_> = self.published.iter().copied().chain(numbers).collect();
        if is_whole {
            assert!(
                self.fits(&read, &expected),
                "a job that has committed is lost"
            );
        } else {
            assert!(
                self.fits(&read, &self.published) || self.fits(&read, &expected),
                "a job is seen in part: {read:?}, and not {:?} or all of {expected:?}",
                self.published
            );
            self.stopped[usize::from(read.range(begin..).next().is_some())] += 1;
        }
        if !self.retains || read.range(begin..).next().is_some() {
            self.published.extend(read);
        }
    }

    /// Whether the log holds what it should. With retention that is a part of it.
    fn fits(&self, read: &BTreeSet<u64>, expected: &BTreeSet<u64>) -> bool {
        match self.retains {
            true => read.is_subset(expected) && read.is_empty() == expected.is_empty(),
            false => read == expected,
        }
    }

    fn crash(&mut self) {
        self.crashes += 1;
        self.world.disk.crash(self.random.next());
        if !self.has_log() {
            return;
        }
        // Some devices leave what nobody has written.
        for path in self.last_segments() {
            if self.random.below(2) == 0 {
                let mut bytes = self.world.disk.get(&path).unwrap();
                let garbage = (0..self.random.below(50)).map(|_| self.random.next() as u8);
                bytes.extend(garbage.collect::<Vec<_>>());
                self.world.disk.put(path, bytes);
            }
        }
    }

    /// The last segment of each partition.
    fn last_segments(&self) -> Vec<PathBuf> {
        let paths = self.world.disk.paths();
        let of = |partition| {
            let dir = format!("orders/{partition:04}");
            paths.iter().rfind(|path| path.starts_with(&dir)).cloned()
        };
        (0..3).filter_map(of).collect()
    }

    fn has_log(&self) -> bool {
        self.world.disk.get("orders/log.json").is_some()
    }

    fn read_all(&self) -> BTreeSet<u64> {
        if !self.has_log() {
            return BTreeSet::new();
        }
        let read = self.world.consume(|source| source).unwrap();
        let numbers: BTreeSet<_> = read.iter().map(|bid| bid.price).collect();
        assert_eq!(numbers.len(), read.len(), "a record is there twice");
        for bid in read {
            assert_eq!(bid, bids(bid.price));
        }
        numbers
    }

    /// Reads as a consumer; the power may fail before its offsets are stored.
    fn consume(&mut self) {
        if !self.has_log() {
            return;
        }
        let there = self.read_all();
        let unread: BTreeSet<_> = there.difference(&self.consumed).copied().collect();
        if self.random.below(2) == 0 {
            self.world.disk.power_off_after(self.random.below(6));
        }
        let (sink, collected) = collect();
        let run = self.world.simulation().run(|job: &Job| {
            let source = log_source::<Bid>("orders")
                .consumer("billing")
                .on_gap(OnGap::Earliest);
            job.source("bids", source).sink("out", sink.clone());
        });

        if matches!(&run, Ok(run) if run.outcome.is_ok()) {
            let read: BTreeSet<_> = collected.take().iter().map(|bid| bid.price).collect();
            assert_eq!(read, unread);
            self.world.disk.power_off_after(u64::MAX);
            self.consumed.extend(read);
            return;
        }
        self.crash();
        let lag = self.world.log().lag("billing").unwrap().records();
        if lag == 0 {
            self.consumed.extend(unread);
            return;
        }
        // A crash may bring back old segments whose removal was not safe yet.
        let there = self.read_all();
        let unread = there.difference(&self.consumed).count() as u64;
        assert_eq!(lag, unread, "offsets are stored in part");
    }
}

#[test]
fn a_power_failure_at_any_change_leaves_whole_jobs() {
    let (mut crashes, mut stopped) = (0, [0; 2]);
    for seed in 0..300 {
        let mut model = Model::new(seed);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..12 {
                match model.random.below(3) {
                    0 => model.consume(),
                    _ => model.append(),
                }
            }
            assert!(model.fits(&model.read_all(), &model.published));
        }));
        if let Err(panic) = caught {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
        crashes += model.crashes;
        stopped[0] += model.stopped[0];
        stopped[1] += model.stopped[1];
    }
    println!(
        "{crashes} crashes; of the jobs that were stopped, {stopped:?} had not published and had"
    );
    assert!(
        crashes > 1_000 && stopped[0] > 300 && stopped[1] > 3,
        "{crashes}, {stopped:?}"
    );
}

#[test]
fn a_tail_that_is_cut_at_any_byte_is_recovered() {
    let world = World::new(1);
    world.append(0..30, |sink| sink);
    let path = "orders/0001/00000000000000000000.log";
    let committed = world.disk.get(path).unwrap();
    // What a job leaves that is killed: whole frames behind the committed end, and the beginning of another one.
    let tail = committed[36..].to_vec();
    let mut recovered = 0;
    for cut in 0..=tail.len() {
        let bytes = [&committed[..], &tail[..cut]].concat();
        world.disk.put(path, bytes);
        assert_eq!(
            world.consume(|source| source).unwrap().len(),
            30,
            "cut at {cut}"
        );
        // A job that appends nothing to the partition leaves whole frames for a commit that is repeated...
        world.append(0..0, |sink| sink);
        let left = world.disk.get(path).unwrap();
        assert!(
            left.len() <= committed.len() + cut && left.starts_with(&committed),
            "cut at {cut}"
        );
        recovered += usize::from(left.len() < committed.len() + cut);
        assert_eq!(
            world.consume(|source| source).unwrap().len(),
            30,
            "cut at {cut}"
        );
        world.disk.put(path, committed.clone());
    }
    assert!(
        recovered > tail.len() / 2,
        "{recovered} torn frames were cut off"
    );
    // ...and one that appends writes in their place.
    world.disk.put(path, [&committed[..], &tail[..]].concat());
    world.append(30..60, |sink| sink);
    assert_eq!(
        world.consume(|source| source).unwrap(),
        (0..60).map(bids).collect::<Vec<_>>()
    );
}

#[test]
fn damage_anywhere_in_what_is_committed_is_found_by_readers() {
    let world = World::new(1);
    world.append(0..30, |sink| sink);
    let path = "orders/0001/00000000000000000000.log";
    let committed = world.disk.get(path).unwrap();
    for byte in 0..committed.len() {
        let mut damaged = committed.clone();
        damaged[byte] ^= 0x10;
        world.disk.put(path, damaged);
        let error = world.consume(|source| source).unwrap_err();
        assert!(
            error.contains(&format!("{path} is damaged at byte")),
            "byte {byte}: {error}"
        );
    }
    for len in 0..committed.len() {
        world.disk.put(path, &committed[..len]);
        let error = world.consume(|source| source).unwrap_err();
        assert!(error.contains(path), "cut to {len}: {error}");
    }
    world.disk.put(path, committed);
    assert_eq!(world.consume(|source| source).unwrap().len(), 30);
}
