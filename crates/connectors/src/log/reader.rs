//! Reads a partition.

use std::any::type_name;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use levada_core::{BoxError, Clock, Exchange, Timestamp, codec};
use levada_runtime::metrics::OperatorCounters;
use levada_runtime::{Intake, Reader, ReaderContext, Status};

use crate::bad_record::BadRecord;
use crate::log::error::LogError;
use crate::log::home::Home;
use crate::log::manifest::Manifest;
use crate::log::segment::{self, HEADER_BYTES, Next, Opened, SegmentReader};
use crate::log::source::{Finished, LogSplit, OnGap};
use crate::on_error::{ErrorPolicy, Skipped};

/// Records that may be passed over before the task is asked whether it shall go on.
const PASSED_MAX: u32 = 256;

/// How a partition is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// How often to look for more at the end; none to end there.
    pub(super) follow: Option<Duration>,
    pub(super) on_gap: OnGap,
}

/// Reads partitions of a log: one, or some in turn. Its position is the offset of the next record of each.
pub struct LogReader<T, P> {
    home: Home,
    manifest: Manifest,
    follow: Option<Duration>,
    clock: Arc<dyn Clock>,
    partitions: Vec<PartitionReader<T, P>>,
    finished: Finished,
    /// The one that is read now.
    current: usize,
}

impl<T: Exchange, P: ErrorPolicy<T>> LogReader<T, P> {
    pub(super) fn new(
        home: Home,
        manifest: Manifest,
        split: &LogSplit,
        position: Option<Vec<u64>>,
        (settings, policy, finished): (Settings, P, Finished),
        context: &ReaderContext,
    ) -> Self {
        let position = position.unwrap_or_else(|| split.begins());
        let parts = split.partitions.iter().zip(position);
        let partitions = parts.map(|(part, offset)| PartitionReader {
            dir: home.partition(part.partition),
            home: home.clone(),
            written_as: manifest.record_type.clone(),
            partition: part.partition,
            settings,
            offset,
            end: part.end,
            segment: None,
            policy: policy.clone(),
            skipped: Skipped::by_reader(context),
            counters: Arc::clone(&context.counters),
            record: PhantomData,
        });
        Self {
            partitions: partitions.collect(),
            follow: settings.follow,
            clock: Arc::clone(&context.environment.clock),
            home,
            manifest,
            finished,
            current: 0,
        }
    }

    /// Goes to the next partition that has records; false if none has.
    fn next_partition(&mut self) -> bool {
        let count = self.partitions.len();
        let next = (1..=count).map(|step| (self.current + step) % count);
        let mut with_records = next.filter(|index| self.partitions[*index].has_more());
        match with_records.next() {
            Some(index) => {
                self.current = index;
                true
            }
            None => false,
        }
    }

    /// Looks whether more has been committed.
    fn look(&mut self) -> Result<bool, LogError> {
        let ends = self.manifest.ends(&self.home)?;
        for partition in &mut self.partitions {
            partition.extend(ends[partition.partition as usize]);
        }
        Ok(self.next_partition())
    }
}

impl<T: Exchange, P: ErrorPolicy<T>> Reader for LogReader<T, P> {
    type Out = P::Out;
    type Position = Vec<u64>;

    fn read(&mut self, intake: &mut impl Intake<P::Out>) -> Result<Status, BoxError> {
        let mut passed = 0;
        while !intake.is_full() && passed < PASSED_MAX {
            let has_more = self.partitions[self.current].has_more() || self.next_partition();
            if !has_more {
                let Some(every) = self.follow else {
                    let ends = self
                        .partitions
                        .iter()
                        .map(|read| (read.partition, read.end));
                    self.finished.lock().extend(ends);
                    return Ok(Status::Done);
                };
                if !self.look()? {
                    return Ok(Status::Idle(Some(self.clock.now() + every)));
                }
            }
            match self.partitions[self.current].advance()? {
                Some((record, timestamp)) => intake.push_at(record, timestamp),
                None => passed += 1,
            }
        }
        // Each has its turn: a partition that is written without end does not hold up the others.
        self.next_partition();
        Ok(Status::More)
    }

    fn position(&self) -> Vec<u64> {
        let offsets = self.partitions.iter().map(|partition| partition.offset);
        offsets.collect()
    }
}

/// Reads one partition.
struct PartitionReader<T, P> {
    home: Home,
    written_as: String,
    partition: u32,
    dir: PathBuf,
    settings: Settings,
    /// The next record.
    offset: u64,
    /// The committed end, as it was when this reader looked last.
    end: u64,
    /// The segment with the next record. It is opened only when that has been committed: what has not may vanish.
    segment: Option<SegmentReader>,
    policy: P,
    skipped: Skipped,
    counters: Arc<OperatorCounters>,
    record: PhantomData<fn() -> T>,
}

impl<T: Exchange, P: ErrorPolicy<T>> PartitionReader<T, P> {
    fn has_more(&self) -> bool {
        self.offset < self.end
    }

    /// More may have been committed.
    fn extend(&mut self, end: u64) {
        if end > self.end {
            self.end = end;
            // What was read ahead, behind the end as it was, may have been given up and written anew.
            if let Some(segment) = &mut self.segment {
                segment.look_again();
            }
        }
    }

    /// Goes to the segment that holds the next record: nothing happens if it is open.
    fn seek(&mut self) -> Result<(), LogError> {
        if self.segment.is_some() {
            return Ok(());
        }
        let disk = &*self.home.disk;
        let bases = segment::list(disk, &self.dir)?;
        let Some(base) = bases.iter().rev().find(|base| **base <= self.offset) else {
            return self.cross_gap(bases.first().copied());
        };
        match SegmentReader::open(disk, &self.dir, self.partition, *base)? {
            Some(Opened::Segment(segment)) => self.segment = Some(segment),
            Some(Opened::Broken(why)) => {
                return Err(LogError::Damaged {
                    path: segment::path_of(&self.dir, *base),
                    byte: 0,
                    offset: *base,
                    why,
                });
            }
            // Removed since the directory was listed.
            None => {
                let bases = segment::list(disk, &self.dir)?;
                return self.cross_gap(bases.first().copied());
            }
        }
        Ok(())
    }

    /// The next record has been removed.
    fn cross_gap(&mut self, earliest: Option<u64>) -> Result<(), LogError> {
        let Some(earliest) = earliest.filter(|earliest| *earliest > self.offset) else {
            return Err(LogError::Missing {
                dir: self.dir.clone(),
                offset: self.offset,
            });
        };
        match self.settings.on_gap {
            OnGap::Fail => Err(LogError::Gap {
                dir: self.home.dir.clone(),
                partition: self.partition,
                offset: self.offset,
                earliest,
            }),
            OnGap::Earliest => {
                let missing = earliest - self.offset;
                tracing::warn!(
                    "{missing} records from offset {} of partition {} of {} on have been removed: goes on at {earliest}",
                    self.offset,
                    self.partition,
                    self.home.dir.display()
                );
                self.counters.records_skipped.add(missing);
                self.offset = earliest;
                Ok(())
            }
        }
    }

    /// The next record, which has been committed; none if it was left out, or if the reader had to move.
    fn advance(&mut self) -> Result<Option<(P::Out, Timestamp)>, BoxError> {
        self.seek()?;
        let Some(segment) = &mut self.segment else {
            return Ok(None);
        };
        let offset = segment.offset();
        let at = segment.at();
        let base = segment.base;
        let (timestamp, payload) = match segment.next()? {
            Next::Frame { timestamp, payload } => (timestamp, payload),
            Next::End if offset == self.offset && at > HEADER_BYTES => {
                self.turn_over(at)?;
                return Ok(None);
            }
            Next::End => {
                let why = "it ends before what has been committed";
                return Err(self.damaged(at, offset, why).into());
            }

            Next::Broken(why) => return Err(self.damaged(at, offset, why).into()),
        };
        if offset < self.offset {
            return Ok(None);
        }
        self.offset += 1;
        let out = match codec::decode(payload) {
            Ok(record) => Some(P::good(record)),
            Err(error) => self.policy.bad(&self.skipped, || {
                let message = format!(
                    "the record at offset {offset} of partition {} is no `{}`; the log was made for `{}`: {error}",
                    self.partition,
                    type_name::<T>(),
                    self.written_as
                );
                let path = segment::path_of(&self.dir, base);
                let bad = BadRecord::new(path.display().to_string(), message);
                Ok(bad.at_offset(at).with_text(payload))
            })?,
        };
        Ok(out.map(|out| (out, timestamp)))
    }

    /// Goes to the segment that follows the one that ends at a byte.
    fn turn_over(&mut self, at: u64) -> Result<(), LogError> {
        let disk = &*self.home.disk;
        match SegmentReader::open(disk, &self.dir, self.partition, self.offset)? {
            Some(Opened::Segment(segment)) => self.segment = Some(segment),
            Some(Opened::Broken(why)) => {
                return Err(LogError::Damaged {
                    path: segment::path_of(&self.dir, self.offset),
                    byte: 0,
                    offset: self.offset,
                    why,
                });
            }
            None => {
                let bases = segment::list(disk, &self.dir)?;
                let earliest = bases.first().copied();
                if earliest.is_none_or(|earliest| earliest <= self.offset) {
                    let why = "it ends before what has been committed";
                    return Err(self.damaged(at, self.offset, why));
                }
                self.segment = None;
                self.cross_gap(earliest)?;
            }
        }
        Ok(())
    }

    fn damaged(&self, byte: u64, offset: u64, why: &'static str) -> LogError {
        let path = match &self.segment {
            Some(segment) => segment.path.clone(),
            None => self.dir.clone(),
        };
        LogError::Damaged {
            path,
            byte,
            offset,
            why,
        }
    }
}

#[cfg(test)]
mod tests {
    use levada_core::disk::Disk;
    use levada_core::{OnError, Origin, Wake};
    use levada_runtime::Environment;
    use levada_testing::MemoryDisk;

    use super::*;
    use crate::log::appender::Appender;
    use crate::log::partition::Limits;
    use crate::log::source::LogRange;
    use crate::on_error::Plain;

    struct Nobody;

    impl Wake for Nobody {
        fn wake(&self) {}
    }

    /// Has room for ever.
    struct Endless(Vec<u64>);

    impl Intake<u64> for Endless {
        fn push_at(&mut self, record: u64, _: Timestamp) {
            self.0.push(record);
        }

        fn room(&self) -> usize {
            usize::MAX
        }
    }

    /// Where a job that is cancelled would have to wait until a record can be used.
    #[test]
    fn a_reader_that_passes_over_records_comes_back_now_and_then() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
        let environment = Environment {
            disk: Arc::clone(&disk),
            ..Environment::system()
        };
        let (dir, limits) = (std::path::Path::new("log"), Limits::default());
        let clock = &environment.clock;
        let appender = Appender::open::<u64>(dir, &disk, clock, Some(1), limits).unwrap();
        let mut frames = Vec::new();
        for _ in 0..1_000 {
            segment::encode(&(), Timestamp(0), &mut frames).unwrap();
        }
        segment::encode(&7u64, Timestamp(0), &mut frames).unwrap();
        appender.append(0, &frames, 1_001).unwrap();
        appender.commit(&appender.sync(0..1).unwrap()).unwrap();

        let operator = Origin::new("log", std::panic::Location::caller());
        let context = ReaderContext::without_job(operator, 1, environment, Arc::new(Nobody));
        let home = Home::new(dir, &disk);
        let manifest = Manifest::of_existing(&home).unwrap();
        let range = LogRange {
            partition: 0,
            begin: 0,
            end: 1_001,
        };
        let split = LogSplit {
            partitions: vec![range],
        };
        let settings = Settings {
            follow: None,
            on_gap: OnGap::Fail,
        };
        let open = |position, on_error| {
            let (home, manifest) = (home.clone(), manifest.clone());
            let rules = (settings, Plain { on_error }, Finished::default());
            LogReader::<u64, _>::new(home, manifest, &split, position, rules, &context)
        };
        // What cannot be decoded, and what lies before the place where the reader begins.
        for mut reader in [
            open(None, OnError::Skip),
            open(Some(vec![1_000]), OnError::Fail),
        ] {
            let mut intake = Endless(Vec::new());
            let mut reads = 1;
            while reader.read(&mut intake).unwrap() == Status::More {
                reads += 1;
            }
            assert!(reads > 3, "{reads}");
            assert_eq!(intake.0, [7]);
        }
    }
}
