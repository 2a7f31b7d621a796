//! What sliced windows look like in a snapshot.

use std::ops::Range;

use levada_core::codec::{self, CodecError};
use levada_core::{Key, KeyGroup, Timestamp};
use levada_state::{Cursor, StateError, WholeState, write_rows};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::window::sliced::state::SlicedState;

/// A group is written as
///
/// | what | as |
/// |---|---|
/// | its watermark | i64 |
/// | the first window that has not fired for it | i64 |
/// | accumulators | u64, then slice (i64), key and accumulator of each |
/// | windows changed since they have fired | u64, then window (i64) and key of each |
/// | keys whose last window that has fired is a later one | u64, then window (i64) and key of each |
/// | results that are being emitted | u64, then an emission each |
impl<K, A> WholeState for SlicedState<K, A>
where
    K: Key,
    A: Clone + Serialize + DeserializeOwned,
{
    fn owned(&self) -> Range<u16> {
        self.owned.clone()
    }

    fn write(&self, groups: &mut [Vec<u8>]) -> Result<(), StateError> {
        for (group, bytes) in self.owned.clone().zip(&mut *groups) {
            let group = KeyGroup(group);
            let times = (self.clock.of(group), self.next_window_of(group));
            codec::encode(&times, bytes).map_err(|error| StateError::new(group, error))?;
        }
        write_rows(&self.owned, groups, |add| {
            for (number, table) in &self.slices {
                for (key, value, group) in table.iter() {
                    add(group, &|bytes| {
                        codec::encode(number, bytes)?;
                        codec::encode(key, bytes)?;
                        codec::encode(value, bytes)
                    })?;
                }
            }
            Ok(())
        })?;
        write_rows(&self.owned, groups, |add| {
            for (window, keys) in &self.changed {
                for (key, group) in keys {
                    add(*group, &|bytes| codec::encode(&(*window, key), bytes))?;
                }
            }
            Ok(())
        })?;
        write_rows(&self.owned, groups, |add| {
            for (key, (group, window)) in &self.emitted {
                add(*group, &|bytes| codec::encode(&(*window, key), bytes))?;
            }
            self.emitted_now(|window, key, group| {
                add(group, &|bytes| codec::encode(&(window, key), bytes))
            })
        })?;
        self.emissions.write(&self.owned, groups)
    }

    fn read_group(&mut self, group: KeyGroup, bytes: &[u8]) -> Result<(), StateError> {
        self.read(group, bytes)
            .map_err(|error| StateError::new(group, error))
    }
}

impl<K, A> SlicedState<K, A>
where
    K: Key,
    A: Clone + Serialize + DeserializeOwned,
{
    /// Shows the keys for which the window that is firing has fired.
    fn emitted_now(
        &self,
        mut show: impl FnMut(i64, &K, KeyGroup) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let Some((firing, within)) = self
            .firing
            .and_then(|firing| firing.within.map(|within| (firing, within)))
        else {
            return Ok(());
        };
        if self.takes_keys() {
            return Ok(());
        }
        for slice in within.first..=within.slice.min(self.slices.len() - 1) {
            let table = &self.slices[slice].1;
            let mut cursor = Cursor::default();
            while slice < within.slice || cursor != within.cursor {
                let Some((key, _, group)) = table.next(&mut cursor) else {
                    break;
                };
                // A key that has been passed over has fired for this window before it was restored.
                let is_further =
                    (self.emitted.get(key)).is_some_and(|(_, last)| *last >= firing.window);
                if !is_further && self.is_first(within.first, slice, table.hash(key), key) {
                    show(firing.window, key, group)?;
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, group: KeyGroup, mut bytes: &[u8]) -> Result<(), CodecError> {
        let bytes = &mut bytes;
        let (watermark, next_window): (Timestamp, i64) = codec::decode_next(bytes)?;
        self.clock.restore(group, watermark);
        self.restored.resize(self.owned.len(), i64::MIN);
        self.restored[usize::from(group.0 - self.owned.start)] = next_window;
        for _ in 0..codec::decode_next::<u64>(bytes)? {
            let number: i64 = codec::decode_next(bytes)?;
            let key: K = codec::decode_next(bytes)?;
            let value: A = codec::decode_next(bytes)?;
            let place = self.slice(number);
            self.slices[place]
                .1
                .get_or_insert(&key, || Ok::<_, CodecError>((group, value)))?;
        }
        for _ in 0..codec::decode_next::<u64>(bytes)? {
            let (window, key): (i64, K) = codec::decode_next(bytes)?;
            self.change(window, group, &key);
        }
        for _ in 0..codec::decode_next::<u64>(bytes)? {
            let (window, key): (i64, K) = codec::decode_next(bytes)?;
            self.emitted.insert(key, (group, window));
        }
        self.emissions.read(group, bytes)?;
        codec::expect_end(bytes)
    }
}
