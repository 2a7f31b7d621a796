//! The appending side of a partition.
//!
//! ```text
//!   Recovered ──first append: cut to the committed end──▶ Appending ──give up: cut to the committed end──▶ GivenUp
//!                                                            │ a write or a sync fails
//!                                                            └──────────────▶ Distrusted
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use levada_core::Timestamp;
use levada_core::disk::{Append, Disk};

use crate::log::error::LogError;
use crate::log::segment::{self, HEADER_BYTES, Header, Next, Opened, SegmentReader};

/// How large segments are, and how long they stay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// A segment that would become larger is followed by another one.
    pub(super) segment_bytes_max: u64,
    /// Old segments are removed as long as a partition has so many committed bytes without them.
    pub(super) retain_bytes: Option<u64>,
    /// A segment is removed when the one after it is so old.
    pub(super) retain_age: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            segment_bytes_max: 64 << 20,
            retain_bytes: None,
            retain_age: None,
        }
    }
}

/// A partition, for whoever holds the lock of its log.
pub(super) struct Partition {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    index: u32,
    /// From the earliest to the last one, without a gap.
    segments: Vec<Segment>,
    /// The committed end; none if there is no segment that it could lie in.
    committed: Option<Mark>,
    /// The offset behind the last whole frame.
    end: u64,
    /// The offset up to which everything is safe: at least the committed end.
    synced: u64,
    /// The last segment, while it is appended to.
    file: Option<Box<dyn Append>>,
    /// Whether the last segment has frames that are not synced.
    unsynced: bool,
    /// Whether segments were made or removed since the directory was synced.
    names_changed: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Segment {
    base: u64,
    bytes: u64,
}

/// An offset, and where its frame begins or will begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Mark {
    offset: u64,
    base: u64,
    byte: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Nothing has been appended. There may be whole frames behind the committed end: a crash may have interrupted a commit
    /// that will be repeated.
    Recovered,
    /// What is behind the committed end was appended here.
    Appending,
    /// The job has failed; what it still appends is dropped.
    GivenUp,
    /// What was appended may not be what is on the disk.
    Distrusted,
}

impl Partition {
    /// Opens a partition whose committed end is known, and checks it from the segment on that holds this end.
    pub(super) fn open(
        disk: &Arc<dyn Disk>,
        dir: PathBuf,
        index: u32,
        committed: u64,
    ) -> Result<Self, LogError> {
        let bases = segment::list(&**disk, &dir)?;
        let mut partition = Self {
            disk: Arc::clone(disk),
            dir,
            index,
            segments: Vec::new(),
            committed: None,
            end: committed,
            synced: committed,
            file: None,
            unsynced: false,
            names_changed: false,
            state: State::Recovered,
        };
        // A segment that begins at the committed end holds nothing that is committed, and may never have been complete.
        let Some(first) = bases.iter().rposition(|base| holds_end(*base, committed)) else {
            if committed > 0 {
                return Err(partition.missing(committed));
            }
            partition.remove(&bases)?;
            return Ok(partition);
        };
        for base in &bases[..first] {
            let bytes = partition.len_of(*base)?;
            partition.segments.push(Segment { base: *base, bytes });
        }
        partition.recover(&bases[first..], committed)?;
        Ok(partition)
    }

    /// Walks through the segments from the one with the committed end on, and cuts off what is not whole.
    fn recover(&mut self, bases: &[u64], committed: u64) -> Result<(), LogError> {
        let mut next = bases.first().copied();
        for (i, base) in bases.iter().enumerate() {
            if self.end < committed && i > 0 {
                break;
            }
            // A segment that does not follow the one before it was left by a job that failed.
            let opened = match next == Some(*base) {
                true => SegmentReader::open(&*self.disk, &self.dir, self.index, *base)?,
                false => None,
            };
            let mut reader = match opened {
                Some(Opened::Segment(reader)) => reader,
                Some(Opened::Broken(why)) if *base < committed => {
                    return Err(self.damaged(*base, 0, *base, why));
                }
                Some(Opened::Broken(_)) | None => {
                    self.remove(&bases[i..])?;
                    break;
                }
            };
            let torn = loop {
                let (offset, byte) = (reader.offset(), reader.at());
                if offset == committed && self.committed.is_none() {
                    let base = *base;
                    self.committed = Some(Mark { offset, base, byte });
                }
                match reader.next()? {
                    Next::Frame { .. } => {}
                    Next::End => break false,
                    Next::Broken(why) if offset < committed => {
                        return Err(self.damaged(*base, byte, offset, why));
                    }
                    Next::Broken(_) => break true,
                }
            };
            self.segments.push(Segment {
                base: *base,
                bytes: reader.at(),
            });
            self.end = reader.offset();
            next = Some(self.end);
            if torn {
                self.cut_off(*base, reader.at())?;
                self.remove(&bases[i + 1..])?;
                break;
            }
        }
        if self.end < committed {
            return Err(self.missing(self.end));
        }
        Ok(())
    }

    /// The offset up to which everything is safe.
    pub(super) fn synced(&self) -> u64 {
        self.synced
    }

    /// Appends whole frames.
    pub(super) fn append(
        &mut self,
        frames: &[u8],
        records: u64,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<(), LogError> {
        match self.state {
            State::GivenUp => return Ok(()),
            State::Distrusted => return Err(self.distrusted()),
            State::Recovered => self.distrusting(|partition| partition.begin(limits, now))?,
            State::Appending => {}
        }
        self.distrusting(|partition| partition.append_frames(frames, records, limits, now))
    }

    /// Gives up what was left behind the committed end, and opens the segment that ends there.
    fn begin(&mut self, limits: &Limits, now: Timestamp) -> Result<(), LogError> {
        let end = self.end;
        let Some(mark) = self.committed else {
            return self.cut_to_committed();
        };
        if end > mark.offset {
            tracing::warn!(
                "{} holds {} records that were never committed: they are cut off",
                self.dir.display(),
                end - mark.offset
            );
        }
        self.cut_to_committed()?;
        self.state = State::Appending;
        let is_old = match limits.retain_age {
            Some(age) => is_past(self.created(mark.base)?, age, now),
            None => false,
        };
        // A segment that nobody fills would otherwise stay for ever.
        if is_old && mark.byte > HEADER_BYTES {
            return self.roll(now);
        }
        let path = segment::path_of(&self.dir, mark.base);
        let file = self.disk.reopen(&path, mark.byte);
        self.file = Some(file.map_err(LogError::file("write", &path))?);
        Ok(())
    }

    fn append_frames(
        &mut self,
        frames: &[u8],
        records: u64,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<(), LogError> {
        self.state = State::Appending;
        let bytes = frames.len() as u64;
        let is_full = self.segments.last().is_none_or(|last| {
            last.bytes > HEADER_BYTES && last.bytes + bytes > limits.segment_bytes_max
        });
        if is_full {
            self.roll(now)?;
        }
        let (Some(last), Some(file)) = (self.segments.last_mut(), &mut self.file) else {
            unreachable!("the last segment is open while it is appended to");
        };
        let path = segment::path_of(&self.dir, last.base);
        self.unsynced = true;
        file.append(frames)
            .map_err(LogError::file("write", &path))?;
        last.bytes += bytes;
        self.end += records;
        Ok(())
    }

    /// Seals the last segment, and begins another one.
    fn roll(&mut self, now: Timestamp) -> Result<(), LogError> {
        self.sync_last()?;
        let header = Header {
            partition: self.index,
            base: self.end,
            created: now,
        };
        let path = segment::path_of(&self.dir, header.base);
        self.names_changed = true;
        let created = self.disk.create_new(&path);
        let mut file = created.map_err(LogError::file("create", &path))?;
        file.append(&header.to_bytes())
            .map_err(LogError::file("write", &path))?;
        self.segments.push(Segment {
            base: header.base,
            bytes: HEADER_BYTES,
        });
        self.file = Some(file);
        self.unsynced = true;
        Ok(())
    }

    /// Makes everything that was appended safe.
    pub(super) fn sync(&mut self) -> Result<(), LogError> {
        match self.state {
            State::Distrusted => return Err(self.distrusted()),
            State::Recovered | State::GivenUp => return Ok(()),
            State::Appending => {}
        }
        self.distrusting(|partition| {
            partition.sync_last()?;
            partition.sync_names()?;
            partition.synced = partition.end;
            Ok(())
        })
    }

    fn sync_last(&mut self) -> Result<(), LogError> {
        if let (true, Some(last), Some(file)) =
            (self.unsynced, self.segments.last(), &mut self.file)
        {
            let path = segment::path_of(&self.dir, last.base);
            file.sync().map_err(LogError::file("sync", &path))?;
        }
        self.unsynced = false;
        Ok(())
    }

    fn sync_names(&mut self) -> Result<(), LogError> {
        if self.names_changed {
            let synced = self.disk.sync_dir(&self.dir);
            synced.map_err(LogError::file("sync", &self.dir))?;
            self.names_changed = false;
        }
        Ok(())
    }

    /// Whether what was prepared is there, as far as this end.
    pub(super) fn expect(&self, prepared: u64) -> Result<(), LogError> {
        if prepared <= self.end {
            return Ok(());
        }
        Err(LogError::Lost {
            dir: self.dir.clone(),
            prepared,
            found: self.end,
        })
    }

    /// An end has been committed.
    pub(super) fn committed(&mut self, offset: u64) -> Result<(), LogError> {
        if self.committed.is_some_and(|mark| mark.offset == offset) {
            return Ok(());
        }
        self.committed = match self.segments.last() {
            Some(last) if offset == self.end => Some(Mark {
                offset,
                base: last.base,
                byte: last.bytes,
            }),
            Some(_) => Some(self.locate(offset)?),
            None => None,
        };
        self.synced = self.synced.max(offset);
        Ok(())
    }

    /// Finds where the frame of an offset begins.
    fn locate(&self, offset: u64) -> Result<Mark, LogError> {
        let bases = self.segments.iter().map(|segment| segment.base);
        let Some(base) = bases.rev().find(|base| holds_end(*base, offset)) else {
            return Err(self.missing(offset));
        };
        let mut reader = match SegmentReader::open(&*self.disk, &self.dir, self.index, base)? {
            Some(Opened::Segment(reader)) => reader,
            Some(Opened::Broken(why)) => return Err(self.damaged(base, 0, base, why)),
            None => return Err(self.missing(offset)),
        };
        while reader.offset() < offset {
            let (at, found) = (reader.at(), reader.offset());
            match reader.next()? {
                Next::Frame { .. } => {}
                Next::End => return Err(self.missing(offset)),
                Next::Broken(why) => {
                    return Err(self.damaged(base, at, found, why));
                }
            }
        }
        let byte = reader.at();
        Ok(Mark { offset, base, byte })
    }

    /// Gives up what was appended and not committed, and cuts it off if it is nobody's. What an earlier process left is not
    /// touched.
    pub(super) fn give_up(&mut self, cuts: bool) -> Result<(), LogError> {
        let state = std::mem::replace(&mut self.state, State::GivenUp);
        match state {
            State::Appending if cuts => self.cut_to_committed(),
            // Whoever opens the log next cuts it.
            State::Appending | State::Recovered | State::GivenUp | State::Distrusted => {
                self.file = None;
                Ok(())
            }
        }
    }

    /// Cuts off what lies behind the committed end: the last segments first, so that what is left has no gap.
    fn cut_to_committed(&mut self) -> Result<(), LogError> {
        self.file = None;
        self.unsynced = false;
        let kept = match self.committed {
            Some(mark) => self.segments.partition_point(|s| s.base <= mark.base),
            None => 0,
        };
        let cut: Vec<_> = self.segments.drain(kept..).map(|s| s.base).collect();
        self.remove(&cut)?;
        self.end = self.committed.map_or(self.synced, |mark| mark.offset);
        if let (Some(mark), Some(last)) = (self.committed, self.segments.last_mut())
            && last.bytes > mark.byte
        {
            last.bytes = mark.byte;
            self.cut_off(mark.base, mark.byte)?;
        }
        Ok(())
    }

    /// Removes old segments as far as the limits say: only what has been committed, and never the last segment.
    pub(super) fn retain(&mut self, limits: &Limits, now: Timestamp) -> Result<(), LogError> {
        let Some(mark) = self.committed else {
            return Ok(());
        };
        let sealed = self.segments.partition_point(|s| s.base < mark.base);
        let mut bytes: u64 = self.segments[..sealed].iter().map(|s| s.bytes).sum();
        bytes += mark.byte;
        let mut removed = Vec::new();
        for i in 0..sealed {
            let (segment, next) = (self.segments[i], self.segments[i + 1]);
            let left = bytes - segment.bytes;
            let too_many = limits.retain_bytes.is_some_and(|max| left >= max);
            let too_old = match limits.retain_age {
                Some(age) if !too_many => is_past(self.created(next.base)?, age, now),
                _ => false,
            };
            if !too_many && !too_old {
                break;
            }
            bytes = left;
            removed.push(segment.base);
        }
        self.segments.drain(..removed.len());
        // From the earliest on, each for good before the next: what is left has no gap, wherever a crash stops this.
        for base in removed {
            self.remove(&[base])?;
            self.sync_names()?;
        }
        Ok(())
    }

    fn created(&self, base: u64) -> Result<Timestamp, LogError> {
        match SegmentReader::open(&*self.disk, &self.dir, self.index, base)? {
            Some(Opened::Segment(reader)) => Ok(reader.created),
            Some(Opened::Broken(why)) => Err(self.damaged(base, 0, base, why)),
            None => Err(self.missing(base)),
        }
    }

    fn len_of(&self, base: u64) -> Result<u64, LogError> {
        let path = segment::path_of(&self.dir, base);
        let metadata = self.disk.metadata(&path);
        Ok(metadata.map_err(LogError::file("read", &path))?.len)
    }

    /// Cuts off what lies behind a byte of a segment.
    fn cut_off(&mut self, base: u64, byte: u64) -> Result<(), LogError> {
        let path = segment::path_of(&self.dir, base);
        let bytes = self.len_of(base)?.saturating_sub(byte);
        let mut file = self
            .disk
            .reopen(&path, byte)
            .map_err(LogError::file("cut", &path))?;
        // Else a crash could bring back what was cut off, when a segment that follows has been committed.
        file.sync().map_err(LogError::file("sync", &path))?;
        if self.state == State::Recovered {
            tracing::warn!(
                "{bytes} bytes behind byte {byte} of {} were not committed: they are cut off",
                path.display()
            );
        }
        Ok(())
    }

    /// Removes segments, the last one first.
    fn remove(&mut self, bases: &[u64]) -> Result<(), LogError> {
        for base in bases.iter().rev() {
            let path = segment::path_of(&self.dir, *base);
            self.names_changed = true;
            self.disk
                .remove(&path)
                .map_err(LogError::file("remove", &path))?;
            if self.state == State::Recovered {
                tracing::warn!("{} was not committed: it is removed", path.display());
            }
        }
        Ok(())
    }

    /// Does something after whose failure nothing here is to be trusted.
    fn distrusting(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let result = act(self);
        if result.is_err() {
            self.state = State::Distrusted;
            self.file = None;
        }
        result
    }

    fn distrusted(&self) -> LogError {
        LogError::Distrusted {
            path: self.dir.clone(),
        }
    }

    fn missing(&self, offset: u64) -> LogError {
        LogError::Missing {
            dir: self.dir.clone(),
            offset,
        }
    }

    fn damaged(&self, base: u64, byte: u64, offset: u64, why: &'static str) -> LogError {
        LogError::Damaged {
            path: segment::path_of(&self.dir, base),
            byte,
            offset,
            why,
        }
    }
}

/// Whether a segment that begins with an offset may be the last one with something before this end.
fn holds_end(base: u64, end: u64) -> bool {
    base < end || end == 0 && base == 0
}

/// Whether something that was made at a time has reached an age.
fn is_past(made: Timestamp, age: Duration, now: Timestamp) -> bool {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    made.0.saturating_add(age) <= now.0
}

/// The offset of the earliest record of a partition whose committed end is known, for whoever does not append to it.
pub(super) fn earliest(disk: &dyn Disk, dir: &Path, end: u64) -> Result<u64, LogError> {
    let bases = segment::list(disk, dir)?;
    // Without a segment, and with none that anything has been committed to, the next record is the earliest one.
    Ok(bases.first().map_or(end, |base| (*base).min(end)))
}
