//! The running operator: `count`, `fold`, `reduce` and `aggregate` without a window.

use std::marker::PhantomData;
use std::sync::Arc;

use levada_core::key::KeyError;
use levada_core::sync::atomic::{AtomicBool, Ordering};
use levada_core::{Key, KeyGroups, Origin, Timestamp};
use levada_runtime::metrics::OperatorCounters;
use levada_runtime::wiring::{AnyPush, AnyRead, Built, NodeFactory, Shared};
use levada_runtime::{
    Blame, Downstream, Ending, Failure, KeyedRecord, Push, Read, Room, Signal, StateError, Subtask,
    Turn, Visitor,
};
use levada_state::{Cursor, KEY, KeyedTable, StateFields, StateVersion, VALUE};

use crate::aggregate::Accumulate;
use crate::state_check;

/// When a running operator emits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Emission {
    /// An update for each record.
    PerRecord,
    /// One row per key when the input is complete.
    AtEnd,
}

/// The node of a running operator.
pub struct RunningNode<K, T, A: Accumulate<T>> {
    accumulate: A,
    at_end: Arc<AtomicBool>,
    version: StateVersion<A::Accumulator>,
    records: PhantomData<fn(K, T)>,
}

impl<K, T, A: Accumulate<T>> RunningNode<K, T, A> {
    /// A node that emits per record, unless `at_end` says otherwise when it is built, and whose accumulators have this
    /// version.
    pub fn new(
        accumulate: A,
        at_end: Arc<AtomicBool>,
        version: StateVersion<A::Accumulator>,
    ) -> Self {
        Self {
            accumulate,
            at_end,
            version,
            records: PhantomData,
        }
    }
}

impl<K, T, A> NodeFactory for RunningNode<K, T, A>
where
    K: Key,
    T: Send + 'static,
    A: Accumulate<T>,
{
    fn build(
        &self,
        subtask: &Subtask,
        _: &Shared,
        mut outputs: Vec<AnyPush>,
    ) -> Result<Built, Failure> {
        let next = outputs.remove(0).typed::<(K, A::Out)>(&subtask.operator);
        let emission = if self.at_end.load(Ordering::Relaxed) {
            Emission::AtEnd
        } else {
            Emission::PerRecord
        };
        let mut running =
            Running::<K, T, A, _>::new(self.accumulate.clone(), emission, subtask, next);
        let reader = self.version.reader(subtask.saved_version());
        running.table = running.table.reading(reader);
        Ok(Built::Read(AnyRead::new::<KeyedRecord<K, T>>(Box::new(
            running,
        ))))
    }

    fn state(&self) -> Option<StateFields> {
        let state = StateFields::of_version(&self.version);
        Some(state.with::<K>(KEY).with::<A::Accumulator>(VALUE))
    }
}

/// One accumulator per key.
///
/// At the end of the input the keys are taken out of the table one by one: a snapshot taken in between holds those that
/// have not been emitted.
pub(crate) struct Running<K, T, A: Accumulate<T>, P> {
    table: KeyedTable<K, A::Accumulator>,
    accumulate: A,
    emission: Emission,
    /// Set while the keys are being emitted because of the last watermark.
    firing: Option<Cursor>,
    checked: bool,
    operator: Origin,
    key_groups: KeyGroups,
    counters: Arc<OperatorCounters>,
    next: P,
}

impl<K, T, A, P> Running<K, T, A, P>
where
    K: Key,
    A: Accumulate<T>,
    P: Push<(K, A::Out)>,
{
    /// An operator with no keys.
    pub(crate) fn new(accumulate: A, emission: Emission, subtask: &Subtask, next: P) -> Self {
        Self {
            table: KeyedTable::new(subtask.owned_groups(), subtask.table_seed),
            accumulate,
            emission,
            firing: None,
            checked: false,
            operator: subtask.operator.clone(),
            key_groups: subtask.key_groups,
            counters: Arc::clone(&subtask.counters),
            next,
        }
    }

    /// Emits one row per key, then passes the last watermark on.
    fn fire(&mut self, turn: &mut Turn) -> Room {
        while let Some(cursor) = &mut self.firing {
            let blame = Blame::on(&self.operator);
            let row = self
                .table
                .take_next(cursor)
                .map(|(key, accumulator, _)| (key, self.accumulate.finish(accumulator)));
            blame.lift();
            let Some(row) = row else {
                self.firing = None;
                return self.next.signal(Signal::Watermark(Timestamp::MAX), turn);
            };
            self.counters.records_out.add(1);
            turn.timestamp = Timestamp::MAX;
            let room = self.next.push(row, turn);
            if room.and(turn.spend()).is_full() {
                return Room::Full;
            }
        }
        Room::Free
    }
}

impl<K, T, A, P> Downstream for Running<K, T, A, P>
where
    K: Key,
    A: Accumulate<T>,
    P: Push<(K, A::Out)>,
{
    fn resume(&mut self, turn: &mut Turn) -> Room {
        if self.next.resume(turn).is_full() {
            return Room::Full;
        }
        if turn.is_clearing() {
            return Room::Free;
        }
        self.fire(turn)
    }

    fn mark(&mut self, turn: &mut Turn) {
        self.next.mark(turn);
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        let complete = signal == Signal::Watermark(Timestamp::MAX);
        if complete && self.emission == Emission::AtEnd {
            self.firing = Some(Cursor::default());
            return self.fire(turn);
        }
        self.next.signal(signal, turn)
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        self.next.tend(turn)
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        visitor.keyed(&self.operator, &mut self.table)?;
        self.next.visit(visitor)
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        self.next.close(ending)
    }
}

impl<K, T, A, P> Read<KeyedRecord<K, T>> for Running<K, T, A, P>
where
    K: Key,
    A: Accumulate<T>,
    P: Push<(K, A::Out)>,
{
    #[inline]
    fn read(&mut self, keyed: &KeyedRecord<K, T>, turn: &mut Turn) -> Room {
        let blame = Blame::on(&self.operator);
        debug_assert!(
            self.table.find(&keyed.key).is_none_or(|place| {
                let group = keyed.group_in(self.key_groups);
                group.is_ok_and(|group| group == self.table.group(place))
            }),
            "equal keys serialise equally"
        );
        let found = self.table.get_or_insert(&keyed.key, || {
            let group = keyed.group_in(self.key_groups)?;
            Ok::<_, KeyError>((group, self.accumulate.create()))
        });
        let accumulator = match found {
            Ok(accumulator) => accumulator,
            Err(error) => {
                blame.lift();
                return turn.fail(&self.operator, error);
            }
        };
        self.accumulate.add(accumulator, &keyed.record);
        // Right behind the addition, so that the compiler still knows what it has added.
        let row = (self.emission == Emission::PerRecord).then(|| {
            let result = self.accumulate.finish(accumulator.clone());
            (keyed.key.clone(), result)
        });
        if !self.checked {
            self.checked = true;
            if let Err(error) = state_check::check(&keyed.key, accumulator) {
                blame.lift();
                return turn.fail(&self.operator, error);
            }
        }
        let Some(row) = row else {
            blame.lift();
            return Room::Free;
        };
        blame.lift();
        self.counters.records_out.add(1);
        self.next.push(row, turn)
    }
}
