//! The sink: each subtask gathers its rows alone, and what all have gathered is added up when they commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use levada::{BoxError, Drain, Sink, SinkContext, Writer};
use levada_core::sync::Mutex;

use crate::digest::{Counting, Digesting, Gather, Totals};
use crate::row::Row;

/// Gathers rows. Clones are the same sink.
#[derive(Clone)]
pub(crate) struct Rows {
    digest: bool,
    /// What each subtask has committed.
    committed: Arc<Mutex<BTreeMap<usize, Totals>>>,
}

/// Gathers the rows of a subtask.
pub(crate) struct RowsWriter {
    gathered: Gathered,
    subtask: usize,
    committed: Arc<Mutex<BTreeMap<usize, Totals>>>,
}

enum Gathered {
    Counted(Counting),
    Digested(Digesting),
}

impl Rows {
    /// A sink that hashes the rows if `digest` says so.
    pub(crate) fn new(digest: bool) -> Self {
        Self {
            digest,
            committed: Arc::default(),
        }
    }

    /// What has been committed.
    pub(crate) fn totals(&self) -> Totals {
        self.committed.lock().values().copied().sum()
    }
}

impl<R: Row + Send> Sink<R> for Rows {
    type Writer = RowsWriter;

    fn open(&self, context: &SinkContext) -> Result<RowsWriter, BoxError> {
        Ok(RowsWriter {
            gathered: if self.digest {
                Gathered::Digested(Digesting::default())
            } else {
                Gathered::Counted(Counting::default())
            },
            subtask: context.subtask,
            committed: Arc::clone(&self.committed),
        })
    }
}

impl<R: Row + Send> Writer<R> for RowsWriter {
    type Pending = Totals;

    #[inline]
    fn write(&mut self, records: &mut impl Drain<R>) -> Result<(), BoxError> {
        match &mut self.gathered {
            Gathered::Counted(counting) => {
                for row in records {
                    counting.add(&row);
                }
            }
            Gathered::Digested(digesting) => {
                for row in records {
                    digesting.add(&row);
                }
            }
        }
        Ok(())
    }

    fn prepare(&mut self) -> Result<Totals, BoxError> {
        Ok(match &self.gathered {
            Gathered::Counted(counting) => counting.totals(),
            Gathered::Digested(digesting) => digesting.totals(),
        })
    }

    fn commit(&mut self, totals: Totals) -> Result<(), BoxError> {
        self.committed.lock().insert(self.subtask, totals);
        Ok(())
    }
}
