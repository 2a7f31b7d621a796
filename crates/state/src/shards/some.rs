//! Shards that are filled while others are.

use hashbrown::hash_table;

use super::{Numbering, Shard, Shards};
use crate::marks::{Beside, Marked};

/// Some of the shards, while others are in other hands. None of them is divided.
pub(crate) struct SomeShards<'a, T> {
    shards: &'a mut [Shard<T>],
    /// The number of the first one.
    first: usize,
    numbering: Numbering,
}

impl<T: Marked> Shards<T> {
    /// All shards in so many pieces, or fewer, for entries to be put into them side by side. [`Shards::count`] is to be called
    /// afterwards.
    pub(crate) fn in_pieces(&mut self, pieces: usize) -> impl Iterator<Item = SomeShards<'_, T>> {
        let numbering = self.numbering();
        let each = self.shards.len().div_ceil(pieces);
        let pieces = self.shards.chunks_mut(each).enumerate();
        pieces.map(move |(number, shards)| SomeShards {
            shards,
            first: number * each,
            numbering,
        })
    }
}

impl<T: Marked> SomeShards<'_, T> {
    /// Whether entries of this hash belong here.
    #[inline]
    pub(crate) fn has(&self, hash: u64) -> bool {
        self.place(hash) < self.shards.len()
    }

    /// Looks where an entry of this hash would be; there is no such entry.
    #[inline]
    pub(crate) fn look(&self, hash: u64) -> Option<&T> {
        self.shards[self.place(hash)].table.find(hash, |_| false)
    }

    /// Changes an entry by `new`, or makes it of that. No snapshot has been begun: nothing is noted of the change.
    #[inline]
    pub(crate) fn put<N>(
        &mut self,
        hash: u64,
        new: N,
        is_it: impl Fn(&T, &N) -> bool,
        change: impl FnOnce(&mut T, N),
        make: impl FnOnce(N) -> T,
        hash_of: impl Fn(&T) -> u64,
    ) {
        let place = self.place(hash);
        let change = |entry: &mut T, _: Beside<'_>, new| change(entry, new);
        self.shards[place].put(hash, new, is_it, change, |_, new| make(new), hash_of);
    }

    /// Removes an entry; false if there is none.
    pub(crate) fn remove(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) -> bool {
        let place = self.place(hash);
        let found = self.shards[place].table.find_entry(hash, is_it);
        found.map(hash_table::OccupiedEntry::remove).is_ok()
    }

    #[inline]
    fn place(&self, hash: u64) -> usize {
        self.numbering.of(hash).wrapping_sub(self.first)
    }
}
