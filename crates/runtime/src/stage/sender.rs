//! The end of a chain that sends records to other tasks.

use std::fmt;

use levada_core::codec::CodecError;
use levada_core::{Exchange, Origin, Room, Timestamp};
use levada_network::{Control, Outbox, Routing, Taken, Watermark};
use levada_state::StateError;

use crate::error::Failure;
use crate::push::{Downstream, Ending, Push, Signal, Visitor};
use crate::turn::Turn;

/// Sends records through an outbox.
pub(crate) struct Sender<T, R> {
    outbox: Outbox<T, R>,
    watermark: Timestamp,
    /// The operator before the exchange and the step that made it, for the message about a type that cannot travel.
    operator: Origin,
}

impl<T: Exchange, R: Routing<T>> Sender<T, R> {
    pub(crate) fn new(outbox: Outbox<T, R>, operator: Origin) -> Self {
        Self {
            outbox,
            watermark: Timestamp::MIN,
            operator,
        }
    }

    #[inline(never)]
    fn look_for_failure(&mut self, turn: &mut Turn) -> Room {
        if let Some(error) = self.outbox.take_failure() {
            return turn.fail(&self.operator, CannotTravel::new::<T>(error));
        }
        Room::Full
    }
}

impl<T: Exchange, R: Routing<T>> Downstream for Sender<T, R> {
    fn resume(&mut self, turn: &mut Turn) -> Room {
        if self.outbox.resume().is_full() {
            return self.look_for_failure(turn);
        }
        Room::Free
    }

    fn mark(&mut self, _: &mut Turn) {}

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        let control = match signal {
            Signal::Watermark(watermark) => {
                self.watermark = watermark;
                Control::Watermark(Watermark::active(watermark))
            }
            Signal::Idle => Control::Watermark(Watermark::idle(self.watermark)),
            Signal::End => Control::End,
        };
        if self.outbox.control(control).is_full() {
            return self.look_for_failure(turn);
        }
        Room::Free
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        let now = turn.look();
        let tended = self.outbox.tend(now);
        if let Some(at) = tended.flush_at {
            turn.wake_at(at);
        }
        if tended.room.is_full() {
            return self.look_for_failure(turn);
        }
        Room::Free
    }

    fn visit(&mut self, _: &mut dyn Visitor) -> Result<(), StateError> {
        Ok(())
    }

    fn close(&mut self, _: Ending) -> Result<(), Failure> {
        Ok(())
    }
}

impl<T: Exchange, R: Routing<T>> Push<T> for Sender<T, R> {
    #[inline(always)]
    fn push(&mut self, record: T, turn: &mut Turn) -> Room {
        match self.outbox.push(record, turn.stamp()) {
            Taken::Open => Room::Free,
            Taken::Sealed => turn.spend_sealed(),
            Taken::Full => self.look_for_failure(turn),
        }
    }
}

/// The first record of an edge did not survive the codec.
#[derive(Debug)]
pub(crate) struct CannotTravel {
    record: &'static str,
    error: CodecError,
}

impl CannotTravel {
    pub(crate) fn new<T>(error: CodecError) -> Self {
        Self {
            record: std::any::type_name::<T>(),
            error,
        }
    }
}

impl fmt::Display for CannotTravel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "records of type `{}` cannot cross to another subtask",
            self.record
        )
    }
}

impl std::error::Error for CannotTravel {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
