//! A sink that takes part in checkpoints, and what it has committed in the end.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use levada_core::BoxError;
use levada_core::sync::Mutex;
use levada_runtime::{Drain, Sink, SinkContext, Writer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A transactional sink, and its ledger: what has been committed, whatever becomes of the jobs that write to it.
///
/// It is what a database is to a sink: an epoch is kept under the name that its writer gave it, so that committing it again
/// does no harm, and what was not committed is not there. Several runs of a job may write to one.
#[must_use]
pub fn ledger<T>() -> (LedgerSink<T>, Ledger<T>) {
    let epochs = Arc::default();
    let ledger = Ledger {
        epochs: Arc::clone(&epochs),
    };
    (LedgerSink { epochs }, ledger)
}

type Epochs<T> = Arc<Mutex<BTreeMap<Name, Vec<T>>>>;

/// An epoch: the run that wrote it, its subtask, and its number there.
type Name = (String, usize, u64);

/// The sink made by [`ledger`].
pub struct LedgerSink<T> {
    epochs: Epochs<T>,
}

impl<T> Clone for LedgerSink<T> {
    fn clone(&self) -> Self {
        Self {
            epochs: Arc::clone(&self.epochs),
        }
    }
}

/// What has been committed.
pub struct Ledger<T> {
    epochs: Epochs<T>,
}

impl<T: Clone + Ord> Ledger<T> {
    /// All records, sorted.
    #[must_use]
    pub fn sorted(&self) -> Vec<T> {
        let epochs = self.epochs.lock();
        let mut records: Vec<_> = epochs.values().flatten().cloned().collect();
        records.sort_unstable();
        records
    }

    /// How many epochs have been committed.
    #[must_use]
    pub fn epochs(&self) -> usize {
        self.epochs.lock().len()
    }
}

/// Writes to a ledger.
pub struct LedgerWriter<T> {
    epochs: Epochs<T>,
    run: Arc<str>,
    subtask: usize,
    number: u64,
    records: Vec<T>,
}

/// An epoch that is prepared.
#[derive(Deserialize, Serialize)]
pub struct Epoch<T> {
    name: Name,
    records: Vec<T>,
}

impl<T> Sink<T> for LedgerSink<T>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    type Writer = LedgerWriter<T>;

    fn open(&self, context: &SinkContext) -> Result<LedgerWriter<T>, BoxError> {
        Ok(LedgerWriter {
            epochs: Arc::clone(&self.epochs),
            run: Arc::clone(&context.run),
            subtask: context.subtask,
            number: 0,
            records: Vec::new(),
        })
    }
}

impl<T> Writer<T> for LedgerWriter<T>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    type Pending = Epoch<T>;

    fn write(&mut self, records: &mut impl Drain<T>) -> Result<(), BoxError> {
        self.records.extend(records);
        Ok(())
    }

    fn prepare(&mut self) -> Result<Epoch<T>, BoxError> {
        self.number += 1;
        Ok(Epoch {
            name: (self.run.to_string(), self.subtask, self.number),
            records: mem::take(&mut self.records),
        })
    }

    fn commit(&mut self, epoch: Epoch<T>) -> Result<(), BoxError> {
        self.epochs.lock().insert(epoch.name, epoch.records);
        Ok(())
    }
}
