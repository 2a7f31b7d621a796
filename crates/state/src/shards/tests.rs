use std::collections::BTreeSet;

use super::*;

const MAX: usize = Shards::<u64>::ENTRIES_MAX;

impl Marked for u64 {
    fn set_written(&mut self, _: bool) {}
}

fn hash(n: &u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32) ^ n.wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// However many are expected, and however many come.
#[test]
fn room_that_was_made_changes_nothing_else() {
    for expected in [0, 1, MAX / 2, MAX, MAX + 1, 5 * MAX / 2, 3 * MAX, 4 * MAX] {
        for come in [0, MAX / 3, 2 * MAX, 5 * MAX] {
            let mut shards = Shards::new();
            shards.reserve(expected);
            let made = shards.shards.len();
            assert_eq!(shards.allocated, shards.allocation());
            for i in 0..come as u64 {
                match i % 2 {
                    0 => put(&mut shards, i),
                    _ => assert_eq!(insert(&mut shards, i, hash), i),
                }
            }
            assert_eq!(shards.len(), come);
            assert_eq!(shards.allocated, shards.allocation());
            for i in 0..come as u64 {
                let place = shards.find(hash(&i), |other| *other == i);
                assert_eq!(place.and_then(|place| shards.get(place)), Some(&i));
            }
            if come <= expected {
                assert_eq!(shards.shards.len(), made, "{expected}: nothing is divided");
            }
            shards.reserve(100 * MAX);
            assert_eq!(shards.iter().count(), come);
        }
    }
}

fn put(shards: &mut Shards<u64>, n: u64) {
    shards.put(
        hash(&n),
        n,
        |other, n| other == n,
        |_, _, _| panic!("{n} is new"),
        |_, n| n,
        hash,
    );
}

fn insert(shards: &mut Shards<u64>, n: u64, hash: impl Fn(&u64) -> u64) -> u64 {
    let made = shards.get_or_insert(hash(&n), |other| *other == n, |_| Ok::<_, ()>(n), &hash);
    *made.unwrap().0
}

#[test]
fn a_table_of_many_shards_keeps_every_entry() {
    let mut shards = Shards::new();
    let n = 20 * MAX as u64;
    for i in 0..n {
        assert_eq!(insert(&mut shards, i, hash), i);
        let most = shards.shards.iter().map(|shard| shard.table.len()).max();
        // They are as even as the hash is.
        assert!(most < Some(MAX + MAX / 8), "{most:?} after {i}");
    }
    assert!(shards.shards.len() >= 20, "{} shards", shards.shards.len());
    assert_eq!(shards.allocated, shards.allocation());
    for i in 0..n {
        let place = shards.find(hash(&i), |other| *other == i);
        assert_eq!(place.and_then(|place| shards.get(place)), Some(&i));
    }
    for i in (0..n).step_by(3) {
        let place = shards.find(hash(&i), |other| *other == i).unwrap();
        assert_eq!(shards.remove(place).map(|(i, _)| i), Some(i));
    }
    assert_eq!(shards.iter().count(), shards.len());
    let mut cursor = Cursor::default();
    let mut taken = BTreeSet::new();
    while let Some((i, ..)) = shards.take_next(&mut cursor) {
        assert!(taken.insert(i), "{i} is taken once");
    }
    assert_eq!(shards.len(), 0);
    assert!(taken.iter().copied().eq((0..n).filter(|i| i % 3 != 0)));
}

#[test]
fn entries_that_cannot_be_told_apart_by_hash_are_kept_too() {
    let mut shards = Shards::new();
    let n = MAX as u64 + 10;
    for i in 0..n {
        assert_eq!(insert(&mut shards, i, |_| 7), i);
    }
    assert_eq!(shards.iter().count() as u64, n);
    assert!(shards.shards.len() <= 4);
}
