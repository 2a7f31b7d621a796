//! The end of a chain that writes records out of the job.

use std::collections::VecDeque;
use std::sync::Arc;

use levada_core::{BoxError, Moment, Origin, Room, Timestamp, codec};
use levada_network::{Consume, Entry, Unread};
use levada_state::StateError;

use crate::error::{Blame, Failure, blaming, closing};
use crate::metrics::OperatorCounters;
use crate::push::{Downstream, Ending, Epochs, Prepared, Push, Signal, Visitor};
use crate::sink::{Drain, Writer};
use crate::turn::Turn;

/// Gives records to a writer.
pub(crate) struct SinkEnd<T, W: Writer<T>> {
    writer: W,
    operator: Origin,
    counters: Arc<OperatorCounters>,
    /// A record that came by itself and that the writer has not taken: it will wake the task when it can.
    left: Option<Entry<T>>,
    /// Whether the writer has left records of a batch although there was time to take them.
    stopped: bool,
    /// Whether the input is complete.
    ended: bool,
    /// Epochs that are prepared and have not been committed, by the checkpoint that ended them.
    pending: VecDeque<(u64, W::Pending)>,
    /// Whether the last epoch is prepared.
    has_prepared_all: bool,
    /// The checkpoint for which an epoch is to be prepared: nothing more is taken before.
    preparing: Option<u64>,
    /// The last checkpoint for which one is.
    prepared: u64,
    subtask: usize,
    /// Records written that have not been counted yet, and when they left their source.
    uncounted: u64,
    born: Moment,
    /// Whether anything has been written since the last flush.
    unflushed: bool,
}

impl<T, W: Writer<T>> SinkEnd<T, W> {
    pub(crate) fn new(
        writer: W,
        operator: Origin,
        subtask: usize,
        counters: Arc<OperatorCounters>,
    ) -> Self {
        Self {
            writer,
            operator,
            counters,
            left: None,
            stopped: false,
            ended: false,
            pending: VecDeque::new(),
            has_prepared_all: false,
            preparing: None,
            prepared: 0,
            subtask,
            uncounted: 0,
            born: Moment::ZERO,
            unflushed: false,
        }
    }

    /// Lets the writer take one record that came by itself.
    #[inline(always)]
    fn write_one(&mut self, record: T, turn: &mut Turn) -> Room {
        let mut drain = One {
            record: Some(record),
            timestamp: turn.timestamp,
        };
        let blame = Blame::on(&self.operator);
        let written = self.writer.write(&mut drain);
        blame.lift();
        if let Err(error) = written {
            return turn.fail(&self.operator, error);
        }
        if let Some(record) = drain.record {
            self.left = Some(Entry {
                record,
                timestamp: drain.timestamp,
            });
            return Room::Full;
        }
        self.uncounted += 1;
        Room::Free
    }

    /// Prepares the epoch, as soon as the writer has nothing left to hand on; true once that is done.
    fn prepare_epoch(&mut self, checkpoint: u64) -> Result<bool, Failure> {
        // A record that it has not taken belongs to the epoch.
        if self.left.is_some() || self.has_prepared_all {
            return Ok(self.has_prepared_all);
        }
        let prepared = self.guarded(|writer| {
            if writer.is_drained()? {
                writer.prepare().map(Some)
            } else {
                Ok(None)
            }
        })?;
        let Some(pending) = prepared else {
            return Ok(false);
        };
        self.pending.push_back((checkpoint, pending));
        self.has_prepared_all = self.ended;
        Ok(true)
    }

    /// Prepares the last epoch.
    fn prepare_last(&mut self, turn: &mut Turn) -> Room {
        match self.prepare_epoch(LAST) {
            Ok(true) => Room::Free,
            Ok(false) => Room::Full,
            Err(failure) => turn.fail_with(failure),
        }
    }

    /// Counts what has been written since the last time, and its latency.
    #[inline(never)]
    fn count(&mut self, turn: &mut Turn) {
        if self.uncounted > 0 {
            let latency = turn.now().nanos_since(self.born);
            self.counters.record_latency(latency, self.uncounted);
            self.counters.records_in.add(self.uncounted);
            self.uncounted = 0;
            self.unflushed = true;
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
        if let Some(entry) = self.left.take() {
            turn.timestamp = entry.timestamp;
            if self.write_one(entry.record, turn).is_full() {
                return Room::Full;
            }
        }
        if self.preparing.is_some() {
            // The task asks again between two polls.
            return Room::Full;
        }
        if self.ended && !self.has_prepared_all {
            return self.prepare_last(turn);
        }
        Room::Free
    }

    fn mark(&mut self, turn: &mut Turn) {
        self.count(turn);
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        if signal == Signal::End {
            self.ended = true;
            return self.resume(turn);
        }
        Room::Free
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        if self.uncounted > 0 || self.unflushed || self.writer.flush_again().is_some() {
            if let Err(failure) = self.guarded(Writer::flush) {
                let _ = turn.fail_with(failure);
            }
            turn.look();
            self.count(turn);
            self.unflushed = false;
        }
        match self.writer.flush_again() {
            Some(at) if at != Moment::NEVER => turn.wake_at(at),
            _ => {}
        }
        let preparing = self.preparing.is_some() || (self.ended && !self.has_prepared_all);
        if self.stopped || self.left.is_some() || preparing {
            Room::Full
        } else {
            Room::Free
        }
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        let operator = self.operator.clone();
        visitor.sink(&operator, self.subtask, self)
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        self.counters
            .records_in
            .add(std::mem::take(&mut self.uncounted));
        let (writer, pending) = (&mut self.writer, &mut self.pending);
        let has_prepared_all = self.has_prepared_all;
        closing(&self.operator, || {
            if ending == Ending::Abort || (pending.is_empty() && !has_prepared_all) {
                return writer.abort();
            }
            pending
                .drain(..)
                .try_for_each(|(_, pending)| writer.commit(pending))
        })
    }
}

/// Stands for the end of the job, in the place of a checkpoint that is not known yet.
const LAST: u64 = u64::MAX;

impl<T: Send, W: Writer<T>> Epochs for SinkEnd<T, W> {
    fn prepare(&mut self, checkpoint: u64) -> Result<Prepared, Failure> {
        self.preparing = Some(checkpoint);
        if !self.prepare_epoch(checkpoint)? {
            return Ok(Prepared::NotYet);
        }
        self.preparing = None;
        self.prepared = checkpoint;
        if let Some((of, _)) = self.pending.back_mut() {
            // The last epoch goes with this checkpoint too: the job may go on for ever.
            *of = (*of).min(checkpoint);
        }
        let mut epochs = Vec::new();
        for (_, pending) in &self.pending {
            let mut bytes = Vec::new();
            codec::encode(pending, &mut bytes)
                .map_err(|error| Failure::error(self.operator.clone(), error.into()))?;
            codec::encode_part(&bytes, &mut epochs);
        }
        Ok(match self.pending.is_empty() {
            true => Prepared::Nothing,
            false => Prepared::Epochs(epochs),
        })
    }

    fn has_prepared(&self, checkpoint: u64) -> bool {
        self.prepared >= checkpoint
    }

    fn give_up(&mut self, checkpoint: u64) {
        self.preparing.take_if(|preparing| *preparing <= checkpoint);
    }

    fn commit(&mut self, checkpoint: u64) -> Result<(), Failure> {
        while let Some((_, pending)) = self.pending.pop_front_if(|(of, _)| *of <= checkpoint) {
            self.guarded(|writer| writer.commit(pending))?;
        }
        Ok(())
    }
}

impl<T: Send, W: Writer<T>> Push<T> for SinkEnd<T, W> {
    #[inline(always)]
    fn push(&mut self, record: T, turn: &mut Turn) -> Room {
        self.write_one(record, turn)
    }

    fn push_all(
        &mut self,
        unread: &mut Unread<T>,
        clone: Option<fn(&T) -> T>,
        turn: &mut Turn,
    ) -> Room {
        let writing = Writing {
            writer: &mut self.writer,
            operator: &self.operator,
            turn,
        };
        let (taken, written) = unread.drain(clone, writing);
        self.uncounted += taken;
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

/// A record that comes by itself, behind fused steps.
struct One<T> {
    record: Option<T>,
    timestamp: Timestamp,
}

impl<T> Iterator for One<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.record.take()
    }
}

impl<T> Drain<T> for One<T> {
    fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    #[inline]
    fn is_over(&self) -> bool {
        self.record.is_none()
    }
}

/// Lets a writer take records of a batch.
struct Writing<'a, W> {
    writer: &'a mut W,
    operator: &'a Origin,
    turn: &'a mut Turn,
}

impl<T, W: Writer<T>> Consume<T> for Writing<'_, W> {
    /// How many records were taken, and what the writer said.
    type Out = (u64, Result<(), BoxError>);

    fn consume(self, records: impl ExactSizeIterator<Item = Entry<T>>) -> Self::Out {
        let mut drain = Several {
            records,
            turn: self.turn,
            taken: 0,
        };
        let blame = Blame::on(self.operator);
        let written = self.writer.write(&mut drain);
        blame.lift();
        (drain.taken, written)
    }
}

/// Records of a batch, until the time of the poll is over.
struct Several<'a, I> {
    records: I,
    turn: &'a mut Turn,
    taken: u64,
}

impl<T, I: Iterator<Item = Entry<T>>> Iterator for Several<'_, I> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        if self.turn.is_exhausted() {
            return None;
        }
        let entry = self.records.next()?;
        self.turn.timestamp = entry.timestamp;
        self.taken += 1;
        // The record is taken in any case; the next one is not if the turn is over.
        let _ = self.turn.spend();
        Some(entry.record)
    }
}

impl<T, I: ExactSizeIterator<Item = Entry<T>>> Drain<T> for Several<'_, I> {
    fn timestamp(&self) -> Timestamp {
        self.turn.timestamp
    }

    fn is_over(&self) -> bool {
        self.turn.is_exhausted() || self.records.len() == 0
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::panic::Location;
    use std::time::Duration;

    use levada_core::sync::Mutex;

    use super::*;
    use crate::environment::Environment;
    use crate::turn::Limits;

    /// Notes what has become of its epochs.
    #[derive(Default)]
    struct Noting {
        records: u64,
        notes: Arc<Mutex<Vec<String>>>,
    }

    impl Writer<u64> for Noting {
        type Pending = u64;

        fn write(&mut self, records: &mut impl Drain<u64>) -> Result<(), BoxError> {
            self.records += records.count() as u64;
            Ok(())
        }

        fn prepare(&mut self) -> Result<u64, BoxError> {
            Ok(std::mem::take(&mut self.records))
        }

        fn commit(&mut self, pending: u64) -> Result<(), BoxError> {
            self.notes.lock().push(format!("committed {pending}"));
            Ok(())
        }

        fn abort(&mut self) -> Result<(), BoxError> {
            self.notes.lock().push("aborted".to_owned());
            Ok(())
        }
    }

    /// Its input has come to its end, and the job goes on: other sources never end.
    #[test]
    fn the_last_epoch_of_a_sink_is_committed_with_the_next_checkpoint() {
        let notes = Arc::<Mutex<Vec<String>>>::default();
        let writer = Noting {
            notes: Arc::clone(&notes),
            ..Noting::default()
        };
        let operator = Origin::new("sink", Location::caller());
        let mut sink = SinkEnd::new(writer, operator, 0, OperatorCounters::new());
        let mut turn = Turn::new(Environment::system().clock);
        let limits = Limits {
            slice: Duration::from_secs(60),
            ..Limits::default()
        };
        turn.begin(limits, Moment::ZERO);
        assert_eq!(sink.push(7, &mut turn), Room::Free);
        assert_eq!(sink.signal(Signal::End, &mut turn), Room::Free);
        let has_epochs = |prepared| matches!(prepared, Prepared::Epochs(_));
        assert!(has_epochs(sink.prepare(1).unwrap()), "it is given up");
        assert!(has_epochs(sink.prepare(2).unwrap()));
        assert!(notes.lock().is_empty());
        sink.commit(2).unwrap();
        assert_eq!(*notes.lock(), ["committed 1"]);
        assert!(!has_epochs(sink.prepare(3).unwrap()), "nothing is left");
        sink.close(Ending::Commit).unwrap();
        assert_eq!(
            *notes.lock(),
            ["committed 1"],
            "once, and nothing is given up"
        );
    }
}
