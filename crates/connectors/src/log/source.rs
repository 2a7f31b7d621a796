//! A log as the beginning of a stream.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use levada_core::sync::Mutex;
use levada_core::{BoxError, Exchange, OnError, codec};
use levada_runtime::stage::OPEN_SPLITS_MAX;
use levada_runtime::{ReaderContext, Source, SourceContext};
use serde::{Deserialize, Serialize};

use crate::log::consumer::{Consumer, Progress};
use crate::log::error::LogError;
use crate::log::home::Home;
use crate::log::manifest::Manifest;
use crate::log::partition;
use crate::log::reader::{LogReader, Settings};
use crate::on_error::{ErrorPolicy, Plain, Results};

/// The records of the log in a directory, with the event times they were written with.
///
/// Each partition is a split, read in its order up to the end that was committed when the job started. With
/// [`follow`](LogSource::follow) it goes on behind that, and each subtask reads its share of the partitions in turn.
///
/// **Where it begins**: at the earliest record, unless a `from_` method says otherwise. A
/// [`consumer`](LogSource::consumer) goes on where it was. After a restore: at the offset of the next record.
///
/// **Promise**: a job that goes on from a checkpoint reads each record once. Whoever starts afresh as the same consumer reads
/// at least once: offsets are stored when a checkpoint is complete, and when the whole job has come to its end, after all of
/// its sinks have committed, and for all partitions at once. What a job has read after that is read again if it fails or is
/// cancelled, and so it is if the machine stops between the last sink and the offsets. Offsets never go back: a job that
/// goes on from an older checkpoint leaves them where they are until it has passed them.
///
/// **Limits**: none on records; what the sink has written is read. A record must fit into memory.
///
/// It can be simulated.
///
/// ```
/// use levada_connectors::{OnGap, log_source};
///
/// let bills = log_source::<(u64, String)>("orders").consumer("billing").on_gap(OnGap::Earliest);
/// # drop(bills);
/// ```
#[must_use]
pub fn log_source<T>(dir: impl Into<PathBuf>) -> LogSource<T> {
    LogSource {
        dir: dir.into(),
        consumer: None,
        start: Start::Earliest,
        settings: Settings {
            follow: None,
            on_gap: OnGap::Fail,
        },
        policy: Plain::default(),
        reading: Mutex::new(None),
        finished: Finished::default(),
        record: PhantomData,
    }
}

/// The source made by [`log_source`].
pub struct LogSource<T, P = Plain> {
    dir: PathBuf,
    consumer: Option<String>,
    start: Start,
    settings: Settings,
    policy: P,
    /// The consumer, from the start of the job on.
    reading: Mutex<Option<Consumer>>,
    /// Partitions that readers are through with, with their ends.
    finished: Finished,
    record: PhantomData<fn() -> T>,
}

/// Partitions that have been read to their end in this job.
pub(super) type Finished = Arc<Mutex<Vec<(u32, u64)>>>;

#[derive(Clone, Debug)]
enum Start {
    Earliest,
    Latest,
    Offsets(Vec<u64>),
}

/// What becomes of a reader whose next record has been removed by retention.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnGap {
    /// The job fails, and names the earliest record that is left.
    #[default]
    Fail,
    /// It goes on with the earliest record that is left. What is missing is counted (`records_skipped`) and logged.
    Earliest,
}

impl<T> LogSource<T> {
    /// What to do with a record that is whole, but cannot be decoded as a `T`. Damage to a file always fails the job.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.policy = Plain { on_error };
        self
    }

    /// Yields a `Result` for each record, so that those that cannot be decoded can go their own way
    /// (`Flow::split_results`).
    #[must_use]
    pub fn results(self) -> LogSource<T, Results> {
        LogSource {
            dir: self.dir,
            consumer: self.consumer,
            start: self.start,
            settings: self.settings,
            policy: Results,
            reading: Mutex::new(None),
            finished: Finished::default(),
            record: PhantomData,
        }
    }
}

/// A copy has the same settings and its own place in a job.
impl<T, P: Clone> Clone for LogSource<T, P> {
    fn clone(&self) -> Self {
        Self {
            dir: self.dir.clone(),
            consumer: self.consumer.clone(),
            start: self.start.clone(),
            settings: self.settings,
            policy: self.policy.clone(),
            reading: Mutex::new(None),
            finished: Finished::default(),
            record: PhantomData,
        }
    }
}

impl<T, P> LogSource<T, P> {
    /// Reads as a consumer with this name: goes on where its last job ended, and stores how far this one has come. One job
    /// at a time may be a consumer; consumers know nothing of one another.
    #[must_use]
    pub fn consumer(mut self, name: impl Into<String>) -> Self {
        self.consumer = Some(name.into());
        self
    }

    /// Begins with the earliest records, which is the default. A consumer that has read before goes on where it was.
    #[must_use]
    pub fn from_earliest(mut self) -> Self {
        self.start = Start::Earliest;
        self
    }

    /// Begins at the end that is committed when the job starts. A consumer that has read before goes on where it was.
    #[must_use]
    pub fn from_latest(mut self) -> Self {
        self.start = Start::Latest;
        self
    }

    /// Begins at these offsets, one for each partition. A consumer that has read before goes on where it was.
    #[must_use]
    pub fn from_offsets(mut self, offsets: impl Into<Vec<u64>>) -> Self {
        self.start = Start::Offsets(offsets.into());
        self
    }

    /// What to do if the next record has been removed.
    #[must_use]
    pub fn on_gap(mut self, on_gap: OnGap) -> Self {
        self.settings.on_gap = on_gap;
        self
    }

    /// Never ends: looks for new records as often as this. Such a job ends by being cancelled, so its consumer stores what
    /// complete checkpoints have read, and nothing without them.
    #[must_use]
    pub fn follow(mut self, every: Duration) -> Self {
        self.settings.follow = Some(every);
        self
    }
}

/// Partitions of a log that one reader reads: one, or some in turn if there are too many that never end.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LogSplit {
    /// The partitions.
    pub partitions: Vec<LogRange>,
}

impl LogSplit {
    /// The offsets of the first records.
    pub(super) fn begins(&self) -> Vec<u64> {
        self.partitions.iter().map(|range| range.begin).collect()
    }
}

/// What is read of a partition.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LogRange {
    /// Its number, from 0.
    pub partition: u32,
    /// The offset of the first record to read.
    pub begin: u64,
    /// The end that was committed when the job started.
    pub end: u64,
}

impl<T, P> LogSource<T, P> {
    /// Takes the name of the consumer, if it has one, and forgets an earlier attempt.
    fn take_name(&self, home: &Home, manifest: &Manifest) -> Result<Option<Consumer>, LogError> {
        let mut reading = self.reading.lock();
        *reading = None;
        self.finished.lock().clear();
        let name = self.consumer.as_ref();
        name.map(|name| Consumer::open(home, name, manifest.partitions as usize))
            .transpose()
    }
}

impl<T: Exchange, P: ErrorPolicy<T>> Source for LogSource<T, P> {
    type Out = P::Out;
    type Split = LogSplit;
    type Reader = LogReader<T, P>;

    fn splits(&self, context: &SourceContext) -> Result<Vec<LogSplit>, BoxError> {
        let home = Home::new(&self.dir, &context.environment.disk);
        let manifest = Manifest::of_existing(&home)?;
        manifest.expect::<T>(&home)?;
        let mut consumer = self.take_name(&home, &manifest)?;
        let stored = consumer.as_ref().and_then(Consumer::stored).cloned();
        let ends = manifest.ends(&home)?;
        // Who begins with the earliest record misses nothing that was removed before.
        let is_new = stored.is_none() && matches!(self.start, Start::Earliest);
        let begins = match (stored, &self.start) {
            (Some(stored), _) => stored,
            (None, Start::Earliest) => vec![0; ends.len()],
            (None, Start::Latest) => ends.clone(),
            (None, Start::Offsets(offsets)) if offsets.len() == ends.len() => offsets.clone(),
            (None, Start::Offsets(offsets)) => {
                return Err(LogError::Partitions {
                    path: self.dir.clone(),
                    found: ends.len(),
                    expected: offsets.len(),
                }
                .into());
            }
        };
        let mut ranges = Vec::new();
        for ((partition, begin), end) in (0..).zip(begins).zip(ends) {
            let dir = home.partition(partition);
            let earliest = partition::earliest(&*home.disk, &dir, end)?;
            let begin = match begin {
                _ if is_new => earliest,
                begin if begin > end => {
                    return Err(LogError::BeyondEnd {
                        dir: self.dir.clone(),
                        partition,
                        offset: begin,
                        end,
                    }
                    .into());
                }
                begin if begin < earliest && self.settings.on_gap == OnGap::Fail => {
                    return Err(LogError::Gap {
                        dir: self.dir.clone(),
                        partition,
                        offset: begin,
                        earliest,
                    }
                    .into());
                }
                begin => begin,
            };
            ranges.push(LogRange {
                partition,
                begin,
                end,
            });
        }
        if let Some(consumer) = &mut consumer {
            let end = |range: &LogRange| match self.settings.follow {
                Some(_) => u64::MAX,
                None => range.end,
            };
            consumer.begin(Progress {
                offsets: ranges.iter().map(|range| range.begin).collect(),
                ends: ranges.iter().map(end).collect(),
            })?;
        }
        *self.reading.lock() = consumer;
        // Partitions that never end are all read at a time; should there be too many of them, some have to share a reader.
        let readers = match self.settings.follow {
            Some(_) => ranges.len().min(context.parallelism * OPEN_SPLITS_MAX),
            None => ranges.len(),
        };
        let mut splits = vec![
            LogSplit {
                partitions: Vec::new()
            };
            readers
        ];
        for (i, range) in ranges.into_iter().enumerate() {
            splits[i % readers].partitions.push(range);
        }
        Ok(splits)
    }

    fn restore(&self, memory: &[u8], context: &SourceContext) -> Result<(), BoxError> {
        let home = Home::new(&self.dir, &context.environment.disk);
        let manifest = Manifest::of_existing(&home)?;
        manifest.expect::<T>(&home)?;
        let mut consumer = self.take_name(&home, &manifest)?;
        if let (Some(consumer), false) = (&mut consumer, memory.is_empty()) {
            consumer.begin(codec::decode(memory)?)?;
        }
        *self.reading.lock() = consumer;
        Ok(())
    }

    fn memory(&self) -> Result<Vec<u8>, BoxError> {
        let mut memory = Vec::new();
        if let Some(consumer) = &*self.reading.lock() {
            codec::encode(&consumer.progress(&self.finished.lock()), &mut memory)?;
        }
        Ok(memory)
    }

    fn open(
        &self,
        split: LogSplit,
        position: Option<Vec<u64>>,
        context: &ReaderContext,
    ) -> Result<LogReader<T, P>, BoxError> {
        let home = Home::new(&self.dir, &context.environment.disk);
        let manifest = Manifest::of_existing(&home)?;
        if let (Some(consumer), Some(offsets)) = (&mut *self.reading.lock(), &position) {
            let partitions = split.partitions.iter().map(|range| range.partition);
            consumer.goes_on(partitions.zip(offsets.iter().copied()));
        }
        Ok(LogReader::new(
            home,
            manifest,
            &split,
            position,
            (
                self.settings,
                self.policy.clone(),
                Arc::clone(&self.finished),
            ),
            context,
        ))
    }

    fn commits(&self) -> bool {
        self.consumer.is_some()
    }

    fn commit(&self, read: &[(LogSplit, Vec<u64>)], _: &ReaderContext) -> Result<(), BoxError> {
        let mut reading = self.reading.lock();
        let consumer = reading
            .as_mut()
            .expect("a consumer is opened with the splits");
        let each = read.iter().flat_map(|(split, offsets)| {
            let partitions = split.partitions.iter().map(|range| range.partition);
            partitions.zip(offsets.iter().copied())
        });
        Ok(consumer.read(each)?)
    }

    fn is_endless(&self) -> bool {
        self.settings.follow.is_some()
    }

    fn is_blocking(&self) -> bool {
        true
    }
}
