//! Stateless steps: fused by type, like the adapters of `std::iter`.

use crate::push::Push;
use crate::subtask::Subtask;

/// A chain of stateless steps from records of type `A` to records of type `Out`.
///
/// A step is attached in front of what takes its output, and the result takes its input: the whole chain becomes one type
/// and, in a release build, one loop body. There is one copy per subtask; closures are shared.
pub trait Step<A>: Clone + Send + Sync + 'static {
    /// What comes out.
    type Out: Send + 'static;

    /// Puts the steps in front of `next`.
    fn attach<P>(&self, subtask: &Subtask, next: P) -> impl Push<A> + 'static
    where
        P: Push<Self::Out> + 'static;
}

/// No step at all.
#[derive(Clone, Copy, Debug)]
pub struct Identity;

impl<A: Send + 'static> Step<A> for Identity {
    type Out = A;

    fn attach<P>(&self, _: &Subtask, next: P) -> impl Push<A> + 'static
    where
        P: Push<A> + 'static,
    {
        next
    }
}
