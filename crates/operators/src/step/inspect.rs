//! `inspect`: a look at each record.

use std::sync::Arc;

use levada_core::Origin;
use levada_runtime::{Blame, Downstream, Push, Room, Step, Subtask, Turn, forward_downstream};

super::step! {
    /// Shows each record to the closure and passes it on.
    InspectStep
}

impl<A, S, F> Step<A> for InspectStep<S, F>
where
    S: Step<A>,
    F: Fn(&S::Out) + Send + Sync + 'static,
{
    type Out = S::Out;

    fn attach<P: Push<S::Out> + 'static>(
        &self,
        subtask: &Subtask,
        next: P,
    ) -> impl Push<A> + 'static {
        let inspecting = Inspecting {
            closure: Arc::clone(&self.closure),
            operator: self.operator.clone(),
            next,
        };
        self.before.attach(subtask, inspecting)
    }
}

struct Inspecting<F, P> {
    closure: Arc<F>,
    operator: Origin,
    next: P,
}

impl<F: Send + Sync, P: Downstream> Downstream for Inspecting<F, P> {
    forward_downstream!(next);
}

impl<A, F, P> Push<A> for Inspecting<F, P>
where
    F: Fn(&A) + Send + Sync,
    P: Push<A>,
{
    #[inline(always)]
    fn push(&mut self, record: A, turn: &mut Turn) -> Room {
        let blame = Blame::on(&self.operator);
        (self.closure)(&record);
        blame.lift();
        self.next.push(record, turn)
    }
}
