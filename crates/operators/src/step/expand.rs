//! `expand`: any number of records out, emitted by a closure that may borrow from its record.

use std::sync::Arc;

use levada_core::Origin;
use levada_runtime::{
    Blame, Downstream, Overdraft, Push, Room, Signal, Step, Subtask, Turn, forward_downstream,
};

/// The step of `expand`: a closure that emits.
pub struct ExpandStep<S, F, B> {
    before: S,
    closure: Arc<F>,
    operator: Origin,
    records: std::marker::PhantomData<fn() -> B>,
}

impl<S, F, B> ExpandStep<S, F, B> {
    /// The step that follows `before`.
    pub fn new(before: S, closure: F, operator: Origin) -> Self {
        Self {
            before,
            closure: Arc::new(closure),
            operator,
            records: std::marker::PhantomData,
        }
    }
}

impl<S: Clone, F, B> Clone for ExpandStep<S, F, B> {
    fn clone(&self) -> Self {
        Self {
            before: self.before.clone(),
            closure: Arc::clone(&self.closure),
            operator: self.operator.clone(),
            records: std::marker::PhantomData,
        }
    }
}

/// Takes the records that a closure emits.
///
/// A closure cannot be stopped half-way: what it emits when there is no room any more waits, counted as overdraft.
pub struct Emitter<'a, B> {
    target: &'a mut dyn Emit<B>,
}

impl<B> Emitter<'_, B> {
    /// Emits a record.
    #[inline]
    pub fn emit(&mut self, record: B) {
        self.target.emit(record);
    }
}

trait Emit<B> {
    fn emit(&mut self, record: B);
}

impl<A, B, S, F> Step<A> for ExpandStep<S, F, B>
where
    S: Step<A>,
    F: Fn(S::Out, &mut Emitter<'_, B>) + Send + Sync + 'static,
    B: Send + 'static,
{
    type Out = B;

    fn attach<P: Push<B> + 'static>(&self, subtask: &Subtask, next: P) -> impl Push<A> + 'static {
        let expanding = Expanding {
            closure: Arc::clone(&self.closure),
            operator: self.operator.clone(),
            overdraft: subtask.overdraft(),
            next,
        };
        self.before.attach(subtask, expanding)
    }
}

struct Expanding<F, B, P> {
    closure: Arc<F>,
    operator: Origin,
    overdraft: Overdraft<B>,
    next: P,
}

impl<F, B, P> Downstream for Expanding<F, B, P>
where
    F: Send + Sync,
    B: Send,
    P: Push<B>,
{
    fn resume(&mut self, turn: &mut Turn) -> Room {
        if !self.overdraft.is_empty() {
            turn.is_unfinished(&self.operator);
        }
        if self.next.resume(turn).is_full() {
            return Room::Full;
        }
        self.overdraft.drain(&mut self.next, turn)
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        self.next.signal(signal, turn)
    }

    forward_downstream!(@rest next);
}

impl<A, B, F, P> Push<A> for Expanding<F, B, P>
where
    F: Fn(A, &mut Emitter<'_, B>) + Send + Sync,
    B: Send,
    P: Push<B>,
{
    #[inline(always)]
    fn push(&mut self, record: A, turn: &mut Turn) -> Room {
        let mut target = Target {
            overdraft: &mut self.overdraft,
            operator: &self.operator,
            next: &mut self.next,
            turn,
            room: Room::Free,
        };
        let mut emitter = Emitter {
            target: &mut target,
        };
        let blame = Blame::on(&self.operator);
        (self.closure)(record, &mut emitter);
        blame.lift();
        target.room
    }
}

struct Target<'a, B, P> {
    overdraft: &'a mut Overdraft<B>,
    operator: &'a Origin,
    next: &'a mut P,
    turn: &'a mut Turn,
    room: Room,
}

impl<B, P: Push<B>> Emit<B> for Target<'_, B, P> {
    #[inline]
    fn emit(&mut self, record: B) {
        let timestamp = self.turn.timestamp;
        let room = self
            .overdraft
            .offer(record, self.room, self.next, self.operator, self.turn);
        self.room = self.room.and(room);
        self.turn.timestamp = timestamp;
    }
}
