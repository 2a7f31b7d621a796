//! One stream, several consumers in the same task.

use levada_core::{Origin, Room};
use levada_state::StateError;

use crate::error::{Blame, Failure};
use crate::push::{Downstream, Ending, Push, Signal, Visitor};
use crate::turn::Turn;

/// Gives every record to each branch; the last one gets the record itself, the others a clone.
///
/// There is room if every branch has some. A record is given to all branches in any case, since it has been taken.
pub(crate) struct Tee<T> {
    branches: Vec<Box<dyn Push<T>>>,
    clone: fn(&T) -> T,
    /// Whose output it is.
    operator: Origin,
}

impl<T> Tee<T> {
    pub(crate) fn new(
        branches: Vec<Box<dyn Push<T>>>,
        clone: fn(&T) -> T,
        operator: Origin,
    ) -> Self {
        assert!(branches.len() > 1, "one branch needs no tee");
        Self {
            branches,
            clone,
            operator,
        }
    }

    fn all(&mut self, mut act: impl FnMut(&mut Box<dyn Push<T>>) -> Room) -> Room {
        let mut room = Room::Free;
        for branch in &mut self.branches {
            room = room.and(act(branch));
        }
        room
    }
}

impl<T> Downstream for Tee<T> {
    fn resume(&mut self, turn: &mut Turn) -> Room {
        self.all(|branch| branch.resume(turn))
    }

    fn mark(&mut self, turn: &mut Turn) {
        for branch in &mut self.branches {
            branch.mark(turn);
        }
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        self.all(|branch| branch.signal(signal, turn))
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        self.all(|branch| branch.tend(turn))
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        for branch in &mut self.branches {
            branch.visit(visitor)?;
        }
        Ok(())
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        let mut first = Ok(());
        for branch in &mut self.branches {
            let closed = branch.close(ending);
            if first.is_ok() {
                first = closed;
            }
        }
        first
    }
}

impl<T> Push<T> for Tee<T> {
    fn push(&mut self, record: T, turn: &mut Turn) -> Room {
        let (last, others) = self
            .branches
            .split_last_mut()
            .expect("a tee has at least two branches");
        let mut room = Room::Free;
        // A branch may change the timestamp, for one, by emitting what it had suspended.
        let timestamp = turn.timestamp;
        for branch in others {
            let blame = Blame::on(&self.operator);
            let clone = (self.clone)(&record);
            blame.lift();
            room = room.and(branch.push(clone, turn));
            turn.timestamp = timestamp;
        }
        room.and(last.push(record, turn))
    }
}
