//! A source whose splits do what they are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use levada::Timestamp;
use levada_core::{BoxError, Clock, Moment};
use levada_runtime::{Discovery, Intake, Reader, ReaderContext, Source, SourceContext, Status};

/// What a split does next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// It has a record of this event time.
    Record(i64),
    /// It has nothing for so long, from when somebody wants to read it.
    Nothing(Duration),
    /// It has nothing before this time, counted from the beginning of the simulation.
    NothingUntil(Duration),
}

/// The record of a split, with its event time.
pub(crate) type Event = (usize, i64);

/// A source of splits that follow a script.
#[derive(Clone)]
pub(crate) struct Scripted {
    splits: Arc<Vec<Vec<Act>>>,
    /// How many there are at the beginning; the others are found one by one.
    first: usize,
    found: Arc<AtomicU64>,
    /// Whether a split ends with its script; if not, it has nothing for ever.
    ends: bool,
    endless: bool,
}

impl Scripted {
    /// Splits that end with their scripts.
    pub(crate) fn bounded(splits: Vec<Vec<Act>>) -> Self {
        Self {
            first: splits.len(),
            splits: Arc::new(splits),
            found: Arc::default(),
            ends: true,
            endless: false,
        }
    }

    /// Splits that never end, and of which the engine does not know that.
    pub(crate) fn unbounded(splits: Vec<Vec<Act>>) -> Self {
        Self {
            ends: false,
            ..Self::bounded(splits)
        }
    }

    /// Splits that never end.
    pub(crate) fn endless(splits: Vec<Vec<Act>>) -> Self {
        Self {
            endless: true,
            ..Self::unbounded(splits)
        }
    }

    /// Only so many are there at the beginning; another one is found every second.
    pub(crate) fn found_later(self, first: usize) -> Self {
        Self { first, ..self }
    }
}

impl Source for Scripted {
    type Out = Event;
    type Split = usize;
    type Reader = ScriptedReader;

    fn splits(&self, _: &SourceContext) -> Result<Vec<usize>, BoxError> {
        Ok((0..self.first).collect())
    }

    fn discover(&self, _: &SourceContext) -> Result<Discovery<usize>, BoxError> {
        let asked = self.found.fetch_add(1, Ordering::Relaxed) as usize;
        // The first time is at the beginning.
        let index = (self.first + asked).checked_sub(1).filter(|_| asked > 0);
        match index {
            Some(index) if index >= self.splits.len() => Ok(Discovery::Complete),
            None if self.first == self.splits.len() => Ok(Discovery::Complete),
            index => Ok(Discovery::Found {
                splits: index.into_iter().collect(),
                again_after: Duration::from_secs(1),
            }),
        }
    }

    fn open(
        &self,
        split: usize,
        _: Option<usize>,
        context: &ReaderContext,
    ) -> Result<ScriptedReader, BoxError> {
        Ok(ScriptedReader {
            split,
            splits: Arc::clone(&self.splits),
            next: 0,
            rests_until: None,
            ends: self.ends,
            clock: Arc::clone(&context.environment.clock),
        })
    }

    fn is_endless(&self) -> bool {
        self.endless
    }
}

pub(crate) struct ScriptedReader {
    split: usize,
    splits: Arc<Vec<Vec<Act>>>,
    next: usize,
    rests_until: Option<Moment>,
    ends: bool,
    clock: Arc<dyn Clock>,
}

impl Reader for ScriptedReader {
    type Out = Event;
    type Position = usize;

    fn read(&mut self, intake: &mut impl Intake<Event>) -> Result<Status, BoxError> {
        while !intake.is_full() {
            let Some(act) = self.splits[self.split].get(self.next) else {
                return Ok(if self.ends {
                    Status::Done
                } else {
                    Status::Idle(None)
                });
            };
            let until = match act {
                Act::Record(at) => {
                    intake.push_at((self.split, *at), Timestamp(*at));
                    self.next += 1;
                    continue;
                }
                Act::Nothing(span) => *self
                    .rests_until
                    .get_or_insert_with(|| self.clock.now() + *span),
                Act::NothingUntil(span) => Moment::ZERO + *span,
            };
            if self.clock.now() < until {
                return Ok(Status::Idle(Some(until)));
            }
            self.rests_until = None;
            self.next += 1;
        }
        Ok(Status::More)
    }

    fn position(&self) -> usize {
        self.next
    }
}
