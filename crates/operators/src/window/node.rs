//! The node of a window operator.

use std::marker::PhantomData;

use levada_core::{Exchange, Key};
use levada_runtime::wiring::{AnyPush, AnyRead, Built, NodeFactory, Shared};
use levada_runtime::{Failure, KeyedRecord, Push, Read, Subtask};

use crate::process::side::AnyPort;
use crate::window::contents::Contents;
use crate::window::options::WindowOptions;

/// The node of windows of any kind, as the closure makes their operator.
pub(crate) struct WindowNode<K, T, C, F> {
    contents: C,
    options: WindowOptions<T>,
    make: F,
    records: PhantomData<fn(K, T)>,
}

/// What an operator is made of.
pub(crate) struct Making<'a, T, C, O> {
    pub(crate) contents: C,
    pub(crate) options: WindowOptions<T>,
    pub(crate) subtask: &'a Subtask,
    pub(crate) main: Box<dyn Push<O>>,
    pub(crate) sides: Vec<Box<dyn AnyPort>>,
}

impl<K, T, C, F> WindowNode<K, T, C, F> {
    pub(crate) fn new(contents: C, options: WindowOptions<T>, make: F) -> Self {
        Self {
            contents,
            options,
            make,
            records: PhantomData,
        }
    }
}

impl<K, T, C, F, R> NodeFactory for WindowNode<K, T, C, F>
where
    K: Key,
    T: Exchange,
    C: Contents<K, T>,
    F: Fn(Making<'_, T, C, C::Out>) -> R + Send + Sync,
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
        });
        Ok(Built::Read(AnyRead::new::<KeyedRecord<K, T>>(Box::new(
            operator,
        ))))
    }
}
