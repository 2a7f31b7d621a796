//! The sink: each subtask gathers its rows alone, and what all have gathered is added up at the end.
//!
//! What a subtask prepares for a checkpoint is all it has gathered since the beginning of the job, so the last of it is
//! enough, however often it is committed. After a restore, subtask 0 goes on from what all of them had.

use std::collections::BTreeMap;
use std::sync::Arc;

use levada::{BoxError, Drain, Sink, SinkContext, Writer};
use levada_core::sync::Mutex;
use serde::{Deserialize, Serialize};

use crate::digest::{Gather, Gathered, Totals};
use crate::row::Row;

/// Gathers rows. Clones are the same sink.
#[derive(Clone)]
pub(crate) struct Rows {
    digest: bool,
    /// What each subtask has committed.
    committed: Arc<Mutex<BTreeMap<usize, Gathered>>>,
}

/// Gathers the rows of a subtask.
pub(crate) struct RowsWriter {
    gathered: Gathered,
    subtask: usize,
    committed: Arc<Mutex<BTreeMap<usize, Gathered>>>,
}

/// What a subtask had gathered when it prepared.
#[derive(Deserialize, Serialize)]
pub(crate) struct Prepared {
    subtask: usize,
    gathered: Gathered,
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
        let committed = self.committed.lock().clone();
        let all = self.add_up(committed.into_values());
        all.expect("what was gathered here is of one kind").totals()
    }

    fn add_up(&self, parts: impl Iterator<Item = Gathered>) -> Result<Gathered, BoxError> {
        let mut all = Gathered::nothing(self.digest);
        for part in parts {
            all.absorb(part)?;
        }
        Ok(all)
    }
}

impl<R: Row + Send> Sink<R> for Rows {
    type Writer = RowsWriter;

    fn start(&self, _: &SinkContext) -> Result<(), BoxError> {
        // An attempt before this one may have failed; what it has committed comes back with its checkpoint.
        self.committed.lock().clear();
        Ok(())
    }

    fn open(&self, context: &SinkContext) -> Result<RowsWriter, BoxError> {
        let before = self.committed.lock().get(&context.subtask).cloned();
        Ok(RowsWriter {
            gathered: before.unwrap_or_else(|| Gathered::nothing(self.digest)),
            subtask: context.subtask,
            committed: Arc::clone(&self.committed),
        })
    }

    fn recover(&self, pending: Vec<Prepared>, _: &SinkContext) -> Result<(), BoxError> {
        // Of one subtask the last counts: what it had prepared for earlier checkpoints is in it.
        let of_subtasks = pending.into_iter().map(|of| (of.subtask, of.gathered));
        let last: BTreeMap<_, _> = of_subtasks.collect();
        let all = self.add_up(last.into_values())?;
        self.committed.lock().insert(0, all);
        Ok(())
    }
}

impl<R: Row + Send> Writer<R> for RowsWriter {
    type Pending = Prepared;

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

    fn prepare(&mut self) -> Result<Prepared, BoxError> {
        Ok(Prepared {
            subtask: self.subtask,
            gathered: self.gathered.clone(),
        })
    }

    fn commit(&mut self, prepared: Prepared) -> Result<(), BoxError> {
        let mut committed = self.committed.lock();
        committed.insert(prepared.subtask, prepared.gathered);
        Ok(())
    }
}
