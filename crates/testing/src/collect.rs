//! A sink that keeps its records for a test to look at.

use std::sync::Arc;

use levada_core::BoxError;
use levada_core::sync::Mutex;
use levada_runtime::{Drain, Sink, SinkContext, Writer};

/// A sink, and the records that it has committed.
///
/// Nothing is to be seen before the job commits: a cancelled job leaves nothing behind.
#[must_use]
pub fn collect<T>() -> (Collecting<T>, Collected<T>) {
    let committed = Arc::new(Mutex::new(Vec::new()));
    let collected = Collected {
        committed: Arc::clone(&committed),
    };
    (Collecting { committed }, collected)
}

/// The records of each subtask, in the order of the commits.
type Committed<T> = Arc<Mutex<Vec<(usize, Vec<T>)>>>;

/// The sink made by [`collect`].
pub struct Collecting<T> {
    committed: Committed<T>,
}

impl<T> Clone for Collecting<T> {
    fn clone(&self) -> Self {
        Self {
            committed: Arc::clone(&self.committed),
        }
    }
}

/// The records of a [`Collecting`] sink.
pub struct Collected<T> {
    committed: Committed<T>,
}

impl<T> Collected<T> {
    /// Takes what has been committed: of each subtask in its order.
    #[must_use]
    pub fn take(&self) -> Vec<T> {
        let committed = std::mem::take(&mut *self.committed.lock());
        let records = committed.into_iter().map(|(_, records)| records);
        records.flatten().collect()
    }

    /// Takes what has been committed, by subtask.
    #[must_use]
    pub fn by_subtask(&self) -> Vec<Vec<T>> {
        let mut committed = std::mem::take(&mut *self.committed.lock());
        committed.sort_by_key(|(subtask, _)| *subtask);
        committed.into_iter().map(|(_, records)| records).collect()
    }

    /// Takes what has been committed, sorted.
    #[must_use]
    pub fn sorted(&self) -> Vec<T>
    where
        T: Ord,
    {
        let mut records = self.take();
        records.sort_unstable();
        records
    }
}

impl<T: Send + 'static> Sink<T> for Collecting<T> {
    type Writer = CollectingWriter<T>;

    fn open(&self, context: &SinkContext) -> Result<CollectingWriter<T>, BoxError> {
        Ok(CollectingWriter {
            subtask: context.subtask,
            written: Vec::new(),
            committed: Arc::clone(&self.committed),
        })
    }
}

/// Collects in one subtask.
pub struct CollectingWriter<T> {
    subtask: usize,
    written: Vec<T>,
    committed: Committed<T>,
}

impl<T: Send> Writer<T> for CollectingWriter<T> {
    type Pending = ();

    fn write(&mut self, records: &mut impl Drain<T>) -> Result<(), BoxError> {
        self.written.extend(records);
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    fn commit(&mut self, (): ()) -> Result<(), BoxError> {
        let written = std::mem::take(&mut self.written);
        self.committed.lock().push((self.subtask, written));
        Ok(())
    }
}
