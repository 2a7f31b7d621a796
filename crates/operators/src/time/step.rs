//! `timestamps`: each record gets its event time, and watermarks are made.

use std::marker::PhantomData;
use std::mem;
use std::sync::Arc;

use levada_core::{EventTime, Origin, Timestamp};
use levada_runtime::{
    Blame, Downstream, Ending, Failure, Push, Room, Signal, StateError, Step, Subtask, Turn,
    Visitor,
};

use crate::time::Watermarks;
use crate::time::generator::{Generates, WatermarkGenerator};

/// Gives each record its event time.
pub struct TimestampsStep<S, F, M> {
    before: S,
    closure: Arc<F>,
    watermarks: Arc<Watermarks<M>>,
    operator: Origin,
}

impl<S, F, M> TimestampsStep<S, F, M> {
    /// The step that follows `before`.
    pub fn new(before: S, closure: F, watermarks: Watermarks<M>, operator: Origin) -> Self {
        Self {
            before,
            closure: Arc::new(closure),
            watermarks: Arc::new(watermarks),
            operator,
        }
    }
}

impl<S: Clone, F, M> Clone for TimestampsStep<S, F, M> {
    fn clone(&self) -> Self {
        Self {
            before: self.before.clone(),
            closure: Arc::clone(&self.closure),
            watermarks: Arc::clone(&self.watermarks),
            operator: self.operator.clone(),
        }
    }
}

impl<A, E, S, F, M> Step<A> for TimestampsStep<S, F, M>
where
    S: Step<A>,
    F: Fn(&S::Out) -> E + Send + Sync + 'static,
    E: EventTime,
    M: Generates<S::Out>,
{
    type Out = S::Out;

    fn attach<P>(&self, subtask: &Subtask, next: P) -> impl Push<A> + 'static
    where
        P: Push<S::Out> + 'static,
    {
        let timing = Timing {
            closure: Arc::clone(&self.closure),
            generator: self.watermarks.make.generator(),
            emitted: Timestamp::MIN,
            operator: self.operator.clone(),
            next,
            records: PhantomData,
        };
        self.before.attach(subtask, timing)
    }
}

/// Stamps records and makes watermarks, in one subtask.
struct Timing<T, F, G, P> {
    closure: Arc<F>,
    generator: G,
    /// The last watermark that was sent.
    emitted: Timestamp,
    operator: Origin,
    next: P,
    records: PhantomData<fn(T)>,
}

impl<T, F, G, P> Timing<T, F, G, P>
where
    G: WatermarkGenerator<T>,
    P: Downstream,
{
    /// Sends the watermark if it has risen. Heads resume their chain between two runs of records, so that this is done once
    /// for some hundred records or a batch.
    fn emit(&mut self, turn: &mut Turn) -> Room {
        let watermark = self.generator.watermark();
        if watermark <= self.emitted {
            return Room::Free;
        }
        self.emitted = watermark;
        self.next.signal(Signal::Watermark(watermark), turn)
    }
}

impl<T, F, G, P> Downstream for Timing<T, F, G, P>
where
    T: 'static,
    F: Send + Sync,
    G: WatermarkGenerator<T>,
    P: Downstream,
{
    fn resume(&mut self, turn: &mut Turn) -> Room {
        if self.next.resume(turn).is_full() {
            return Room::Full;
        }
        self.emit(turn)
    }

    fn mark(&mut self, turn: &mut Turn) {
        self.next.mark(turn);
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        match signal {
            // What was known about time before this step is replaced by what it makes, except that time has ended.
            Signal::Watermark(watermark) if watermark < Timestamp::MAX => Room::Free,
            _ => self.next.signal(signal, turn),
        }
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        self.next.tend(turn)
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        self.next.visit(visitor)
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        self.next.close(ending)
    }
}

impl<T, E, F, G, P> Push<T> for Timing<T, F, G, P>
where
    T: 'static,
    F: Fn(&T) -> E + Send + Sync,
    E: EventTime,
    G: WatermarkGenerator<T>,
    P: Push<T>,
{
    #[inline(always)]
    fn push(&mut self, record: T, turn: &mut Turn) -> Room {
        let blame = Blame::on(&self.operator);
        let time = (self.closure)(&record).timestamp();
        let time = match time {
            Ok(time) => time,
            Err(error) => {
                blame.lift();
                return turn.fail(&self.operator, error);
            }
        };
        self.generator.record(&record, time);
        blame.lift();
        let before = mem::replace(&mut turn.timestamp, time);
        let room = self.next.push(record, turn);
        turn.timestamp = before;
        room
    }
}
