//! What a closure emits after its stage has run out of room: it cannot be stopped half-way, so the rest waits here.

use std::collections::VecDeque;
use std::fmt;
use std::panic;
use std::sync::Arc;

use levada_core::{Origin, Room, Timestamp};
use levada_network::Budget;

use crate::push::Push;
use crate::turn::Turn;

/// The emissions of one call of a user's closure that had no room.
///
/// They are counted against the overdraft budget of the process by their size in memory (what they own on the heap is not
/// known here), and a single call may not have more than its limit: a closure that emits without end would otherwise
/// take all memory. `flat_map`, whose iterator is suspended instead, has no such limit.
pub struct Overdraft<T> {
    waiting: VecDeque<(T, Timestamp)>,
    budget: Arc<Budget>,
    bytes_max: u64,
}

impl<T> Overdraft<T> {
    /// An empty overdraft.
    #[must_use]
    pub fn new(budget: Arc<Budget>, bytes_max: u64) -> Self {
        Self {
            waiting: VecDeque::new(),
            budget,
            bytes_max,
        }
    }

    /// Whether nothing waits.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Gives a record to `next` if there is room and nothing waits before it; else keeps it.
    #[inline]
    pub fn offer<P: Push<T> + ?Sized>(
        &mut self,
        record: T,
        room: Room,
        next: &mut P,
        operator: &Origin,
        turn: &mut Turn,
    ) -> Room {
        if room.is_full() || !self.waiting.is_empty() {
            self.keep(record, operator, turn)
        } else {
            next.push(record, turn)
        }
    }

    /// Gives what waits to `next`, as far as there is room.
    pub fn drain<P: Push<T> + ?Sized>(&mut self, next: &mut P, turn: &mut Turn) -> Room {
        while let Some((record, timestamp)) = self.waiting.pop_front() {
            self.budget.release(Self::BYTES);
            turn.timestamp = timestamp;
            let room = next.push(record, turn);
            if room.and(turn.spend()).is_full() {
                return Room::Full;
            }
        }
        Room::Free
    }

    #[inline(never)]
    fn keep(&mut self, record: T, operator: &Origin, turn: &mut Turn) -> Room {
        let bytes = (self.waiting.len() as u64 + 1) * Self::BYTES;
        if bytes > self.bytes_max {
            let too_much = TooMuch {
                records: self.waiting.len() + 1,
                bytes_max: self.bytes_max,
            };
            let _ = turn.fail(operator, too_much);
            // The closure may go on to emit for ever. Unwinding is the only way out of it; the task fails with what the
            // turn has been told.
            panic::resume_unwind(Box::new("a closure emitted too much"));
        }
        self.budget.charge(Self::BYTES);
        self.waiting.push_back((record, turn.timestamp));
        Room::Full
    }

    const BYTES: u64 = size_of::<(T, Timestamp)>() as u64;
}

impl<T> Drop for Overdraft<T> {
    fn drop(&mut self) {
        self.budget.release(self.waiting.len() as u64 * Self::BYTES);
    }
}

/// One call of a closure emitted more than may wait.
#[derive(Debug)]
struct TooMuch {
    records: usize,
    bytes_max: u64,
}

impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "one call emitted {} records that had no room, more than the {} bytes that may wait: emit from an \
             iterator instead (`flat_map`), which is suspended when there is no room",
            self.records, self.bytes_max
        )
    }
}

impl std::error::Error for TooMuch {}
