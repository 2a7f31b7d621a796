//! Side outputs: streams beside the main one, which belong to the operator that writes them.

use std::any::Any;
use std::marker::PhantomData;

use levada_core::{Origin, Room};
use levada_runtime::{Downstream, Overdraft, Push, Turn};

/// The right to write a side stream: a handle to keep in a field of the process.
pub struct SideOutput<T> {
    /// Which output of the operator it is; the main one is 0.
    output: usize,
    /// The operator it belongs to.
    owner: u32,
    records: PhantomData<fn(T)>,
}

impl<T> SideOutput<T> {
    /// The handle of an output of the node `owner`.
    #[must_use]
    pub fn new(owner: u32, output: usize) -> Self {
        Self {
            output,
            owner,
            records: PhantomData,
        }
    }

    pub(crate) fn output(&self) -> usize {
        self.output
    }

    pub(crate) fn owner(&self) -> u32 {
        self.owner
    }
}

impl<T> Clone for SideOutput<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SideOutput<T> {}

/// An output with what waits for room in it.
pub(crate) struct Port<T> {
    next: Box<dyn Push<T>>,
    overdraft: Overdraft<T>,
}

impl<T> Port<T> {
    pub(crate) fn new(next: Box<dyn Push<T>>, overdraft: Overdraft<T>) -> Self {
        Self { next, overdraft }
    }

    /// Takes a record, whatever the room before.
    #[inline]
    pub(crate) fn emit(
        &mut self,
        record: T,
        room: Room,
        operator: &Origin,
        turn: &mut Turn,
    ) -> Room {
        let timestamp = turn.timestamp;
        let after = self
            .overdraft
            .offer(record, room, &mut self.next, operator, turn);
        turn.timestamp = timestamp;
        after
    }

    pub(crate) fn resume(&mut self, operator: &Origin, turn: &mut Turn) -> Room {
        if !self.overdraft.is_empty() {
            turn.is_unfinished(operator);
        }
        if self.next.resume(turn).is_full() {
            return Room::Full;
        }
        self.overdraft.drain(&mut self.next, turn)
    }

    pub(crate) fn next(&mut self) -> &mut dyn Downstream {
        &mut self.next
    }
}

/// A side output, whatever its records.
pub(crate) trait AnyPort: Send {
    fn resume(&mut self, operator: &Origin, turn: &mut Turn) -> Room;
    fn next(&mut self) -> &mut dyn Downstream;
    fn as_any(&mut self) -> &mut dyn Any;
}

impl<T: Send + 'static> AnyPort for Port<T> {
    fn resume(&mut self, operator: &Origin, turn: &mut Turn) -> Room {
        Self::resume(self, operator, turn)
    }

    fn next(&mut self) -> &mut dyn Downstream {
        Self::next(self)
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
