//! A stream of results, divided into what went well and what did not.

use std::marker::PhantomData;

use levada_core::Room;
use levada_state::StateError;

use crate::error::Failure;
use crate::push::{Downstream, Ending, Push, Signal, Visitor};
use crate::step::Step;
use crate::subtask::Subtask;
use crate::turn::Turn;
use crate::wiring::{AnyPush, Built, Head, NodeFactory, Shared};

/// Divides results behind stateless steps: output 0 gets what is `Ok`, output 1 what is `Err`.
pub struct SplitResultsNode<H, S, T, E> {
    steps: S,
    types: PhantomData<fn(H) -> (T, E)>,
}

impl<H, S, T, E> SplitResultsNode<H, S, T, E> {
    /// The node behind these steps.
    pub fn new(steps: S) -> Self {
        Self {
            steps,
            types: PhantomData,
        }
    }
}

impl<H, S, T, E> NodeFactory for SplitResultsNode<H, S, T, E>
where
    H: Head,
    S: Step<H::Out, Out = Result<T, E>>,
    T: Send + 'static,
    E: Send + 'static,
{
    fn build(
        &self,
        subtask: &Subtask,
        _: &Shared,
        outputs: Vec<AnyPush>,
    ) -> Result<Built, Failure> {
        let [good, bad] = <[AnyPush; 2]>::try_from(outputs)
            .unwrap_or_else(|_| panic!("the graph gives this node two outputs"));
        let splitting = SplittingResults {
            good: good.typed::<T>(&subtask.operator),
            bad: bad.typed::<E>(&subtask.operator),
        };
        Ok(Built::Push(H::erase(self.steps.attach(subtask, splitting))))
    }
}

/// There is room if both outputs have some: who sends cannot know which one the next result goes to.
struct SplittingResults<T, E> {
    good: Box<dyn Push<T>>,
    bad: Box<dyn Push<E>>,
}

impl<T, E> Downstream for SplittingResults<T, E> {
    fn resume(&mut self, turn: &mut Turn) -> Room {
        self.good.resume(turn).and(self.bad.resume(turn))
    }

    fn mark(&mut self, turn: &mut Turn) {
        self.good.mark(turn);
        self.bad.mark(turn);
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        self.good
            .signal(signal, turn)
            .and(self.bad.signal(signal, turn))
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        self.good.tend(turn).and(self.bad.tend(turn))
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        self.good.visit(visitor)?;
        self.bad.visit(visitor)
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        let good = self.good.close(ending);
        let bad = self.bad.close(ending);
        good.and(bad)
    }
}

impl<T, E> Push<Result<T, E>> for SplittingResults<T, E> {
    #[inline]
    fn push(&mut self, result: Result<T, E>, turn: &mut Turn) -> Room {
        match result {
            Ok(record) => self.good.push(record, turn),
            Err(error) => self.bad.push(error, turn),
        }
    }
}
