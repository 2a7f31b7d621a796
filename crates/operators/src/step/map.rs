//! `map`: one record out for each record in.

use std::sync::Arc;

use levada_core::Origin;
use levada_runtime::{Blame, Downstream, Push, Room, Step, Subtask, Turn, forward_downstream};

super::step! {
    /// Turns each record into another one.
    MapStep
}

impl<A, B, S, F> Step<A> for MapStep<S, F>
where
    S: Step<A>,
    F: Fn(S::Out) -> B + Send + Sync + 'static,
    B: Send + 'static,
{
    type Out = B;

    fn attach<P: Push<B> + 'static>(&self, subtask: &Subtask, next: P) -> impl Push<A> + 'static {
        let mapping = Mapping {
            closure: Arc::clone(&self.closure),
            operator: self.operator.clone(),
            next,
        };
        self.before.attach(subtask, mapping)
    }
}

struct Mapping<F, P> {
    closure: Arc<F>,
    operator: Origin,
    next: P,
}

impl<F: Send + Sync, P: Downstream> Downstream for Mapping<F, P> {
    forward_downstream!(next);
}

impl<A, B, F, P> Push<A> for Mapping<F, P>
where
    F: Fn(A) -> B + Send + Sync,
    P: Push<B>,
{
    #[inline(always)]
    fn push(&mut self, record: A, turn: &mut Turn) -> Room {
        let blame = Blame::on(&self.operator);
        let mapped = (self.closure)(record);
        blame.lift();
        self.next.push(mapped, turn)
    }
}
