//! The operator of tumbling and sliding windows.
//!
//! There is one table per slice, so a window that fires finds its keys without a timer for each, and is forgotten as a
//! whole. The slice of the last record is at hand: while records come about in order, one costs a look into its table.

mod snapshot;
mod state;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use levada_core::key::KeyError;
use levada_core::{Exchange, Key, KeyGroups, Origin, Timestamp};
use levada_runtime::metrics::OperatorCounters;
use levada_runtime::{
    Blame, Downstream, Ending, Failure, KeyedRecord, Push, Read, Room, Signal, StateError, Subtask,
    Turn, Visitor,
};

use crate::process::outputs::Outputs;
use crate::process::side::AnyPort;
use crate::state_check;
use crate::window::contents::Contents;
use crate::window::emitting::{Looked, emit};
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
    pub(crate) fn new(
        slicing: Slicing,
        contents: C,
        options: WindowOptions<T>,
        subtask: &Subtask,
        main: Box<dyn Push<C::Out>>,
        sides: Vec<Box<dyn AnyPort>>,
    ) -> Self {
        let owner = options.owner();
        Self {
            state: SlicedState::new(
                slicing,
                options.lateness,
                subtask.owned_groups(),
                subtask.table_seed,
            ),
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

    /// Emits what fires, as far as there is room, and then passes the watermark on. Leaves the turn's timestamp as it was.
    fn fire(&mut self, turn: &mut Turn) -> Room {
        if self.state.firing.is_none() && self.state.emissions.is_empty() {
            return Room::Free;
        }
        let timestamp = turn.timestamp;
        let room = self.fire_next(turn);
        turn.timestamp = timestamp;
        room
    }

    fn fire_next(&mut self, turn: &mut Turn) -> Room {
        let (contents, operator) = (&self.contents, &self.operator);
        while let Some((_, emission)) = self.state.emissions.front_mut() {
            let room = emit(contents, emission, operator, &mut self.outputs, turn);
            if emission.is_over() {
                self.state.emissions.pop_front();
            }
            if room.is_full() {
                return Room::Full;
            }
        }
        while self.state.firing.is_some() {
            let blame = Blame::on(operator);
            let merge = |into: &mut C::Accumulator, other| contents.merge(into, other);
            let found = self.state.next_emission(merge, || turn.spend().is_full());
            blame.lift();
            match found {
                Looked::Found((group, mut emission)) => {
                    let room = emit(contents, &mut emission, operator, &mut self.outputs, turn);
                    if !emission.is_over() {
                        self.state.emissions.push_back((group, emission));
                    }
                    if room.is_full() {
                        return Room::Full;
                    }
                }
                Looked::Interrupted => return Room::Full,
                Looked::Nothing => {
                    let blame = Blame::on(operator);
                    let lateness = self.options.lateness;
                    let is_over = self.state.forget(lateness, || turn.spend().is_full());
                    blame.lift();
                    if !is_over {
                        return Room::Full;
                    }
                    let watermark = self.state.end_firing();
                    self.hot = Hot::NONE;
                    if let Some(watermark) = watermark {
                        return self.outputs.signal(Signal::Watermark(watermark), turn);
                    }
                }
            }
        }
        Room::Free
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
        self.fire(turn)
    }

    fn mark(&mut self, turn: &mut Turn) {
        self.outputs.mark(turn);
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        if let Signal::Watermark(watermark) = signal
            && self.state.raise(watermark)
        {
            self.counters.watermark.set(watermark);
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

/// A record came to an operator of event time without one.
#[derive(Debug)]
pub(crate) struct NoTimestamp;

impl fmt::Display for NoTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a record has no event time: give it one by `timestamps` before this operator, or read from a source that does",
        )
    }
}

impl std::error::Error for NoTimestamp {}
