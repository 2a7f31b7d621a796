//! What stands in the place of an exchange between two single subtasks.

use std::sync::Arc;

use levada_core::{Exchange, Origin, Room, codec};
use levada_state::StateError;

use crate::error::Failure;
use crate::metrics::OperatorCounters;
use crate::push::{Downstream, Ending, Push, Read, Signal, Visitor};
use crate::stage::replay::{EdgeInput, Replay, Replayed};
use crate::stage::sender::CannotTravel;
use crate::turn::Turn;

/// Passes records on, and takes the first one through the codec as an exchange would: a type that cannot travel is found at
/// every parallelism.
pub(crate) struct Elided<T, P> {
    next: P,
    checked: bool,
    operator: Origin,
    replay: Replay<T>,
}

impl<T, P> Elided<T, P> {
    /// `operator` is the step that made the edge; `input`, the edge, unless an exchange follows all the same.
    pub(crate) fn new(next: P, operator: Origin, input: Option<EdgeInput>) -> Self {
        Self {
            next,
            checked: false,
            operator,
            replay: Replay::new(input.into_iter().collect(), None),
        }
    }
}

/// Replays what was in flight on the edge when it was an exchange, as far as there is room. What has been said of event time
/// then is said here.
fn go_back<T>(
    replay: &mut Replay<T>,
    turn: &mut Turn,
    mut act: impl FnMut(Back<T>, &mut Turn) -> Room,
) -> Room {
    turn.set_born(turn.now());
    while let Some(element) = replay.next() {
        let room = match element {
            Replayed::Record(entry) => {
                turn.timestamp = entry.timestamp;
                act(Back::Record(entry.record), turn).and(turn.spend())
            }
            Replayed::Said(said) => {
                let mut room = Room::Free;
                if let Some(at) = said.watermark {
                    room = act(Back::Signal(Signal::Watermark(at)), turn);
                }
                // Whoever is idle only waits less: if there is no room, the next word of those above will do.
                if said.is_idle && !room.is_full() {
                    room = act(Back::Signal(Signal::Idle), turn);
                }
                room
            }
        };
        if room.is_full() {
            return Room::Full;
        }
    }
    replay.end();
    Room::Free
}

enum Back<T> {
    Record(T),
    Signal(Signal),
}

/// Takes a record through the codec.
#[inline(never)]
fn check<T: Exchange>(operator: &Origin, record: &T, turn: &mut Turn) -> Room {
    match codec::round_trip(record) {
        Ok(()) => Room::Free,
        Err(error) => turn.fail(operator, CannotTravel::new::<T>(error)),
    }
}

impl<T: Exchange, P: Push<T>> Downstream for Elided<T, P> {
    fn resume(&mut self, turn: &mut Turn) -> Room {
        let room = self.next.resume(turn);
        if self.replay.is_empty() || room.is_full() || turn.is_clearing() {
            return room;
        }
        let next = &mut self.next;
        go_back(&mut self.replay, turn, |back, turn| match back {
            Back::Record(record) => next.push(record, turn),
            Back::Signal(signal) => next.signal(signal, turn),
        })
    }

    fn mark(&mut self, turn: &mut Turn) {
        self.next.mark(turn);
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        self.next.signal(signal, turn)
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        self.next.tend(turn)
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        visitor.replay(&mut self.replay)?;
        self.next.visit(visitor)
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        self.next.close(ending)
    }
}

impl<T: Exchange, P: Push<T>> Push<T> for Elided<T, P> {
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
pub(crate) struct Lend<A, R> {
    reader: R,
    replay: Replay<A>,
    checked: bool,
    operator: Origin,
    /// With an exchange, the head of the stage counts what comes in, by the batch, and shows the watermark. Here it is counted
    /// between two polls.
    counters: Arc<OperatorCounters>,
    uncounted: u64,
}

impl<A, R> Lend<A, R> {
    /// `operator` is the step that made the edge; `input`, the edge, unless an exchange follows all the same.
    pub(crate) fn new(
        reader: R,
        operator: Origin,
        input: Option<EdgeInput>,
        counters: Arc<OperatorCounters>,
    ) -> Self {
        Self {
            reader,
            replay: Replay::new(input.into_iter().collect(), None),
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

impl<A: Exchange, R: Read<A>> Downstream for Lend<A, R> {
    fn resume(&mut self, turn: &mut Turn) -> Room {
        let room = self.reader.resume(turn);
        if self.replay.is_empty() || room.is_full() || turn.is_clearing() {
            return room;
        }
        let (reader, counters) = (&mut self.reader, &self.counters);
        go_back(&mut self.replay, turn, |back, turn| match back {
            Back::Record(record) => {
                counters.records_in.add(1);
                reader.read(&record, turn)
            }
            Back::Signal(signal) => {
                if let Signal::Watermark(watermark) = signal {
                    counters.watermark.set(watermark);
                }
                reader.signal(signal, turn)
            }
        })
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
        visitor.replay(&mut self.replay)?;
        self.reader.visit(visitor)
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        self.count();
        self.reader.close(ending)
    }
}

impl<A: Exchange, R: Read<A>> Push<A> for Lend<A, R> {
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
