//! The operator of windows that fire by triggers.
//!
//! A key has an entry with its windows, each with what it has gathered and what its trigger remembers. Timers are kept by
//! key and window.

mod assigner;
mod gathering;
mod state;

use std::sync::Arc;

use levada_core::{Exchange, Key, KeyGroups, Origin, Timestamp};
use levada_runtime::metrics::OperatorCounters;
use levada_runtime::{
    Blame, Downstream, Ending, Failure, KeyedRecord, Read, Room, Signal, StateError, Turn, Visitor,
};

use crate::process::Timer;
use crate::process::outputs::Outputs;
use crate::state_check;
use crate::window::contents::Contents;
use crate::window::no_timestamp::NoTimestamp;
use crate::window::node::Making;
use crate::window::options::WindowOptions;
use crate::window::trigger::Trigger;
use gathering::Gathering;

pub use assigner::Assigner;
pub(crate) use assigner::Windows;

/// Windows that fire by a trigger, in one subtask.
pub(crate) struct Panes<K, T, C: Contents<K, T>, R: Trigger<T>> {
    gathering: Gathering<K, T, C, R>,
    options: WindowOptions<T>,
    /// A watermark that is passed on when the timers before it have fired.
    passing: Option<Timestamp>,
    checked: bool,
    operator: Origin,
    key_groups: KeyGroups,
    counters: Arc<OperatorCounters>,
    outputs: Outputs<C::Out>,
}

impl<K, T, C, R> Panes<K, T, C, R>
where
    K: Key,
    T: Exchange,
    C: Contents<K, T>,
    R: Trigger<T>,
{
    pub(crate) fn new(
        assigner: Assigner,
        trigger: R,
        making: Making<'_, T, C, C::Accumulator, C::Out>,
    ) -> Self {
        let Making {
            contents,
            options,
            subtask,
            main,
            sides,
            reader,
        } = making;
        let lateness = options.lateness;
        Self {
            gathering: Gathering::new(assigner, trigger, contents, lateness, reader, subtask),
            passing: None,
            checked: false,
            operator: subtask.operator.clone(),
            key_groups: subtask.key_groups,
            counters: Arc::clone(&subtask.counters),
            outputs: Outputs::new(main, sides, options.owner(), subtask),
            options,
        }
    }

    /// Emits what has fired and fires the timers that are due, as far as there is room.
    fn fire(&mut self, turn: &mut Turn) -> Room {
        loop {
            let Gathering {
                state, contents, ..
            } = &mut self.gathering;
            let emissions = &mut state.emitting.emissions;
            let room = emissions.go_on(&*contents, &self.operator, &mut self.outputs, turn);
            if room.is_full() {
                return Room::Full;
            }
            let Some(((key, span), timer)) = self.gathering.state.times.take_due(turn.now()) else {
                return Room::Free;
            };
            if let Timer::Processing(_) = timer
                && turn.born() != turn.now()
            {
                turn.set_born(turn.now());
                self.outputs.mark(turn);
            }
            let blame = Blame::on(&self.operator);
            let fired = self.gathering.timer(&key, span, timer);
            blame.lift();
            if let Err(error) = fired {
                return turn.fail(&self.operator, error);
            }
            if turn.spend().is_full() {
                return Room::Full;
            }
        }
    }

    /// Does all that is due, then passes on the watermark that has waited for it.
    fn go_on(&mut self, turn: &mut Turn) -> Room {
        let born = turn.born();
        let room = self.fire(turn);
        if turn.born() != born {
            turn.set_born(born);
            self.outputs.mark(turn);
        }
        if room.is_full() {
            return Room::Full;
        }
        // Without a watermark only what was due when it was saved is.
        let until = self.passing.unwrap_or(Timestamp::MIN);
        let end = self.gathering.end();
        while self.gathering.state.forget_next(until, &end) {
            if turn.spend().is_full() {
                return Room::Full;
            }
        }
        match self.passing.take() {
            Some(watermark) => self.outputs.signal(Signal::Watermark(watermark), turn),
            None => Room::Free,
        }
    }

    /// The first key and window go through the codec.
    #[inline(never)]
    fn check(&mut self, key: &K, turn: &mut Turn) -> Room {
        let Some(place) = self.gathering.state.table.find(key) else {
            return Room::Free;
        };
        self.checked = true;
        let panes = self.gathering.state.table.value(place);
        let blame = Blame::on(&self.operator);
        let checked = state_check::check(key, &panes.panes);
        blame.lift();
        match checked {
            Ok(()) => Room::Free,
            Err(error) => turn.fail(&self.operator, error),
        }
    }
}

impl<K, T, C, R> Downstream for Panes<K, T, C, R>
where
    K: Key,
    T: Exchange,
    C: Contents<K, T>,
    R: Trigger<T>,
{
    fn resume(&mut self, turn: &mut Turn) -> Room {
        if self.outputs.resume(turn).is_full() {
            return Room::Full;
        }
        if turn.is_clearing() {
            return Room::Free;
        }
        let end = self.gathering.end();
        let is_restored = self.gathering.state.prepare(end);
        let waits = is_restored
            || self.passing.is_some()
            || !self.gathering.state.emitting.emissions.is_empty();
        if waits || self.gathering.state.times.may_be_due(turn.now()) {
            return self.go_on(turn);
        }
        Room::Free
    }

    fn mark(&mut self, turn: &mut Turn) {
        self.outputs.mark(turn);
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        let Signal::Watermark(watermark) = signal else {
            return self.outputs.signal(signal, turn);
        };
        self.gathering.state.times.raise(watermark);
        self.passing = Some(watermark);
        self.go_on(turn)
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        let room = self.outputs.tend(turn);
        // Without room, whoever makes some wakes the task.
        if !room.is_full()
            && let Some(at) = self.gathering.state.times.wake_at()
        {
            turn.wake_at(at);
        }
        room
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        let operator = &self.operator;
        self.gathering
            .state
            .visit(|state| visitor.keyed(operator, state))?;
        self.outputs.visit(visitor)
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        self.outputs.close(ending)
    }
}

impl<K, T, C, R> Read<KeyedRecord<K, T>> for Panes<K, T, C, R>
where
    K: Key,
    T: Exchange,
    C: Contents<K, T>,
    R: Trigger<T>,
{
    fn read(&mut self, keyed: &KeyedRecord<K, T>, turn: &mut Turn) -> Room {
        let at = turn.timestamp;
        if at == Timestamp::MIN && self.gathering.assigner.needs_time() {
            return turn.fail(&self.operator, NoTimestamp);
        }
        let blame = Blame::on(&self.operator);
        let group = keyed.group_in(self.key_groups);
        let taken = group.and_then(|group| self.gathering.add(keyed, at, group));
        blame.lift();
        match taken {
            Err(error) => return turn.fail(&self.operator, error),
            Ok(false) => {
                return self.options.drop_late(
                    &keyed.record,
                    self.gathering.contents.records(&keyed.record),
                    &self.operator,
                    &self.counters,
                    &mut self.outputs,
                    turn,
                );
            }
            Ok(true) => {}
        }
        if !self.checked && self.check(&keyed.key, turn).is_full() {
            return Room::Full;
        }
        if self.gathering.state.times.is_due()
            || !self.gathering.state.emitting.emissions.is_empty()
        {
            return self.go_on(turn);
        }
        Room::Free
    }
}
