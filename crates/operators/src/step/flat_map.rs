//! `flat_map`: any number of records out, from an iterator that is suspended when there is no room.

use std::sync::Arc;

use levada_core::{Origin, Timestamp};
use levada_runtime::{
    Blame, Downstream, Push, Room, Signal, Step, Subtask, Turn, forward_downstream,
};

super::step! {
    /// Turns each record into the records of an iterator.
    ///
    /// However many there are, no more than there is room for are made at a time: the iterator is kept and goes on later.
    FlatMapStep
}

impl<A, B, S, F> Step<A> for FlatMapStep<S, F>
where
    S: Step<A>,
    F: Fn(S::Out) -> B + Send + Sync + 'static,
    B: IntoIterator + 'static,
    B::IntoIter: Send + 'static,
    B::Item: Send + 'static,
{
    type Out = B::Item;

    fn attach<P: Push<B::Item> + 'static>(
        &self,
        subtask: &Subtask,
        next: P,
    ) -> impl Push<A> + 'static {
        let flat_mapping = FlatMapping::<_, B::IntoIter, _> {
            closure: Arc::clone(&self.closure),
            operator: self.operator.clone(),
            suspended: None,
            next,
        };
        self.before.attach(subtask, flat_mapping)
    }
}

struct FlatMapping<F, I, P> {
    closure: Arc<F>,
    operator: Origin,
    suspended: Option<Suspended<I>>,
    next: P,
}

/// An iterator that had no room for its next record, with what its record carried.
struct Suspended<I> {
    records: I,
    timestamp: Timestamp,
}

impl<F, I, P> FlatMapping<F, I, P>
where
    I: Iterator,
    P: Push<I::Item>,
{
    #[inline]
    fn emit(&mut self, mut records: I, turn: &mut Turn) -> Room {
        let timestamp = turn.timestamp;
        let mut room = Room::Free;
        loop {
            let blame = Blame::on(&self.operator);
            let next = records.next();
            blame.lift();
            let Some(record) = next else {
                return room;
            };
            room = room.and(self.next.push(record, turn));
            if room.and(turn.spend()).is_full() {
                self.suspended = Some(Suspended { records, timestamp });
                return Room::Full;
            }
        }
    }
}

impl<F, I, P> Downstream for FlatMapping<F, I, P>
where
    F: Send + Sync,
    I: Iterator + Send,
    P: Push<I::Item>,
{
    fn resume(&mut self, turn: &mut Turn) -> Room {
        if self.suspended.is_some() {
            turn.is_unfinished(&self.operator);
        }
        if self.next.resume(turn).is_full() {
            return Room::Full;
        }
        match self.suspended.take() {
            None => Room::Free,
            Some(suspended) => {
                turn.timestamp = suspended.timestamp;
                self.emit(suspended.records, turn)
            }
        }
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        self.next.signal(signal, turn)
    }

    forward_downstream!(@rest next);
}

impl<A, B, F, P> Push<A> for FlatMapping<F, B::IntoIter, P>
where
    F: Fn(A) -> B + Send + Sync,
    B: IntoIterator,
    B::IntoIter: Send,
    P: Push<B::Item>,
{
    #[inline(always)]
    fn push(&mut self, record: A, turn: &mut Turn) -> Room {
        let blame = Blame::on(&self.operator);
        let records = (self.closure)(record).into_iter();
        blame.lift();
        self.emit(records, turn)
    }
}
