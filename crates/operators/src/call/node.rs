//! The node of asynchronous calls.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use levada_core::{BoxError, Exchange, OnError};
use levada_runtime::wiring::{AnyPush, Built, Head, NodeFactory, Shared};
use levada_runtime::{Failure, Step, Subtask, blaming};
use levada_state::StateFields;

use crate::call::attempts::Call;
use crate::call::operator::{Calling, Conclude, as_result, or_policy};
use crate::call::{CallError, Calls};

/// What is done for each record, and how.
pub struct Asynchronous<T, B, O> {
    call: Call<T, B>,
    calls: Calls,
    conclude: Conclude<T, B, O>,
}

impl<T: Exchange + Clone, B: Send + 'static> Asynchronous<T, B, B> {
    /// Emits results; what has failed is left to the policy.
    pub fn new<F, R, E>(calls: Calls, policy: OnError, f: F) -> Self
    where
        F: Fn(T) -> R + Send + Sync + 'static,
        R: Future<Output = Result<B, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self {
            call: erased(f),
            calls,
            conclude: Arc::new(or_policy(policy)),
        }
    }
}

impl<T: Exchange + Clone, B: Send + 'static> Asynchronous<T, B, Result<B, CallError<T>>> {
    /// Emits results and failures alike.
    pub fn results<F, R, E>(calls: Calls, f: F) -> Self
    where
        F: Fn(T) -> R + Send + Sync + 'static,
        R: Future<Output = Result<B, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self {
            call: erased(f),
            calls,
            conclude: Arc::new(as_result),
        }
    }
}

fn erased<T, B, F, R, E>(f: F) -> Call<T, B>
where
    F: Fn(T) -> R + Send + Sync + 'static,
    R: Future<Output = Result<B, E>> + Send + 'static,
    E: Into<BoxError>,
{
    Arc::new(move |record| {
        let future = f(record);
        Box::pin(async move { future.await.map_err(Into::into) })
    })
}

/// The node that makes calls, with stateless steps in front of it.
pub struct CallNode<H, S, T, B, O> {
    steps: S,
    asynchronous: Asynchronous<T, B, O>,
    head: PhantomData<fn(H)>,
}

impl<H, S, T, B, O> CallNode<H, S, T, B, O> {
    /// The node behind these steps.
    pub fn new(steps: S, asynchronous: Asynchronous<T, B, O>) -> Self {
        Self {
            steps,
            asynchronous,
            head: PhantomData,
        }
    }
}

impl<H, S, T, B, O> NodeFactory for CallNode<H, S, T, B, O>
where
    H: Head,
    S: Step<H::Out, Out = T>,
    T: Exchange + Clone,
    B: Send + 'static,
    O: Send + 'static,
{
    fn build(
        &self,
        subtask: &Subtask,
        _: &Shared,
        mut outputs: Vec<AnyPush>,
    ) -> Result<Built, Failure> {
        let next = outputs.remove(0).typed::<O>(&subtask.operator);
        let in_flight = blaming(&subtask.operator, || {
            let gauge = subtask.metrics().gauge("in_flight")?;
            Ok(gauge)
        })?;
        let calling = Calling::new(
            Arc::clone(&self.asynchronous.call),
            self.asynchronous.calls,
            Arc::clone(&self.asynchronous.conclude),
            subtask,
            in_flight,
            next,
        );
        Ok(Built::Push(H::erase(self.steps.attach(subtask, calling))))
    }

    fn state(&self) -> Option<StateFields> {
        Some(StateFields::new().with::<T>("record"))
    }
}
