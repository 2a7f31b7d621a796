//! The head of a stage that reads a source.

use std::sync::Arc;

use levada_core::{BoxError, Room, Timestamp};
use levada_state::StateError;

use crate::error::{Blame, Failure, blaming};
use crate::metrics::OperatorCounters;
use crate::push::{Ending, Signal, Visitor};
use crate::source::{Reader, ReaderContext, Source, Status};
use crate::stage::feed::{Fed, Feed};
use crate::stage::splits::{NextSplit, Splits};
use crate::stage::{Progress, Stage};
use crate::throttle::Throttle;
use crate::turn::Turn;

/// Reads splits; their readers push into the chain.
pub(crate) struct SourceStage<S: Source> {
    source: Arc<S>,
    splits: Arc<Splits<S>>,
    reader: Option<S::Reader>,
    /// What is being read, if the source commits.
    split: Option<S::Split>,
    /// What has been read to its end, if the source commits.
    read: Vec<(S::Split, <S::Reader as Reader>::Position)>,
    chain: Box<dyn Feed<S::Reader>>,
    throttle: Option<Arc<Throttle>>,
    context: ReaderContext,
    counters: Arc<OperatorCounters>,
    ending: Option<Signal>,
}

impl<S: Source> SourceStage<S> {
    pub(crate) fn new(
        source: Arc<S>,
        splits: Arc<Splits<S>>,
        chain: Box<dyn Feed<S::Reader>>,
        throttle: Option<Arc<Throttle>>,
        context: ReaderContext,
        counters: Arc<OperatorCounters>,
    ) -> Self {
        Self {
            source,
            splits,
            reader: None,
            split: None,
            read: Vec::new(),
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
            match self.read(turn) {
                Ok(Next::Records(Room::Free)) => {}
                Ok(Next::Records(Room::Later)) => return Progress::More,
                Ok(Next::Records(Room::Full)) => return Progress::of_full(turn),
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

    /// Reads until there are records, nothing for now, or no split.
    fn read(&mut self, turn: &mut Turn) -> Result<Next, BoxError> {
        // One reading of the clock for all records until the next look at it: they left the source at this moment.
        turn.set_born(turn.now());
        self.chain.mark(turn);
        loop {
            let Some(reader) = &mut self.reader else {
                let split = match self.splits.next(&self.source, turn.now(), &self.context)? {
                    NextSplit::Read(split) => split,
                    NextSplit::Wait(at) => {
                        if let Some(at) = at {
                            turn.wake_at(at);
                        }
                        return Ok(Next::Nothing);
                    }
                    NextSplit::End => return Ok(Next::End),
                };
                self.split = self.source.commits().then(|| split.clone());
                let blame = Blame::on(&self.context.operator);
                let reader = self.source.open(split, None, &self.context);
                blame.lift();
                self.reader = Some(reader?);
                continue;
            };
            let allowance = turn.allowance();
            let mut granted = allowance.records;
            if let Some(throttle) = &self.throttle {
                match throttle.take(u64::from(granted), turn.look()) {
                    Ok(taken) => granted = taken as u32,
                    Err(at) => {
                        turn.wake_at(at);
                        return Ok(Next::Nothing);
                    }
                }
            }
            // The box is a chain too, one that passes each record by a virtual call: hence the asterisk.
            let Fed {
                status,
                records,
                room,
            } = (*self.chain).feed(
                reader,
                granted,
                &self.context.operator,
                &self.counters.records_out,
                turn,
            );
            if let Some(throttle) = &self.throttle {
                throttle.give_back(u64::from(granted - records));
            }
            let status = status?;
            match status {
                Status::Done => {
                    let done = self.reader.take();
                    self.read
                        .extend(self.split.take().zip(done.map(|reader| reader.position())));
                }
                Status::Idle(Some(at)) => turn.wake_at(at),
                Status::More | Status::Idle(None) => {}
            }
            if records > 0 {
                let time = turn.spend_allowance(allowance, records);
                return Ok(Next::Records(room.and(time)));
            }
            match status {
                Status::Idle(_) => return Ok(Next::Nothing),
                // Readers may come back with nothing, and splits may be empty, but not for ever.
                Status::Done | Status::More => {
                    if turn.spend().is_full() {
                        return Ok(Next::Records(Room::Full));
                    }
                }
            }
        }
    }
}

enum Next {
    Records(Room),
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

    fn settle(&mut self) -> Result<(), Failure> {
        let read = std::mem::take(&mut self.read);
        if read.is_empty() {
            return Ok(());
        }
        blaming(&self.context.operator, || {
            self.source.commit(&read, &self.context)
        })
    }
}
