//! `filter`: some records pass.

use std::sync::Arc;

use levada_core::Origin;
use levada_runtime::{Blame, Downstream, Push, Room, Step, Subtask, Turn, forward_downstream};

super::step! {
    /// Lets pass the records for which the closure says so.
    FilterStep
}

impl<A, S, F> Step<A> for FilterStep<S, F>
where
    S: Step<A>,
    F: Fn(&S::Out) -> bool + Send + Sync + 'static,
{
    type Out = S::Out;

    fn attach<P: Push<S::Out> + 'static>(
        &self,
        subtask: &Subtask,
        next: P,
    ) -> impl Push<A> + 'static {
        let filtering = Filtering {
            closure: Arc::clone(&self.closure),
            operator: self.operator.clone(),
            next,
        };
        self.before.attach(subtask, filtering)
    }
}

struct Filtering<F, P> {
    closure: Arc<F>,
    operator: Origin,
    next: P,
}

impl<F: Send + Sync, P: Downstream> Downstream for Filtering<F, P> {
    forward_downstream!(next);
}

impl<A, F, P> Push<A> for Filtering<F, P>
where
    F: Fn(&A) -> bool + Send + Sync,
    P: Push<A>,
{
    #[inline(always)]
    fn push(&mut self, record: A, turn: &mut Turn) -> Room {
        let blame = Blame::on(&self.operator);
        let passes = (self.closure)(&record);
        blame.lift();
        if passes {
            self.next.push(record, turn)
        } else {
            Room::Free
        }
    }
}
