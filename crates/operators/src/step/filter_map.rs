//! `filter_map`: one record for some records.

use std::sync::Arc;

use levada_core::Origin;
use levada_runtime::{Blame, Downstream, Push, Room, Step, Subtask, Turn, forward_downstream};

super::step! {
    /// Turns each record into another one or into none.
    FilterMapStep
}

impl<A, B, S, F> Step<A> for FilterMapStep<S, F>
where
    S: Step<A>,
    F: Fn(S::Out) -> Option<B> + Send + Sync + 'static,
    B: Send + 'static,
{
    type Out = B;

    fn attach<P: Push<B> + 'static>(&self, subtask: &Subtask, next: P) -> impl Push<A> + 'static {
        let choosing = Choosing {
            closure: Arc::clone(&self.closure),
            operator: self.operator.clone(),
            next,
        };
        self.before.attach(subtask, choosing)
    }
}

struct Choosing<F, P> {
    closure: Arc<F>,
    operator: Origin,
    next: P,
}

impl<F: Send + Sync, P: Downstream> Downstream for Choosing<F, P> {
    forward_downstream!(next);
}

impl<A, B, F, P> Push<A> for Choosing<F, P>
where
    F: Fn(A) -> Option<B> + Send + Sync,
    P: Push<B>,
{
    #[inline(always)]
    fn push(&mut self, record: A, turn: &mut Turn) -> Room {
        let blame = Blame::on(&self.operator);
        let chosen = (self.closure)(record);
        blame.lift();
        match chosen {
            Some(record) => self.next.push(record, turn),
            None => Room::Free,
        }
    }
}
