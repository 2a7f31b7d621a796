//! The outputs of an operator of the user's: the main one and its side outputs.

use std::fmt;
use std::sync::Arc;

use levada_core::{BoxError, Origin, Room};
use levada_runtime::metrics::OperatorCounters;
use levada_runtime::{
    Downstream, Ending, Failure, Push, Signal, StateError, Subtask, Turn, Visitor,
};

use crate::process::side::{AnyPort, Port, SideOutput};

/// The outputs of one subtask, with the room that each has.
pub(crate) struct Outputs<O> {
    main: Port<O>,
    sides: Vec<Box<dyn AnyPort>>,
    /// By output, the main one first.
    room: Vec<Room>,
    /// The node that the side outputs belong to.
    owner: u32,
    operator: Origin,
    counters: Arc<OperatorCounters>,
}

impl<O: Send + 'static> Outputs<O> {
    pub(crate) fn new(
        main: Box<dyn Push<O>>,
        sides: Vec<Box<dyn AnyPort>>,
        owner: u32,
        subtask: &Subtask,
    ) -> Self {
        Self {
            main: Port::new(main, subtask.overdraft()),
            room: vec![Room::Free; 1 + sides.len()],
            sides,
            owner,
            operator: subtask.operator.clone(),
            counters: Arc::clone(&subtask.counters),
        }
    }

    #[inline]
    pub(crate) fn emit(&mut self, record: O, turn: &mut Turn) {
        self.counters.records_out.add(1);
        self.room[0] = self.main.emit(record, self.room[0], &self.operator, turn);
    }

    pub(crate) fn emit_to<T: Send + 'static>(
        &mut self,
        side: &SideOutput<T>,
        record: T,
        turn: &mut Turn,
    ) {
        let output = side.output();
        let port = self
            .sides
            .get_mut(output - 1)
            .filter(|_| side.owner() == self.owner)
            .and_then(|port| port.as_any().downcast_mut::<Port<T>>());
        match port {
            Some(port) => {
                self.counters.records_out.add(1);
                self.room[output] = port.emit(record, self.room[output], &self.operator, turn);
            }
            None => self.fail(NotMine, turn),
        }
    }

    pub(crate) fn fail(&mut self, error: impl Into<BoxError>, turn: &mut Turn) {
        self.room[0] = turn.fail(&self.operator, error);
    }

    #[inline]
    pub(crate) fn room(&self) -> Room {
        self.room.iter().copied().fold(Room::Free, Room::and)
    }

    fn each(&mut self, mut act: impl FnMut(&mut dyn Downstream) -> Room) -> Room {
        let mut room = act(self.main.next());
        for side in &mut self.sides {
            room = room.and(act(side.next()));
        }
        room
    }
}

impl<O: Send + 'static> Downstream for Outputs<O> {
    fn resume(&mut self, turn: &mut Turn) -> Room {
        self.room[0] = self.main.resume(&self.operator, turn);
        for (side, room) in self.sides.iter_mut().zip(&mut self.room[1..]) {
            *room = side.resume(&self.operator, turn);
        }
        self.room()
    }

    fn mark(&mut self, turn: &mut Turn) {
        self.main.next().mark(turn);
        for side in &mut self.sides {
            side.next().mark(turn);
        }
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        self.each(|next| next.signal(signal, turn))
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        self.each(|next| next.tend(turn))
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        self.main.next().visit(visitor)?;
        for side in &mut self.sides {
            side.next().visit(visitor)?;
        }
        Ok(())
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        let mut first = self.main.next().close(ending);
        for side in &mut self.sides {
            let closed = side.next().close(ending);
            first = first.and(closed);
        }
        first
    }
}

/// A side output was used in an operator that it does not belong to.
#[derive(Debug)]
struct NotMine;

impl fmt::Display for NotMine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a side output can only be written by the process it was made for")
    }
}

impl std::error::Error for NotMine {}
