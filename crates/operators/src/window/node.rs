//! The node of a window operator.

use std::marker::PhantomData;

use levada_core::{Exchange, Key, State};
use levada_runtime::wiring::{AnyPush, AnyRead, Built, NodeFactory, Shared};
use levada_runtime::{Failure, KeyedRecord, Push, Read, Subtask};
use levada_state::{KEY, StateFields, VALUE, ValueReader};

use crate::process::side::AnyPort;
use crate::window::contents::Contents;
use crate::window::options::WindowOptions;

/// The node of windows of any kind, as the closure makes their operator.
pub(crate) struct WindowNode<K, T, C, F> {
    contents: C,
    options: WindowOptions<T>,
    make: F,
    /// What else is kept.
    also: fn(StateFields) -> StateFields,
    records: PhantomData<fn(K, T)>,
}

/// What an operator is made of.
pub(crate) struct Making<'a, T, C, A, O> {
    pub(crate) contents: C,
    pub(crate) options: WindowOptions<T>,
    pub(crate) subtask: &'a Subtask,
    pub(crate) main: Box<dyn Push<O>>,
    pub(crate) sides: Vec<Box<dyn AnyPort>>,
    /// Reads the accumulators in a checkpoint.
    pub(crate) reader: ValueReader<A>,
}

/// The role of what a trigger keeps.
const TRIGGER: &str = "trigger";

impl<K, T, C, F> WindowNode<K, T, C, F> {
    pub(crate) fn new(contents: C, options: WindowOptions<T>, make: F) -> Self {
        Self {
            contents,
            options,
            make,
            also: |state| state,
            records: PhantomData,
        }
    }

    /// There is a trigger, which keeps this for each window.
    pub(crate) fn with_trigger<S: State>(self) -> Self {
        Self {
            also: |state| state.with::<S>(TRIGGER),
            ..self
        }
    }
}

impl<K, T, C, F, R> NodeFactory for WindowNode<K, T, C, F>
where
    K: Key,
    T: Exchange,
    C: Contents<K, T>,
    F: Fn(Making<'_, T, C, C::Accumulator, C::Out>) -> R + Send + Sync,
    R: Read<KeyedRecord<K, T>> + 'static,
{
    fn build(
        &self,
        subtask: &Subtask,
        _: &Shared,
        outputs: Vec<AnyPush>,
    ) -> Result<Built, Failure> {
        let mut outputs = outputs.into_iter();
        let main = outputs
            .next()
            .expect("a window operator has a main output")
            .typed::<C::Out>(&subtask.operator);
        let sides = self.options.sides(outputs, subtask);
        let operator = (self.make)(Making {
            contents: self.contents.clone(),
            options: self.options.clone(),
            subtask,
            main,
            sides,
            reader: self.contents.version().reader(subtask.saved_version()),
        });
        Ok(Built::Read(AnyRead::new::<KeyedRecord<K, T>>(Box::new(
            operator,
        ))))
    }

    fn state(&self) -> Option<StateFields> {
        let state = StateFields::of_version(&self.contents.version());
        let state = state.with::<K>(KEY).with::<C::Accumulator>(VALUE);
        Some((self.also)(state))
    }
}
