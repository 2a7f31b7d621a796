//! The operator of session windows.
//!
//! A key has one entry in one table, with its open sessions. A record that comes while its key has one session, and extends
//! it, costs a look into the table; what is due is found by a queue that such a record does not touch.

mod open;
mod snapshot;
mod state;

use std::marker::PhantomData;
use std::sync::Arc;

use levada_core::{Exchange, Key, KeyGroups, Origin, Timestamp};
use levada_runtime::metrics::OperatorCounters;
use levada_runtime::{
    Blame, Downstream, Ending, Failure, KeyedRecord, Read, Room, Signal, StateError, Turn, Visitor,
};

use crate::process::outputs::Outputs;
use crate::state_check;
use crate::window::contents::Contents;
use crate::window::emitting::Looked;
use crate::window::no_timestamp::NoTimestamp;
use crate::window::node::Making;
use crate::window::options::WindowOptions;
use state::{Added, SessionState};

/// Session windows, in one subtask.
pub(crate) struct Sessions<K, T, C: Contents<K, T>> {
    state: SessionState<K, C::Accumulator>,
    contents: C,
    options: WindowOptions<T>,
    checked: bool,
    operator: Origin,
    key_groups: KeyGroups,
    counters: Arc<OperatorCounters>,
    outputs: Outputs<C::Out>,
    records: PhantomData<fn(T)>,
}

impl<K, T, C> Sessions<K, T, C>
where
    K: Key,
    T: Exchange,
    C: Contents<K, T>,
{
    pub(crate) fn new(gap: i64, making: Making<'_, T, C, C::Accumulator, C::Out>) -> Self {
        let Making {
            contents,
            options,
            subtask,
            main,
            sides,
            reader,
        } = making;
        Self {
            state: SessionState::new(
                gap,
                options.lateness,
                subtask.owned_groups(),
                subtask.table_seed,
            )
            .reading(reader),
            contents,
            checked: false,
            operator: subtask.operator.clone(),
            key_groups: subtask.key_groups,
            counters: Arc::clone(&subtask.counters),
            outputs: Outputs::new(main, sides, options.owner(), subtask),
            options,
            records: PhantomData,
        }
    }

    /// Adds a record that does not simply extend the only session of its key.
    #[inline(never)]
    fn add(&mut self, keyed: &KeyedRecord<K, T>, turn: &mut Turn) -> Room {
        let time = turn.timestamp;
        if time == Timestamp::MIN {
            return turn.fail(&self.operator, NoTimestamp);
        }
        let blame = Blame::on(&self.operator);
        let group = keyed.group_in(self.key_groups);
        let added = group.map(|group| self.state.add(keyed, time, group, &self.contents));
        blame.lift();
        match added {
            Err(error) => turn.fail(&self.operator, error),
            Ok(Added::Late) => self.options.drop_late(
                &keyed.record,
                self.contents.records(&keyed.record),
                &self.operator,
                &self.counters,
                &mut self.outputs,
                turn,
            ),
            Ok(Added::InSession) if !self.checked => self.check(&keyed.key, turn),
            Ok(Added::InSession) => Room::Free,
        }
    }

    /// The first key and accumulator go through the codec.
    fn check(&mut self, key: &K, turn: &mut Turn) -> Room {
        self.checked = true;
        let Some(place) = self.state.table.find(key) else {
            return Room::Free;
        };
        let sessions = self.state.table.value(place).all();
        let blame = Blame::on(&self.operator);
        let checked = state_check::check(key, &sessions[0].accumulator);
        blame.lift();
        match checked {
            Ok(()) => Room::Free,
            Err(error) => turn.fail(&self.operator, error),
        }
    }

    /// Emits what fires, as far as there is room, and then passes the watermark on.
    fn fire(&mut self, turn: &mut Turn) -> Room {
        let (contents, operator) = (&self.contents, &self.operator);
        let outputs = &mut self.outputs;
        let mut room = self
            .state
            .emissions
            .go_on(contents, operator, outputs, turn);
        while !room.is_full() {
            let blame = Blame::on(operator);
            let found = self.state.next_emission(|| turn.spend().is_full());
            blame.lift();
            room = match found {
                Looked::Found(found) => {
                    let emissions = &mut self.state.emissions;
                    emissions.begin(found, contents, operator, outputs, turn)
                }
                Looked::Interrupted => Room::Full,
                Looked::Nothing => break,
            };
        }
        if room.is_full() {
            return Room::Full;
        }
        match self.state.end_firing() {
            Some(watermark) => self.outputs.signal(Signal::Watermark(watermark), turn),
            None => Room::Free,
        }
    }
}

impl<K, T, C> Downstream for Sessions<K, T, C>
where
    K: Key,
    T: Exchange,
    C: Contents<K, T>,
{
    fn resume(&mut self, turn: &mut Turn) -> Room {
        if self.outputs.resume(turn).is_full() {
            return Room::Full;
        }
        if turn.is_clearing() {
            return Room::Free;
        }
        self.state.prepare();
        if self.state.is_at_rest() {
            return Room::Free;
        }
        self.fire(turn)
    }

    fn mark(&mut self, turn: &mut Turn) {
        self.outputs.mark(turn);
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        if let Signal::Watermark(watermark) = signal
            && self.state.raise(watermark)
        {
            return self.fire(turn);
        }
        self.outputs.signal(signal, turn)
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        self.outputs.tend(turn)
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        let operator = &self.operator;
        self.state.visit(|state| visitor.keyed(operator, state))?;
        self.outputs.visit(visitor)
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        self.outputs.close(ending)
    }
}

impl<K, T, C> Read<KeyedRecord<K, T>> for Sessions<K, T, C>
where
    K: Key,
    T: Exchange,
    C: Contents<K, T>,
{
    #[inline]
    fn read(&mut self, keyed: &KeyedRecord<K, T>, turn: &mut Turn) -> Room {
        let blame = Blame::on(&self.operator);
        let only = self.state.extend(&keyed.key, turn.timestamp);
        if let Some(accumulator) = only {
            self.contents.add(accumulator, &keyed.record);
            blame.lift();
            return Room::Free;
        }
        blame.lift();
        self.add(keyed, turn)
    }
}
