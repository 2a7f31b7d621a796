//! The operator around a process.

use std::sync::Arc;

use levada_core::{KeyGroups, Origin};
use levada_runtime::metrics::OperatorCounters;
use levada_runtime::{
    Blame, Downstream, Ending, Failure, KeyedRecord, Push, Read, Room, Signal, StateError, Subtask,
    Turn, Visitor, blaming,
};
use levada_state::KeyedTable;

use crate::process::side::{AnyPort, Port};
use crate::process::{Context, OpenContext, Process};
use crate::state_check;

/// Runs a process in one subtask.
pub(crate) struct Processing<P: Process> {
    process: P,
    table: KeyedTable<P::Key, P::State>,
    main: Port<P::Out>,
    sides: Vec<Box<dyn AnyPort>>,
    /// By output, the main one first.
    room: Vec<Room>,
    owner: u32,
    checked: bool,
    operator: Origin,
    key_groups: KeyGroups,
    counters: Arc<OperatorCounters>,
}

impl<P: Process> Processing<P> {
    /// Opens the process.
    pub(crate) fn open(
        mut process: P,
        subtask: &Subtask,
        owner: u32,
        main: Box<dyn Push<P::Out>>,
        sides: Vec<Box<dyn AnyPort>>,
    ) -> Result<Self, Failure> {
        let context = OpenContext {
            operator: subtask.operator.clone(),
            subtask: subtask.index,
            parallelism: subtask.parallelism,
        };
        blaming(&subtask.operator, || process.open(&context))?;
        Ok(Self {
            process,
            table: KeyedTable::new(subtask.owned_groups(), subtask.table_seed),
            main: Port::new(main, subtask.overdraft()),
            room: vec![Room::Free; 1 + sides.len()],
            sides,
            owner,
            checked: false,
            operator: subtask.operator.clone(),
            key_groups: subtask.key_groups,
            counters: Arc::clone(&subtask.counters),
        })
    }

    fn each(&mut self, mut act: impl FnMut(&mut dyn Downstream) -> Room) -> Room {
        let mut room = act(self.main.next());
        for side in &mut self.sides {
            room = room.and(act(side.next()));
        }
        room
    }

    fn all_room(&self) -> Room {
        self.room.iter().copied().fold(Room::Free, Room::and)
    }

    /// The first state goes through the codec.
    #[inline(never)]
    fn check(&mut self, keyed: &KeyedRecord<P::Key, P::In>, turn: &mut Turn) -> Room {
        if let Some(place) = self.table.find(&keyed.key) {
            self.checked = true;
            if let Err(error) = state_check::check(&keyed.key, self.table.value(place)) {
                return turn.fail(&self.operator, error);
            }
        }
        Room::Free
    }
}

impl<P: Process> Downstream for Processing<P> {
    fn resume(&mut self, turn: &mut Turn) -> Room {
        self.room[0] = self.main.resume(turn);
        for (side, room) in self.sides.iter_mut().zip(&mut self.room[1..]) {
            *room = side.resume(turn);
        }
        self.all_room()
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
        visitor.keyed(&self.operator, &mut self.table)?;
        self.main.next().visit(visitor)?;
        for side in &mut self.sides {
            side.next().visit(visitor)?;
        }
        Ok(())
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        let mut first = blaming(&self.operator, || self.process.close());
        let mut keep = |closed: Result<(), Failure>| {
            if first.is_ok() {
                first = closed;
            }
        };
        keep(self.main.next().close(ending));
        for side in &mut self.sides {
            keep(side.next().close(ending));
        }
        first
    }
}

impl<P: Process> Read<KeyedRecord<P::Key, P::In>> for Processing<P> {
    #[inline]
    fn read(&mut self, keyed: &KeyedRecord<P::Key, P::In>, turn: &mut Turn) -> Room {
        let blame = Blame::on(&self.operator);
        let mut context = Context {
            keyed,
            key_groups: self.key_groups,
            table: &mut self.table,
            place: None,
            main: &mut self.main,
            sides: &mut self.sides,
            room: &mut self.room,
            owner: self.owner,
            operator: &self.operator,
            counters: &self.counters,
            turn,
        };
        self.process.element(&keyed.record, &mut context);
        blame.lift();
        if !self.checked && self.check(keyed, turn).is_full() {
            return Room::Full;
        }
        self.all_room()
    }
}
