//! The end of a chain that sends records to other tasks.

use std::fmt;

use levada_core::codec::CodecError;
use levada_core::{Exchange, Origin, Room, Timestamp};
use levada_network::{Control, Outbox, Routing, Saved, Taken, Watermark};
use levada_state::StateError;

use crate::checkpoint::ChannelName;
use crate::error::Failure;
use crate::push::{Downstream, Ending, Push, Sends, Signal, Visitor};
use crate::turn::Turn;

/// Sends records through an outbox.
pub(crate) struct Sender<T, R> {
    outbox: Outbox<T, R>,
    /// By channel, in the order of the ports.
    channels: Vec<ChannelName>,
    watermark: Timestamp,
    ended: bool,
    /// The operator before the exchange and the step that made it, for the message about a type that cannot travel.
    operator: Origin,
}

impl<T: Exchange, R: Routing<T>> Sender<T, R> {
    pub(crate) fn new(outbox: Outbox<T, R>, channels: Vec<ChannelName>, operator: Origin) -> Self {
        Self {
            outbox,
            channels,
            watermark: Timestamp::MIN,
            ended: false,
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
        if turn.is_clearing() {
            // What waits here is saved where it is; more is taken as long as there is overdraft.
            return Room::Free;
        }
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
            Signal::End => {
                self.ended = true;
                Control::End
            }
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

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        let operator = self.operator.clone();
        visitor.sender(&operator, self)
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
            Taken::Full if turn.is_clearing() => self.outbox.make_room(),
            Taken::Full => self.look_for_failure(turn),
        }
    }
}

/// Behind the end there are no barriers: nobody waits for them.
impl<T: Exchange, R: Routing<T>> Sends for Sender<T, R> {
    fn barrier(&mut self, checkpoint: u64) {
        if !self.ended {
            // Whether there is room is asked before the next record.
            let _ = self.outbox.control(Control::Barrier(checkpoint));
        }
    }

    fn has_delivered(&self, checkpoint: u64) -> bool {
        self.outbox.has_delivered(checkpoint)
    }

    fn overtake(
        &mut self,
        checkpoint: u64,
        save: &mut dyn FnMut(&ChannelName, Saved),
    ) -> Result<(), CodecError> {
        let channels = &self.channels;
        self.outbox
            .overtake(checkpoint, |channel, saved| save(&channels[channel], saved))
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
