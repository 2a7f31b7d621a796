//! What a source implements.
//!
//! A source divides its input into *splits* (a file, a range of a file, a partition of a log). The engine gives splits to
//! subtasks, and each opens a *reader* for one split at a time. A reader says at any time at which *position* it is: a
//! snapshot keeps the position, and a reader opened there goes on as if nothing had happened.

use std::sync::Arc;
use std::time::Duration;

use levada_core::{BoxError, Moment, Origin, Timestamp, Wake};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::environment::Environment;
use crate::metrics::OperatorCounters;
use crate::metrics::user::{SubtaskMetrics, UserMetrics};

/// Brings records into a job.
///
/// ```
/// use levada_runtime::{BoxError, Intake, Reader, ReaderContext, Source, SourceContext, Status};
///
/// /// Counts to a number.
/// struct CountTo(u64);
///
/// impl Source for CountTo {
///     type Out = u64;
///     type Split = ();
///     type Reader = Counting;
///
///     fn splits(&self, _: &SourceContext) -> Result<Vec<()>, BoxError> {
///         Ok(vec![()])
///     }
///
///     fn open(&self, _: (), position: Option<u64>, _: &ReaderContext) -> Result<Counting, BoxError> {
///         Ok(Counting { next: position.unwrap_or(0), end: self.0 })
///     }
/// }
///
/// struct Counting { next: u64, end: u64 }
///
/// impl Reader for Counting {
///     type Out = u64;
///     type Position = u64;
///
///     fn read(&mut self, intake: &mut impl Intake<u64>) -> Result<Status, BoxError> {
///         while self.next < self.end {
///             if intake.is_full() {
///                 return Ok(Status::More);
///             }
///             intake.push(self.next);
///             self.next += 1;
///         }
///         Ok(Status::Done)
///     }
///
///     fn position(&self) -> u64 {
///         self.next
///     }
/// }
/// ```
pub trait Source: Send + Sync + 'static {
    /// The records.
    type Out: Send + 'static;
    /// A part of the input that one reader reads.
    type Split: Clone + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// Reads a split.
    type Reader: Reader<Out = Self::Out>;

    /// Divides the input. Called once, before anything runs; an error here means that the job does not start.
    ///
    /// # Errors
    /// If the input is not there or cannot be divided.
    fn splits(&self, context: &SourceContext) -> Result<Vec<Self::Split>, BoxError>;

    /// Goes on from a checkpoint, instead of dividing the input: the splits that were left are known. `memory` is what
    /// [`memory`](Source::memory) gave then. Called once, before anything runs.
    ///
    /// # Errors
    /// If the input is not there any more: the job does not start.
    fn restore(&self, memory: &[u8], context: &SourceContext) -> Result<(), BoxError> {
        let _ = (memory, context);
        Ok(())
    }

    /// What the source must remember to go on after a restore, besides the splits that are left: which ones it has found, for
    /// a source that looks for more. Called while nobody looks for any.
    ///
    /// # Errors
    /// If it cannot be written.
    fn memory(&self) -> Result<Vec<u8>, BoxError> {
        Ok(Vec::new())
    }

    /// Opens a split, at its beginning or at a position that an earlier reader of it was at.
    ///
    /// # Errors
    /// If the split cannot be read.
    fn open(
        &self,
        split: Self::Split,
        position: Option<<Self::Reader as Reader>::Position>,
        context: &ReaderContext,
    ) -> Result<Self::Reader, BoxError>;

    /// Whether the source keeps by itself how far it has been read, and so wants [`commit`](Source::commit) to be called.
    fn commits(&self) -> bool {
        false
    }

    /// Keeps how far splits have been read: those that one subtask reads or has read to their end since the last call, each
    /// with its position. Called for a checkpoint that is complete, and at the end of the job, when every sink of the job has
    /// committed, and never for what comes after: what is kept has been processed. A crash between the sinks and this call
    /// repeats records if the job is started afresh, and loses none.
    ///
    /// # Errors
    /// If it cannot be kept. The job fails then, although its output has been committed.
    fn commit(
        &self,
        read: &[(Self::Split, <Self::Reader as Reader>::Position)],
        context: &ReaderContext,
    ) -> Result<(), BoxError> {
        let _ = (read, context);
        Ok(())
    }

    /// Looks for splits that have come since, while the job runs. Called by one subtask at a time, whenever no split is
    /// left to be read and the time has come; first when the splits of the start have been taken.
    ///
    /// A source that does not implement it ends with its splits.
    ///
    /// # Errors
    /// If the input is not there any more: the job fails.
    fn discover(&self, context: &SourceContext) -> Result<Discovery<Self::Split>, BoxError> {
        let _ = context;
        Ok(Discovery::Complete)
    }

    /// The most subtasks the source can use, with the reason; none if there is no limit.
    fn parallelism_max(&self) -> Option<(usize, &'static str)> {
        None
    }

    /// Whether splits may have records without end, so that none can wait until another one has been read: each subtask then
    /// reads its share of them in turn, at most [`OPEN_SPLITS_MAX`](crate::stage::OPEN_SPLITS_MAX) at a time.
    ///
    /// The splits of other sources are read one after the other; a further one is opened only while those that a subtask
    /// reads have nothing for now. As long as a split waits that nobody reads, no watermark of the source rises.
    fn is_endless(&self) -> bool {
        false
    }

    /// Whether readers may block their thread (files, sockets): they then run on threads of their own.
    fn is_blocking(&self) -> bool {
        false
    }

    /// Makes blocked readers come back soon. Called from another thread when the job is cancelled; a reader that may
    /// block for long must heed it.
    fn cancel(&self) {}
}

/// What a source finds when it looks for more splits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Discovery<S> {
    /// There will be no more.
    Complete,
    /// These have come, perhaps none, and there may be more.
    Found {
        /// Splits that nobody has been given so far.
        splits: Vec<S>,
        /// How long to wait before looking again.
        again_after: Duration,
    },
}

/// Reads a split.
pub trait Reader: Send + 'static {
    /// The records.
    type Out: Send + 'static;
    /// Where a reader is in its split. It is asked for often, so it should be small.
    type Position: Clone + Serialize + DeserializeOwned + Send + 'static;

    /// Brings in records until the intake is full or there is nothing for now.
    ///
    /// A reader that may block says [`Status::More`] before it does, if it has brought in records: batches that are not
    /// full are sent, and sinks flushed, between two calls only.
    ///
    /// # Errors
    /// If the input cannot be read or understood: the job fails.
    fn read(&mut self, intake: &mut impl Intake<Self::Out>) -> Result<Status, BoxError>;

    /// The position after the last record that was brought in. A reader opened there must bring in the same records that
    /// this one would.
    fn position(&self) -> Self::Position;
}

/// What a reader says after it has read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// There is more at once.
    More,
    /// There is nothing for now. The reader is read again when it has woken the task through [`ReaderContext::waker`], or at
    /// this time, whichever is first; and not before.
    Idle(Option<Moment>),
    /// The split has been read to its end.
    Done,
}

/// Takes in records from a reader, and runs each through the operators behind the source at once.
///
/// A reader that holds a lock should let go of it before it brings in a record: what runs is the user's code.
pub trait Intake<T> {
    /// Takes a record without event time.
    ///
    /// # Panics
    /// If the intake is full.
    #[inline]
    fn push(&mut self, record: T) {
        self.push_at(record, Timestamp::MIN);
    }

    /// Takes a record with its event time.
    ///
    /// # Panics
    /// If the intake is full.
    fn push_at(&mut self, record: T, timestamp: Timestamp);

    /// How many records may still be brought in, at most: it sinks by one with each, and to zero when there is no room
    /// behind the source.
    fn room(&self) -> usize;

    /// Whether the reader must come back with [`Status::More`].
    #[inline]
    fn is_full(&self) -> bool {
        self.room() == 0
    }
}

/// What a source knows when it divides its input.
#[derive(Clone)]
pub struct SourceContext {
    /// The source's name and place.
    pub operator: Origin,
    /// How many subtasks will read.
    pub parallelism: usize,
    /// The world outside.
    pub environment: Environment,
}

/// What a reader knows.
#[derive(Clone)]
pub struct ReaderContext {
    /// The source's name and place.
    pub operator: Origin,
    /// The number of the subtask that reads.
    pub subtask: usize,
    /// How many subtasks read.
    pub parallelism: usize,
    /// The world outside.
    pub environment: Environment,
    /// Wakes the task that reads. The one that a reader is opened with is its own: it says that this reader has something.
    pub waker: Arc<dyn Wake>,
    /// Counts what the source does; records that a reader leaves out are its to count.
    pub counters: Arc<OperatorCounters>,
    /// Metrics of the source's own.
    pub metrics: SubtaskMetrics,
}

impl ReaderContext {
    /// For a reader that belongs to no job, as in the test of a connector: subtask 0 of `parallelism`. What it counts nobody
    /// sees but whoever looks into the context.
    #[must_use]
    pub fn without_job(
        operator: Origin,
        parallelism: usize,
        environment: Environment,
        waker: Arc<dyn Wake>,
    ) -> Self {
        Self {
            subtask: 0,
            parallelism,
            environment,
            waker,
            counters: OperatorCounters::new(),
            metrics: UserMetrics::default().of_subtask(operator.name(), 0),
            operator,
        }
    }
}
