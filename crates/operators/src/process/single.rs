//! A process with one keyed input.

use levada_core::{BoxError, Exchange, Key, State};
use levada_runtime::{KeyedRecord, Turn};

use crate::process::operator::{Logic, Parts};
use crate::process::{Context, KeyedContext, OpenContext, Timer};

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

    /// Called for each [`Timer`] of a key that is due.
    fn timer(&self, timer: Timer, context: &mut Context<'_, Self>) {
        let _ = (timer, context);
    }

    /// Called once in each subtask that was built: after the last record, a cancel, a failure, or when another subtask
    /// could not be opened.
    ///
    /// # Errors
    /// If something is left behind: the job fails.
    fn close(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

/// A [`Process`] as what the operator runs.
#[derive(Clone)]
pub struct Single<P>(pub P);

impl<P: Process> Logic for Single<P> {
    type Record = KeyedRecord<P::Key, P::In>;
    type Key = P::Key;
    type State = P::State;
    type Shared = ();
    type Out = P::Out;

    fn open(&mut self, context: &OpenContext) -> Result<(), BoxError> {
        self.0.open(context)
    }

    #[inline]
    fn run(&self, keyed: &Self::Record, parts: &mut Parts<'_, Self>, turn: &mut Turn) {
        let mut context =
            KeyedContext::new(&keyed.key, keyed.group, parts.values, parts.outputs, turn);
        self.0.element(&keyed.record, &mut context);
    }

    fn timer(&self, key: &P::Key, timer: Timer, parts: &mut Parts<'_, Self>, turn: &mut Turn) {
        let mut context = KeyedContext::new(key, None, parts.values, parts.outputs, turn);
        self.0.timer(timer, &mut context);
    }

    fn close(&mut self) -> Result<(), BoxError> {
        self.0.close()
    }
}
