//! What the entries of a table own on the heap.

use std::hash::BuildHasher;
use std::mem::needs_drop;

use levada_core::Key;
use levada_core::heap::heap_size;
use serde::Serialize;

use crate::memory::{ENTRIES_MAX, Measured, Measuring};
use crate::table::KeyedTable;
use crate::table::entry::Entry;

/// Buckets that are looked at for an entry.
const BUCKETS_MAX: usize = 8 * ENTRIES_MAX;

impl<K: Key, V> KeyedTable<K, V> {
    /// Bytes that a key owns on the heap, about.
    #[must_use]
    pub fn key_heap(&self) -> f64 {
        self.sample.of_key()
    }
}

impl<K: Key, V: Serialize> KeyedTable<K, V> {
    /// Measures some entries: the next ones in turn, and one that was used lately.
    pub(super) fn measure(&mut self, measuring: &mut Measuring) {
        if !needs_drop::<K>() && !needs_drop::<V>() {
            return;
        }
        let wanted = measuring.entries(self.sample.count()).min(self.len());
        let mut measured = Vec::with_capacity(wanted);
        let mut buckets = BUCKETS_MAX;
        let mut cursor = self.sample.next;
        while measured.len() < wanted
            && let Some(entry) = self.entries.next_around(&mut cursor, &mut buckets)
        {
            measured.push(self.measure_entry(entry, measuring));
            if measuring.is_over() {
                break;
            }
        }
        self.sample.next = cursor;
        self.sample.add(&mut measured, self.entries.len());
        let (hash, place) = self.used;
        let used = [self.entry_of(hash), self.entries.try_get(place)];
        let used = used.map(|entry| entry.map(|entry| self.measure_entry(entry, measuring)));
        for measured in used.iter().flatten() {
            self.sample.add_used(measured);
        }
    }

    fn measure_entry(&self, entry: &Entry<K, V>, measuring: &mut Measuring) -> Measured {
        let key = heap_size(&entry.key);
        let value = heap_size(&entry.value);
        measuring.spend(key.steps + value.steps);
        Measured {
            hash: self.hasher.hash_one(&entry.key),
            key: key.bytes,
            entry: key.bytes + value.bytes,
        }
    }

    fn entry_of(&self, hash: u64) -> Option<&Entry<K, V>> {
        let is_it = |entry: &Entry<K, V>| self.hasher.hash_one(&entry.key) == hash;
        self.entries.get(self.entries.find(hash, is_it)?)
    }
}
