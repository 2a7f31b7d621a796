//! The end of a chain that writes records out of the job.

use std::sync::Arc;

use levada_core::{BoxError, Moment, Origin, Room};
use levada_network::{Entry, Unread};
use levada_state::StateError;

use crate::error::{Blame, Failure, blaming};
use crate::metrics::OperatorCounters;
use crate::push::{Downstream, Ending, Push, Signal, Visitor};
use crate::sink::{Drain, Writer};
use crate::turn::Turn;

/// Gives records to a writer.
pub(crate) struct SinkEnd<T, W: Writer<T>> {
    writer: W,
    operator: Origin,
    counters: Arc<OperatorCounters>,
    /// Records that the writer has not taken. Behind fused steps records come one by one, and a call of the writer for
    /// each would cost more than the steps: so a few are gathered. Empty
    /// between two polls, unless the writer has stopped.
    gathered: Vec<Entry<T>>,
    /// Whether the writer left records although there was time to take them: it will wake the task when it can.
    stopped: bool,
    /// Whether the input is complete.
    ended: bool,
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
            gathered: Vec::new(),
            stopped: false,
            ended: false,
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
        to_the_end: bool,
    ) -> Result<(), BoxError> {
        if turn.born() != self.born {
            self.measure(turn);
        }
        let mut drain = Drain::new(records, turn, to_the_end);
        let blame = Blame::on(&self.operator);
        let written = self.writer.write(&mut drain);
        blame.lift();
        let taken = drain.taken();
        self.unmeasured += taken;
        self.unflushed = true;
        self.counters.records_in.add(taken);
        written
    }

    /// Gives the writer what has been gathered.
    fn write_gathered(&mut self, turn: &mut Turn) -> Room {
        if self.gathered.is_empty() {
            return Room::Free;
        }
        let timestamp = turn.timestamp;
        let mut gathered = std::mem::take(&mut self.gathered);
        let mut records = gathered.drain(..);
        let written = self.write(&mut records, turn, true);
        // What the writer has left is moved to the front.
        let left: Vec<_> = records.collect();
        self.gathered = if left.is_empty() { gathered } else { left };
        turn.timestamp = timestamp;
        if let Err(error) = written {
            return turn.fail(&self.operator, error);
        }
        self.stopped = !self.gathered.is_empty();
        if self.stopped { Room::Full } else { Room::Free }
    }

    fn prepare(&mut self, turn: &mut Turn) -> Room {
        match self.guarded(Writer::prepare) {
            Ok(pending) => {
                self.pending = Some(pending);
                Room::Free
            }
            Err(failure) => turn.fail_with(failure),
        }
    }

    /// How many records are gathered, if so many take no more than the pace of the turn: one if records own memory, of which a few could be a lot.
    const GATHERED_MAX: usize = if std::mem::needs_drop::<T>() || size_of::<Entry<T>>() > 1_024 {
        1
    } else {
        64
    };

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
        blaming(&self.operator, || act(&mut self.writer))
    }
}

impl<T: Send, W: Writer<T>> Downstream for SinkEnd<T, W> {
    fn resume(&mut self, turn: &mut Turn) -> Room {
        if self.write_gathered(turn).is_full() {
            return Room::Full;
        }
        if self.ended && self.pending.is_none() {
            return self.prepare(turn);
        }
        Room::Free
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        if signal == Signal::End {
            self.ended = true;
            return self.resume(turn);
        }
        Room::Free
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        // Nothing is left between two polls, unless the writer does not take it.
        let _ = self.write_gathered(turn);
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
        self.gathered.push(Entry {
            record,
            timestamp: turn.timestamp,
        });
        if self.gathered.len() < Self::GATHERED_MAX.min(turn.pace()) {
            Room::Free
        } else {
            self.write_gathered(turn)
        }
    }

    fn push_all(
        &mut self,
        unread: &mut Unread<T>,
        clone: Option<fn(&T) -> T>,
        turn: &mut Turn,
    ) -> Room {
        let written = unread.drain(clone, |records| self.write(records, turn, false));
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
