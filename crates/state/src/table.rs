//! The table of a keyed operator.

use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use levada_core::codec::{self, CodecError};
use levada_core::{Key, KeyGroup};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::StateError;
use crate::slots::Slots;
use crate::snapshot::KeyedState;

/// Values by key, for the key groups of one task.
///
/// Each group has an index of 8 bytes per key and slots that never move. A group that grows rehashes only its index: at
/// 10,000,000 keys that stalls for well under a millisecond, where one table with the entries inside would take half a
/// second (`docs/decisions/005-state.md`). The hash inside the tables has nothing to do with the one that made the key
/// group, or each table would be filled by one slice of it.
pub struct KeyedTable<K, V> {
    first: u16,
    groups: Vec<Group<K, V>>,
    hasher: FixedState,
}

struct Group<K, V> {
    index: HashTable<Indexed>,
    slots: Slots<(K, V)>,
}

#[derive(Clone, Copy)]
struct Indexed {
    /// The upper half of the key's hash: it saves most looks at the slot, and lets the index grow without the keys.
    hash: u32,
    slot: u32,
}

/// How far [`KeyedTable::take_next`] has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cursor {
    group: usize,
    slot: u32,
}

impl<K: Key, V> KeyedTable<K, V> {
    /// An empty table for these key groups. The seed makes the order of collisions, nothing else.
    #[must_use]
    pub fn new(owned: Range<u16>, seed: u64) -> Self {
        Self {
            first: owned.start,
            groups: owned
                .map(|_| Group {
                    index: HashTable::new(),
                    slots: Slots::new(),
                })
                .collect(),
            hasher: FixedState::with_seed(seed),
        }
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.slots.len()).sum()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key, made if there is none.
    ///
    /// # Panics
    /// If the group is not one of this table's.
    #[inline]
    pub fn get_or_insert_with(
        &mut self,
        group: KeyGroup,
        key: &K,
        make: impl FnOnce() -> V,
    ) -> &mut V {
        let slot = self.find_or_insert(group, key, make);
        self.value_mut(group, slot)
    }

    /// The slot of a key, which gets a value if it has none. It stays valid until the key is removed.
    ///
    /// # Panics
    /// If the group is not one of this table's.
    #[inline]
    pub fn find_or_insert(&mut self, group: KeyGroup, key: &K, make: impl FnOnce() -> V) -> u32 {
        let hash = spread(self.hasher.hash_one(key));
        let group = &mut self.groups[usize::from(group.0 - self.first)];
        let slots = &mut group.slots;
        let found = group.index.entry(
            widen(hash),
            |indexed| {
                indexed.hash == hash
                    && slots
                        .get(indexed.slot)
                        .is_some_and(|(other, _)| other == key)
            },
            |indexed| widen(indexed.hash),
        );
        match found {
            Entry::Occupied(found) => found.get().slot,
            Entry::Vacant(vacant) => {
                let slot = slots.insert((key.clone(), make()));
                vacant.insert(Indexed { hash, slot });
                slot
            }
        }
    }

    /// The value in a slot.
    ///
    /// # Panics
    /// If the slot is empty, or the group is not one of this table's.
    #[inline]
    pub fn value_mut(&mut self, group: KeyGroup, slot: u32) -> &mut V {
        let group = &mut self.groups[usize::from(group.0 - self.first)];
        let (_, value) = group
            .slots
            .get_mut(slot)
            .expect("a slot has an entry until its key is removed");
        value
    }

    /// The value of a key.
    ///
    /// # Panics
    /// If the group is not one of this table's.
    #[inline]
    pub fn get(&self, group: KeyGroup, key: &K) -> Option<&V> {
        let hash = spread(self.hasher.hash_one(key));
        let group = &self.groups[usize::from(group.0 - self.first)];
        let found = group.index.find(widen(hash), |indexed| {
            indexed.hash == hash
                && group
                    .slots
                    .get(indexed.slot)
                    .is_some_and(|(other, _)| other == key)
        })?;
        group.slots.get(found.slot).map(|(_, value)| value)
    }

    /// Removes a key; returns its value.
    ///
    /// # Panics
    /// If the group is not one of this table's.
    pub fn remove(&mut self, group: KeyGroup, key: &K) -> Option<V> {
        let hash = spread(self.hasher.hash_one(key));
        let group = &mut self.groups[usize::from(group.0 - self.first)];
        let slots = &mut group.slots;
        let found = group
            .index
            .find_entry(widen(hash), |indexed| {
                indexed.hash == hash
                    && slots
                        .get(indexed.slot)
                        .is_some_and(|(other, _)| other == key)
            })
            .ok()?;
        let (indexed, _) = found.remove();
        slots.remove(indexed.slot).map(|(_, value)| value)
    }

    /// Removes the next key from the cursor on, group by group in the order of the slots, and moves the cursor behind it.
    /// Keys inserted before the cursor meanwhile are not seen.
    pub fn take_next(&mut self, cursor: &mut Cursor) -> Option<(K, V)> {
        while let Some(group) = self.groups.get_mut(cursor.group) {
            while cursor.slot < group.slots.end() {
                let slot = cursor.slot;
                cursor.slot += 1;
                if let Some((key, value)) = group.slots.remove(slot) {
                    let hash = spread(self.hasher.hash_one(&key));
                    if let Ok(found) = group
                        .index
                        .find_entry(widen(hash), |indexed| indexed.slot == slot)
                    {
                        found.remove();
                    }
                    return Some((key, value));
                }
            }
            *cursor = Cursor {
                group: cursor.group + 1,
                slot: 0,
            };
        }
        None
    }
}

/// The half of a hash that the index keeps.
#[inline]
fn spread(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The hash the index works with: hashbrown takes its tag from the top bits and the bucket from the low ones.
#[inline]
fn widen(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// A group is written as the number of its entries (u64), then key and value of each.
impl<K: Key, V: Serialize + DeserializeOwned> KeyedState for KeyedTable<K, V> {
    fn owned(&self) -> Range<u16> {
        let count = u16::try_from(self.groups.len()).expect("key groups are counted in u16");
        self.first..self.first + count
    }

    fn write_group(&self, group: KeyGroup, bytes: &mut Vec<u8>) -> Result<(), StateError> {
        let slots = &self.groups[usize::from(group.0 - self.first)].slots;
        let mut write = || -> Result<(), CodecError> {
            codec::encode(&(slots.len() as u64), bytes)?;
            for (key, value) in slots.iter() {
                codec::encode(key, bytes)?;
                codec::encode(value, bytes)?;
            }
            Ok(())
        };
        write().map_err(|error| StateError::new(group, error))
    }

    fn read_group(&mut self, group: KeyGroup, mut bytes: &[u8]) -> Result<(), StateError> {
        let mut read = || -> Result<(), CodecError> {
            let count: u64 = codec::decode_next(&mut bytes)?;
            for _ in 0..count {
                let key: K = codec::decode_next(&mut bytes)?;
                let value: V = codec::decode_next(&mut bytes)?;
                let mut value = Some(value);
                let kept = self
                    .get_or_insert_with(group, &key, || value.take().expect("a key is made once"));
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
                        *table.get_or_insert_with(group(&key), &key, || 0) += 1;
                        *model.entry(key).or_insert(0) += 1;
                    }
                    Act::Remove(n) => {
                        let key = n.to_string();
                        prop_assert_eq!(table.remove(group(&key), &key), model.remove(&key));
                    }
                }
            }
            prop_assert_eq!(table.len(), model.len());
            for (key, value) in &model {
                prop_assert_eq!(table.get(group(key), key), Some(value));
            }

            // Through a snapshot into tables of another parallelism, and out of them.
            let mut snapshot = Snapshot::new();
            snapshot.write("op", &table).unwrap();
            let groups = KeyGroups::default();
            let mut taken = BTreeMap::new();
            for subtask in 0..parallelism {
                let mut part = KeyedTable::<String, u64>::new(
                    groups.owned_by(subtask, parallelism),
                    seed ^ 1,
                );
                snapshot.read("op", &mut part).unwrap();
                let mut cursor = Cursor::default();
                while let Some((key, value)) = part.take_next(&mut cursor) {
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
            table.get_or_insert_with(group(&key), &key, || n);
        }
        let mut cursor = Cursor::default();
        let mut taken = Vec::new();
        for _ in 0..40 {
            taken.push(table.take_next(&mut cursor).unwrap().1);
        }
        let mut snapshot = Snapshot::new();
        snapshot.write("op", &table).unwrap();
        let mut restored = all(2);
        snapshot.read("op", &mut restored).unwrap();
        let mut cursor = Cursor::default();
        while let Some((_, value)) = restored.take_next(&mut cursor) {
            taken.push(value);
        }
        taken.sort_unstable();
        assert_eq!(taken, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn damaged_state_is_refused() {
        let mut table = all(1);
        table.get_or_insert_with(KeyGroup(3), &"a".to_owned(), || 1);
        let mut bytes = Vec::new();
        table.write_group(KeyGroup(3), &mut bytes).unwrap();
        assert!(all(1).read_group(KeyGroup(3), &bytes[1..]).is_err());
        bytes.push(0);
        let error = all(1).read_group(KeyGroup(3), &bytes).unwrap_err();
        assert!(error.to_string().contains("key group 3"));
    }
}
