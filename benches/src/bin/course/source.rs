//! Events that have been loaded, as a source.

use std::sync::Arc;

use levada::{BoxError, Intake, Reader, ReaderContext, Source, SourceContext, Status};
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::stop::Limit;

/// Gives away clones of events. Each of p subtasks gets every p-th event, in their order.
#[derive(Clone)]
pub(crate) struct Preloaded {
    events: Arc<Vec<Event>>,
    limit: Option<Limit>,
}

/// The events `offset`, `offset + stride`...
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Stripe {
    offset: u64,
    stride: u64,
}

/// Reads a stripe.
pub(crate) struct Striding {
    events: Arc<Vec<Event>>,
    next: usize,
    stride: usize,
    limit: Option<Limit>,
}

impl Preloaded {
    /// All of the events, or no more than the limit allows: then the readers wait.
    pub(crate) fn new(events: &Arc<Vec<Event>>, limit: Option<Limit>) -> Self {
        Self {
            events: Arc::clone(events),
            limit,
        }
    }
}

impl Source for Preloaded {
    type Out = Event;
    type Split = Stripe;
    type Reader = Striding;

    fn splits(&self, context: &SourceContext) -> Result<Vec<Stripe>, BoxError> {
        let stride = context.parallelism as u64;
        Ok((0..stride)
            .map(|offset| Stripe { offset, stride })
            .collect())
    }

    fn open(
        &self,
        stripe: Stripe,
        position: Option<u64>,
        _: &ReaderContext,
    ) -> Result<Striding, BoxError> {
        Ok(Striding {
            events: Arc::clone(&self.events),
            next: usize::try_from(position.unwrap_or(stripe.offset))?,
            stride: usize::try_from(stripe.stride)?,
            limit: self.limit.clone(),
        })
    }

    /// All stripes run through the same time, so a subtask that has several after a restore reads them in turn. Read one after
    /// the other, they would hold back the watermark, and all windows with it, until the last.
    fn is_endless(&self) -> bool {
        true
    }
}

impl Striding {
    /// Brings in what the limit allows, and waits then: the job is about to be stopped.
    fn read_within(&mut self, limit: &Limit, intake: &mut impl Intake<Event>) -> Status {
        let left = self.events.len().saturating_sub(self.next);
        let left = left.div_ceil(self.stride);
        let Some(claimed) = limit.claim(left.min(intake.room()) as u64) else {
            return Status::Idle(None);
        };
        let mut read = 0;
        while read < claimed && !intake.is_full() {
            intake.push(self.events[self.next].clone());
            self.next += self.stride;
            read += 1;
        }
        limit.use_up(claimed, read);
        match left {
            0 => Status::Done,
            _ => Status::More,
        }
    }
}

impl Reader for Striding {
    type Out = Event;
    type Position = u64;

    #[inline]
    fn read(&mut self, intake: &mut impl Intake<Event>) -> Result<Status, BoxError> {
        if let Some(limit) = self.limit.clone() {
            return Ok(self.read_within(&limit, intake));
        }
        while !intake.is_full() {
            let Some(event) = self.events.get(self.next) else {
                return Ok(Status::Done);
            };
            intake.push(event.clone());
            self.next += self.stride;
        }
        Ok(Status::More)
    }

    fn position(&self) -> u64 {
        self.next as u64
    }
}
