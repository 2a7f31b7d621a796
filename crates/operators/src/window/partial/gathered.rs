//! What a sender has gathered and not sent yet.

use std::collections::VecDeque;

use foldhash::fast::FixedState;
use indexmap::IndexMap;
use indexmap::map::Entry;
use levada_core::codec;
use levada_core::{Key, KeyGroup, KeyGroups, Timestamp};
use levada_state::{OperatorState, Redistribution, StateError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::window::partial::Partial;
use crate::window::slicing::Slicing;

/// Partial aggregates by slice and key.
pub(super) struct Gathered<K, A> {
    slicing: Slicing,
    /// Sorted by number; no slice is empty.
    slices: VecDeque<(i64, Slice<K, A>)>,
    /// Where the last key is in its slice: keys of very many records often follow themselves.
    last: usize,
    len: usize,
    /// There if what is sent crosses an exchange, so that it must know its group.
    key_groups: Option<KeyGroups>,
    merge: Merge<A>,
}

type Merge<A> = Box<dyn Fn(&mut A, A) + Send>;

type Slice<K, A> = IndexMap<K, (Option<KeyGroup>, Partial<A>), FixedState>;

/// A partial aggregate that is to be sent.
pub(super) struct Taken<K, A> {
    pub(super) key: K,
    pub(super) group: Option<KeyGroup>,
    pub(super) partial: Partial<A>,
    pub(super) time: Timestamp,
}

impl<K: Key, A> Gathered<K, A> {
    pub(super) fn new(
        slicing: Slicing,
        key_groups: Option<KeyGroups>,
        merge: impl Fn(&mut A, A) + Send + 'static,
    ) -> Self {
        Self {
            slicing,
            slices: VecDeque::new(),
            last: 0,
            len: 0,
            key_groups,
            merge: Box::new(merge),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The place of a slice, which is added if it is not there: a record must follow.
    pub(super) fn place(&mut self, number: i64) -> usize {
        let place = self.slices.partition_point(|(other, _)| *other < number);
        if self
            .slices
            .get(place)
            .is_none_or(|(other, _)| *other != number)
        {
            self.slices.insert(place, (number, Slice::default()));
        }
        place
    }

    /// The aggregate of a key in the slice at a place.
    #[inline]
    pub(super) fn entry(
        &mut self,
        place: usize,
        key: K,
        group: Option<KeyGroup>,
        create: impl FnOnce() -> A,
    ) -> &mut Partial<A> {
        let slice = &mut self.slices[place].1;
        let is_last = (slice.get_index(self.last)).is_some_and(|(last, _)| *last == key);
        if is_last {
            return &mut slice[self.last].1;
        }
        let entry = slice.entry(key);
        self.last = entry.index();
        match entry {
            Entry::Occupied(entry) => &mut entry.into_mut().1,
            Entry::Vacant(entry) => {
                self.len += 1;
                let partial = Partial {
                    accumulator: create(),
                    records: 0,
                };
                &mut entry.insert((group, partial)).1
            }
        }
    }

    /// Takes out an aggregate that a watermark makes due: the first window of its slice is complete.
    pub(super) fn take(&mut self, watermark: Timestamp) -> Option<Taken<K, A>> {
        let (number, slice) = self.slices.front_mut()?;
        let number = *number;
        let (window, _) = self.slicing.windows_of(number);
        if self.slicing.window_span(window).last() > watermark {
            return None;
        }
        let (key, (group, partial)) = slice.pop()?;
        if slice.is_empty() {
            self.slices.pop_front();
        }
        self.len -= 1;
        let time = self.slicing.slice_span(number).start;
        Some(Taken {
            key,
            group,
            partial,
            time,
        })
    }

    fn add(&mut self, number: i64, key: K, partial: Partial<A>) {
        let group = self.key_groups.map(|groups| {
            groups
                .of(&key)
                .expect("a key that has been written can be written again")
        });
        let place = self.place(number);
        match self.slices[place].1.entry(key) {
            Entry::Occupied(mut entry) => {
                let into = &mut entry.get_mut().1;
                (self.merge)(&mut into.accumulator, partial.accumulator);
                into.records += partial.records;
            }
            Entry::Vacant(entry) => {
                self.len += 1;
                entry.insert((group, partial));
            }
        }
    }
}

/// A row for each key and slice: the number of the slice (i64), the key, the partial aggregate. Any subtask may send it.
impl<K, A> OperatorState for Gathered<K, A>
where
    K: Key,
    A: Serialize + DeserializeOwned,
{
    fn redistribution(&self) -> Redistribution {
        Redistribution::Split
    }

    fn write(&self) -> Result<Vec<Vec<u8>>, StateError> {
        let slices = self.slices.iter();
        let rows = slices.flat_map(|(number, slice)| {
            slice
                .iter()
                .map(move |(key, (_, partial))| (*number, key, partial))
        });
        rows.map(|row| {
            let mut bytes = Vec::new();
            codec::encode(&row, &mut bytes).map(|()| bytes)
        })
        .collect::<Result<_, _>>()
        .map_err(StateError::of_operator)
    }

    fn read(&mut self, rows: &[&[u8]]) -> Result<(), StateError> {
        for row in rows {
            let (number, key, partial) = codec::decode(row).map_err(StateError::of_operator)?;
            self.add(number, key, partial);
        }
        Ok(())
    }
}
