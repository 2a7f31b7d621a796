//! Tables that are saved in slices while they change, and by their changes.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::collections::{BTreeMap, BTreeSet};

use levada_core::{KeyGroup, KeyGroups, codec};
use levada_state::{Cursor, KeyedState, KeyedTable, RowKind, Rows, Saving, Snapshot, rows_in};
use proptest::prelude::*;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number that takes so much memory that a few hundred of them fill several shards.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Large(u64, [u64; 1_023]);

impl Large {
    fn of(n: u64) -> Self {
        Self(n, [0; 1_023])
    }
}

impl Serialize for Large {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Large {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self::of)
    }
}

type Table = KeyedTable<u16, Large>;
type Model = BTreeMap<u16, u64>;

fn group(key: u16) -> KeyGroup {
    KeyGroups::default().of(&key).unwrap()
}

fn add(table: &mut Table, key: u16) -> &mut u64 {
    let made = table.get_or_insert(&key, || Ok::<_, ()>((group(key), Large::of(0))));
    &mut made.unwrap().0
}

/// What tables hold that read a snapshot at this parallelism.
fn restored(snapshot: &Snapshot, parallelism: usize) -> Model {
    let mut model = Model::new();
    for subtask in 0..parallelism {
        let owned = KeyGroups::default().owned_by(subtask, parallelism);
        let mut table = Table::new(owned, 3);
        snapshot.read("op", &mut table).unwrap();
        let mut cursor = Cursor::default();
        while let Some((key, value, of)) = table.take_next(&mut cursor) {
            assert_eq!(of, group(key));
            assert!(model.insert(key, value.0).is_none());
        }
    }
    model
}

/// The keys that rows put and delete. None is there twice.
fn keys_in(bytes: &[u8]) -> (BTreeSet<u16>, BTreeSet<u16>) {
    let (mut put, mut deleted) = (BTreeSet::new(), BTreeSet::new());
    for row in rows_in(bytes) {
        let row = row.unwrap();
        let keys = match row.kind {
            RowKind::Whole => continue,
            RowKind::Put => &mut put,
            RowKind::Delete => &mut deleted,
        };
        let key = codec::decode_next(&mut &*row.bytes).unwrap();
        assert!(keys.insert(key), "{key} is written twice");
    }
    assert!(put.is_disjoint(&deleted));
    (put, deleted)
}

#[derive(Clone, Debug)]
enum Act {
    Add(u16),
    /// In one of several ways.
    Change(u16, u8),
    Remove(u16),
    /// All keys of the group of this one.
    RemoveGroup(u16),
    ChangeAll,
    /// Takes out so many.
    Take(u8),
    /// Begins a snapshot, of changes if it can be; one that is running is given up.
    Begin {
        of_changes: bool,
    },
    /// Writes a slice of so many bytes.
    Save(usize),
    /// The last complete snapshot is one to build on.
    Confirm,
}

fn act() -> impl Strategy<Value = Act> {
    let key = 0..600u16;
    prop_oneof![
        40 => key.clone().prop_map(Act::Add),
        30 => (key.clone(), 0..3u8).prop_map(|(key, way)| Act::Change(key, way)),
        20 => key.clone().prop_map(Act::Remove),
        2 => key.prop_map(Act::RemoveGroup),
        1 => Just(Act::ChangeAll),
        1 => (0..200u8).prop_map(Act::Take),
        3 => any::<bool>().prop_map(|of_changes| Act::Begin { of_changes }),
        20 => (1..600usize).prop_map(Act::Save),
        3 => Just(Act::Confirm),
    ]
}

/// A snapshot that is being written.
struct Running {
    saving: Saving,
    rows: Vec<u8>,
    expected: Model,
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn random_acts_do_not_show_in_snapshots_that_run_meanwhile(
        first in 0..500u16,
        acts in prop::collection::vec(act(), 0..1_200),
        parallelism in 1..5usize,
        // Either marks all that there is as changed, and so hides what is not.
        has_room in any::<bool>(),
        iterates in any::<bool>(),
    ) {
        let mut table = Table::new(0..128, 1);
        if has_room {
            table.reserve(0, 1_000);
        }
        let mut model = Model::new();
        let mut complete: BTreeMap<u64, Snapshot> = BTreeMap::new();
        let mut confirmed = None;
        let mut running: Option<Running> = None;
        let mut checkpoint = 0;
        let acts = (0..first).map(Act::Add).chain(acts);
        for act in acts.chain([Act::Begin { of_changes: true }, Act::Save(usize::MAX)]) {
            match act {
                Act::Add(key) => {
                    *add(&mut table, key) += 1;
                    *model.entry(key).or_insert(0) += 1;
                }
                Act::Change(key, way) => {
                    let place = table.find(&key);
                    let value = match way {
                        0 => table.get_mut(&key),
                        2 if iterates => {
                            let mut all = table.iter_mut();
                            let found = all.find(|(other, _)| **other == key);
                            found.map(|(_, value)| value)
                        }
                        _ => place.map(|place| table.value_mut(place)),
                    };
                    prop_assert_eq!(value.is_some(), model.contains_key(&key));
                    if let Some(value) = value {
                        value.0 += 1_000;
                        model.entry(key).and_modify(|value| *value += 1_000);
                    }
                }
                Act::Remove(key) => {
                    prop_assert_eq!(table.remove(&key).map(|value| value.0), model.remove(&key));
                }
                Act::RemoveGroup(key) => {
                    table.remove_group(group(key));
                    model.retain(|other, _| group(*other) != group(key));
                }
                Act::ChangeAll if !iterates => {}
                Act::ChangeAll => {
                    table.iter_mut().for_each(|(_, value)| value.0 += 7);
                    model.values_mut().for_each(|value| *value += 7);
                }
                Act::Take(count) => {
                    let mut cursor = Cursor::default();
                    for _ in 0..count {
                        let Some((key, value, _)) = table.take_next(&mut cursor) else {
                            break;
                        };
                        prop_assert_eq!(Some(value.0), model.remove(&key));
                    }
                }
                Act::Begin { of_changes } => {
                    checkpoint += 1;
                    let base = confirmed.filter(|_| of_changes);
                    let saving = Saving { checkpoint, base, confirmed };
                    let mut rows = Rows::with_room(100);
                    table.begin(&saving, &mut rows).unwrap();
                    let expected = model.clone();
                    running = Some(Running { saving, rows: rows.take(), expected });
                }
                Act::Save(room) => {
                    let Some(mut now) = running.take() else {
                        continue;
                    };
                    let mut rows = Rows::with_room(room);
                    let mut is_done = table.save(&mut rows).unwrap();
                    while room == usize::MAX && !is_done {
                        is_done = table.save(&mut rows).unwrap();
                    }
                    now.rows.extend(rows.take());
                    if !is_done {
                        running = Some(now);
                        continue;
                    }
                    keys_in(&now.rows);
                    let base = now.saving.base.map(|base| complete[&base].clone());
                    let mut snapshot = base.unwrap_or_default();
                    snapshot.add("op", now.rows).unwrap();
                    prop_assert_eq!(restored(&snapshot, parallelism), now.expected);
                    complete.insert(now.saving.checkpoint, snapshot);
                }
                Act::Confirm => confirmed = complete.keys().next_back().copied(),
            }
        }
        prop_assert_eq!(table.len(), model.len());
    }
}

/// The keys that were put and deleted, and whether it was all of the table.
type Saved = (BTreeSet<u16>, BTreeSet<u16>, bool);

/// Saves all in one go.
fn save(table: &mut Table, saving: Saving) -> Saved {
    let mut rows = Rows::with_room(usize::MAX);
    table.begin(&saving, &mut rows).unwrap();
    while !table.save(&mut rows).unwrap() {}
    let is_whole = rows_in(rows.bytes()).any(|row| row.unwrap().kind == RowKind::Whole);
    let (put, deleted) = keys_in(rows.bytes());
    (put, deleted, is_whole)
}

fn saving(checkpoint: u64, base: impl Into<Option<u64>>) -> Saving {
    let base = base.into();
    Saving {
        checkpoint,
        base,
        confirmed: base,
    }
}

#[test]
fn only_what_has_changed_is_written() {
    let mut table = Table::new(0..128, 1);
    for key in 0..500 {
        add(&mut table, key);
    }
    let (put, _, is_whole) = save(&mut table, saving(1, None));
    assert!(is_whole && put.len() == 500);
    assert_eq!(save(&mut table, saving(2, 1)), Saved::default());
    *add(&mut table, 7) += 1;
    *add(&mut table, 600) += 1;
    table.remove(&8);
    table.remove(&9);
    *add(&mut table, 9) += 1;
    // It was never in a snapshot.
    *add(&mut table, 601) += 1;
    table.remove(&601);
    let changes: Saved = ([7, 9, 600].into(), [8].into(), false);
    assert_eq!(save(&mut table, saving(3, 1)), changes);
    // The third was given up, or is not confirmed yet.
    table.remove(&600);
    let changes: Saved = ([7, 9].into(), [8, 600].into(), false);
    assert_eq!(save(&mut table, saving(4, 1)), changes);
    let changes: Saved = ([].into(), [600].into(), false);
    assert_eq!(save(&mut table, saving(5, 3)), changes);
    assert_eq!(save(&mut table, saving(6, 5)), Saved::default());
}

#[test]
fn a_snapshot_that_is_given_up_leaves_nothing_out_of_the_next_one() {
    let mut table = Table::new(0..128, 1);
    for key in 0..500 {
        add(&mut table, key);
    }
    save(&mut table, saving(1, None));
    (0..100).for_each(|key| *add(&mut table, key) += 1);
    assert!((100..200).all(|key| table.remove(&key).is_some()));
    for room in [500, 2_400] {
        let mut rows = Rows::with_room(room);
        table.begin(&saving(2, 1), &mut rows).unwrap();
        assert!(!table.save(&mut rows).unwrap());
        let (put, deleted) = keys_in(rows.bytes());
        assert_eq!(
            (put.len() == 100, !deleted.is_empty()),
            (room == 2_400, room == 2_400)
        );
    }
    let (put, deleted, is_whole) = save(&mut table, saving(3, 1));
    assert!(put.into_iter().eq(0..100) && deleted.into_iter().eq(100..200) && !is_whole);
}

#[test]
fn what_is_not_known_or_is_more_than_all_is_written_as_a_whole() {
    let mut table = Table::new(0..128, 1);
    let change_all = |table: &mut Table| (0..100).for_each(|key| *add(table, key) += 1);
    change_all(&mut table);
    let (_, _, is_whole) = save(&mut table, saving(8, 7));
    assert!(is_whole, "the seventh was written by another table");
    change_all(&mut table);
    change_all(&mut table);
    let (put, _, is_whole) = save(&mut table, saving(9, 8));
    assert!(!is_whole && put.len() == 100);
    change_all(&mut table);
    let (put, _, is_whole) = save(&mut table, saving(10, 8));
    assert!(is_whole && put.len() == 100);
    table.forget_changes();
    table.remove(&5);
    let (put, deleted, is_whole) = save(&mut table, saving(11, 10));
    assert!(is_whole && put.len() == 99 && deleted.is_empty());
    assert_eq!(save(&mut table, saving(12, 11)), Saved::default());
}

#[test]
fn removed_keys_that_nobody_confirms_do_not_pile_up() {
    let mut table = KeyedTable::<u64, ()>::new(0..128, 1);
    let mut rows = Rows::with_room(usize::MAX);
    for n in 0..20_000u64 {
        if n % 100 == 0 {
            table.begin(&saving(n, None), &mut rows).unwrap();
            while !table.save(&mut rows).unwrap() {}
            rows.take();
        }
        let made = table.get_or_insert(&n, || Ok::<_, ()>((KeyGroup((n % 128) as u16), ())));
        made.unwrap();
        if let Some(old) = n.checked_sub(300) {
            table.remove(&old).unwrap();
        }
    }
    // A snapshot of changes since the one at 15,000 would have to say that 5,000 keys are gone.
    table.begin(&saving(20_000, 15_000), &mut rows).unwrap();
    while !table.save(&mut rows).unwrap() {}
    let count = |kind| {
        let rows = rows_in(rows.bytes()).map(|row| row.unwrap().kind);
        rows.filter(|other| *other == kind).count()
    };
    let counts = [RowKind::Whole, RowKind::Put, RowKind::Delete].map(count);
    assert_eq!(counts, [128, 300, 0]);
}
