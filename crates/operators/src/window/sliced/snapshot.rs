//! What sliced windows look like in a snapshot.
//!
//! | part | in slices | a row |
//! |---|---|---|
//! | the slices | and by what has changed | the slice (i64), key and accumulator; a slice without a key is gone as a whole |
//! | the times | no | see [`Times`] |
//! | keys whose last window that has fired is a later one than their group's | yes | window (i64) and key |

use std::ops::Range;

use levada_core::codec::{self, CodecError};
use levada_core::{Key, KeyGroup, Timestamp};
use levada_state::{
    KeyedState, Measuring, Row, RowKind, Rows, Saving, StateError, WholeState, write_rows,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::window::sliced::saving::{EMITTED, SLICES, TIMES};
use crate::window::sliced::state::{ByKey, SlicedState};

/// How much is looked at in one call.
const WORK_PER_SLICE: usize = 1 << 15;

/// What a table costs that has nothing to write.
const WORK_PER_TABLE: usize = 16;

impl<K, A> KeyedState for SlicedState<K, A>
where
    K: Key,
    A: Clone + Serialize + DeserializeOwned + Send,
{
    fn owned(&self) -> Range<u16> {
        self.owned.clone()
    }

    fn begin(&mut self, saving: &Saving, rows: &mut Rows) -> Result<(), StateError> {
        self.prepare();
        let base = self.saving.begin(saving);
        rows.set_part(SLICES);
        if base.is_none() {
            self.add_whole(rows)?;
        }
        let of_slices = Saving { base, ..*saving };
        for (number, table) in &mut self.slices {
            let was_there = base.is_some_and(|base| table.has_begun(base));
            let is_whole = table.begin_rows(&of_slices, rows);
            // What the one before has said of it does not count.
            if is_whole && was_there {
                for group in self.owned.clone() {
                    rows.add(KeyGroup(group), RowKind::Delete, |bytes| {
                        codec::encode(number, bytes)
                    })?;
                }
            }
        }
        rows.set_part(TIMES);
        KeyedState::begin(&mut Times(self), saving, rows)?;
        rows.set_part(EMITTED);
        self.add_whole(rows)?;
        rows.set_part(SLICES);
        self.begin_walk();
        Ok(())
    }

    fn save(&mut self, rows: &mut Rows) -> Result<bool, StateError> {
        rows.append(&mut self.saving.left);
        rows.append(&mut self.saving.found);
        if let Some(error) = self.saving.failed.take() {
            return Err(error);
        }
        let mut left = WORK_PER_SLICE;
        let place = self.place_of(self.saving.next);
        for (number, table) in self.slices.range_mut(place..) {
            self.saving.next = *number;
            if left == 0 || !table.save(rows)? {
                return Ok(false);
            }
            left = left.saturating_sub(table.len() + WORK_PER_TABLE);
        }
        self.saving.next = i64::MAX;
        rows.set_part(EMITTED);
        let mut left = WORK_PER_SLICE;
        let is_done = self.walk(rows, |rows| {
            left -= 1;
            left == 0 || rows.is_full()
        });
        rows.set_part(SLICES);
        is_done
    }

    fn memory(&mut self, measuring: &mut Measuring) -> u64 {
        let slices = self.weighing.memory(&mut self.slices, measuring);
        slices + self.memory_of_keys()
    }

    /// How far windows have fired says which slices are gone: the checkpoints that this one is based on have more of them than
    /// there ever were at once.
    fn first_part(&self) -> Option<u16> {
        Some(TIMES)
    }

    fn read(&mut self, row: &Row<'_>) -> Result<(), StateError> {
        match row.part {
            SLICES => self.read_slice(row),
            TIMES => KeyedState::read(&mut Times(self), row),
            _ => self.read_emitted(row),
        }
    }
}

impl<K, A> SlicedState<K, A>
where
    K: Key,
    A: Clone + Serialize + DeserializeOwned + Send,
{
    /// What is kept of some keys, and what waits to be saved.
    fn memory_of_keys(&self) -> u64 {
        let key = self
            .slices
            .back()
            .map_or(0.0, |(_, table)| table.key_heap());
        let changed = self.changed.values().map(|keys| bytes_of(keys, key));
        let waiting = self.saving.left.allocated() + self.saving.found.allocated();
        changed.sum::<u64>() + bytes_of(&self.emitted, key) + waiting
    }

    fn add_whole(&self, rows: &mut Rows) -> Result<(), StateError> {
        let mut groups = self.owned.clone();
        groups.try_for_each(|group| rows.add(KeyGroup(group), RowKind::Whole, |_| Ok(())))
    }

    fn read_slice(&mut self, row: &Row<'_>) -> Result<(), StateError> {
        let damaged = |error| StateError::new(row.group, error);
        if row.kind == RowKind::Whole {
            return codec::expect_end(row.bytes).map_err(damaged);
        }
        let mut bytes = row.bytes;
        let number: i64 = codec::decode_next(&mut bytes).map_err(damaged)?;
        let group = usize::from(row.group.0 - self.owned.start);
        let kept_from = self.saving.restored_from.get(group).copied().flatten();
        if kept_from.is_some_and(|kept_from| number < kept_from) {
            return Ok(());
        }
        let place = self.slice(number);
        let table = &mut self.slices[place].1;
        if row.kind == RowKind::Delete && bytes.is_empty() {
            table.remove_group(row.group);
            return Ok(());
        }
        table.read(&Row { bytes, ..*row })
    }

    fn read_emitted(&mut self, row: &Row<'_>) -> Result<(), StateError> {
        let group = row.group;
        let mut read = || match row.kind {
            RowKind::Whole => codec::expect_end(row.bytes),
            RowKind::Put => {
                let (window, key): (i64, K) = codec::decode(row.bytes)?;
                self.emitted.insert(key, (group, window));
                Ok(())
            }
            RowKind::Delete => Err(CodecError::damaged("a window that has not fired after all")),
        };
        read().map_err(|error| StateError::new(group, error))
    }
}

/// About what a map takes in memory, with keys that own so much.
fn bytes_of<K, V>(map: &ByKey<K, V>, key: f64) -> u64 {
    // An entry with its hash, and its place in the table.
    let each = (size_of::<(u64, K, V)>() + 2 * size_of::<usize>()) as f64 + key;
    (map.len() as f64 * each) as u64
}

/// How far windows have fired. A group is written as
///
/// | what | as |
/// |---|---|
/// | its watermark | i64 |
/// | the first window that has not fired for it | i64 |
/// | the slice before which all are gone, if some are | bool, i64 |
/// | windows changed since they have fired | u64, then window (i64) and key of each |
/// | results that are being emitted | u64, then an emission each |
struct Times<'a, K, A>(&'a mut SlicedState<K, A>);

impl<K, A> WholeState for Times<'_, K, A>
where
    K: Key,
    A: Clone + Serialize + DeserializeOwned + Send,
{
    fn owned(&self) -> Range<u16> {
        self.0.owned.clone()
    }

    fn write(&self, groups: &mut [Vec<u8>]) -> Result<(), StateError> {
        let state = &self.0;
        for (group, bytes) in state.owned.clone().zip(&mut *groups) {
            let group = KeyGroup(group);
            let (watermark, window) = (state.clock.to_be_saved(group), state.next_window_of(group));
            codec::encode(&(watermark, window, state.saving.kept_from), bytes)
                .map_err(|error| StateError::new(group, error))?;
        }
        write_rows(&state.owned, groups, |add| {
            for (window, keys) in &state.changed {
                for (key, group) in keys {
                    add(*group, &|bytes| codec::encode(&(*window, key), bytes))?;
                }
            }
            Ok(())
        })?;
        state.emissions.write(&state.owned, groups)
    }

    fn read_group(&mut self, group: KeyGroup, mut bytes: &[u8]) -> Result<(), StateError> {
        let state = &mut *self.0;
        let place = usize::from(group.0 - state.owned.start);
        let mut read = || -> Result<(), CodecError> {
            let (watermark, window, kept_from): (Timestamp, i64, Option<i64>) =
                codec::decode_next(&mut bytes)?;
            state.clock.restore(group, watermark);
            state.restored.resize(state.owned.len(), i64::MIN);
            state.restored[place] = window;
            let restored_from = &mut state.saving.restored_from;
            restored_from.resize(state.owned.len(), None);
            restored_from[place] = kept_from;
            for _ in 0..codec::decode_next::<u64>(&mut bytes)? {
                let (window, key): (i64, K) = codec::decode_next(&mut bytes)?;
                state.change(window, group, &key);
            }
            state.emissions.read(group, &mut bytes)?;
            codec::expect_end(bytes)
        };
        read().map_err(|error| StateError::new(group, error))
    }
}

#[cfg(test)]
mod tests {
    use levada_state::Snapshot;

    use super::*;
    use crate::window::slicing::Slicing;

    type State = SlicedState<u64, u64>;

    fn state() -> State {
        State::new(Slicing::new(10, 10, 0), 0, 0..8, 1)
    }

    fn save(state: &mut State, checkpoint: u64, base: Option<u64>, snapshot: &mut Snapshot) {
        let saving = Saving {
            checkpoint,
            base,
            confirmed: base,
        };
        let mut rows = Rows::with_room(usize::MAX);
        state.begin(&saving, &mut rows).unwrap();
        while !state.save(&mut rows).unwrap() {}
        snapshot.add("op", rows.take()).unwrap();
    }

    /// They may be more than those that are left: a restore must not need memory for all of them.
    #[test]
    fn slices_that_are_gone_are_not_read() {
        let mut state = state();
        let mut snapshot = Snapshot::new();
        for checkpoint in 1..=5 {
            let number = checkpoint as i64;
            let place = state.slice(number);
            for key in 0..100 {
                let group = KeyGroup((key % 8) as u16);
                let table = &mut state.slices[place].1;
                let made = table.get_or_insert(&key, || Ok::<_, ()>((group, key)));
                *made.unwrap() += 1;
            }
            if checkpoint > 2 {
                let gone = state.slices.pop_front();
                state.saving.drop_slice(gone);
            }
            let base = (checkpoint > 1).then(|| checkpoint - 1);
            save(&mut state, checkpoint, base, &mut snapshot);
        }
        let mut restored = self::state();
        snapshot.read("op", &mut restored).unwrap();
        let slices = restored.slices.iter();
        let slices: Vec<_> = slices
            .map(|(number, table)| (*number, table.len()))
            .collect();
        assert_eq!(slices, [(4, 100), (5, 100)]);
    }
}
