//! The end of a chain that writes records out of the job.

use std::iter;
use std::sync::Arc;

use levada_core::{BoxError, Moment, Origin, Room};
use levada_network::{Entry, Unread};
use levada_state::StateError;

use crate::error::{Blame, Failure};
use crate::metrics::OperatorCounters;
use crate::push::{Downstream, Ending, Push, Signal, Visitor};
use crate::sink::{Drain, Writer};
use crate::turn::Turn;

/// Gives records to a writer.
pub(crate) struct SinkEnd<T, W: Writer<T>> {
    writer: W,
    operator: Origin,
    counters: Arc<OperatorCounters>,
    /// A record that the writer did not take.
    left: Option<Entry<T>>,
    /// Whether the writer left records although there was time to take them: it will wake the task when it can.
    stopped: bool,
    /// What the end of the input prepared.
    pending: Option<W::Pending>,
    /// Records written since the last look at the clock, and when they left their source.
    unmeasured: u64,
    born: Moment,
    /// Whether anything has been written since the last flush.
    unflushed: bool,
}

impl<T, W: Writer<T>> SinkEnd<T, W> {
    pub(crate) fn new(writer: W, operator: Origin, counters: Arc<OperatorCounters>) -> Self {
        Self {
            writer,
            operator,
            counters,
            left: None,
            stopped: false,
            pending: None,
            unmeasured: 0,
            born: Moment::ZERO,
            unflushed: false,
        }
    }

    /// Lets the writer take records.
    #[inline]
    fn write(
        &mut self,
        records: &mut dyn Iterator<Item = Entry<T>>,
        turn: &mut Turn,
    ) -> Result<(), BoxError> {
        if turn.born() != self.born {
            self.measure(turn);
        }
        let mut drain = Drain::new(records, turn);
        let blame = Blame::on(&self.operator);
        let written = self.writer.write(&mut drain);
        blame.lift();
        let taken = drain.taken();
        self.unmeasured += taken;
        self.unflushed = true;
        self.counters.records_in.add(taken);
        written
    }

    /// Counts the latency of what has been written since the last time.
    #[inline(never)]
    fn measure(&mut self, turn: &mut Turn) {
        if self.unmeasured > 0 {
            let latency = turn.now().nanos_since(self.born);
            self.counters.record_latency(latency, self.unmeasured);
            self.unmeasured = 0;
        }
        self.born = turn.born();
    }

    fn guarded<R>(
        &mut self,
        act: impl FnOnce(&mut W) -> Result<R, BoxError>,
    ) -> Result<R, Failure> {
        let blame = Blame::on(&self.operator);
        let result = act(&mut self.writer);
        blame.lift();
        result.map_err(|error| Failure::error(self.operator.clone(), error))
    }
}

impl<T: Send, W: Writer<T>> Downstream for SinkEnd<T, W> {
    fn resume(&mut self, turn: &mut Turn) -> Room {
        match self.left.take() {
            None => Room::Free,
            Some(entry) => {
                turn.timestamp = entry.timestamp;
                self.push(entry.record, turn)
            }
        }
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        match signal {
            Signal::Watermark(_) => Room::Free,
            Signal::End => match self.guarded(Writer::prepare) {
                Ok(pending) => {
                    self.pending = Some(pending);
                    Room::Free
                }
                Err(failure) => turn.fail_with(failure),
            },
        }
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        if std::mem::take(&mut self.unflushed) {
            if let Err(failure) = self.guarded(Writer::flush) {
                let _ = turn.fail_with(failure);
            }
            turn.look();
            self.measure(turn);
        }
        if self.stopped { Room::Full } else { Room::Free }
    }

    fn visit(&mut self, _: &mut dyn Visitor) -> Result<(), StateError> {
        Ok(())
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        match (ending, self.pending.take()) {
            (Ending::Commit, Some(pending)) => self.guarded(|writer| writer.commit(pending)),
            _ => self.guarded(Writer::abort),
        }
    }
}

impl<T: Send, W: Writer<T>> Push<T> for SinkEnd<T, W> {
    #[inline]
    fn push(&mut self, record: T, turn: &mut Turn) -> Room {
        let mut one = Some(Entry {
            record,
            timestamp: turn.timestamp,
        });
        // The turn may be over; the record has been taken all the same and is offered again by `resume`.
        let written = self.write(&mut iter::from_fn(|| one.take()), turn);
        if let Err(error) = written {
            return turn.fail(&self.operator, error);
        }
        self.left = one;
        self.stopped = self.left.is_some() && !turn.is_exhausted();
        if self.left.is_some() {
            Room::Full
        } else {
            Room::Free
        }
    }

    fn push_all(
        &mut self,
        unread: &mut Unread<T>,
        clone: Option<fn(&T) -> T>,
        turn: &mut Turn,
    ) -> Room {
        let written = unread.drain(clone, |records| self.write(records, turn));
        if let Err(error) = written {
            return turn.fail(&self.operator, error);
        }
        self.stopped = !turn.is_exhausted() && !unread.is_done();
        if turn.is_exhausted() || !unread.is_done() {
            Room::Full
        } else {
            Room::Free
        }
    }
}
