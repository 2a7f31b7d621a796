//! A process with two inputs of the same keys.

use levada_core::{BoxError, Exchange, Key, State};
use levada_runtime::{KeyedRecord, Turn, Two};

use crate::process::operator::{Logic, Parts};
use crate::process::{CoContext, KeyedContext, OpenContext, Timer};

/// An operator of the user's with two inputs, whose records meet in the state of their key.
///
/// Records of one key and one input come in the order in which each sender sent them. There is no order between the inputs:
/// what has come first on one must wait in the state for what has not come yet on the other.
pub trait CoProcess: Clone + Send + 'static {
    /// What the records of both inputs are grouped by.
    type Key: Key;
    /// The records of the first input.
    type First: Exchange;
    /// The records of the second input.
    type Second: Exchange;
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

    /// Called for each record of the first input.
    fn first(&self, record: &Self::First, context: &mut CoContext<'_, Self>);

    /// Called for each record of the second input.
    fn second(&self, record: &Self::Second, context: &mut CoContext<'_, Self>);

    /// Called for each [`Timer`] of a key that is due.
    fn timer(&self, timer: Timer, context: &mut CoContext<'_, Self>) {
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

/// A [`CoProcess`] as what the operator runs.
#[derive(Clone)]
pub struct Connected<P>(pub P);

impl<P: CoProcess> Logic for Connected<P> {
    type Record = Two<KeyedRecord<P::Key, P::First>, KeyedRecord<P::Key, P::Second>>;
    type Key = P::Key;
    type State = P::State;
    type Shared = ();
    type Out = P::Out;

    fn open(&mut self, context: &OpenContext) -> Result<(), BoxError> {
        self.0.open(context)
    }

    #[inline]
    fn run(&self, record: &Self::Record, parts: &mut Parts<'_, Self>, turn: &mut Turn) {
        match record {
            Two::First(keyed) => {
                let mut context =
                    KeyedContext::new(&keyed.key, keyed.group, parts.values, parts.outputs, turn);
                self.0.first(&keyed.record, &mut context);
            }
            Two::Second(keyed) => {
                let mut context =
                    KeyedContext::new(&keyed.key, keyed.group, parts.values, parts.outputs, turn);
                self.0.second(&keyed.record, &mut context);
            }
        }
    }

    fn timer(&self, key: &P::Key, timer: Timer, parts: &mut Parts<'_, Self>, turn: &mut Turn) {
        let mut context = KeyedContext::new(key, None, parts.values, parts.outputs, turn);
        self.0.timer(timer, &mut context);
    }

    fn close(&mut self) -> Result<(), BoxError> {
        self.0.close()
    }
}
