//! A hash table in pieces, so that growth never moves more than one of them.
//!
//! ```text
//!  hash ──bits that choose nothing inside of a piece──▶ shard: a flat table
//! ```
//!
//! Linear hashing (Litwin, "Linear hashing: a new tool for file and table addressing", 1980): the shards are numbered, and
//! one after the other is divided in two by one more bit of its hashes, the upper half under a new number at the end.
//! When all have been, the next round begins. Which one is divided depends on the number of entries only, so the number
//! of a hash's shard follows from the number of shards, without a directory.

mod some;

use hashbrown::{HashTable, hash_table};

use crate::marks::{Beside, Changed, Marked, Marks};
pub(crate) use some::SomeShards;

/// Entries by hash.
pub(crate) struct Shards<T> {
    shards: Vec<Shard<T>>,
    /// One less than the power of two at or above the number of shards.
    mask: usize,
    len: usize,
    /// Bytes of all tables.
    allocated: usize,
    /// The number of entries from which on another shard is divided.
    full_at: usize,
}

/// A flat table.
pub(crate) struct Shard<T> {
    pub(crate) table: HashTable<T>,
    pub(crate) marks: Marks,
    pub(crate) changed: Changed,
}

/// Where an entry is, until an entry is added.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub(crate) shard: u32,
    pub(crate) bucket: u32,
}

impl Place {
    /// Where an entry may be.
    pub(crate) const FIRST: Self = Self {
        shard: 0,
        bucket: 0,
    };
}

/// How far [`KeyedTable::take_next`](crate::KeyedTable::take_next) has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cursor {
    shard: usize,
    bucket: usize,
}

/// The most memory of a shard: dividing it takes about as long as a task may run in one go.
const SHARD_BYTES_MAX: usize = 1 << 20;

/// The fewest and the most buckets of a shard, whatever an entry takes.
const BUCKETS: std::ops::RangeInclusive<usize> = 64..=1 << 14;

/// Shards beyond this are not worth their bits of the hash.
const SHARDS_MAX: usize = 1 << 24;

/// What has come of an entry that was put into a shard.
#[derive(Default)]
struct Put {
    is_new: bool,
    /// Bytes that were allocated for it.
    allocated: usize,
}

/// How the numbers of shards follow from hashes.
#[derive(Clone, Copy)]
struct Numbering {
    shards: usize,
    mask: usize,
}

impl<T: Marked> Shards<T> {
    /// The most entries of a shard whose hashes are spread evenly: what its buckets take before there are more of them.
    pub(crate) const ENTRIES_MAX: usize = {
        let buckets = SHARD_BYTES_MAX / (size_of::<T>() + 1);
        let buckets = if buckets < *BUCKETS.start() {
            *BUCKETS.start()
        } else if buckets > *BUCKETS.end() {
            *BUCKETS.end()
        } else {
            buckets
        };
        // The power of two at or below it.
        (1 << buckets.ilog2()) / 8 * 7
    };

    pub(crate) fn new() -> Self {
        Self {
            shards: vec![Shard::with_room(0)],
            mask: 0,
            len: 0,
            allocated: 0,
            full_at: Self::ENTRIES_MAX,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes that the entries and the places for more of them take, what the entries own apart.
    pub(crate) fn allocated(&self) -> usize {
        self.allocated + self.shards.capacity() * size_of::<Shard<T>>()
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<Place> {
        let shard = self.shard_of(hash);
        let bucket = self.shards[shard].table.find_bucket_index(hash, is_it)?;
        Some(Place {
            shard: shard as u32,
            bucket: bucket as u32,
        })
    }

    #[inline]
    pub(crate) fn get(&self, place: Place) -> Option<&T> {
        let shard = &self.shards[place.shard as usize];
        shard.table.get_bucket(place.bucket as usize)
    }

    /// The entry in a place that may have come to be another's.
    pub(crate) fn try_get(&self, place: Place) -> Option<&T> {
        let shard = self.shards.get(place.shard as usize)?;
        let bucket = place.bucket as usize;
        (bucket < shard.table.num_buckets()).then(|| shard.table.get_bucket(bucket))?
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, place: Place) -> Option<(&mut T, Beside<'_>)> {
        let bucket = place.bucket as usize;
        let shard = &mut self.shards[place.shard as usize];
        let entry = shard.table.get_bucket_mut(bucket)?;
        Some((entry, beside(&mut shard.marks, &mut shard.changed, bucket)))
    }

    /// The entry with this hash, if it is there.
    #[inline]
    pub(crate) fn find_mut(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&T) -> bool,
    ) -> Option<(&mut T, Beside<'_>)> {
        let shard = self.shard_of(hash);
        let shard = &mut self.shards[shard];
        let found = shard.table.find_entry(hash, is_it).ok()?;
        let bucket = found.bucket_index();
        let entry = found.into_mut();
        Some((entry, beside(&mut shard.marks, &mut shard.changed, bucket)))
    }

    /// The entry, made if it is not there.
    #[inline]
    pub(crate) fn get_or_insert<E>(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&T) -> bool,
        make: impl FnOnce(&mut Marks) -> Result<T, E>,
        hash_of: impl Fn(&T) -> u64,
    ) -> Result<(&mut T, Beside<'_>), E> {
        if self.len >= self.full_at {
            self.divide(&hash_of);
        }
        let shard = self.shard_of(hash);
        let shard = &mut self.shards[shard];
        let (marks, changed) = (&mut shard.marks, &mut shard.changed);
        match shard.table.find_entry(hash, is_it) {
            Ok(found) => {
                let bucket = found.bucket_index();
                Ok((found.into_mut(), beside(marks, changed, bucket)))
            }
            Err(absent) => {
                let entry = make(marks)?;
                self.len += 1;
                let table = absent.into_table();
                if table.capacity() == table.len() {
                    self.allocated += make_room(table, marks, changed, &hash_of);
                }
                let inserted = table.insert_unique(hash, entry, hash_of);
                let bucket = inserted.bucket_index();
                note_new(marks, changed, bucket);
                Ok((inserted.into_mut(), beside(marks, changed, bucket)))
            }
        }
    }

    /// Changes an entry by `new`, or makes it of that, in one look-up.
    pub(crate) fn put<N>(
        &mut self,
        hash: u64,
        new: N,
        is_it: impl Fn(&T, &N) -> bool,
        change: impl FnOnce(&mut T, Beside<'_>, N),
        make: impl FnOnce(&mut Marks, N) -> T,
        hash_of: impl Fn(&T) -> u64,
    ) {
        if self.len >= self.full_at {
            self.divide(&hash_of);
        }
        let shard = self.shard_of(hash);
        let shard = &mut self.shards[shard];
        let put = shard.put(hash, new, is_it, change, make, hash_of);
        self.len += usize::from(put.is_new);
        self.allocated += put.allocated;
    }

    /// Makes room for so many entries, if there is none yet, so that none of them is moved.
    pub(crate) fn reserve(&mut self, entries: usize) {
        if self.len > 0 || self.shards.len() > 1 {
            return;
        }
        let shards = entries.div_ceil(Self::ENTRIES_MAX / 2).clamp(1, SHARDS_MAX);
        self.mask = shards.next_power_of_two() - 1;
        self.full_at = match shards {
            1 => Self::ENTRIES_MAX,
            more => more * (Self::ENTRIES_MAX / 2),
        };
        // Hashes are not quite even.
        let mean = entries / (self.mask + 1);
        let mean = mean + mean / 16;
        let shard = |number: usize| {
            let is_divided = number + self.mask / 2 + 1 < shards || number > self.mask / 2;
            let room = if is_divided { mean } else { 2 * mean };
            Shard::with_room(room.min(Self::ENTRIES_MAX))
        };
        self.shards = (0..shards).map(shard).collect();
        self.allocated = self.allocation();
    }

    pub(crate) fn remove(&mut self, place: Place) -> Option<(T, &Marks)> {
        let shard = &mut self.shards[place.shard as usize];
        let entry = shard.table.get_bucket_entry(place.bucket as usize).ok()?;
        self.len -= 1;
        Some((entry.remove().0, &shard.marks))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.shards.iter().flat_map(|shard| &shard.table)
    }

    pub(crate) fn shards_mut(&mut self) -> std::slice::IterMut<'_, Shard<T>> {
        self.shards.iter_mut()
    }

    /// To be called after shards have been changed from outside.
    pub(crate) fn count(&mut self) {
        self.len = self.shards.iter().map(|shard| shard.table.len()).sum();
        self.allocated = self.allocation();
    }

    /// Whether there is one shard only.
    #[inline]
    pub(crate) fn is_one(&self) -> bool {
        self.mask == 0
    }

    /// Whether so many entries may come and no shard is divided.
    pub(crate) fn has_room(&self, entries: usize) -> bool {
        self.len.saturating_add(entries) <= self.full_at
    }

    /// A shard. Whoever takes entries out of it says how many, to [`Shards::lose`].
    pub(crate) fn shard_mut(&mut self, shard: usize) -> Option<&mut Shard<T>> {
        self.shards.get_mut(shard)
    }

    /// So many entries have been taken out of a shard.
    pub(crate) fn lose(&mut self, entries: usize) {
        self.len -= entries;
    }

    /// The next entry from the cursor on; moves the cursor behind it.
    pub(crate) fn next(&self, cursor: &mut Cursor) -> Option<&T> {
        while let Some(Shard { table, .. }) = self.shards.get(cursor.shard) {
            while cursor.bucket < table.num_buckets() {
                let bucket = cursor.bucket;
                cursor.bucket += 1;
                if let Some(entry) = table.get_bucket(bucket) {
                    return Some(entry);
                }
            }
            *cursor = Cursor {
                shard: cursor.shard + 1,
                bucket: 0,
            };
        }
        None
    }

    /// The next entry from the cursor on, round and round, among so many buckets; moves the cursor behind it.
    pub(crate) fn next_around(&self, cursor: &mut Cursor, buckets: &mut usize) -> Option<&T> {
        while *buckets > 0 {
            *buckets -= 1;
            let Some(Shard { table, .. }) = self.shards.get(cursor.shard) else {
                *cursor = Cursor::default();
                continue;
            };
            if cursor.bucket >= table.num_buckets() {
                *cursor = Cursor {
                    shard: cursor.shard + 1,
                    bucket: 0,
                };
                continue;
            }
            let bucket = cursor.bucket;
            cursor.bucket += 1;
            if let Some(entry) = table.get_bucket(bucket) {
                return Some(entry);
            }
        }
        None
    }

    /// Removes the next entry from the cursor on, and moves the cursor behind it. No entry may be added meanwhile. The number
    /// is that of its bucket.
    pub(crate) fn take_next(&mut self, cursor: &mut Cursor) -> Option<(T, &Marks, usize)> {
        while let Some(Shard { table, .. }) = self.shards.get_mut(cursor.shard) {
            while cursor.bucket < table.num_buckets() {
                let bucket = cursor.bucket;
                cursor.bucket += 1;
                if let Ok(occupied) = table.get_bucket_entry(bucket) {
                    self.len -= 1;
                    let entry = occupied.remove().0;
                    return Some((entry, &self.shards[cursor.shard].marks, bucket));
                }
            }
            *cursor = Cursor {
                shard: cursor.shard + 1,
                bucket: 0,
            };
        }
        None
    }

    /// Bytes of all tables, asked for one by one.
    fn allocation(&self) -> usize {
        let tables = self.shards.iter();
        tables.map(Shard::allocated).sum()
    }

    #[inline]
    fn numbering(&self) -> Numbering {
        Numbering {
            shards: self.shards.len(),
            mask: self.mask,
        }
    }

    #[inline]
    fn shard_of(&self, hash: u64) -> usize {
        self.numbering().of(hash)
    }

    /// Divides the next shard in two.
    #[cold]
    #[inline(never)]
    fn divide(&mut self, hash_of: &impl Fn(&T) -> u64) {
        if self.shards.len() >= SHARDS_MAX {
            self.full_at = usize::MAX;
            return;
        }
        let new = self.shards.len();
        self.mask = (new + 1).next_power_of_two() - 1;
        let old = new & (self.mask >> 1);
        let divided = &mut self.shards[old];
        divided.mark_entries();
        divided.marks.layout = divided.marks.layout.wrapping_add(1);
        let marks = divided.marks;
        let half = divided.table.len().div_ceil(2);
        let before = divided.allocated();
        let lower = HashTable::with_capacity(half);
        let whole = std::mem::replace(&mut divided.table, lower);
        self.shards.push(Shard {
            table: HashTable::with_capacity(half),
            marks,
            changed: Changed::default(),
        });
        for entry in whole {
            let hash = hash_of(&entry);
            let shard = self.shard_of(hash);
            let table = &mut self.shards[shard].table;
            table.insert_unique(hash, entry, hash_of);
        }
        let of_both = [old, new].map(|shard| {
            let shard = &mut self.shards[shard];
            shard.changed = changed_in(&shard.table, &marks);
            shard.allocated()
        });
        self.allocated = self.allocated + of_both.iter().sum::<usize>() - before;
        // A shard that waits for its turn grows to twice the mean before it comes.
        self.full_at = self.shards.len() * (Self::ENTRIES_MAX / 2);
    }
}

impl<T> Shard<T> {
    fn with_room(entries: usize) -> Self {
        let table = HashTable::with_capacity(entries);
        let marks = Marks::default();
        let changed = if entries > 0 {
            changed_in(&table, &marks)
        } else {
            Changed::default()
        };
        Self {
            table,
            marks,
            changed,
        }
    }

    fn allocated(&self) -> usize {
        self.table.allocation_size() + self.changed.allocated()
    }
}

impl<T: Marked> Shard<T> {
    /// The places of entries are about to say no more to which of them a snapshot has come.
    pub(crate) fn mark_entries(&mut self) {
        mark_entries(&mut self.table, &mut self.marks);
    }

    /// Changes an entry by `new`, or makes it of that, in one look-up.
    #[inline]
    fn put<N>(
        &mut self,
        hash: u64,
        new: N,
        is_it: impl Fn(&T, &N) -> bool,
        change: impl FnOnce(&mut T, Beside<'_>, N),
        make: impl FnOnce(&mut Marks, N) -> T,
        hash_of: impl Fn(&T) -> u64,
    ) -> Put {
        let (table, marks, changed) = (&mut self.table, &mut self.marks, &mut self.changed);
        let mut put = Put::default();
        // Room is made before it is known whether it is wanted.
        if table.capacity() == table.len() {
            put.allocated = make_room(table, marks, changed, &hash_of);
        }
        match table.entry(hash, |entry| is_it(entry, &new), hash_of) {
            hash_table::Entry::Occupied(mut found) => {
                let bucket = found.bucket_index();
                change(found.get_mut(), beside(marks, changed, bucket), new);
            }
            hash_table::Entry::Vacant(absent) => {
                let inserted = absent.insert(make(marks, new));
                note_new(marks, changed, inserted.bucket_index());
                put.is_new = true;
            }
        }
        put
    }
}

fn mark_entries<T: Marked>(table: &mut HashTable<T>, marks: &mut Marks) {
    if !marks.is_mixed || marks.by_entry {
        return;
    }
    marks.by_entry = true;
    for bucket in 0..table.num_buckets() {
        if let Some(entry) = table.get_bucket_mut(bucket) {
            entry.set_written(bucket < marks.come_to as usize);
        }
    }
}

impl Numbering {
    #[inline]
    fn of(self, hash: u64) -> usize {
        // Most tables are one shard: then the branch lets the processor load it before it knows the hash.
        if self.mask == 0 {
            return 0;
        }
        // A flat table takes its tags from the seven highest bits and the bucket from the lowest.
        let shard = (hash >> 32) as usize & self.mask;
        if shard < self.shards {
            shard
        } else {
            // This one has not been divided in this round.
            shard & (self.mask >> 1)
        }
    }
}

/// Makes room for an entry where there is none, and returns how many bytes that has taken; the others move. What has been removed
/// takes room too, until then: that is growth in place.
#[cold]
#[inline(never)]
fn make_room<T: Marked>(
    table: &mut HashTable<T>,
    marks: &mut Marks,
    changed: &mut Changed,
    hash_of: &impl Fn(&T) -> u64,
) -> usize {
    mark_entries(table, marks);
    marks.layout = marks.layout.wrapping_add(1);
    let before = table.allocation_size() + changed.allocated();
    table.reserve(1, hash_of);
    *changed = changed_in(table, marks);
    table.allocation_size() + changed.allocated() - before
}

/// Where entries may have changed that have moved.
fn changed_in<T>(table: &HashTable<T>, marks: &Marks) -> Changed {
    Changed::new(table.num_buckets(), marks.changed > 0)
}

/// An entry that is new has changed, unless no snapshot has been begun.
#[inline]
fn note_new(marks: &Marks, changed: &mut Changed, bucket: usize) {
    if marks.changed > 0 {
        changed.set(bucket);
    }
}

#[inline]
fn beside<'a>(marks: &'a mut Marks, changed: &'a mut Changed, bucket: usize) -> Beside<'a> {
    Beside {
        marks,
        changed,
        bucket,
    }
}

#[cfg(test)]
mod tests;
