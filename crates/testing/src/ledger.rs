//! A sink that takes part in checkpoints, and what it has committed in the end.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use levada_core::sync::Mutex;
use levada_core::{BoxError, Wake};
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
    let dam = Arc::default();
    let ledger = Ledger {
        epochs: Arc::clone(&epochs),
        dam: Arc::clone(&dam),
    };
    (LedgerSink { epochs, dam }, ledger)
}

/// Holds records up, and knows whom to wake when it does no more.
#[derive(Default)]
struct Dam {
    is_closed: bool,
    writers: Vec<Arc<dyn Wake>>,
}

type Epochs<T> = Arc<Mutex<BTreeMap<Name, Vec<T>>>>;

/// An epoch: the run that wrote it, its subtask, and its number there.
type Name = (String, usize, u64);

/// The sink made by [`ledger`].
pub struct LedgerSink<T> {
    epochs: Epochs<T>,
    dam: Arc<Mutex<Dam>>,
}

impl<T> Clone for LedgerSink<T> {
    fn clone(&self) -> Self {
        Self {
            epochs: Arc::clone(&self.epochs),
            dam: Arc::clone(&self.dam),
        }
    }
}

/// What has been committed.
pub struct Ledger<T> {
    epochs: Epochs<T>,
    dam: Arc<Mutex<Dam>>,
}

impl<T> Ledger<T> {
    /// Takes no more records, until [`release`](Self::release).
    pub fn hold(&self) {
        self.dam.lock().is_closed = true;
    }

    /// Takes records again.
    pub fn release(&self) {
        let mut dam = self.dam.lock();
        dam.is_closed = false;
        let writers = std::mem::take(&mut dam.writers);
        drop(dam);
        writers.iter().for_each(|writer| writer.wake());
    }
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
    dam: Arc<Mutex<Dam>>,
    waker: Arc<dyn Wake>,
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
            dam: Arc::clone(&self.dam),
            waker: Arc::clone(&context.waker),
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
        let mut dam = self.dam.lock();
        if dam.is_closed {
            dam.writers.push(Arc::clone(&self.waker));
        } else {
            drop(dam);
            self.records.extend(records);
        }
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
