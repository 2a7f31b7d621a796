//! A log as the beginning of a stream.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use levada_core::sync::Mutex;
use levada_core::{BoxError, Exchange, OnError};
use levada_runtime::stage::OPEN_SPLITS_MAX;
use levada_runtime::{ReaderContext, Source, SourceContext};
use serde::{Deserialize, Serialize};

use crate::log::consumer::Consumer;
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
/// **Promise**: at least once. A consumer's offsets are stored when the whole job has come to its end, after all of its
/// sinks have committed, and for all partitions at once: a job that fails or is cancelled stores nothing and its records
/// are read again, and so they are if the machine stops between the last sink and the offsets.
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
    record: PhantomData<fn() -> T>,
}

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

    /// Never ends: looks for new records as often as this. Such a job ends by being cancelled, and so its consumer stores
    /// nothing.
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

impl<T: Exchange, P: ErrorPolicy<T>> Source for LogSource<T, P> {
    type Out = P::Out;
    type Split = LogSplit;
    type Reader = LogReader<T, P>;

    fn splits(&self, context: &SourceContext) -> Result<Vec<LogSplit>, BoxError> {
        let home = Home::new(&self.dir, &context.environment.disk);
        let manifest = Manifest::of_existing(&home)?;
        manifest.expect::<T>(&home)?;
        let mut consumer = None;
        let mut stored = None;
        if let Some(name) = &self.consumer {
            let opened = Consumer::open(&home, name, manifest.partitions as usize)?;
            consumer = Some(opened.0);
            stored = opened.1;
        }
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
            let begins: Vec<_> = ranges.iter().map(|range| range.begin).collect();
            consumer.begin(&begins);
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

    fn open(
        &self,
        split: LogSplit,
        position: Option<Vec<u64>>,
        context: &ReaderContext,
    ) -> Result<LogReader<T, P>, BoxError> {
        let home = Home::new(&self.dir, &context.environment.disk);
        let manifest = Manifest::of_existing(&home)?;
        Ok(LogReader::new(
            home,
            manifest,
            &split,
            position,
            (self.settings, self.policy.clone()),
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
        for (split, offsets) in read {
            for (range, offset) in split.partitions.iter().zip(offsets) {
                consumer.read(range.partition, *offset)?;
            }
        }
        Ok(())
    }

    fn is_endless(&self) -> bool {
        self.settings.follow.is_some()
    }

    fn is_blocking(&self) -> bool {
        true
    }
}
