//! What an operator of the user's sees of its subtask, its key and its outputs.

use levada_core::{BoxError, Key, KeyGroup, Origin, State, Timestamp};
use levada_runtime::Turn;
use levada_runtime::metrics::user::SubtaskMetrics;
use levada_state::Place;

use crate::process::keyed::{KeyedValues, give_up};
use crate::process::outputs::Outputs;
use crate::process::shared::Part;
use crate::process::{BroadcastProcess, CoProcess, Process, SideOutput, Timer};

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

/// What a [`Process`] sees while it has a record or a timer in hand.
pub type Context<'a, P> =
    KeyedContext<'a, <P as Process>::Key, <P as Process>::State, <P as Process>::Out>;

/// What a [`CoProcess`] sees while it has a record or a timer in hand.
pub type CoContext<'a, P> =
    KeyedContext<'a, <P as CoProcess>::Key, <P as CoProcess>::State, <P as CoProcess>::Out>;

/// The key of the record or timer in hand, its state and timers, and the outputs.
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

    /// The record's event time, [`Timestamp::MIN`] if it was given none; in a timer of event time, its time. What is emitted
    /// carries it.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.turn.timestamp
    }

    /// The watermark: no record with this timestamp or an earlier one is expected, and none has been since it rose. For
    /// a key whose state was restored it is at least what it was when the state was saved. [`Timestamp::MIN`] before the
    /// first one, [`Timestamp::MAX`] when the input has ended.
    #[must_use]
    pub fn watermark(&self) -> Timestamp {
        self.values.watermark(self.key, self.group)
    }

    /// The time of day, which is read with each call.
    #[must_use]
    pub fn processing_time(&self) -> Timestamp {
        self.values.times.processing_time()
    }

    /// Sets a timer of event time for the key: [`Timer::Event`] says when it fires.
    pub fn set_timer(&mut self, at: Timestamp) {
        self.set(Timer::Event(at));
    }

    /// Deletes the key's timer of this event time, if there is one.
    pub fn delete_timer(&mut self, at: Timestamp) {
        self.values.times.delete(self.key, Timer::Event(at));
    }

    /// Sets a timer of processing time for the key: [`Timer::Processing`] says when it fires.
    pub fn set_processing_timer(&mut self, at: Timestamp) {
        self.set(Timer::Processing(at));
    }

    /// Deletes the key's timer of this processing time, if there is one.
    pub fn delete_processing_timer(&mut self, at: Timestamp) {
        self.values.times.delete(self.key, Timer::Processing(at));
    }

    fn set(&mut self, timer: Timer) {
        if let Err(error) = self.values.set_timer(self.key, self.group, timer) {
            self.fail(error);
        }
    }

    /// The key's state, made by `Default` if there is none.
    #[inline]
    pub fn state(&mut self) -> &mut S {
        let place = match self.place {
            Some(place) => place,
            None => {
                let timestamp = self.turn.timestamp;
                let found = self.values.find_or_insert(self.key, self.group, timestamp);
                match found {
                    Ok(place) => *self.place.insert(place),
                    Err(error) => {
                        self.fail(error);
                        give_up()
                    }
                }
            }
        };
        self.values.value_mut(place)
    }

    /// The key's state, if there is one.
    #[must_use]
    pub fn existing_state(&self) -> Option<&S> {
        let timestamp = self.turn.timestamp;
        self.values
            .existing(self.key, self.group, timestamp, self.place)
    }

    /// Forgets the key's state.
    pub fn clear(&mut self) {
        self.place = None;
        self.values.remove(self.key);
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

/// What a [`BroadcastProcess`] sees while it has a broadcast record in hand.
pub type SharedContext<'a, P> = KeysContext<
    'a,
    <P as BroadcastProcess>::Key,
    <P as BroadcastProcess>::State,
    <P as BroadcastProcess>::Out,
>;

/// All keys of the subtask and the outputs, for a record that has no key.
///
/// After a restore at another parallelism it may be those keys only that the record has not met
/// ([`BroadcastProcess::broadcast`]); if there are several such calls in the subtask, what is emitted besides
/// [`for_each_key`](Self::for_each_key) comes of the one with the first key groups.
pub struct KeysContext<'a, K, S, O> {
    part: Part,
    values: &'a mut KeyedValues<K, S>,
    emitter: OutputEmitter<'a, O>,
}

/// The outputs of an operator, while a key's state is borrowed.
pub struct OutputEmitter<'a, O> {
    outputs: &'a mut Outputs<O>,
    turn: &'a mut Turn,
}

impl<'a, K: Key, S: State, O: Send + 'static> KeysContext<'a, K, S, O> {
    pub(crate) fn new(
        part: Part,
        values: &'a mut KeyedValues<K, S>,
        outputs: &'a mut Outputs<O>,
        turn: &'a mut Turn,
    ) -> Self {
        Self {
            part,
            values,
            emitter: OutputEmitter { outputs, turn },
        }
    }

    /// The record's event time; [`Timestamp::MIN`] if it was given none.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.emitter.turn.timestamp
    }

    /// Shows the state of every key of this subtask, in no particular order. Together the subtasks see every key once.
    ///
    /// With a time-to-live this is no use of the states, and those that are gone are left out.
    ///
    /// It walks all keys in one go: with millions of them the task lets nobody else run meanwhile, and what is emitted without
    /// room waits in memory, up to a limit.
    pub fn for_each_key(&mut self, mut f: impl FnMut(&K, &mut S, &mut OutputEmitter<'_, O>)) {
        let mut emitter = OutputEmitter {
            outputs: self.emitter.outputs,
            turn: self.emitter.turn,
        };
        let groups = self.part.groups.clone();
        self.values
            .for_each(groups, |key, state| f(key, state, &mut emitter));
    }

    /// Emits a record on the main output.
    pub fn emit(&mut self, record: O) {
        if self.part.speaks {
            self.emitter.emit(record);
        }
    }

    /// Emits a record on a side output.
    pub fn emit_to<T: Send + 'static>(&mut self, side: &SideOutput<T>, record: T) {
        if self.part.speaks {
            self.emitter.emit_to(side, record);
        }
    }

    /// Ends the job with an error of this operator.
    pub fn fail(&mut self, error: impl Into<BoxError>) {
        self.emitter.outputs.fail(error, self.emitter.turn);
    }
}

impl<O: Send + 'static> OutputEmitter<'_, O> {
    /// Emits a record on the main output.
    pub fn emit(&mut self, record: O) {
        self.outputs.emit(record, self.turn);
    }

    /// Emits a record on a side output.
    pub fn emit_to<T: Send + 'static>(&mut self, side: &SideOutput<T>, record: T) {
        self.outputs.emit_to(side, record, self.turn);
    }
}
