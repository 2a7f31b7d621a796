//! What a sink implements.
//!
//! A sink opens a *writer* in each subtask. What a writer has taken becomes visible in two phases: it *prepares* (all
//! records are safe, none needs to be visible), and *commits* once every writer of the job has prepared. So either all
//! output of an epoch becomes visible or none of it. Without checkpoints the whole bounded job is one epoch.

use std::sync::Arc;

use levada_core::{BoxError, Moment, Origin, Timestamp, Wake};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::environment::Environment;
use crate::metrics::OperatorCounters;
use crate::metrics::user::SubtaskMetrics;

/// Takes records out of a job.
///
/// ```
/// use levada_runtime::{BoxError, Drain, Sink, SinkContext, Writer};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// /// Adds numbers up.
/// struct Sum(Arc<AtomicU64>);
///
/// impl Sink<u64> for Sum {
///     type Writer = Adding;
///
///     fn open(&self, _: &SinkContext) -> Result<Adding, BoxError> {
///         Ok(Adding { sum: 0, total: Arc::clone(&self.0) })
///     }
/// }
///
/// struct Adding { sum: u64, total: Arc<AtomicU64> }
///
/// impl Writer<u64> for Adding {
///     type Pending = u64;
///
///     fn write(&mut self, records: &mut impl Drain<u64>) -> Result<(), BoxError> {
///         for number in records {
///             self.sum += number;
///         }
///         Ok(())
///     }
///
///     fn prepare(&mut self) -> Result<u64, BoxError> {
///         Ok(self.sum)
///     }
///
///     fn commit(&mut self, sum: u64) -> Result<(), BoxError> {
///         self.total.fetch_add(sum, Ordering::Relaxed);
///         Ok(())
///     }
/// }
/// ```
pub trait Sink<T>: Send + Sync + 'static {
    /// Writes in one subtask.
    type Writer: Writer<T>;

    /// Looks whether the sink can work at all. Called once, before anything runs; an error here means that the job does
    /// not start.
    ///
    /// # Errors
    /// If the output cannot go where it shall.
    fn start(&self, context: &SinkContext) -> Result<(), BoxError> {
        let _ = context;
        Ok(())
    }

    /// Opens the writer of a subtask.
    ///
    /// # Errors
    /// If the output cannot be opened.
    fn open(&self, context: &SinkContext) -> Result<Self::Writer, BoxError>;

    /// Commits what writers had prepared when a checkpoint was taken that the job now goes on from: all of it, of all
    /// subtasks, in the order in which each has prepared it. Some of it may have been committed before. Called once, after
    /// [`start`](Sink::start) and before any writer is opened; what else an earlier run has left unfinished may be removed.
    ///
    /// # Errors
    /// If it cannot be committed: the job does not start.
    fn recover(
        &self,
        pending: Vec<<Self::Writer as Writer<T>>::Pending>,
        context: &SinkContext,
    ) -> Result<(), BoxError> {
        if pending.is_empty() {
            return Ok(());
        }
        let mut writer = self.open(context)?;
        for pending in pending {
            writer.commit(pending)?;
        }
        writer.abort()
    }

    /// Whether writers may block their thread (files, sockets): they then run on threads of their own.
    fn is_blocking(&self) -> bool {
        false
    }

    /// Makes blocked writers come back soon. Called from another thread when the job is cancelled; a writer that may
    /// block for long must heed it.
    fn cancel(&self) {}
}

/// Writes records in one subtask.
pub trait Writer<T>: Send {
    /// What a prepared epoch needs to be committed, perhaps by another process after a crash.
    type Pending: Serialize + DeserializeOwned + Send + 'static;

    /// Takes records until the drain ends. A writer that cannot take more now leaves the others in the drain, and wakes
    /// its task through [`SinkContext::waker`] when it can.
    ///
    /// # Errors
    /// If a record cannot be written: the job fails.
    fn write(&mut self, records: &mut impl Drain<T>) -> Result<(), BoxError>;

    /// Hands on what has been gathered, where a reader would otherwise wait for it. Called after each poll that wrote.
    ///
    /// # Errors
    /// If it cannot be handed on: the job fails.
    fn flush(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    /// When [`flush`](Writer::flush) is to be called again although nothing more was written, because it could not hand on
    /// all of it: with the poll at this moment, or with the next poll if it is [`Moment::NEVER`] and the writer wakes its
    /// task itself. A writer that could hand on all of it says none.
    fn flush_again(&self) -> Option<Moment> {
        None
    }

    /// Whether everything that was taken has been handed on, as far as that takes time. Asked before [`prepare`]; a writer
    /// that waits for somebody outside says no, and wakes its task through [`SinkContext::waker`] when that changes.
    ///
    /// [`prepare`]: Writer::prepare
    ///
    /// # Errors
    /// If it cannot be handed on: the job fails.
    fn is_drained(&mut self) -> Result<bool, BoxError> {
        Ok(true)
    }

    /// Ends an epoch: makes everything written since the last one safe, without making it visible. What is written from now
    /// on belongs to the next epoch. Called at each checkpoint and at the end.
    ///
    /// # Errors
    /// If it cannot be made safe: the job fails, and nothing of this epoch becomes visible.
    fn prepare(&mut self) -> Result<Self::Pending, BoxError>;

    /// Makes a prepared epoch visible, once its checkpoint is complete; epochs come in their order. Called again after a crash
    /// with the same value, perhaps by another subtask ([`Sink::recover`]), so it must be idempotent.
    ///
    /// # Errors
    /// If it cannot be made visible.
    fn commit(&mut self, pending: Self::Pending) -> Result<(), BoxError>;

    /// Gives up everything that is not committed.
    ///
    /// # Errors
    /// If something is left behind.
    fn abort(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Records for a writer to take, until the time of the poll is over.
pub trait Drain<T>: Iterator<Item = T> {
    /// The event time of the record that was taken last.
    fn timestamp(&self) -> Timestamp;

    /// Whether there is nothing to take now: to be asked before something is done that only a record is worth.
    fn is_over(&self) -> bool;
}

/// What a sink or writer knows.
#[derive(Clone)]
pub struct SinkContext {
    /// The sink's name and place.
    pub operator: Origin,
    /// The number of the subtask that writes.
    pub subtask: usize,
    /// How many subtasks write.
    pub parallelism: usize,
    /// Names this run of the job: different for every start, the same for all subtasks.
    pub run: Arc<str>,
    /// Whether the job goes on from a checkpoint: what it has committed before is there.
    pub is_restored: bool,
    /// The world outside.
    pub environment: Environment,
    /// Wakes the task that writes.
    pub waker: Arc<dyn Wake>,
    /// Counts what the sink does; records that a writer leaves out are its to count.
    pub counters: Arc<OperatorCounters>,
    /// Metrics of the sink's own.
    pub metrics: SubtaskMetrics,
}
