//! What an operator of the user's sees of its subtask, its key and its outputs.

use levada_core::{BoxError, Key, KeyGroup, Origin, State, Timestamp};
use levada_runtime::Turn;
use levada_runtime::metrics::user::SubtaskMetrics;
use levada_state::Place;

use crate::process::keyed::{KeyedValues, give_up};
use crate::process::outputs::Outputs;
use crate::process::{CoProcess, Process, SideOutput};

/// The subtask that a process is opened in.
#[derive(Clone)]
pub struct OpenContext {
    pub(crate) operator: Origin,
    pub(crate) subtask: usize,
    pub(crate) parallelism: usize,
    pub(crate) metrics: SubtaskMetrics,
}

impl OpenContext {
    /// The name of the operator.
    #[must_use]
    pub fn name(&self) -> &str {
        self.operator.name()
    }

    /// The number of the subtask, from 0.
    #[must_use]
    pub fn subtask(&self) -> usize {
        self.subtask
    }

    /// How many subtasks the operator has.
    #[must_use]
    pub fn parallelism(&self) -> usize {
        self.parallelism
    }

    /// Counters, gauges and histograms of the process, to be kept in its fields.
    #[must_use]
    pub fn metrics(&self) -> &SubtaskMetrics {
        &self.metrics
    }
}

/// What a [`Process`] sees while it has a record in hand.
pub type Context<'a, P> =
    KeyedContext<'a, <P as Process>::Key, <P as Process>::State, <P as Process>::Out>;

/// What a [`CoProcess`] sees while it has a record in hand.
pub type CoContext<'a, P> =
    KeyedContext<'a, <P as CoProcess>::Key, <P as CoProcess>::State, <P as CoProcess>::Out>;

/// The key of the record in hand, its state, and the outputs.
pub struct KeyedContext<'a, K, S, O> {
    key: &'a K,
    group: Option<KeyGroup>,
    values: &'a mut KeyedValues<K, S>,
    /// Where the key's state is, once it has been looked up.
    place: Option<Place>,
    outputs: &'a mut Outputs<O>,
    turn: &'a mut Turn,
}

impl<'a, K: Key, S: State, O: Send + 'static> KeyedContext<'a, K, S, O> {
    pub(crate) fn new(
        key: &'a K,
        group: Option<KeyGroup>,
        values: &'a mut KeyedValues<K, S>,
        outputs: &'a mut Outputs<O>,
        turn: &'a mut Turn,
    ) -> Self {
        Self {
            key,
            group,
            values,
            place: None,
            outputs,
            turn,
        }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &K {
        self.key
    }

    /// The record's event time; [`Timestamp::MIN`] if it was given none.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.turn.timestamp
    }

    /// The key's state, made by `Default` if there is none.
    #[inline]
    pub fn state(&mut self) -> &mut S {
        let place = match self.place {
            Some(place) => place,
            None => match self.values.find_or_insert(self.key, self.group) {
                Ok(place) => *self.place.insert(place),
                Err(error) => {
                    self.fail(error);
                    give_up()
                }
            },
        };
        self.values.table.value_mut(place)
    }

    /// The key's state, if there is one.
    #[must_use]
    pub fn existing_state(&self) -> Option<&S> {
        let place = self.place.or_else(|| self.values.table.find(self.key))?;
        Some(self.values.table.value(place))
    }

    /// Forgets the key's state.
    pub fn clear(&mut self) {
        self.place = None;
        self.values.table.remove(self.key);
    }

    /// Emits a record on the main output.
    #[inline]
    pub fn emit(&mut self, record: O) {
        self.outputs.emit(record, self.turn);
    }

    /// Emits a record on a side output.
    pub fn emit_to<T: Send + 'static>(&mut self, side: &SideOutput<T>, record: T) {
        self.outputs.emit_to(side, record, self.turn);
    }

    /// Ends the job with an error of this operator.
    pub fn fail(&mut self, error: impl Into<BoxError>) {
        self.outputs.fail(error, self.turn);
    }
}

/// The outputs alone, for a record that has no key.
pub struct EmitContext<'a, O> {
    outputs: &'a mut Outputs<O>,
    turn: &'a mut Turn,
}

impl<'a, O: Send + 'static> EmitContext<'a, O> {
    pub(crate) fn new(outputs: &'a mut Outputs<O>, turn: &'a mut Turn) -> Self {
        Self { outputs, turn }
    }

    /// The record's event time; [`Timestamp::MIN`] if it was given none.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.turn.timestamp
    }

    /// Emits a record on the main output.
    pub fn emit(&mut self, record: O) {
        self.outputs.emit(record, self.turn);
    }

    /// Emits a record on a side output.
    pub fn emit_to<T: Send + 'static>(&mut self, side: &SideOutput<T>, record: T) {
        self.outputs.emit_to(side, record, self.turn);
    }

    /// Ends the job with an error of this operator.
    pub fn fail(&mut self, error: impl Into<BoxError>) {
        self.outputs.fail(error, self.turn);
    }
}
