//! A hash table in pieces, so that growth never moves more than one of them.
//!
//! ```text
//!  hash ──next `depth` bits──▶ directory ──▶ shard: a flat table
//! ```
//!
//! Extendible hashing (Fagin, Nievergelt, Pippenger and Strong, "Extendible hashing: a fast access method for dynamic
//! files", 1979): a shard that is full splits in two by one more bit of its hashes. The directory, four bytes for each
//! possible prefix, doubles when a shard splits that had as many bits as the directory.

use hashbrown::HashTable;

/// Entries by hash.
pub(crate) struct Shards<T> {
    /// The shard of each prefix.
    directory: Vec<u32>,
    /// The bits of the prefixes.
    depth: u32,
    shards: Vec<Shard<T>>,
    len: usize,
}

struct Shard<T> {
    table: HashTable<T>,
    /// The bits that all hashes in it have in common.
    depth: u32,
}

/// Where an entry is, until an entry is inserted.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    shard: u32,
    bucket: u32,
}

/// How far [`KeyedTable::take_next`](crate::KeyedTable::take_next) has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cursor {
    /// The prefix of the shard it is in, as a fraction of all prefixes: it stays the same if the directory doubles.
    prefix: u64,
    bucket: usize,
    done: bool,
}

/// The most memory of a shard: splitting it takes about as long as a task may run in one go.
const SHARD_BYTES_MAX: usize = 512 << 10;

/// Shards whose hashes have this many bits in common do not split: what is in there has no hashes that differ.
const DEPTH_MAX: u32 = 20;

impl<T> Shards<T> {
    /// The most entries of a shard: what a table of so many buckets takes before it grows.
    pub(crate) const SHARD_ENTRIES_MAX: usize = {
        let buckets = SHARD_BYTES_MAX / (size_of::<T>() + 1);
        let buckets = if buckets < 64 { 64 } else { buckets };
        // The power of two at or below it.
        (1 << buckets.ilog2()) / 8 * 7
    };

    pub(crate) fn new() -> Self {
        Self {
            directory: vec![0],
            depth: 0,
            shards: vec![Shard {
                table: HashTable::new(),
                depth: 0,
            }],
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<Place> {
        let shard = self.shard_of(hash);
        let table = &self.shards[shard as usize].table;
        let bucket = table.find_bucket_index(hash, is_it)?;
        Some(Place {
            shard,
            bucket: bucket as u32,
        })
    }

    #[inline]
    pub(crate) fn get(&self, place: Place) -> Option<&T> {
        let table = &self.shards[place.shard as usize].table;
        table.get_bucket(place.bucket as usize)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, place: Place) -> Option<&mut T> {
        let table = &mut self.shards[place.shard as usize].table;
        table.get_bucket_mut(place.bucket as usize)
    }

    /// The entry, made if it is not there.
    #[inline]
    pub(crate) fn get_or_insert<E>(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&T) -> bool,
        make: impl FnOnce() -> Result<T, E>,
        hash_of: impl Fn(&T) -> u64,
    ) -> Result<&mut T, E> {
        let mut shard = self.shard_of(hash);
        // Before it is known whether the entry is there: a shard that is full splits once, whoever looks into it.
        if self.shards[shard as usize].table.len() >= Self::SHARD_ENTRIES_MAX {
            shard = self.make_room(hash, &hash_of);
        }
        let table = &mut self.shards[shard as usize].table;
        match table.find_entry(hash, is_it) {
            Ok(found) => Ok(&mut *found.into_mut()),
            Err(absent) => {
                let entry = make()?;
                self.len += 1;
                let inserted = absent.into_table().insert_unique(hash, entry, hash_of);
                Ok(inserted.into_mut())
            }
        }
    }

    pub(crate) fn remove(&mut self, place: Place) -> Option<T> {
        let table = &mut self.shards[place.shard as usize].table;
        let (entry, _) = table.get_bucket_entry(place.bucket as usize).ok()?.remove();
        self.len -= 1;
        Some(entry)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.shards.iter().flat_map(|shard| shard.table.iter())
    }

    /// Removes the next entry from the cursor on, and moves the cursor behind it. No entry may be inserted meanwhile.
    pub(crate) fn take_next(&mut self, cursor: &mut Cursor) -> Option<T> {
        while !cursor.done {
            let shard = self.directory[index(cursor.prefix, self.depth)];
            let Shard { table, depth } = &mut self.shards[shard as usize];
            while cursor.bucket < table.num_buckets() {
                let bucket = cursor.bucket;
                cursor.bucket += 1;
                if let Ok(occupied) = table.get_bucket_entry(bucket) {
                    self.len -= 1;
                    return Some(occupied.remove().0);
                }
            }
            // The next prefix; behind the last one there is none.
            let width = (1 << 63) >> *depth;
            cursor.prefix += width;
            cursor.done = cursor.prefix >= 1 << 63;
            cursor.bucket = 0;
        }
        None
    }

    #[inline]
    fn shard_of(&self, hash: u64) -> u32 {
        // Most tables are one shard: then the branch lets the processor load it before it knows the hash.
        match self.depth {
            0 => 0,
            depth => self.directory[index(prefix(hash), depth)],
        }
    }

    /// Splits the shard of a hash until it is not full. Returns the shard.
    #[cold]
    fn make_room(&mut self, hash: u64, hash_of: &impl Fn(&T) -> u64) -> u32 {
        loop {
            let shard = self.shard_of(hash);
            let Shard { table, depth } = &self.shards[shard as usize];
            if table.len() < Self::SHARD_ENTRIES_MAX || *depth == DEPTH_MAX {
                return shard;
            }
            self.split(prefix(hash), hash_of);
        }
    }

    /// Divides the shard of a prefix in two.
    fn split(&mut self, prefix: u64, hash_of: &impl Fn(&T) -> u64) {
        let old = self.directory[index(prefix, self.depth)];
        let depth = self.shards[old as usize].depth + 1;
        if depth > self.depth {
            self.depth = depth;
            self.directory = self
                .directory
                .iter()
                .flat_map(|shard| [*shard, *shard])
                .collect();
        }
        let new = u32::try_from(self.shards.len()).expect("there are at most 2^20 shards");
        let shard = &mut self.shards[old as usize];
        shard.depth = depth;
        let whole = std::mem::take(&mut shard.table);
        let half = whole.len().div_ceil(2);
        shard.table = HashTable::with_capacity(half);
        let mut upper = HashTable::with_capacity(half);
        for entry in whole {
            let hash = hash_of(&entry);
            let table = if index(self::prefix(hash), depth) % 2 == 1 {
                &mut upper
            } else {
                &mut shard.table
            };
            table.insert_unique(hash, entry, hash_of);
        }
        self.shards.push(Shard {
            table: upper,
            depth,
        });
        // The old shard had a range of the directory; the upper half of it is the new one's.
        let first = index(prefix, depth - 1) << (self.depth - (depth - 1));
        let len = 1 << (self.depth - depth);
        self.directory[first + len..first + 2 * len].fill(new);
    }
}

/// The bits of a hash that choose the shard, from the second highest down: those that choose nothing inside of one. A flat
/// table takes its tags from the seven highest and the bucket from the lowest.
#[inline]
fn prefix(hash: u64) -> u64 {
    hash << 7 >> 1
}

/// The first `depth` bits of a prefix.
#[inline]
fn index(prefix: u64, depth: u32) -> usize {
    (prefix >> (63 - depth)) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const MAX: usize = Shards::<u64>::SHARD_ENTRIES_MAX;

    fn hash(n: &u64) -> u64 {
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32)
            ^ n.wrapping_mul(0xd6e8_feb8_6659_fd93)
    }

    fn insert(shards: &mut Shards<u64>, hash_of_i: u64, i: u64) -> u64 {
        let made = shards.get_or_insert(hash_of_i, |other| *other == i, || Ok::<_, ()>(i), hash);
        *made.unwrap()
    }

    #[test]
    fn a_table_of_many_shards_keeps_every_entry() {
        let mut shards = Shards::new();
        let n = 20 * MAX as u64;
        for i in 0..n {
            assert_eq!(insert(&mut shards, hash(&i), i), i);
        }
        assert!(shards.shards.len() >= 20, "it has split");
        let most = shards.shards.iter().map(|shard| shard.table.len()).max();
        assert!(most <= Some(MAX));
        for i in 0..n {
            let place = shards.find(hash(&i), |other| *other == i);
            assert_eq!(place.and_then(|place| shards.get(place)), Some(&i));
        }
        for i in (0..n).step_by(3) {
            let place = shards.find(hash(&i), |other| *other == i).unwrap();
            assert_eq!(shards.remove(place), Some(i));
        }
        assert_eq!(shards.iter().count(), shards.len());
        let mut cursor = Cursor::default();
        let mut taken = BTreeSet::new();
        while let Some(i) = shards.take_next(&mut cursor) {
            assert!(taken.insert(i), "{i} is taken once");
        }
        assert_eq!(shards.len(), 0);
        assert!(taken.iter().copied().eq((0..n).filter(|i| i % 3 != 0)));
    }

    #[test]
    fn entries_with_one_hash_stay_in_one_shard() {
        let mut shards = Shards::new();
        let n = MAX as u64 + 10;
        for i in 0..n {
            let made = shards.get_or_insert(7, |other| *other == i, || Ok::<_, ()>(i), |_| 7);
            assert_eq!(made, Ok(&mut i.clone()));
        }
        assert!(shards.shards.len() <= DEPTH_MAX as usize + 1);
        assert_eq!(shards.iter().count() as u64, n);
    }
}
