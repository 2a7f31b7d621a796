//! Where a source's reader and the chain behind it become one loop.

use levada_core::{BoxError, Origin, Room, Timestamp, fault};

use crate::error::Blame;
use crate::metrics::Counter;
use crate::push::Push;
use crate::source::{Intake, Reader, Status};
use crate::turn::Turn;

/// A chain that a reader of type `R` pushes into.
///
/// Every chain is one. Erased as `dyn Feed<R>`, reader and chain are one piece of code in which a record need not exist in
/// memory; behind `dyn Push`, which knows no reader, each record is passed by a virtual call.
pub trait Feed<R: Reader>: Push<R::Out> {
    /// Lets the reader push at most `records` records, and counts them.
    fn feed(
        &mut self,
        reader: &mut R,
        records: u32,
        operator: &Origin,
        counter: &Counter,
        turn: &mut Turn,
    ) -> Fed;
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
    fn feed(
        &mut self,
        reader: &mut R,
        records: u32,
        operator: &Origin,
        counter: &Counter,
        turn: &mut Turn,
    ) -> Fed {
        let mut intake = Feeding {
            chain: self,
            turn,
            granted: records,
            left: records,
            unused: 0,
            room: Room::Free,
            counter,
        };
        intake.turn.timestamp = Timestamp::MIN;
        let blame = Blame::on(operator);
        let status = reader.read(&mut intake);
        blame.lift();
        Fed {
            status,
            records: intake.taken(),
            room: intake.room,
        }
    }
}

/// The intake of a chain. It lies on the stack of the poll, so that its counter can stay in a register.
struct Feeding<'a, P> {
    chain: &'a mut P,
    turn: &'a mut Turn,
    granted: u32,
    /// Records that may still be pushed.
    left: u32,
    /// What was left when it was time to stop.
    unused: u32,
    room: Room,
    counter: &'a Counter,
}

impl<P> Feeding<'_, P> {
    /// How many records were pushed.
    fn taken(&self) -> u32 {
        self.granted - self.left - self.unused
    }
}

/// What was pushed is counted even if a closure panics.
impl<P> Drop for Feeding<'_, P> {
    fn drop(&mut self) {
        self.counter.add(u64::from(self.taken()));
    }
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
        let timestamp = self.turn.timestamp;
        let blame = Blame::on_engine();
        let room = self.chain.push(record, self.turn);
        blame.lift();
        debug_assert_eq!(
            self.turn.timestamp, timestamp,
            "a push leaves the timestamp"
        );
        if room != Room::Free && !fault!("intake-overfilled") {
            self.unused = self.left;
            self.left = 0;
            self.room = room;
        }
    }

    #[inline]
    fn room(&self) -> usize {
        self.left as usize
    }
}
