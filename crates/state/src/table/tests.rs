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
    let mut bytes = Vec::new();
    codec::encode(&("a", 1u64), &mut bytes).unwrap();
    let read = |kind, bytes: &[u8]| {
        all(1).read(&Row {
            group: KeyGroup(3),
            part: 0,
            kind,
            bytes,
        })
    };
    read(RowKind::Put, &bytes).unwrap();
    assert!(read(RowKind::Put, &bytes[1..]).is_err());
    assert!(read(RowKind::Delete, &bytes).is_err());
    assert!(read(RowKind::Whole, &bytes).is_err());
    bytes.push(0);
    let error = read(RowKind::Put, &bytes).unwrap_err();
    assert!(error.to_string().contains("key group 3"));
}
