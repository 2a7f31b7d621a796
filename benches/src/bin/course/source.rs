//! Events that have been loaded, as a source.

use std::sync::Arc;

use levada::{BoxError, Intake, Reader, ReaderContext, Source, SourceContext, Status};
use serde::{Deserialize, Serialize};

use crate::event::Event;

/// Gives away clones of events. Each of p subtasks gets every p-th event, in their order.
#[derive(Clone)]
pub(crate) struct Preloaded(pub(crate) Arc<Vec<Event>>);

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
            events: Arc::clone(&self.0),
            next: usize::try_from(position.unwrap_or(stripe.offset))?,
            stride: usize::try_from(stripe.stride)?,
        })
    }
}

impl Reader for Striding {
    type Out = Event;
    type Position = u64;

    #[inline]
    fn read(&mut self, intake: &mut impl Intake<Event>) -> Result<Status, BoxError> {
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
