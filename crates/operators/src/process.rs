//! Keyed processes: the user's own operator, with state per key and side outputs.

mod context;
mod node;
mod operator;
mod side;

use levada_core::{BoxError, Exchange, Key, State};

pub use context::{Context, OpenContext};
pub use node::{ProcessNode, SidePorts};
pub use side::SideOutput;

/// An operator of the user's: sees the records of each key in order, keeps state for the key, emits what it wants.
///
/// There is one clone per subtask. State lives in the context only: what a process keeps in its own fields is in no
/// snapshot, so fields are for settings, and for what [`open`](Self::open) builds from them.
pub trait Process: Clone + Send + 'static {
    /// What the records are grouped by.
    type Key: Key;
    /// The records.
    type In: Exchange;
    /// What is kept for each key.
    type State: State;
    /// What is emitted.
    type Out: Send + 'static;

    /// Called once in each subtask, before the first record.
    ///
    /// # Errors
    /// If the process cannot work: the job does not start.
    fn open(&mut self, context: &OpenContext) -> Result<(), BoxError> {
        let _ = context;
        Ok(())
    }

    /// Called for each record.
    fn element(&self, record: &Self::In, context: &mut Context<'_, Self>);

    /// Called once in each subtask that was built: after the last record, a cancel, a failure, or when another subtask
    /// could not be opened.
    ///
    /// # Errors
    /// If something is left behind: the job fails.
    fn close(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}
