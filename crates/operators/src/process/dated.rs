//! State by key that is forgotten when nobody uses it.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use levada_core::{Key, KeyGroup, Moment, State, Timestamp, codec};
use levada_state::{DueQueue, KeyedTable, Place, ValueReader};
use serde::{Deserialize, Serialize};

use crate::ttl::Ttl;

/// A table that knows when each state was last used.
///
/// Each key has one entry in the order of the times at which states are gone. It is moved when its time comes and the
/// state has been used meanwhile, not with each use.
pub(crate) struct DatedTable<K, S> {
    pub(crate) table: KeyedTable<K, Dated<S>>,
    pub(crate) ttl: Ttl,
    due: DueQueue<K>,
    /// States whose last use was to be looked at, since somebody could change them.
    reads: RefCell<Vec<Place>>,
    /// The time of day, for a time-to-live in processing time.
    pub(crate) wall: Timestamp,
    /// When what is gone is looked for again, in processing time.
    pub(crate) next_sweep: Moment,
}

/// A state with its last use.
#[derive(Deserialize, Serialize)]
#[serde(bound = "S: State")]
pub(crate) struct Dated<S> {
    used: Timestamp,
    /// When it was last looked at, if that is a use and nobody could change the state since.
    #[serde(skip, default = "never")]
    read: Cell<Timestamp>,
    /// The time of the key's entry in the order. Another entry is left from a state that was cleared.
    #[serde(skip, default = "nowhere")]
    entered: Timestamp,
    value: S,
}

impl<S: State> Dated<S> {
    /// Reads states so, with their last uses as the codec writes them.
    pub(crate) fn reader(states: &ValueReader<S>) -> ValueReader<Self> {
        states.within(|states, bytes| {
            Ok(Self {
                used: codec::decode_next(bytes)?,
                read: never(),
                entered: nowhere(),
                value: states.read(bytes)?,
            })
        })
    }
}

fn nowhere() -> Timestamp {
    Timestamp::MAX
}

fn never() -> Cell<Timestamp> {
    Cell::new(Timestamp::MIN)
}

/// When a state is used: at this time, as seen when time has come to `now`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use {
    /// [`Timestamp::MIN`] if there is none to be counted.
    pub(crate) at: Timestamp,
    pub(crate) now: Timestamp,
}

/// Below this, what is left of cleared states may stay.
const STALE_MIN: usize = 1_024;

impl<K: Key, S: State> DatedTable<K, S> {
    pub(crate) fn new(table: KeyedTable<K, Dated<S>>, ttl: Ttl) -> Self {
        Self {
            table,
            ttl,
            due: DueQueue::new(),
            reads: RefCell::default(),
            wall: Timestamp::MIN,
            next_sweep: Moment::ZERO,
        }
    }

    /// Where the state of a key is, made by `Default` if there is none or it is gone.
    pub(crate) fn find_or_insert<E>(
        &mut self,
        key: &K,
        using: Use,
        group: impl FnOnce() -> Result<KeyGroup, E>,
    ) -> Result<Place, E> {
        self.settle();
        let end = self.ttl.end_of(using.at);
        let mut is_new = false;
        let place = self.table.find_or_insert(key, || {
            is_new = true;
            Ok((
                group()?,
                Dated {
                    used: using.at,
                    read: never(),
                    entered: end,
                    value: S::default(),
                },
            ))
        })?;
        if is_new {
            self.enter(end, key.clone());
            return Ok(place);
        }
        let ttl = self.ttl;
        let dated = self.table.value_mut(place);
        if ttl.end_of(dated.used) <= using.now {
            dated.used = using.at;
            dated.value = S::default();
        } else {
            dated.used = dated.used.max(using.at);
        }
        Ok(place)
    }

    /// Where the state of a key is, if there is one and it is not gone.
    pub(crate) fn find(&self, key: &K, using: impl FnOnce() -> Use) -> Option<Place> {
        let place = self.table.find(key)?;
        let dated = self.table.value(place);
        let using = using();
        if self.is_gone(dated, using.now) {
            return None;
        }
        let last = dated.last_use();
        if self.ttl.is_refreshed_on_read() && using.at > last {
            if last == dated.used {
                self.reads.borrow_mut().push(place);
            }
            dated.read.set(using.at);
        }
        Some(place)
    }

    /// Makes those uses part of the states that were to be looked at: only who may change a state can tell a snapshot.
    pub(crate) fn settle(&mut self) {
        for place in self.reads.get_mut().drain(..) {
            let dated = self.table.value_mut(place);
            dated.used = dated.last_use();
        }
    }

    pub(crate) fn value(&self, place: Place) -> &S {
        &self.table.value(place).value
    }

    pub(crate) fn value_mut(&mut self, place: Place) -> &mut S {
        &mut self.table.value_mut(place).value
    }

    /// The states of some key groups that are not gone.
    pub(crate) fn iter_mut_within(
        &mut self,
        groups: Range<u16>,
        mut now: impl FnMut(&K) -> Timestamp,
    ) -> impl Iterator<Item = (&K, &mut S)> {
        self.settle();
        let ttl = self.ttl;
        self.table
            .iter_mut_within(groups)
            .filter(move |(key, dated)| ttl.end_of(dated.used) > now(key))
            .map(|(key, dated)| (key, &mut dated.value))
    }

    pub(crate) fn remove(&mut self, key: &K) {
        self.settle();
        self.table.remove(key);
        if self.due.len() > STALE_MIN.max(2 * self.table.len()) {
            self.restore();
        }
    }

    /// What the order takes in memory.
    pub(crate) fn queue_bytes(&self) -> u64 {
        self.due.memory(self.table.key_heap())
    }

    /// Builds the order from the states.
    pub(crate) fn restore(&mut self) {
        self.settle();
        self.due.clear();
        for (key, dated) in self.table.iter_mut() {
            dated.entered = self.ttl.end_of(dated.used);
            if dated.entered < Timestamp::MAX {
                self.due.add(dated.entered, key.clone());
            }
        }
    }

    /// Whether some state may be gone at `now`.
    pub(crate) fn may_be_gone(&self, now: Timestamp) -> bool {
        self.earliest().is_some_and(|at| at <= now)
    }

    /// When the next state may be gone.
    pub(crate) fn earliest(&self) -> Option<Timestamp> {
        self.due.earliest()
    }

    /// Frees the next state that is gone at `now`, or finds that it is not; false if there is none.
    pub(crate) fn sweep_next(&mut self, now: Timestamp) -> bool {
        self.settle();
        let Some((at, key)) = self.due.take(now) else {
            return false;
        };
        let Some(place) = self.table.find(&key) else {
            return true;
        };
        let ttl = self.ttl;
        let dated = self.table.value_mut(place);
        if dated.entered != at {
            return true;
        }
        let end = ttl.end_of(dated.used);
        if end <= now {
            self.table.remove(&key);
        } else {
            dated.entered = end;
            self.enter(end, key);
        }
        true
    }

    fn enter(&mut self, end: Timestamp, key: K) {
        if end < Timestamp::MAX {
            self.due.add(end, key);
        }
    }

    fn is_gone(&self, dated: &Dated<S>, now: Timestamp) -> bool {
        self.ttl.end_of(dated.last_use()) <= now
    }
}

impl<S> Dated<S> {
    fn last_use(&self) -> Timestamp {
        self.used.max(self.read.get())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use levada_core::KeyGroup;
    use levada_state::{KeyedState, Row, Rows, Saving, rows_in};

    use super::*;

    fn table() -> DatedTable<u32, u64> {
        let ttl = Ttl::event_time(Duration::from_millis(10));
        DatedTable::new(KeyedTable::new(0..128, 1), ttl)
    }

    fn put(table: &mut DatedTable<u32, u64>, key: u32, at: i64) -> &mut u64 {
        let using = Use {
            at: Timestamp(at),
            now: Timestamp(at),
        };
        let Ok(place) = table.find_or_insert(&key, using, || {
            Ok::<_, Infallible>(KeyGroup(key as u16 % 128))
        });
        table.value_mut(place)
    }

    #[test]
    fn states_that_are_cleared_and_come_back_take_no_memory_for_ever() {
        let mut table = table();
        for n in 0..100_000 {
            *put(&mut table, 7, 0) += n;
            table.remove(&7);
        }
        assert!(table.due.len() <= STALE_MIN + 1, "{}", table.due.len());
    }

    #[test]
    fn a_key_has_one_entry_that_is_moved_when_its_time_comes() {
        let mut table = table();
        for at in 0..100 {
            *put(&mut table, 7, at) += 1;
        }
        assert_eq!(
            (table.due.len(), table.earliest()),
            (1, Some(Timestamp(10)))
        );
        assert!(table.sweep_next(Timestamp(108)));
        assert_eq!(
            (table.due.len(), table.earliest()),
            (1, Some(Timestamp(109)))
        );
        assert!(!table.sweep_next(Timestamp(108)) && table.sweep_next(Timestamp(109)));
        assert!(table.table.is_empty() && table.due.is_empty());
    }

    #[test]
    fn a_state_that_came_back_stays_when_the_entry_of_the_one_before_comes() {
        let mut table = table();
        *put(&mut table, 7, 0) = 1;
        table.remove(&7);
        *put(&mut table, 7, 5) = 2;
        assert_eq!(table.due.len(), 2);
        while table.sweep_next(Timestamp(14)) {}
        assert_eq!((table.due.len(), *put(&mut table, 7, 14)), (1, 2));
    }

    #[test]
    fn a_use_by_looking_is_a_change_that_a_snapshot_tells() {
        let mut table = table();
        table.ttl = table.ttl.refreshed_on_read();
        *put(&mut table, 7, 0) = 1;
        *put(&mut table, 8, 0) = 2;
        let mut rows = Rows::with_room(usize::MAX);
        let save = |table: &mut DatedTable<u32, u64>, rows: &mut Rows, checkpoint, base| {
            table.settle();
            let saving = Saving {
                checkpoint,
                base,
                confirmed: base,
            };
            table.table.begin(&saving, rows).unwrap();
            while !table.table.save(rows).unwrap() {}
        };
        save(&mut table, &mut rows, 1, None);
        rows.take();
        for at in [5, 4, 6] {
            let using = Use {
                at: Timestamp(at),
                now: Timestamp(at),
            };
            assert!(table.find(&7, || using).is_some());
        }
        save(&mut table, &mut rows, 2, Some(1));
        let changes: Vec<Row<'_>> = rows_in(rows.bytes()).map(Result::unwrap).collect();
        assert_eq!(changes.len(), 1);
        let mut restored = self::table();
        restored.table.read(&changes[0]).unwrap();
        let is_there = |now| {
            let using = Use {
                at: Timestamp::MIN,
                now: Timestamp(now),
            };
            restored.find(&7, || using).is_some()
        };
        assert!(is_there(15) && !is_there(16));
    }
}
