//! Timers: for each key, times at which an operator is to be called.

use std::ops::Range;

use levada_core::{Key, KeyGroup, Timestamp};

use crate::due::DueQueue;
use crate::error::StateError;
use crate::memory::Measuring;
use crate::saving::{KeyedState, Row, Rows, Saving};
use crate::table::KeyedTable;
use crate::times::Times;

/// Times by key: each time once for a key, taken in their order.
///
/// The times of a key are its state: they are written with its group, and the order over all keys is built from them. A
/// timer that is deleted, or set again after it was, leaves its old entry in that order until its time or until half of the
/// entries are such.
pub struct Timers<K> {
    by_key: KeyedTable<K, Times>,
    due: DueQueue<K>,
    len: usize,
    /// The order must be built from the times of the keys, which have been read.
    restored: bool,
}

/// Below this, what has been deleted may stay.
const STALE_MIN: usize = 1_024;

impl<K: Key> Timers<K> {
    /// No timers, for these key groups. The seed is that of the table.
    #[must_use]
    pub fn new(owned: Range<u16>, seed: u64) -> Self {
        Self {
            by_key: KeyedTable::new(owned, seed),
            due: DueQueue::new(),
            len: 0,
            restored: false,
        }
    }

    /// How many timers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets a timer; false if it was set already. The group is needed if the key has none yet.
    ///
    /// # Errors
    /// That of `group`.
    pub fn set<E>(
        &mut self,
        key: &K,
        at: Timestamp,
        group: impl FnOnce() -> Result<KeyGroup, E>,
    ) -> Result<bool, E> {
        self.prepare();
        let times = self
            .by_key
            .get_or_insert(key, || Ok((group()?, Times::default())))?;
        if !times.insert(at) {
            return Ok(false);
        }
        self.len += 1;
        self.due.add(at, key.clone());
        Ok(true)
    }

    /// Deletes a timer; false if there was none.
    pub fn delete(&mut self, key: &K, at: Timestamp) -> bool {
        self.prepare();
        let deleted = self.remove(key, at);
        self.sweep();
        deleted
    }

    /// Deletes all timers of a key.
    pub fn clear(&mut self, key: &K) {
        self.prepare();
        if let Some(times) = self.by_key.remove(key) {
            self.len -= times.len();
            self.sweep();
        }
    }

    /// Leaves no more of what has been deleted than may stay.
    fn sweep(&mut self) {
        if self.due.len() > STALE_MIN.max(2 * self.len) {
            self.build();
        }
    }

    /// Bytes that a key owns on the heap, about.
    #[must_use]
    pub fn key_heap(&self) -> f64 {
        self.by_key.key_heap()
    }

    /// The time of the next timer. It may be that of one that has been deleted.
    #[must_use]
    pub fn earliest(&mut self) -> Option<Timestamp> {
        self.prepare();
        self.due.earliest()
    }

    /// Takes the next timer whose time is `until` or earlier.
    pub fn take(&mut self, until: Timestamp) -> Option<(K, Timestamp)> {
        self.prepare();
        loop {
            let (at, key) = self.due.take(until)?;
            if self.remove(&key, at) {
                return Some((key, at));
            }
        }
    }

    /// The key group of a key that has a timer.
    #[must_use]
    pub fn group(&self, key: &K) -> Option<KeyGroup> {
        self.by_key.find(key).map(|place| self.by_key.group(place))
    }

    /// All timers with the groups of their keys, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, KeyGroup, Timestamp)> {
        let keys = self.by_key.iter();
        keys.flat_map(|(key, times, group)| times.iter().map(move |at| (key, group, at)))
    }

    fn remove(&mut self, key: &K, at: Timestamp) -> bool {
        let Some(place) = self.by_key.find(key) else {
            return false;
        };
        let times = self.by_key.value_mut(place);
        if !times.remove(at) {
            return false;
        }
        if times.is_empty() {
            self.by_key.remove(key);
        }
        self.len -= 1;
        true
    }

    #[inline]
    fn prepare(&mut self) {
        if self.restored {
            self.restored = false;
            self.build();
        }
    }

    #[inline(never)]
    fn build(&mut self) {
        self.due.clear();
        self.len = 0;
        for (key, times, _) in self.by_key.iter() {
            self.len += times.len();
            for at in times.iter() {
                self.due.add(at, key.clone());
            }
        }
    }
}

impl<K: Key> KeyedState for Timers<K> {
    fn owned(&self) -> Range<u16> {
        KeyedState::owned(&self.by_key)
    }

    fn begin(&mut self, saving: &Saving, rows: &mut Rows) -> Result<(), StateError> {
        self.by_key.begin(saving, rows)
    }

    fn save(&mut self, rows: &mut Rows) -> Result<bool, StateError> {
        self.by_key.save(rows)
    }

    fn reserve(&mut self, part: u16, rows: usize) {
        self.by_key.reserve(part, rows);
    }

    fn read(&mut self, row: &Row<'_>) -> Result<(), StateError> {
        self.restored = true;
        self.by_key.read(row)
    }

    fn memory(&mut self, measuring: &mut Measuring) -> u64 {
        self.by_key.memory(measuring) + self.due.memory(self.by_key.key_heap())
    }

    fn show(&self, row: &Row<'_>) -> Option<String> {
        self.by_key.show(row)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::convert::Infallible;

    use levada_core::KeyGroups;
    use proptest::prelude::*;

    use super::*;
    use crate::snapshot::Snapshot;

    #[derive(Clone, Debug)]
    enum Act {
        Set(u8, i64),
        Delete(u8, i64),
        Clear(u8),
        Take(i64),
    }

    fn act() -> impl Strategy<Value = Act> {
        let time = -20..20i64;
        prop_oneof![
            3 => (0..6u8, time.clone()).prop_map(|(key, at)| Act::Set(key, at)),
            2 => (0..6u8, time.clone()).prop_map(|(key, at)| Act::Delete(key, at)),
            1 => (0..6u8).prop_map(Act::Clear),
            1 => time.prop_map(Act::Take),
        ]
    }

    fn group(key: &u8) -> KeyGroup {
        KeyGroups::default().of(key).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Against a sorted set, through a snapshot in the middle and at its end.
        #[test]
        fn behave_like_a_set(
            acts in prop::collection::vec(act(), 0..120),
            cut in 0..120usize,
            parallelism in 1..5usize,
        ) {
            let mut model = BTreeSet::new();
            let mut timers = Timers::new(0..128, 1);
            for (i, act) in acts.into_iter().enumerate() {
                match act {
                    Act::Set(key, at) => {
                        let set = timers.set(&key, Timestamp(at), || Ok::<_, Infallible>(group(&key)));
                        prop_assert_eq!(set, Ok(model.insert((at, key))));
                    }
                    Act::Delete(key, at) => {
                        prop_assert_eq!(timers.delete(&key, Timestamp(at)), model.remove(&(at, key)));
                    }
                    Act::Clear(key) => {
                        timers.clear(&key);
                        model.retain(|(_, other)| *other != key);
                    }
                    Act::Take(until) => {
                        let mut taken = Vec::new();
                        while let Some((key, at)) = timers.take(Timestamp(until)) {
                            prop_assert!(taken.last().is_none_or(|(last, _)| *last <= at.0));
                            taken.push((at.0, key));
                        }
                        taken.sort_unstable();
                        let rest = model.split_off(&(until + 1, 0));
                        prop_assert!(std::mem::replace(&mut model, rest).into_iter().eq(taken));
                    }
                }
                prop_assert_eq!(timers.len(), model.len());
                if i == cut {
                    let mut snapshot = Snapshot::new();
                    snapshot.write("timers", &mut timers).unwrap();
                    timers = Timers::new(0..128, 2);
                    snapshot.read("timers", &mut timers).unwrap();
                }
            }
            let mut snapshot = Snapshot::new();
            snapshot.write("timers", &mut timers).unwrap();
            let mut taken = BTreeSet::new();
            for subtask in 0..parallelism {
                let mut part = Timers::new(KeyGroups::default().owned_by(subtask, parallelism), 3);
                snapshot.read("timers", &mut part).unwrap();
                while let Some((key, at)) = part.take(Timestamp::MAX) {
                    prop_assert!(taken.insert((at.0, key)));
                }
                prop_assert!(part.is_empty());
            }
            prop_assert_eq!(taken, model);
        }
    }

    #[test]
    fn a_timer_that_is_moved_for_ever_takes_no_memory_for_ever() {
        let mut timers = Timers::new(0..128, 1);
        for at in 0..100_000 {
            timers.delete(&7u8, Timestamp(at - 1));
            let set = timers.set(&7, Timestamp(at), || Ok::<_, Infallible>(group(&7)));
            assert_eq!(set, Ok(true));
        }
        assert_eq!(timers.len(), 1);
        assert!(timers.due.len() <= STALE_MIN + 1, "{}", timers.due.len());
        assert_eq!(timers.take(Timestamp::MAX), Some((7, Timestamp(99_999))));
    }

    /// Were each timer to move all others of its key, this would take minutes.
    #[test]
    fn one_key_may_have_very_many() {
        let mut timers = Timers::new(0..128, 1);
        let group = group(&7);
        for at in 0..1_000_000 {
            let set = timers.set(&7u8, Timestamp(at), || Ok::<_, Infallible>(group));
            assert_eq!(set, Ok(true));
        }
        for at in 0..1_000_000 {
            assert_eq!(timers.take(Timestamp::MAX), Some((7, Timestamp(at))));
        }
        assert!(timers.is_empty());
    }
}
