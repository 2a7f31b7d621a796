//! The table of a keyed operator.

use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::FixedState;
use levada_core::codec::{self, CodecError};
use levada_core::{Key, KeyGroup};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::StateError;
use crate::rows::write_rows;
use crate::saving::WholeState;
use crate::shards::{Cursor, Place, Shards};

/// Values by key, for the key groups of one task.
///
/// Entries lie in a hash table that grows in pieces, so that no insertion moves many of them. An entry knows its key
/// group, so the group is needed only when a key is new: looking up a key that is there costs one hash and no more
/// (`docs/decisions/005-state.md`). The hash of the table has nothing to do with the one that makes key groups, and it has
/// a seed.
pub struct KeyedTable<K, V> {
    owned: Range<u16>,
    entries: Shards<Entry<K, V>>,
    hasher: FixedState,
}

struct Entry<K, V> {
    key: K,
    value: V,
    group: KeyGroup,
}

impl<K: Key, V> KeyedTable<K, V> {
    /// An empty table for these key groups. The seed makes the order in which keys are taken out, nothing else.
    #[must_use]
    pub fn new(owned: Range<u16>, seed: u64) -> Self {
        Self {
            owned,
            entries: Shards::new(),
            hasher: FixedState::with_seed(seed),
        }
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
        let entry = self.entries.find_mut(hash, |entry| entry.key == *key)?;
        Some(&mut entry.value)
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
        let entry = self.entries.get_or_insert(
            self.hasher.hash_one(key),
            |entry| entry.key == *key,
            || {
                // Such a key would never be found again, and each of its records would add another one.
                #[expect(clippy::eq_op, reason = "that this can be false is what is asked")]
                let reflexive = *key == *key;
                assert!(
                    reflexive,
                    "a key is not equal to itself (is there a NaN in it?)"
                );
                let (group, value) = make()?;
                assert!(
                    self.owned.contains(&group.0),
                    "key group {} is another subtask's",
                    group.0
                );
                let key = key.clone();
                Ok(Entry { key, value, group })
            },
            |entry| self.hasher.hash_one(&entry.key),
        );
        entry.map(|entry| &mut entry.value)
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
        let entry = self.entries.get_mut(place);
        &mut entry.expect("a key stays in its place").value
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
        let entries = self.entries.iter_mut();
        entries.map(|entry| (&entry.key, &mut entry.value))
    }

    /// Removes a key; returns its value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.find(key)?;
        self.entries.remove(place).map(|entry| entry.value)
    }

    /// Removes the next key from the cursor on, and moves the cursor behind it. No key may be added meanwhile.
    pub fn take_next(&mut self, cursor: &mut Cursor) -> Option<(K, V, KeyGroup)> {
        let entry = self.entries.take_next(cursor)?;
        Some((entry.key, entry.value, entry.group))
    }
}

/// A group is written as the number of its entries (u64), then key and value of each.
impl<K: Key, V: Serialize + DeserializeOwned> WholeState for KeyedTable<K, V> {
    fn owned(&self) -> Range<u16> {
        self.owned.clone()
    }

    fn write(&self, groups: &mut [Vec<u8>]) -> Result<(), StateError> {
        write_rows(&self.owned, groups, |add| {
            self.entries.iter().try_for_each(|entry| {
                add(entry.group, &|bytes| {
                    codec::encode(&entry.key, bytes)?;
                    codec::encode(&entry.value, bytes)
                })
            })
        })
    }

    fn read_group(&mut self, group: KeyGroup, mut bytes: &[u8]) -> Result<(), StateError> {
        let mut read = || -> Result<(), CodecError> {
            let count: u64 = codec::decode_next(&mut bytes)?;
            for _ in 0..count {
                let key: K = codec::decode_next(&mut bytes)?;
                let value: V = codec::decode_next(&mut bytes)?;
                let mut value = Some(value);
                let mut make = || value.take().expect("a key is made once");
                let kept = self.get_or_insert(&key, || Ok::<_, CodecError>((group, make())))?;
                // A key that was there already gets the value that was read.
                if let Some(value) = value {
                    *kept = value;
                }
            }
            codec::expect_end(bytes)
        };
        read().map_err(|error| StateError::new(group, error))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use levada_core::KeyGroups;
    use levada_core::key::key_hash;
    use proptest::prelude::*;

    use super::*;
    use crate::snapshot::Snapshot;

    fn group(key: &str) -> KeyGroup {
        KeyGroups::default().of_hash(key_hash(key).unwrap())
    }

    fn all(seed: u64) -> KeyedTable<String, u64> {
        KeyedTable::new(0..128, seed)
    }

    fn value_of<'a>(table: &'a mut KeyedTable<String, u64>, key: &str) -> &'a mut u64 {
        let made: Result<Place, ()> = table.find_or_insert(&key.to_owned(), || Ok((group(key), 0)));
        table.value_mut(made.unwrap())
    }

    #[derive(Clone, Debug)]
    enum Act {
        Add(u8),
        Remove(u8),
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn behaves_like_a_map(
            acts in prop::collection::vec(
                prop_oneof![any::<u8>().prop_map(Act::Add), any::<u8>().prop_map(Act::Remove)],
                0..600,
            ),
            seed in any::<u64>(),
            parallelism in 1..9usize,
        ) {
            let mut model = BTreeMap::new();
            let mut table = all(seed);
            for act in acts {
                match act {
                    Act::Add(n) => {
                        let key = n.to_string();
                        *value_of(&mut table, &key) += 1;
                        *model.entry(key).or_insert(0) += 1;
                    }
                    Act::Remove(n) => {
                        let key = n.to_string();
                        prop_assert_eq!(table.remove(&key), model.remove(&key));
                    }
                }
            }
            prop_assert_eq!(table.len(), model.len());
            for (key, value) in &model {
                prop_assert_eq!(table.find(key).map(|place| table.value(place)), Some(value));
                prop_assert_eq!(table.get_mut(key).map(|value| *value), Some(*value));
            }

            // Through a snapshot into tables of another parallelism, and out of them.
            let mut snapshot = Snapshot::new();
            snapshot.write("op", &mut table).unwrap();
            let groups = KeyGroups::default();
            let mut taken = BTreeMap::new();
            for subtask in 0..parallelism {
                let mut part = KeyedTable::<String, u64>::new(
                    groups.owned_by(subtask, parallelism),
                    seed ^ 1,
                );
                snapshot.read("op", &mut part).unwrap();
                let mut cursor = Cursor::default();
                while let Some((key, value, _)) = part.take_next(&mut cursor) {
                    prop_assert!(taken.insert(key, value).is_none());
                }
                prop_assert!(part.is_empty());
            }
            prop_assert_eq!(taken, model);
        }
    }

    #[test]
    fn a_snapshot_taken_while_keys_are_taken_holds_the_rest() {
        let mut table = all(1);
        for n in 0..100 {
            let key = format!("key {n}");
            *value_of(&mut table, &key) = n;
        }
        let mut cursor = Cursor::default();
        let mut taken = Vec::new();
        for _ in 0..40 {
            taken.push(table.take_next(&mut cursor).unwrap().1);
        }
        let mut snapshot = Snapshot::new();
        snapshot.write("op", &mut table).unwrap();
        let mut restored = all(2);
        snapshot.read("op", &mut restored).unwrap();
        let mut cursor = Cursor::default();
        while let Some((_, value, _)) = restored.take_next(&mut cursor) {
            taken.push(value);
        }
        taken.sort_unstable();
        assert_eq!(taken, (0..100).collect::<Vec<_>>());
    }

    /// Large values make small shards, so a few thousand keys fill many of them.
    #[test]
    fn a_table_of_many_shards_is_saved_restored_and_emptied() {
        type Large = [[u64; 32]; 16];
        const KEYS: u64 = 3_000;
        const {
            assert!(KEYS as usize > 20 * Shards::<Entry<u64, Large>>::ENTRIES_MAX);
        }
        let group = |n: &u64| KeyGroups::default().of(n).unwrap();
        let mut table = KeyedTable::<u64, Large>::new(0..128, 5);
        for n in 0..KEYS {
            let made = table.get_or_insert(&n, || Ok::<_, ()>((group(&n), [[n; 32]; 16])));
            assert_eq!(made.unwrap()[15][31], n);
        }
        for n in (0..KEYS).step_by(5) {
            assert_eq!(table.remove(&n), Some([[n; 32]; 16]));
        }
        let mut snapshot = Snapshot::new();
        snapshot.write("op", &mut table).unwrap();
        let mut taken = Vec::new();
        for subtask in 0..3 {
            let owned = KeyGroups::default().owned_by(subtask, 3);
            let mut part = KeyedTable::<u64, Large>::new(owned, 9);
            snapshot.read("op", &mut part).unwrap();
            let mut cursor = Cursor::default();
            while let Some((key, value, _)) = part.take_next(&mut cursor) {
                assert_eq!(value, [[key; 32]; 16]);
                taken.push(key);
            }
            assert!(part.is_empty());
        }
        taken.sort_unstable();
        assert!(taken.into_iter().eq((0..KEYS).filter(|n| n % 5 != 0)));
    }

    #[test]
    fn damaged_state_is_refused() {
        let mut table = all(1);
        let made: Result<Place, ()> =
            table.find_or_insert(&"a".to_owned(), || Ok((KeyGroup(3), 1)));
        made.unwrap();
        let mut groups = vec![Vec::new(); 128];
        table.write(&mut groups).unwrap();
        let mut bytes = groups.swap_remove(3);
        all(1).read_group(KeyGroup(3), &bytes).unwrap();
        assert!(all(1).read_group(KeyGroup(3), &bytes[1..]).is_err());
        bytes.push(0);
        let error = all(1).read_group(KeyGroup(3), &bytes).unwrap_err();
        assert!(error.to_string().contains("key group 3"));
    }
}
