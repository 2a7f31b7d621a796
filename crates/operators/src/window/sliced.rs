//! The operator of tumbling and sliding windows.
//!
//! There is one table per slice, so a window that fires finds its keys without a timer for each, and is forgotten as a
//! whole. The slice of the last record is at hand: while records come about in order, one costs a look into its table.

mod saving;
mod snapshot;
mod state;
mod weighing;

use std::marker::PhantomData;
use std::sync::Arc;

use levada_core::key::KeyError;
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
use crate::window::slicing::Slicing;
use state::SlicedState;

/// Tumbling or sliding windows, in one subtask.
pub(crate) struct Sliced<K, T, C: Contents<K, T>> {
    state: SlicedState<K, C::Accumulator>,
    contents: C,
    options: WindowOptions<T>,
    /// The slice of the last record, if a record of it needs no second look.
    hot: Hot,
    checked: bool,
    operator: Origin,
    key_groups: KeyGroups,
    counters: Arc<OperatorCounters>,
    outputs: Outputs<C::Out>,
    records: PhantomData<fn(T)>,
}

/// A slice none of whose windows has fired.
#[derive(Clone, Copy, Debug)]
struct Hot {
    start: Timestamp,
    end: Timestamp,
    place: usize,
}

impl Hot {
    /// No slice.
    const NONE: Self = Self {
        start: Timestamp::MAX,
        end: Timestamp::MIN,
        place: 0,
    };
}

impl<K, T, C> Sliced<K, T, C>
where
    K: Key,
    T: Exchange,
    C: Contents<K, T>,
{
    pub(crate) fn new(slicing: Slicing, making: Making<'_, T, C, C::Accumulator, C::Out>) -> Self {
        let Making {
            contents,
            options,
            subtask,
            main,
            sides,
            reader,
        } = making;
        let owner = options.owner();
        Self {
            state: SlicedState::new(
                slicing,
                options.lateness,
                subtask.owned_groups(),
                subtask.table_seed,
            )
            .reading(reader),
            contents,
            options,
            hot: Hot::NONE,
            checked: false,
            operator: subtask.operator.clone(),
            key_groups: subtask.key_groups,
            counters: Arc::clone(&subtask.counters),
            outputs: Outputs::new(main, sides, owner, subtask),
            records: PhantomData,
        }
    }

    /// Finds the slice of a record that is not of the hot one. None if it is in no window, or late.
    #[inline(never)]
    fn find_slice(
        &mut self,
        keyed: &KeyedRecord<K, T>,
        turn: &mut Turn,
    ) -> Result<Option<usize>, Room> {
        let time = turn.timestamp;
        if time == Timestamp::MIN {
            return Err(turn.fail(&self.operator, NoTimestamp));
        }
        let slicing = self.state.slicing;
        let number = slicing.slice_of(time);
        let (first, last) = slicing.windows_of(number);
        if first > last {
            return Ok(None);
        }
        let open = slicing.first_open(self.state.clock.watermark());
        if first >= open && !self.state.clock.is_divided() {
            let place = self.state.slice(number);
            let span = slicing.slice_span(number);
            self.hot = Hot {
                start: span.start,
                end: span.end,
                place,
            };
            return Ok(Some(place));
        }
        // Some of its windows have fired, or it depends on the key whether they have.
        self.hot = Hot::NONE;
        let group = match keyed.group_in(self.key_groups) {
            Ok(group) => group,
            Err(error) => return Err(turn.fail(&self.operator, error)),
        };
        let now = self.state.clock.of(group);
        let takes = |window| {
            let last = slicing.window_span(window).last();
            last.0.saturating_add(self.options.lateness) > now.0
        };
        if !takes(last) {
            return Err(self.options.drop_late(
                &keyed.record,
                self.contents.records(&keyed.record),
                &self.operator,
                &self.counters,
                &mut self.outputs,
                turn,
            ));
        }
        for window in first..=last {
            if takes(window) && self.state.has_fired(window, group, &keyed.key) {
                self.state.change(window, group, &keyed.key);
            }
        }
        Ok(Some(self.state.slice(number)))
    }

    /// Emits what fires, as far as there is room, and then passes the watermark on.
    fn fire(&mut self, turn: &mut Turn) -> Room {
        let (contents, operator) = (&self.contents, &self.operator);
        let outputs = &mut self.outputs;
        let mut room = self
            .state
            .emissions
            .go_on(contents, operator, outputs, turn);
        while self.state.firing.is_some() && !room.is_full() {
            let blame = Blame::on(operator);
            let merge = |into: &mut C::Accumulator, other| contents.merge(into, other);
            let found = self.state.next_emission(merge, || turn.spend().is_full());
            blame.lift();
            room = match found {
                Looked::Found(found) => {
                    let emissions = &mut self.state.emissions;
                    emissions.begin(found, contents, operator, outputs, turn)
                }
                Looked::Interrupted => Room::Full,
                Looked::Nothing => return self.end_firing(turn),
            };
        }
        room
    }

    /// Forgets what no record can change any more, as far as there is time, and then passes the watermark on.
    fn end_firing(&mut self, turn: &mut Turn) -> Room {
        let blame = Blame::on(&self.operator);
        let lateness = self.options.lateness;
        let is_over = self.state.forget(lateness, || turn.spend().is_full());
        blame.lift();
        if !is_over {
            return Room::Full;
        }
        self.hot = Hot::NONE;
        match self.state.end_firing() {
            Some(watermark) => self.outputs.signal(Signal::Watermark(watermark), turn),
            None => Room::Free,
        }
    }

    /// The first key and accumulator go through the codec.
    #[inline(never)]
    fn check(&mut self, place: usize, key: &K, turn: &mut Turn) -> Room {
        self.checked = true;
        let table = &self.state.slices[place].1;
        let Some(kept) = table.find(key) else {
            return Room::Free;
        };
        let blame = Blame::on(&self.operator);
        let checked = state_check::check(key, table.value(kept));
        blame.lift();
        match checked {
            Ok(()) => Room::Free,
            Err(error) => turn.fail(&self.operator, error),
        }
    }
}

impl<K, T, C> Downstream for Sliced<K, T, C>
where
    K: Key,
    T: Exchange,
    C: Contents<K, T>,
{
    fn resume(&mut self, turn: &mut Turn) -> Room {
        if self.outputs.resume(turn).is_full() {
            return Room::Full;
        }
        self.state.prepare();
        if turn.is_clearing() {
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
            self.hot = Hot::NONE;
            return self.fire(turn);
        }
        self.outputs.signal(signal, turn)
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        self.outputs.tend(turn)
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        visitor.keyed(&self.operator, &mut self.state)?;
        self.hot = Hot::NONE;
        self.outputs.visit(visitor)
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        self.outputs.close(ending)
    }
}

impl<K, T, C> Read<KeyedRecord<K, T>> for Sliced<K, T, C>
where
    K: Key,
    T: Exchange,
    C: Contents<K, T>,
{
    #[inline]
    fn read(&mut self, keyed: &KeyedRecord<K, T>, turn: &mut Turn) -> Room {
        let time = turn.timestamp;
        let place = if self.hot.start <= time && time < self.hot.end {
            self.hot.place
        } else {
            match self.find_slice(keyed, turn) {
                Ok(Some(place)) => place,
                Ok(None) => return Room::Free,
                Err(room) => return room,
            }
        };
        let blame = Blame::on(&self.operator);
        let table = &mut self.state.slices[place].1;
        let found = table.get_or_insert(&keyed.key, || {
            let group = keyed.group_in(self.key_groups)?;
            Ok::<_, KeyError>((group, self.contents.create()))
        });
        let accumulator = match found {
            Ok(accumulator) => accumulator,
            Err(error) => {
                blame.lift();
                return turn.fail(&self.operator, error);
            }
        };
        self.contents.add(accumulator, &keyed.record);
        blame.lift();
        if !self.checked {
            return self.check(place, &keyed.key, turn);
        }
        Room::Free
    }
}
