//! Where a source's reader and the chain behind it become one loop.

use levada_core::{BoxError, Origin, Room, Timestamp};

use crate::error::Blame;
use crate::push::Push;
use crate::source::{Intake, Reader, Status};
use crate::turn::Turn;

/// A chain that a reader of type `R` pushes into.
///
/// Every chain is one. Erased as `dyn Feed<R>`, reader and chain are one piece of code in which a record need not exist in
/// memory; behind `dyn Push`, which knows no reader, each record is passed by a virtual call.
pub trait Feed<R: Reader>: Push<R::Out> {
    /// Lets the reader push at most `records` records.
    fn feed(&mut self, reader: &mut R, records: u32, operator: &Origin, turn: &mut Turn) -> Fed;
}

/// What came of it.
#[derive(Debug)]
pub struct Fed {
    /// What the reader said.
    pub(crate) status: Result<Status, BoxError>,
    /// How many records it pushed.
    pub(crate) records: u32,
    /// Whether the chain takes more.
    pub(crate) room: Room,
}

impl<R: Reader, P: Push<R::Out>> Feed<R> for P {
    #[inline]
    fn feed(&mut self, reader: &mut R, records: u32, operator: &Origin, turn: &mut Turn) -> Fed {
        let mut intake = Feeding {
            chain: self,
            turn,
            left: records,
            unused: 0,
            room: Room::Free,
        };
        intake.turn.timestamp = Timestamp::MIN;
        let blame = Blame::on(operator);
        let status = reader.read(&mut intake);
        blame.lift();
        Fed {
            status,
            records: records - intake.left - intake.unused,
            room: intake.room,
        }
    }
}

/// The intake of a chain. It lies on the stack of the poll, so that its counter can stay in a register.
struct Feeding<'a, P> {
    chain: &'a mut P,
    turn: &'a mut Turn,
    /// Records that may still be pushed.
    left: u32,
    /// What was left when the chain had no more room.
    unused: u32,
    room: Room,
}

impl<T, P: Push<T>> Intake<T> for Feeding<'_, P> {
    #[inline(always)]
    fn push_at(&mut self, record: T, timestamp: Timestamp) {
        self.turn.timestamp = timestamp;
        self.push(record);
        self.turn.timestamp = Timestamp::MIN;
    }

    #[inline(always)]
    fn push(&mut self, record: T) {
        assert!(self.left > 0, "a reader looks whether the intake is full");
        self.left -= 1;
        let blame = Blame::on_engine();
        let room = self.chain.push(record, self.turn);
        blame.lift();
        if room.is_full() {
            self.unused = self.left;
            self.left = 0;
            self.room = Room::Full;
        }
    }

    #[inline]
    fn room(&self) -> usize {
        self.left as usize
    }
}
