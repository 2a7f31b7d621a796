//! A log that is written epoch by epoch: what a checkpoint has prepared becomes visible once, whatever happens in between.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::Location;
use std::sync::Arc;

use levada_connectors::{ByKey, LogSink, log_sink, log_source};
use levada_core::random::SplitMix64;
use levada_core::{Origin, Timestamp, Wake};
use levada_runtime::{BoxError, Drain, Environment, ReaderContext, Sink, SinkContext, Writer};
use levada_testing::{MemoryDisk, replay};

const SUBTASKS: usize = 2;
const END: u64 = 60;
const EPOCH: u64 = 12;

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

fn environment(disk: &MemoryDisk) -> Environment {
    Environment {
        disk: Arc::new(disk.clone()),
        ..Environment::system()
    }
}

fn context(disk: &MemoryDisk, run: u64, subtask: usize, is_restored: bool) -> SinkContext {
    let operator = Origin::new("out", Location::caller());
    let environment = environment(disk);
    let reader = ReaderContext::without_job(operator, SUBTASKS, environment, Arc::new(Nobody));
    SinkContext {
        operator: reader.operator,
        subtask,
        parallelism: SUBTASKS,
        run: format!("{run:016x}").into(),
        is_restored,
        environment: reader.environment,
        waker: reader.waker,
        counters: reader.counters,
        metrics: reader.metrics,
    }
}

struct Numbers(Range<u64>);

impl Iterator for Numbers {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0.next()
    }
}

impl Drain<u64> for Numbers {
    fn timestamp(&self) -> Timestamp {
        Timestamp(7)
    }

    fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

type Log = LogSink<ByKey<fn(&u64) -> u64>>;

/// Both subtasks write to all three partitions, in small segments.
fn sink() -> Log {
    let key: fn(&u64) -> u64 = |number| number % 5;
    let sink = log_sink("log").partitions(3);
    sink.partition_by(key).segment_bytes_max(150)
}

type Out = <Log as Sink<u64>>::Writer;

fn write(writer: &mut Out, numbers: Range<u64>) -> Result<(), BoxError> {
    writer.write(&mut Numbers(numbers))
}

/// The numbers that readers see. Each is there once.
fn visible(disk: &MemoryDisk) -> BTreeSet<u64> {
    let read = replay(&log_source::<u64>("log"), &environment(disk), 1, usize::MAX);
    let mut found = BTreeSet::new();
    for number in read.unwrap() {
        assert!(found.insert(number), "{number} is there twice");
    }
    found
}

fn staged(disk: &MemoryDisk) -> usize {
    let paths = disk.paths();
    paths
        .iter()
        .filter(|path| path.starts_with("log/staged"))
        .count()
}

/// A job that counts, and what its last complete checkpoint has kept.
struct Job {
    disk: MemoryDisk,
    random: SplitMix64,
    run: u64,
    position: u64,
    has_checkpoint: bool,
    /// What was prepared and is not known to be committed, as another process reads it.
    pending: Vec<Vec<u8>>,
    commits: u32,
}

impl Job {
    fn new(seed: u64) -> Self {
        Self {
            disk: MemoryDisk::default(),
            random: SplitMix64::new(seed),
            run: 0,
            position: 0,
            has_checkpoint: false,
            pending: Vec::new(),
            commits: 0,
        }
    }

    fn run(&mut self) -> Result<(), BoxError> {
        self.run += 1;
        let sink = sink();
        let context = |subtask| context(&self.disk, self.run, subtask, self.has_checkpoint);
        Sink::<u64>::start(&sink, &context(0))?;
        if self.has_checkpoint {
            let pending = self.pending.iter();
            let pending = pending.map(|bytes| serde_json::from_slice(bytes).unwrap());
            Sink::<u64>::recover(&sink, pending.collect(), &context(0))?;
            let expected: BTreeSet<u64> = (0..self.position).collect();
            assert_eq!(visible(&self.disk), expected, "run {}", self.run);
        }
        assert_eq!(staged(&self.disk), 0);
        let mut writers: Vec<Out> = Vec::new();
        for subtask in 0..SUBTASKS {
            writers.push(Sink::<u64>::open(&sink, &context(subtask))?);
        }
        let mut uncommitted: Vec<Vec<_>> = vec![Vec::new(); SUBTASKS];
        let mut next = self.position;
        while self.position < END {
            // One subtask is ahead: it writes for the next epoch while the other one is still in this one.
            let ahead = self.random.below(2) as usize;
            let behind = 1 - ahead;
            let end = self.position + EPOCH;
            let middle = next + self.random.below(end - next);
            write(&mut writers[ahead], next..middle)?;
            write(&mut writers[behind], middle..end - 1)?;
            uncommitted[ahead].push(Writer::<u64>::prepare(&mut writers[ahead])?);
            next = if end < END { end + 1 } else { end };
            write(&mut writers[ahead], end..next)?;
            write(&mut writers[behind], end - 1..end)?;
            uncommitted[behind].push(Writer::<u64>::prepare(&mut writers[behind])?);
            // The checkpoint is complete.
            let all = uncommitted.iter().flatten();
            self.pending = all.map(|one| serde_json::to_vec(one).unwrap()).collect();
            self.position = end;
            self.has_checkpoint = true;
            if end == END || self.random.below(2) == 0 {
                for (writer, pending) in writers.iter_mut().zip(&mut uncommitted) {
                    for pending in pending.drain(..) {
                        self.commits += 1;
                        // A commit may be repeated.
                        Writer::<u64>::commit(writer, pending.clone())?;
                        Writer::<u64>::commit(writer, pending)?;
                    }
                }
                assert_eq!(
                    visible(&self.disk),
                    (0..end).collect(),
                    "the checkpoint, no more"
                );
            }
        }
        Ok(())
    }
}

#[test]
fn a_power_failure_at_any_change_loses_nothing_and_repeats_nothing() {
    let (mut crashes, mut whole, mut commits) = (0, 0, 0);
    for seed in 0..400 {
        let mut job = Job::new(seed);
        job.disk.power_off_after(seed);
        let mut attempts = 0;
        while let Err(error) = job.run() {
            assert!(attempts < 200, "seed {seed}: {error}");
            attempts += 1;
            crashes += 1;
            let seed = job.random.next();
            job.disk.crash(seed);
            if seed.is_multiple_of(3) {
                job.disk.power_off_after(seed % 61);
            }
        }
        whole += u32::from(attempts == 0);
        assert_eq!(visible(&job.disk), (0..END).collect(), "seed {seed}");
        commits += job.commits;
    }
    println!("{crashes} crashes, {whole} jobs without one, {commits} commits");
    assert!(crashes > 200 && whole > 0 && commits > 400);
}
