//! The table of a keyed operator.

mod entry;
mod filling;
mod iter_mut;
mod measure;
mod pass;
mod saver;

use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::FixedState;
use levada_core::codec;
use levada_core::{Key, KeyGroup};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::StateError;
use crate::hands::Hands;
use crate::marks::Beside;
use crate::memory::{Measuring, Sample};
use crate::reader::ValueReader;
use crate::saving::{KeyedState, Row, RowKind, Rows, Saving, show_entry};
use crate::shards::{Cursor, Place, Shards};
use entry::Entry;
use iter_mut::IterMut;
use saver::Saver;

/// Values by key, for the key groups of one task.
///
/// Entries lie in a hash table that grows in pieces, so that no insertion moves many of them. An entry knows its key
/// group, so the group is needed only when a key is new: looking up a key that is there costs one hash and no more
/// (`docs/decisions/005-state.md`). The hash of the table has nothing to do with the one that makes key groups, and it has
/// a seed.
///
/// It is saved in slices while it changes, and knows what has changed since an earlier snapshot
/// (`docs/decisions/014-snapshots.md`): whoever gets at a value by `&mut` counts as changing it.
///
/// ```
/// use levada_core::KeyGroup;
/// use levada_state::{KeyedState, KeyedTable, Rows, Saving};
///
/// let mut table = KeyedTable::<u64, u64>::new(0..128, 1);
/// *table.get_or_insert(&7, || Ok::<_, ()>((KeyGroup(3), 0))).unwrap() += 1;
///
/// let mut rows = Rows::with_room(1 << 16);
/// table.begin(&Saving::default(), &mut rows)?;
/// *table.get_mut(&7).unwrap() = 2; // The snapshot still says 1.
/// while !table.save(&mut rows)? {
///     // Here goes what is in `rows`, and the task to its next records.
/// }
/// # Ok::<(), levada_state::StateError>(())
/// ```
pub struct KeyedTable<K, V> {
    owned: Range<u16>,
    entries: Shards<Entry<K, V>>,
    hasher: FixedState,
    saver: Saver<K, V>,
    reader: ValueReader<V>,
    sample: Box<Sample>,
    /// An entry that was used lately, by its hash and by its place: what is used very often comes to be large.
    used: (u64, Place),
}

impl<K: Key, V> KeyedTable<K, V> {
    /// An empty table for these key groups. The seed makes the order in which keys are taken out, nothing else.
    #[must_use]
    pub fn new(owned: Range<u16>, seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self {
            owned,
            entries: Shards::new(),
            saver: Saver::new(hasher.clone()),
            hasher,
            reader: ValueReader::default(),
            sample: Box::default(),
            used: (0, Place::FIRST),
        }
    }

    /// The table that reads the values of a snapshot so.
    #[must_use]
    pub fn reading(self, reader: ValueReader<V>) -> Self {
        Self { reader, ..self }
    }

    /// The table whose rows in a snapshot begin with this number (i64), which whoever reads them takes off: one of several
    /// in one part of an operator's state.
    #[must_use]
    pub fn numbered(mut self, number: i64) -> Self {
        self.saver.set_number(number);
        self
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where a key is, if it is there.
    #[inline]
    #[must_use]
    pub fn find(&self, key: &K) -> Option<Place> {
        self.entries
            .find(self.hasher.hash_one(key), |entry| entry.key == *key)
    }

    /// The hash of a key, the same in every table of this seed.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &K) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The value of a key whose hash is known, if it is there.
    #[inline]
    #[must_use]
    pub fn get_hashed(&self, hash: u64, key: &K) -> Option<&V> {
        let place = self.entries.find(hash, |entry| entry.key == *key)?;
        self.entries.get(place).map(|entry| &entry.value)
    }

    /// The value of a key, if it is there.
    #[inline]
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let hash = self.hasher.hash_one(key);
        self.used.0 = hash;
        let found = self.entries.find_mut(hash, |entry| entry.key == *key)?;
        Some(changed(&mut self.saver, found))
    }

    /// The value of a key. A key that is not there is added, with the group and the value that `make` gives it.
    ///
    /// # Errors
    /// That of `make`; the key is not added then.
    ///
    /// # Panics
    /// If the group is another subtask's, or if the key is not equal to itself.
    #[inline]
    pub fn get_or_insert<E>(
        &mut self,
        key: &K,
        make: impl FnOnce() -> Result<(KeyGroup, V), E>,
    ) -> Result<&mut V, E> {
        let (owned, hasher, saver) = (&self.owned, &self.hasher, &mut self.saver);
        let hash = hasher.hash_one(key);
        self.used.0 = hash;
        let found = self.entries.get_or_insert(
            hash,
            |entry| entry.key == *key,
            |marks| {
                // Such a key would never be found again, and each of its records would add another one.
                #[expect(clippy::eq_op, reason = "that this can be false is what is asked")]
                let reflexive = *key == *key;
                assert!(
                    reflexive,
                    "a key is not equal to itself (is there a NaN in it?)"
                );
                let (group, value) = make()?;
                assert!(
                    owned.contains(&group.0),
                    "key group {} is another subtask's",
                    group.0
                );
                Ok(Entry {
                    key: key.clone(),
                    value,
                    group,
                    mark: saver.add(key, hash, marks),
                })
            },
            |entry| hasher.hash_one(&entry.key),
        )?;
        Ok(changed(saver, found))
    }

    /// Gives a key a value that was read, in the place of the one that it has.
    fn put(&mut self, hash: u64, key: K, value: V, group: KeyGroup) {
        assert!(
            self.owned.contains(&group.0),
            "key group {} is another subtask's",
            group.0
        );
        let hasher = &self.hasher;
        self.entries.put(
            hash,
            (key, value, &mut self.saver),
            |entry, (key, ..)| entry.key == *key,
            |entry, beside, (_, value, saver)| *changed(saver, (entry, beside)) = value,
            |marks, (key, value, saver)| Entry {
                mark: saver.add(&key, hash, marks),
                key,
                value,
                group,
            },
            |entry| hasher.hash_one(&entry.key),
        );
    }

    /// Where a key is. A key that is not there is added, as by [`KeyedTable::get_or_insert`].
    ///
    /// # Errors
    /// That of `make`; the key is not added then.
    ///
    /// # Panics
    /// If the group is another subtask's.
    #[inline]
    pub fn find_or_insert<E>(
        &mut self,
        key: &K,
        make: impl FnOnce() -> Result<(KeyGroup, V), E>,
    ) -> Result<Place, E> {
        if let Some(place) = self.find(key) {
            return Ok(place);
        }
        self.get_or_insert(key, make)?;
        Ok(self.find(key).expect("the key has just been added"))
    }

    /// The value in a place.
    ///
    /// # Panics
    /// If there is none: its key was removed.
    #[inline]
    #[must_use]
    pub fn value(&self, place: Place) -> &V {
        let entry = self.entries.get(place);
        &entry.expect("a key stays in its place").value
    }

    /// The value in a place.
    ///
    /// # Panics
    /// If there is none: its key was removed.
    #[inline]
    pub fn value_mut(&mut self, place: Place) -> &mut V {
        self.used.1 = place;
        let found = self.entries.get_mut(place);
        let found = found.expect("a key stays in its place");
        changed(&mut self.saver, found)
    }

    /// The key group of the key in a place.
    ///
    /// # Panics
    /// If there is none: its key was removed.
    #[must_use]
    pub fn group(&self, place: Place) -> KeyGroup {
        let entry = self.entries.get(place);
        entry.expect("a key stays in its place").group
    }

    /// All keys with their values and groups, in an order that depends on the seed and on how the table has grown.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V, KeyGroup)> {
        let entries = self.entries.iter();
        entries.map(|entry| (&entry.key, &entry.value, entry.group))
    }

    /// The next key from the cursor on; moves the cursor behind it. While no key is added, a cursor comes to each key once.
    pub fn next(&self, cursor: &mut Cursor) -> Option<(&K, &V, KeyGroup)> {
        let entry = self.entries.next(cursor)?;
        Some((&entry.key, &entry.value, entry.group))
    }

    /// All keys with their values, in an order that depends on the seed and on how the table has grown.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.iter_mut_within(self.owned.clone())
    }

    /// The keys of some groups with their values, in such an order.
    pub fn iter_mut_within(&mut self, groups: Range<u16>) -> impl Iterator<Item = (&K, &mut V)> {
        IterMut::new(&mut self.entries, &mut self.saver, groups)
    }

    /// Removes a key; returns its value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.find(key)?;
        let (entry, marks) = self.entries.remove(place)?;
        let marks = *marks;
        let left = self.entries.len();
        self.saver
            .remove(&entry, &marks, place.bucket as usize, left);
        forget(&mut self.sample, &self.hasher, &entry.key);
        Some(entry.value)
    }

    /// Removes the next key from the cursor on, and moves the cursor behind it. No key may be added meanwhile.
    pub fn take_next(&mut self, cursor: &mut Cursor) -> Option<(K, V, KeyGroup)> {
        let (entry, marks, bucket) = self.entries.take_next(cursor)?;
        let marks = *marks;
        let left = self.entries.len();
        self.saver.remove(&entry, &marks, bucket, left);
        forget(&mut self.sample, &self.hasher, &entry.key);
        Some((entry.key, entry.value, entry.group))
    }

    /// Keeps only the keys of which `is_kept` says so.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&K, &V, KeyGroup) -> bool) {
        let left = self.entries.len();
        for shard in self.entries.shards_mut() {
            // Where an entry was is not known when it has been taken out.
            shard.mark_entries();
            let marks = shard.marks;
            let table = &mut shard.table;
            let removed = table.extract_if(|entry| !is_kept(&entry.key, &entry.value, entry.group));
            removed.for_each(|entry| {
                self.saver.remove(&entry, &marks, 0, left);
                forget(&mut self.sample, &self.hasher, &entry.key);
            });
        }
        self.entries.count();
    }

    /// Removes all keys of a group.
    pub fn remove_group(&mut self, group: KeyGroup) {
        self.retain(|_, _, of| of != group);
    }

    /// Says that very much is about to be removed: the next snapshots are of the whole table, and no removed key is kept for
    /// them until one has been begun.
    pub fn forget_changes(&mut self) {
        self.saver.forget_changes();
    }

    /// Whether a snapshot has been begun whose changes since may be asked for.
    #[must_use]
    pub fn has_begun(&self, checkpoint: u64) -> bool {
        self.saver.has_begun(checkpoint)
    }

    /// Whether a snapshot is being written.
    #[must_use]
    pub fn is_saving(&self) -> bool {
        self.saver.is_running()
    }

    /// Adds what the running snapshot has written because it was about to change, before the table is given up.
    ///
    /// # Errors
    /// If some of it could not be encoded.
    pub fn take_written(&mut self, rows: &mut Rows) -> Result<(), StateError> {
        self.saver.take_before(rows)
    }
}

impl<K: Key, V: Serialize + DeserializeOwned> KeyedTable<K, V> {
    /// Begins to save, as [`KeyedState::begin`] does, but leaves it to the caller to say so where the rows that follow are
    /// of the whole table: then it is true.
    #[must_use]
    pub fn begin_rows(&mut self, saving: &Saving, rows: &Rows) -> bool {
        let write = |entry: &Entry<K, V>, bytes: &mut Vec<u8>| {
            codec::encode(&entry.key, bytes)?;
            codec::encode(&entry.value, bytes)
        };
        self.saver
            .begin(&mut self.entries, saving, write, rows.part())
    }
}

/// The key is gone.
#[inline]
fn forget<K: Key>(sample: &mut Sample, hasher: &FixedState, key: &K) {
    if sample.has_large() {
        sample.forget(hasher.hash_one(key));
    }
}

/// What an entry may be changed by.
#[inline]
fn changed<'a, K: Key, V>(
    saver: &mut Saver<K, V>,
    (entry, beside): (&'a mut Entry<K, V>, Beside<'_>),
) -> &'a mut V {
    if !saver.has_touched(entry) {
        saver.touch(entry, beside);
    }
    &mut entry.value
}

/// The whole of a group has no bytes: its entries follow. One that is put is key and value, one that is deleted the key.
impl<K: Key, V: Serialize + DeserializeOwned + Send> KeyedState for KeyedTable<K, V> {
    fn owned(&self) -> Range<u16> {
        self.owned.clone()
    }

    fn begin(&mut self, saving: &Saving, rows: &mut Rows) -> Result<(), StateError> {
        if self.begin_rows(saving, rows) {
            for group in self.owned.clone() {
                rows.add(KeyGroup(group), RowKind::Whole, |_| Ok(()))?;
            }
        }
        Ok(())
    }

    fn save(&mut self, rows: &mut Rows) -> Result<bool, StateError> {
        self.saver.save(&mut self.entries, rows)
    }

    fn reserve(&mut self, _: u16, rows: usize) {
        self.entries.reserve(rows);
    }

    fn read(&mut self, row: &Row<'_>) -> Result<(), StateError> {
        self.take(row)
    }

    fn read_all(&mut self, rows: &[Row<'_>], hands: &dyn Hands) -> Result<(), StateError> {
        self.fill(rows, hands)
    }

    fn memory(&mut self, measuring: &mut Measuring) -> u64 {
        self.measure(measuring);
        (size_of::<Self>() + size_of::<Sample>()) as u64
            + self.entries.allocated() as u64
            + self.saver.memory(self.sample.of_key())
            + self.sample.of(self.len())
    }

    fn show(&self, row: &Row<'_>) -> Option<String> {
        (row.kind == RowKind::Put).then_some(())?;
        let mut bytes = row.bytes;
        let key = codec::decode_next::<K>(&mut bytes);
        show_entry(key.and_then(|key| Ok((key, codec::decode::<V>(bytes)?))))
    }
}

#[cfg(test)]
mod tests;
