//! What stands in the place of an exchange between two single subtasks.

use std::sync::Arc;

use levada_core::{Exchange, Origin, Room, codec};
use levada_state::StateError;

use crate::error::Failure;
use crate::forward_downstream;
use crate::metrics::OperatorCounters;
use crate::push::{Downstream, Ending, Push, Read, Signal, Visitor};
use crate::stage::sender::CannotTravel;
use crate::turn::Turn;

/// Passes records on, and takes the first one through the codec as an exchange would: a type that cannot travel is found at
/// every parallelism.
pub(crate) struct Elided<P> {
    next: P,
    checked: bool,
    operator: Origin,
}

impl<P> Elided<P> {
    /// `operator` is the step that made the edge.
    pub(crate) fn new(next: P, operator: Origin) -> Self {
        Self {
            next,
            checked: false,
            operator,
        }
    }
}

/// Takes a record through the codec.
#[inline(never)]
fn check<T: Exchange>(operator: &Origin, record: &T, turn: &mut Turn) -> Room {
    match codec::round_trip(record) {
        Ok(()) => Room::Free,
        Err(error) => turn.fail(operator, CannotTravel::new::<T>(error)),
    }
}

impl<P: Downstream> Downstream for Elided<P> {
    forward_downstream!(next);
}

impl<T: Exchange, P: Push<T>> Push<T> for Elided<P> {
    #[inline(always)]
    fn push(&mut self, record: T, turn: &mut Turn) -> Room {
        if !self.checked {
            self.checked = true;
            if check(&self.operator, &record, turn).is_full() {
                return Room::Full;
            }
        }
        self.next.push(record, turn)
    }
}

/// Lends each record to a reader and then drops it: an operator that reads, without an exchange before it.
///
/// It looks at the first record as [`Elided`] does, and is not put behind one: the record would be moved once more, which
/// costs more than all else that happens here.
pub(crate) struct Lend<R> {
    reader: R,
    checked: bool,
    operator: Origin,
    /// With an exchange, the head of the stage counts what comes in, by the batch, and shows the watermark. Here it is counted
    /// between two polls.
    counters: Arc<OperatorCounters>,
    uncounted: u64,
}

impl<R> Lend<R> {
    /// `operator` is the step that made the edge.
    pub(crate) fn new(reader: R, operator: Origin, counters: Arc<OperatorCounters>) -> Self {
        Self {
            reader,
            checked: false,
            operator,
            counters,
            uncounted: 0,
        }
    }

    fn count(&mut self) {
        let uncounted = std::mem::take(&mut self.uncounted);
        self.counters.records_in.add(uncounted);
    }
}

impl<R: Downstream> Downstream for Lend<R> {
    fn resume(&mut self, turn: &mut Turn) -> Room {
        self.reader.resume(turn)
    }

    fn mark(&mut self, turn: &mut Turn) {
        self.reader.mark(turn);
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        if let Signal::Watermark(watermark) = signal {
            self.counters.watermark.set(watermark);
        }
        self.reader.signal(signal, turn)
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        self.count();
        self.reader.tend(turn)
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        self.reader.visit(visitor)
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        self.count();
        self.reader.close(ending)
    }
}

impl<A: Exchange, R: Read<A>> Push<A> for Lend<R> {
    #[inline(always)]
    fn push(&mut self, record: A, turn: &mut Turn) -> Room {
        if !self.checked {
            self.checked = true;
            if check(&self.operator, &record, turn).is_full() {
                return Room::Full;
            }
        }
        self.uncounted += 1;
        self.reader.read(&record, turn)
    }
}
