//! The head of a stage that reads a source.

use std::collections::VecDeque;
use std::sync::Arc;

use levada_core::sync::Mutex;
use levada_core::{BoxError, Timestamp};
use levada_network::{Entry, Unread};
use levada_state::StateError;

use crate::error::{Blame, Failure};
use crate::metrics::OperatorCounters;
use crate::push::{Ending, Push, Signal, Visitor};
use crate::source::{Intake, Reader, ReaderContext, Source, Status};
use crate::stage::{Progress, Stage};
use crate::throttle::Throttle;
use crate::turn::Turn;

/// The splits of a source that nobody reads yet; its subtasks take one after the other.
pub(crate) struct Splits<S: Source> {
    waiting: Mutex<VecDeque<S::Split>>,
}

impl<S: Source> Splits<S> {
    pub(crate) fn new(splits: Vec<S::Split>) -> Self {
        Self {
            waiting: Mutex::new(splits.into()),
        }
    }

    fn next(&self) -> Option<S::Split> {
        self.waiting.lock().pop_front()
    }
}

/// Reads splits and pushes their records into a chain.
pub(crate) struct SourceStage<S: Source> {
    source: Arc<S>,
    splits: Arc<Splits<S>>,
    reader: Option<S::Reader>,
    /// Records that were read and not yet pushed.
    unread: Vec<Entry<S::Out>>,
    chain: Box<dyn Push<S::Out>>,
    throttle: Option<Arc<Throttle>>,
    context: ReaderContext,
    counters: Arc<OperatorCounters>,
    ending: Option<Signal>,
}

impl<S: Source> SourceStage<S> {
    pub(crate) fn new(
        source: Arc<S>,
        splits: Arc<Splits<S>>,
        chain: Box<dyn Push<S::Out>>,
        throttle: Option<Arc<Throttle>>,
        context: ReaderContext,
        counters: Arc<OperatorCounters>,
    ) -> Self {
        Self {
            source,
            splits,
            reader: None,
            unread: Vec::new(),
            chain,
            throttle,
            context,
            counters,
            ending: None,
        }
    }

    fn advance(&mut self, turn: &mut Turn) -> Progress {
        loop {
            if self.chain.resume(turn).is_full() {
                return Progress::of_full(turn);
            }
            if let Some(signal) = self.ending {
                if signal == Signal::End {
                    return Progress::Ended;
                }
                self.end(Signal::End, turn);
                continue;
            }
            if !self.unread.is_empty() {
                let mut unread = Unread::new(std::mem::take(&mut self.unread));
                let room = self.chain.push_all(&mut unread, None, turn);
                self.unread = unread.into_rest();
                if room.is_full() {
                    return Progress::of_full(turn);
                }
                if turn.spend_batch().is_full() {
                    return Progress::More;
                }
            }
            match self.read(turn) {
                Ok(Next::Records) if self.unread.is_empty() => return Progress::More,
                Ok(Next::Records) => {}
                Ok(Next::Nothing) => return Progress::Idle,
                Ok(Next::End) => self.end(Signal::Watermark(Timestamp::MAX), turn),
                Err(error) => {
                    let _ = turn.fail(&self.context.operator, error);
                    return Progress::Blocked;
                }
            }
        }
    }

    /// Sends the last watermark, then the end.
    fn end(&mut self, signal: Signal, turn: &mut Turn) {
        self.ending = Some(signal);
        let _ = self.chain.signal(signal, turn);
    }

    /// Reads the next records into the empty `unread`.
    fn read(&mut self, turn: &mut Turn) -> Result<Next, BoxError> {
        let mut intake = Intake {
            entries: std::mem::take(&mut self.unread),
            capacity: turn.pace().min(Intake::<S::Out>::RECORDS_MAX),
        };
        let next = loop {
            let Some(reader) = &mut self.reader else {
                let Some(split) = self.splits.next() else {
                    break Next::End;
                };
                let blame = Blame::on(&self.context.operator);
                let reader = self.source.open(split, None, &self.context);
                blame.lift();
                self.reader = Some(reader?);
                continue;
            };
            if let Some(throttle) = &self.throttle {
                let now = turn.look();
                match throttle.take(intake.capacity as u64, now) {
                    Ok(granted) => intake.capacity = granted as usize,
                    Err(at) => {
                        turn.wake_at(at);
                        break Next::Nothing;
                    }
                }
            }
            let blame = Blame::on(&self.context.operator);
            let status = reader.read(&mut intake);
            blame.lift();
            let status = status?;
            if let Some(throttle) = &self.throttle {
                throttle.give_back(intake.room() as u64);
            }
            match status {
                Status::Done => self.reader = None,
                Status::Idle(Some(at)) => turn.wake_at(at),
                Status::More | Status::Idle(None) => {}
            }
            if !intake.entries.is_empty() {
                break Next::Records;
            }
            match status {
                Status::Idle(_) => break Next::Nothing,
                Status::Done => {}
                // A reader may come back with nothing, but not for ever.
                Status::More => {
                    if turn.spend().is_full() {
                        break Next::Records;
                    }
                }
            }
        };
        self.counters.records_out.add(intake.entries.len() as u64);
        // One reading for all records of an intake: they left the source at this moment.
        turn.set_born(turn.now());
        self.unread = intake.entries;
        Ok(next)
    }
}

enum Next {
    Records,
    Nothing,
    End,
}

impl<S: Source> Stage for SourceStage<S> {
    fn poll(&mut self, turn: &mut Turn) -> Progress {
        let progress = self.advance(turn);
        progress.after_tending(self.chain.tend(turn))
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        self.chain.visit(visitor)
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        self.reader = None;
        self.chain.close(ending)
    }
}
