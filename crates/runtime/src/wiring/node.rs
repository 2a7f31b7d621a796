//! Factories of the nodes that need nothing but this crate.

use std::marker::PhantomData;
use std::sync::Arc;

use levada_core::Room;
use levada_core::codec::{self, CodecError};
use levada_state::StateError;

use crate::error::{Failure, blaming};
use crate::push::{Downstream, Ending, Push, Signal, Visitor};
use crate::sink::Sink;
use crate::source::{Source, SourceContext};
use crate::stage::{SinkEnd, SourceStage, Splits};
use crate::step::Step;
use crate::subtask::Subtask;
use crate::turn::Turn;
use crate::wiring::{AnyPush, Built, Head, NodeFactory, Shared};

/// A source.
pub struct SourceNode<S>(Arc<S>);

impl<S: Source> SourceNode<S> {
    /// The node of a source.
    #[must_use]
    pub fn new(source: S) -> Self {
        Self(Arc::new(source))
    }
}

impl<S: Source> NodeFactory for SourceNode<S> {
    fn start(&self, subtask: &Subtask) -> Result<Shared, Failure> {
        let context = SourceContext {
            operator: subtask.operator.clone(),
            parallelism: subtask.parallelism,
            environment: subtask.environment.clone(),
        };
        let Some(restored) = &subtask.restored else {
            let splits = blaming(&subtask.operator, || self.0.splits(&context))?;
            return Ok(Arc::new(Splits::<S>::new(splits)));
        };
        let name = subtask.operator.name();
        let Some(left) = restored.splits(name) else {
            // A source that the program did not have then.
            let splits = blaming(&subtask.operator, || self.0.splits(&context))?;
            return Ok(Arc::new(Splits::<S>::new(splits)));
        };
        let (splits, memory) = Splits::<S>::restore(&left.open, left.waiting)
            .map_err(|error| Failure::error(subtask.operator.clone(), error.into()))?;
        blaming(&subtask.operator, || self.0.restore(&memory, &context))?;
        Ok(Arc::new(splits))
    }

    fn build(
        &self,
        subtask: &Subtask,
        shared: &Shared,
        outputs: Vec<AnyPush>,
    ) -> Result<Built, Failure> {
        let splits = Arc::clone(shared)
            .downcast::<Splits<S>>()
            .expect("a source's subtasks share its splits");
        let chain = only(outputs).typed_for::<S::Reader>(&subtask.operator);
        let done = splits.take_done();
        Ok(Built::Head(Box::new(SourceStage::new(
            Arc::clone(&self.0),
            splits,
            done,
            chain,
            subtask.throttle.clone(),
            subtask.reader_context(),
            Arc::clone(&subtask.counters),
        ))))
    }

    fn commits(&self) -> bool {
        self.0.commits()
    }

    fn cancel(&self) {
        self.0.cancel();
    }
}

/// Where streams meet without state.
pub struct Relay;

impl NodeFactory for Relay {
    fn build(&self, _: &Subtask, _: &Shared, outputs: Vec<AnyPush>) -> Result<Built, Failure> {
        Ok(Built::Push(only(outputs)))
    }
}

/// Stateless steps that are a node of their own.
pub struct StepsNode<H, S> {
    steps: S,
    head: PhantomData<fn(H)>,
}

impl<H, S> StepsNode<H, S> {
    /// The node of these steps.
    pub fn new(steps: S) -> Self {
        Self {
            steps,
            head: PhantomData,
        }
    }
}

impl<H: Head, S: Step<H::Out>> NodeFactory for StepsNode<H, S> {
    fn build(
        &self,
        subtask: &Subtask,
        _: &Shared,
        outputs: Vec<AnyPush>,
    ) -> Result<Built, Failure> {
        let next = only(outputs).typed::<S::Out>(&subtask.operator);
        Ok(Built::Push(H::erase(self.steps.attach(subtask, next))))
    }
}

/// A sink, with stateless steps in front of it.
pub struct SinkNode<H, S, K> {
    steps: S,
    sink: K,
    head: PhantomData<fn(H)>,
}

impl<H, S, K> SinkNode<H, S, K> {
    /// The node of this sink behind these steps.
    pub fn new(steps: S, sink: K) -> Self {
        Self {
            steps,
            sink,
            head: PhantomData,
        }
    }
}

impl<H, S, K> NodeFactory for SinkNode<H, S, K>
where
    H: Head,
    S: Step<H::Out>,
    K: Sink<S::Out>,
    K::Writer: 'static,
{
    fn start(&self, subtask: &Subtask) -> Result<Shared, Failure> {
        let context = subtask.sink_context();
        blaming(&subtask.operator, || self.sink.start(&context))?;
        Ok(Arc::new(()))
    }

    fn recover(&self, subtask: &Subtask, prepared: &[&[u8]]) -> Result<(), Failure> {
        let mut pending = Vec::new();
        let damaged = |error: CodecError| Failure::error(subtask.operator.clone(), error.into());
        for mut epochs in prepared.iter().copied() {
            while !epochs.is_empty() {
                let bytes = codec::decode_part(&mut epochs).map_err(damaged)?;
                pending.push(codec::decode(bytes).map_err(damaged)?);
            }
        }
        let context = subtask.sink_context();
        blaming(&subtask.operator, || self.sink.recover(pending, &context))
    }

    fn build(&self, subtask: &Subtask, _: &Shared, _: Vec<AnyPush>) -> Result<Built, Failure> {
        let context = subtask.sink_context();
        let writer = blaming(&subtask.operator, || self.sink.open(&context))?;
        let end = SinkEnd::new(
            writer,
            subtask.operator.clone(),
            subtask.index,
            Arc::clone(&subtask.counters),
        );
        Ok(Built::Push(H::erase(self.steps.attach(subtask, end))))
    }

    fn cancel(&self) {
        self.sink.cancel();
    }
}

/// The end of a stream that nobody wants.
pub struct Discard<T>(PhantomData<fn(T)>);

impl<T> Discard<T> {
    /// The node that drops all records.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for Discard<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: 'static> NodeFactory for Discard<T> {
    fn build(&self, _: &Subtask, _: &Shared, _: Vec<AnyPush>) -> Result<Built, Failure> {
        Ok(Built::Push(AnyPush::new::<T>(Box::new(Dropping))))
    }
}

pub(super) struct Dropping;

impl Downstream for Dropping {
    fn resume(&mut self, _: &mut Turn) -> Room {
        Room::Free
    }

    fn mark(&mut self, _: &mut Turn) {}

    fn signal(&mut self, _: Signal, _: &mut Turn) -> Room {
        Room::Free
    }

    fn tend(&mut self, _: &mut Turn) -> Room {
        Room::Free
    }

    fn visit(&mut self, _: &mut dyn Visitor) -> Result<(), StateError> {
        Ok(())
    }

    fn close(&mut self, _: Ending) -> Result<(), Failure> {
        Ok(())
    }
}

impl<T> Push<T> for Dropping {
    fn push(&mut self, _: T, _: &mut Turn) -> Room {
        Room::Free
    }
}

/// The output of a node that has one.
fn only(outputs: Vec<AnyPush>) -> AnyPush {
    let mut outputs = outputs.into_iter();
    match (outputs.next(), outputs.next()) {
        (Some(output), None) => output,
        _ => panic!("the graph gives this node one output"),
    }
}
