//! A log as the end of a stream.

use std::any::type_name;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use levada_core::sync::Mutex;
use levada_core::{BoxError, Exchange, Key, codec};
use levada_runtime::{Drain, Sink, SinkContext, Writer};
use serde::{Deserialize, Serialize};

use crate::log::appender::{Appender, Ends};
use crate::log::error::LogError;
use crate::log::partition::Limits;
use crate::log::partitioner::{ByKey, Partitioner, RoundRobin};
use crate::log::segment::{self, Encoded, HEADER_BYTES};
use crate::log::staged::{self, Epoch, Staged, Staging};

/// Appends every record to the log in a directory, which is made if there is none.
///
/// **Promise**: exactly once. What a job has appended becomes visible when its checkpoint is complete, subtask by subtask, and
/// is on the disk then; without checkpoints when the whole job has come to its end, in all partitions at once. What no
/// complete checkpoint has of a job that fails, is cancelled or is killed never becomes visible; a job that goes on from a
/// checkpoint first commits what that one had prepared. What is written after the first checkpoint is written twice: into a
/// file beside the log, and from there into the log when it is committed. One exception: if the very last step fails, which makes the name of the new state durable, the job fails and
/// readers may see its output all the same. Whoever runs a job again after a crash, and cannot tell whether it had
/// committed, compares [`Log::end`](crate::Log::end).
///
/// **Partitions**: records are dealt out in turn. With `p` subtasks, number `i` fills the partitions `i`, `i + p` and so
/// on, so that two rarely meet. [`partition_by`](LogSink::partition_by) keeps the records of a key together. Within a
/// partition the records of one subtask keep their order.
///
/// **Limits**: one writing job at a time, in one process (a lock says so). A record has at most 16 MiB, a segment about
/// 64 MiB. A subtask gathers at most 1 MiB before it writes. The event time of each record is kept.
///
/// It can be simulated.
///
/// ```
/// use levada_connectors::{log_sink, log_source};
///
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Bid { auction: u64 }
/// let sink = log_sink("orders").partitions(8).partition_by(|bid: &Bid| bid.auction);
/// let source = log_source::<Bid>("orders").consumer("billing");
/// ```
#[must_use]
pub fn log_sink(dir: impl Into<PathBuf>) -> LogSink<RoundRobin> {
    LogSink {
        dir: dir.into(),
        partitioner: RoundRobin,
        options: Options::default(),
        appender: Mutex::new(None),
    }
}

/// The sink made by [`log_sink`].
pub struct LogSink<P> {
    dir: PathBuf,
    partitioner: P,
    options: Options,
    /// There from the start of the job on.
    appender: Mutex<Option<Arc<Appender>>>,
}

#[derive(Clone, Copy)]
struct Options {
    partitions: Option<u32>,
    record_bytes_max: usize,
    limits: Limits,
}

/// The default for the largest record.
const RECORD_BYTES_MAX: usize = 16 << 20;

/// Bytes that a subtask gathers for a partition before it writes them.
const BUFFER_BYTES: usize = 64 << 10;

/// Bytes that a subtask gathers for all partitions.
const BUFFERS_BYTES: usize = 1 << 20;
const _: () = assert!(BUFFER_BYTES <= BUFFERS_BYTES);

impl Default for Options {
    fn default() -> Self {
        Self {
            partitions: None,
            record_bytes_max: RECORD_BYTES_MAX,
            limits: Limits::default(),
        }
    }
}

/// A copy has the same settings and its own place in a job.
impl<P: Clone> Clone for LogSink<P> {
    fn clone(&self) -> Self {
        Self {
            dir: self.dir.clone(),
            partitioner: self.partitioner.clone(),
            options: self.options,
            appender: Mutex::new(None),
        }
    }
}

impl<P> LogSink<P> {
    /// How many partitions the log has: fixed when it is made, and 4 if nobody says. A log that is there must have as many.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.options.partitions = Some(partitions);
        self
    }

    /// Keeps records with equal keys in one partition. To have them in one order too, let them come from one subtask:
    /// behind a `key_by` with the same key they do.
    #[must_use]
    pub fn partition_by<T, K, F>(self, key: F) -> LogSink<ByKey<F>>
    where
        K: Key,
        F: Fn(&T) -> K + Clone + Send + Sync + 'static,
    {
        LogSink {
            dir: self.dir,
            partitioner: ByKey(key),
            options: self.options,
            appender: Mutex::new(None),
        }
    }

    /// The most bytes that a record may have, 16 MiB by default. A larger one fails the job.
    #[must_use]
    pub fn record_bytes_max(mut self, bytes: usize) -> Self {
        self.options.record_bytes_max = bytes;
        self
    }

    /// How large segments become, 64 MiB by default. A record that is larger has a segment of its own.
    #[must_use]
    pub fn segment_bytes_max(mut self, bytes: u64) -> Self {
        self.options.limits.segment_bytes_max = bytes;
        self
    }

    /// Removes old segments as long as their partition has so many bytes without them, whoever has read them. This happens
    /// when a job begins and when it has committed: a job that fails removes nothing to make room for its own records.
    #[must_use]
    pub fn retain_bytes(mut self, bytes: u64) -> Self {
        self.options.limits.retain_bytes = Some(bytes);
        self
    }

    /// Removes segments with records that were all written so long ago, whoever has read them; at the same times as
    /// [`retain_bytes`](Self::retain_bytes). A segment counts as old when the one that follows it is, and one that has
    /// reached the age is followed by another; so nothing stays for more than twice as long, if jobs write meanwhile.
    #[must_use]
    pub fn retain_for(mut self, age: Duration) -> Self {
        self.options.limits.retain_age = Some(age);
        self
    }
}

/// Writes to a log in one subtask.
pub struct LogWriter<T, P> {
    appender: Arc<Appender>,
    run: String,
    subtask: usize,
    /// The epoch that is being written; the first one goes into the partitions.
    epoch: u64,
    /// Where a later one goes, once it has records.
    staging: Option<Staging>,
    partitioner: P,
    record_bytes_max: usize,
    /// A buffer that would become larger is written.
    buffer_bytes: usize,
    /// By partition.
    buffers: Vec<Buffer>,
    /// Bytes in all buffers.
    gathered: usize,
    /// The partition of the next record without a key, and how many there are from one to the next.
    turn: u32,
    stride: u32,
    /// Whether the first record has been through the codec.
    checked: bool,
    frame: Vec<u8>,
    record: PhantomData<fn(T)>,
}

/// An epoch of a subtask that is safe: in the partitions as far as these ends, or beside the log.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct LogPending {
    ends: Ends,
    staged: Option<Staged>,
}

/// Frames of a partition that have not been written yet.
#[derive(Default)]
struct Buffer {
    frames: Vec<u8>,
    records: u64,
    /// Whether the partition has been written to.
    used: bool,
}

impl<T: Exchange, P: Partitioner<T>> Sink<T> for LogSink<P> {
    type Writer = LogWriter<T, P>;

    fn start(&self, context: &SinkContext) -> Result<(), BoxError> {
        let mut started = self.appender.lock();
        // Of an earlier attempt, which held the lock of the log.
        *started = None;
        let appender = Appender::open::<T>(
            &self.dir,
            &context.environment.disk,
            &context.environment.clock,
            self.options.partitions,
            self.options.limits,
        )?;
        if !context.is_restored {
            staged::remove_leftovers(appender.home(), &[])?;
        }
        *started = Some(Arc::new(appender));
        Ok(())
    }

    fn recover(&self, pending: Vec<LogPending>, _: &SinkContext) -> Result<(), BoxError> {
        let appender = self.appender.lock().clone();
        let appender = appender.expect("a sink is started before it recovers");
        let ends = pending.iter().flat_map(|pending| pending.ends.clone());
        appender.commit(&ends.collect())?;
        let staged = pending.into_iter().filter_map(|pending| pending.staged);
        appender.commit_staged(&staged.collect::<Vec<_>>())?;
        // Those of the checkpoint are in the log by now.
        Ok(staged::remove_leftovers(appender.home(), &[])?)
    }

    fn open(&self, context: &SinkContext) -> Result<LogWriter<T, P>, BoxError> {
        let appender = self.appender.lock().clone();
        let appender = appender.expect("a sink is started before it is opened");
        let partitions = appender.partitions();
        // What is written at once must fit into one segment.
        let segment_bytes = self.options.limits.segment_bytes_max;
        let segment_bytes = usize::try_from(segment_bytes.saturating_sub(HEADER_BYTES));
        Ok(LogWriter {
            run: context.run.to_string(),
            subtask: context.subtask,
            epoch: 0,
            staging: None,
            partitioner: self.partitioner.clone(),
            record_bytes_max: self.options.record_bytes_max,
            buffer_bytes: BUFFER_BYTES.min(segment_bytes.unwrap_or(usize::MAX)),
            buffers: (0..partitions).map(|_| Buffer::default()).collect(),
            gathered: 0,
            turn: context.subtask as u32 % partitions,
            stride: context.parallelism as u32,
            checked: false,
            frame: Vec::new(),
            appender,
            record: PhantomData,
        })
    }

    fn is_blocking(&self) -> bool {
        true
    }
}

impl<T: Exchange, P: Partitioner<T>> LogWriter<T, P> {
    /// Encodes a record as a frame.
    fn encode(&mut self, record: &T, timestamp: levada_core::Timestamp) -> Result<(), LogError> {
        let unencodable = |source| LogError::Unencodable {
            record_type: type_name::<T>(),
            source,
        };
        if !self.checked {
            codec::round_trip(record).map_err(unencodable)?;
            self.checked = true;
        }
        self.frame.clear();
        let encoded = segment::encode(record, timestamp, &mut self.frame).map_err(unencodable)?;
        let (Encoded::Frame(bytes) | Encoded::TooLarge(bytes)) = encoded;
        if bytes > self.record_bytes_max || matches!(encoded, Encoded::TooLarge(_)) {
            return Err(LogError::TooLarge {
                bytes,
                bytes_max: self.record_bytes_max.min(segment::PAYLOAD_BYTES_MAX),
            });
        }
        Ok(())
    }

    fn gather(&mut self, partition: u32) -> Result<(), LogError> {
        let index = partition as usize;
        let bytes = self.frame.len();
        let gathered = self.buffers[index].frames.len();
        if gathered > 0 && gathered + bytes > self.buffer_bytes {
            self.write_out(partition)?;
        }
        let buffer = &mut self.buffers[index];
        buffer.frames.extend_from_slice(&self.frame);
        buffer.records += 1;
        self.gathered += bytes;
        if self.gathered > BUFFERS_BYTES {
            self.write_all()?;
        }
        Ok(())
    }

    fn write_out(&mut self, partition: u32) -> Result<(), LogError> {
        let buffer = &mut self.buffers[partition as usize];
        if buffer.records == 0 {
            return Ok(());
        }
        buffer.used = true;
        if self.epoch == 0 {
            self.appender
                .append(partition, &buffer.frames, buffer.records)?;
        } else {
            let staging = match &mut self.staging {
                Some(staging) => staging,
                none => none.insert(Staging::create(
                    self.appender.home(),
                    Epoch {
                        run: self.run.clone(),
                        subtask: self.subtask,
                        number: self.epoch,
                    },
                )?),
            };
            staging.append(partition, &buffer.frames, buffer.records)?;
        }
        self.gathered -= buffer.frames.len();
        buffer.records = 0;
        buffer.frames.clear();
        // A large record should not hold its memory for ever.
        buffer.frames.shrink_to(BUFFER_BYTES);
        Ok(())
    }

    fn write_all(&mut self) -> Result<(), LogError> {
        (0..self.appender.partitions()).try_for_each(|partition| self.write_out(partition))
    }
}

impl<T: Exchange, P: Partitioner<T>> Writer<T> for LogWriter<T, P> {
    type Pending = LogPending;

    fn write(&mut self, records: &mut impl Drain<T>) -> Result<(), BoxError> {
        while let Some(record) = records.next() {
            let partitions = self.appender.partitions();
            let partition = match self.partitioner.partition(&record, partitions)? {
                Some(partition) => partition,
                None => self.turn,
            };
            self.encode(&record, records.timestamp())?;
            self.gather(partition)?;
            self.turn = next_turn(self.turn, self.stride, partitions);
        }
        Ok(())
    }

    fn prepare(&mut self) -> Result<LogPending, BoxError> {
        self.write_all()?;
        let mut pending = LogPending::default();
        if self.epoch == 0 {
            let used = (0..).zip(&self.buffers).filter(|(_, buffer)| buffer.used);
            pending.ends = self.appender.sync(used.map(|(partition, _)| partition))?;
        } else if let Some(staging) = &mut self.staging {
            pending.staged = Some(staging.seal(self.appender.home())?);
        }
        self.staging = None;
        self.epoch += 1;
        Ok(pending)
    }

    fn commit(&mut self, pending: LogPending) -> Result<(), BoxError> {
        match pending.staged {
            Some(staged) => self.appender.commit_staged(&[staged])?,
            None => self.appender.commit(&pending.ends)?,
        }
        Ok(())
    }

    fn abort(&mut self) -> Result<(), BoxError> {
        if let Some(staging) = self.staging.take() {
            staging.remove(self.appender.home())?;
        }
        Ok(self.appender.give_up()?)
    }
}

/// The partition after one, of those that a subtask fills: `i`, `i + p`... and from the beginning again.
fn next_turn(turn: u32, stride: u32, partitions: u32) -> u32 {
    match turn.checked_add(stride) {
        Some(next) if next < partitions => next,
        // Behind the last one comes the first of the subtask, which has the same remainder.
        _ => turn % stride % partitions,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_partition_is_filled_by_one_subtask_if_there_are_enough() {
        for partitions in 1..20u32 {
            for parallelism in 1..20u32 {
                let mut filled = BTreeSet::new();
                for subtask in 0..parallelism {
                    let mut own = BTreeSet::new();
                    let mut turn = subtask % partitions;
                    for _ in 0..50 {
                        assert!(turn < partitions);
                        own.insert(turn);
                        turn = next_turn(turn, parallelism, partitions);
                    }
                    if parallelism <= partitions {
                        assert!(filled.is_disjoint(&own), "{subtask} of {parallelism}");
                        let expected = (subtask..partitions).step_by(parallelism as usize);
                        assert!(own.iter().copied().eq(expected));
                    }
                    filled.extend(own);
                }
                assert_eq!(filled.len(), partitions as usize);
            }
        }
    }
}
