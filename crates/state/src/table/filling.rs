//! How a table takes very many rows.
//!
//! Rows that were written because they were about to change come in an order that has nothing to do with that of the table:
//! each of them waits for memory that no other one has asked for. So some are decoded, then it is looked where all of these
//! belong, and then they are put there: the processor waits for several at once.
//!
//! ```text
//! rows ──decode──▶ at once ──touch, put──▶ shards of this thread
//!   └───decode──▶ at once ──touch, put──▶ shards of another one
//! ```

use std::hash::BuildHasher;
use std::hint::black_box;
use std::ops::Range;

use foldhash::fast::FixedState;
use levada_core::codec::{self, CodecError};
use levada_core::{Key, KeyGroup};
use serde::de::DeserializeOwned;

use crate::error::StateError;
use crate::hands::{Hands, Piece};
use crate::reader::ValueReader;
use crate::saving::{Row, RowKind};
use crate::shards::SomeShards;
use crate::table::KeyedTable;
use crate::table::entry::{Entry, Mark};

/// How many rows are looked for at once: more than the processor waits for, and few enough to stay in its cache.
const AT_ONCE: usize = 64;

/// Fewer rows than this for each thread are not worth it.
const ROWS_PER_THREAD: usize = 1_024;

/// A row that says that something is there, and the hash of its key.
struct Decoded<K, V> {
    hash: u64,
    key: K,
    value: V,
    group: KeyGroup,
}

/// Shards of a table that has never been saved, which are filled while others are.
struct Filling<'a, K, V> {
    owned: &'a Range<u16>,
    hasher: &'a FixedState,
    reader: &'a ValueReader<V>,
    shards: SomeShards<'a, Entry<K, V>>,
    /// Hashes of keys that were removed.
    removed: Vec<u64>,
}

impl<K: Key, V: DeserializeOwned> KeyedTable<K, V> {
    /// Takes one row.
    pub(super) fn take(&mut self, row: &Row<'_>) -> Result<(), StateError> {
        let taken = match row.kind {
            RowKind::Whole => codec::expect_end(row.bytes),
            RowKind::Put => self.reader.read_keyed(row.bytes).map(|(key, value)| {
                self.put(self.hasher.hash_one(&key), key, value, row.group);
            }),
            RowKind::Delete => codec::decode(row.bytes).map(|key| {
                self.remove(&key);
            }),
        };
        taken.map_err(|error| StateError::new(row.group, error))
    }
}

impl<K: Key, V: DeserializeOwned + Send> KeyedTable<K, V> {
    /// Takes rows, on several threads if it is worth it.
    pub(super) fn fill(&mut self, rows: &[Row<'_>], hands: &dyn Hands) -> Result<(), StateError> {
        let threads = hands.count().min(rows.len() / ROWS_PER_THREAD);
        let is_fresh = !self.saver.has_begun_any() && !self.entries.is_one();
        match is_fresh && threads > 1 && self.entries.has_room(rows.len()) {
            true => self.fill_together(rows, threads, hands),
            false => self.fill_alone(rows),
        }
    }

    fn fill_alone(&mut self, rows: &[Row<'_>]) -> Result<(), StateError> {
        let mut decoded = Vec::with_capacity(rows.len().min(AT_ONCE));
        for row in rows {
            if row.kind == RowKind::Put {
                decoded.push(decode(&self.reader, &self.hasher, row)?);
            } else {
                // It may be that it removes one of these.
                self.put_all(&mut decoded);
                self.take(row)?;
            }
            if decoded.len() == AT_ONCE {
                self.put_all(&mut decoded);
            }
        }
        self.put_all(&mut decoded);
        Ok(())
    }

    fn put_all(&mut self, decoded: &mut Vec<Decoded<K, V>>) {
        if !self.entries.is_one() {
            for Decoded { hash, .. } in &*decoded {
                black_box(self.entries.find(*hash, |_| false));
            }
        }
        for row in decoded.drain(..) {
            self.put(row.hash, row.key, row.value, row.group);
        }
    }

    /// Each thread goes through all rows and takes those that belong into its shards: so the rows of a key stay in their order.
    fn fill_together(
        &mut self,
        rows: &[Row<'_>],
        threads: usize,
        hands: &dyn Hands,
    ) -> Result<(), StateError> {
        let (owned, hasher, reader) = (&self.owned, &self.hasher, &self.reader);
        let mut fillings: Vec<_> = (self.entries.in_pieces(threads))
            .map(|shards| Filling {
                owned,
                hasher,
                reader,
                shards,
                removed: Vec::new(),
            })
            .collect();
        let pieces = fillings
            .iter_mut()
            .map(|filling| Box::new(|| filling.take(rows)) as Piece<'_>);
        let filled = hands.each(pieces.collect());
        let removed: Vec<_> = (fillings.into_iter())
            .flat_map(|filling| filling.removed)
            .collect();
        self.entries.count();
        if self.sample.has_large() {
            (removed.into_iter()).for_each(|hash| self.sample.forget(hash));
        }
        filled
    }
}

impl<K: Key, V: DeserializeOwned> Filling<'_, K, V> {
    fn take(&mut self, rows: &[Row<'_>]) -> Result<(), StateError> {
        let mut decoded = Vec::with_capacity(AT_ONCE);
        for row in rows {
            let taken = self.take_one(row, &mut decoded);
            taken.map_err(|error| StateError::new(row.group, error))?;
            if decoded.len() == AT_ONCE {
                self.put_all(&mut decoded);
            }
        }
        self.put_all(&mut decoded);
        Ok(())
    }

    fn take_one(
        &mut self,
        row: &Row<'_>,
        decoded: &mut Vec<Decoded<K, V>>,
    ) -> Result<(), CodecError> {
        let mut bytes = row.bytes;
        if row.kind == RowKind::Whole {
            return codec::expect_end(bytes);
        }
        let key = codec::decode_next::<K>(&mut bytes)?;
        let hash = self.hasher.hash_one(&key);
        if !self.shards.has(hash) {
            return Ok(());
        }
        if row.kind == RowKind::Put {
            let value = self.reader.read(&mut bytes)?;
            decoded.push(Decoded {
                hash,
                key,
                value,
                group: row.group,
            });
        } else {
            // It may be that it removes one of these.
            self.put_all(decoded);
            if self.shards.remove(hash, |entry| entry.key == key) {
                self.removed.push(hash);
            }
        }
        codec::expect_end(bytes)
    }

    fn put_all(&mut self, decoded: &mut Vec<Decoded<K, V>>) {
        for Decoded { hash, .. } in &*decoded {
            black_box(self.shards.look(*hash));
        }
        for row in decoded.drain(..) {
            self.put(row);
        }
    }

    fn put(&mut self, row: Decoded<K, V>) {
        let group = row.group;
        assert!(
            self.owned.contains(&group.0),
            "key group {} is another subtask's",
            group.0
        );
        let hasher = self.hasher;
        self.shards.put(
            row.hash,
            (row.key, row.value),
            |entry, (key, _)| entry.key == *key,
            |entry, (_, value)| entry.value = value,
            |(key, value)| Entry {
                key,
                value,
                group,
                mark: Mark::new(0, false),
            },
            |entry| hasher.hash_one(&entry.key),
        );
    }
}

fn decode<K: Key, V: DeserializeOwned>(
    reader: &ValueReader<V>,
    hasher: &FixedState,
    row: &Row<'_>,
) -> Result<Decoded<K, V>, StateError> {
    let read = reader.read_keyed::<K>(row.bytes);
    let (key, value) = read.map_err(|error| StateError::new(row.group, error))?;
    Ok(Decoded {
        hash: hasher.hash_one(&key),
        key,
        value,
        group: row.group,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use levada_core::KeyGroups;

    use super::*;
    use crate::Rows;
    use crate::hands::Alone;
    use crate::saving::{KeyedState, Saving, rows_in};

    type Value = [u64; 32];

    /// So many threads, all of which are free, and how many pieces they have done.
    struct Threads(usize, AtomicUsize);

    impl Hands for Threads {
        fn count(&self) -> usize {
            self.0
        }

        fn each(&self, pieces: Vec<Piece<'_>>) -> Result<(), StateError> {
            self.1.fetch_add(pieces.len(), Ordering::Relaxed);
            std::thread::scope(|scope| {
                let threads: Vec<_> = (pieces.into_iter())
                    .map(|piece| scope.spawn(piece))
                    .collect();
                let mut results = threads.into_iter().map(|thread| thread.join().unwrap());
                results.try_for_each(|result| result)
            })
        }
    }

    fn table() -> KeyedTable<u64, Value> {
        KeyedTable::new(0..128, 7)
    }

    /// Puts and deletions of so many keys, in an order of their own, and what is there after them.
    fn rows(keys: u64, count: u64, seed: u64) -> (Rows, BTreeMap<u64, Value>) {
        let mut rows = Rows::with_room(usize::MAX);
        let mut model = BTreeMap::new();
        let groups = KeyGroups::default();
        for group in 0..128 {
            (rows.add(KeyGroup(group), RowKind::Whole, |_| Ok(()))).unwrap();
        }
        for n in 0..count {
            let random = (n + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            let (key, value) = (random % keys, [n; 32]);
            let group = groups.of(&key).unwrap();
            if random >> 30 & 7 == 0 {
                model.remove(&key);
                let write = |bytes: &mut Vec<u8>| codec::encode(&key, bytes);
                rows.add(group, RowKind::Delete, write).unwrap();
            } else {
                model.insert(key, value);
                let write = |bytes: &mut Vec<u8>| codec::encode(&(key, value), bytes);
                rows.add(group, RowKind::Put, write).unwrap();
            }
        }
        (rows, model)
    }

    #[track_caller]
    fn check(table: &mut KeyedTable<u64, Value>, model: &BTreeMap<u64, Value>) {
        assert_eq!(table.len(), model.len());
        let groups = KeyGroups::default();
        for (key, value, group) in table.iter() {
            assert_eq!(model.get(key), Some(value));
            assert_eq!(groups.of(key).unwrap(), group);
        }
        let mut model = model.iter();
        assert!(model.all(|(key, value)| table.get_mut(key) == Some(&mut value.clone())));
    }

    #[test]
    fn many_rows_at_once_make_the_table_that_they_make_one_after_the_other() {
        const MAX: u64 = crate::shards::Shards::<Entry<u64, Value>>::ENTRIES_MAX as u64;
        let (mut together, mut threads_most) = (0, 0);
        for (keys, expected, batch) in [
            (3 * MAX, 7 * MAX, usize::MAX),
            (4 * MAX, 4 * MAX, 4_096),
            // More than was expected, so that shards are divided in between.
            (4 * MAX, 2 * MAX, 3_000),
            (3 * MAX, 0, 5_000),
            (MAX / 2, MAX / 2, usize::MAX),
        ] {
            let (written, model) = rows(keys, 2 * keys, expected);
            let rows: Result<Vec<_>, _> = rows_in(written.bytes()).collect();
            let rows = rows.unwrap();
            let mut one = table();
            one.reserve(0, expected as usize);
            rows.iter().try_for_each(|row| one.read(row)).unwrap();
            check(&mut one, &model);
            let one: Vec<_> = one.iter().map(|(key, ..)| *key).collect();
            for threads in 1..=3 {
                let hands = Threads(threads, AtomicUsize::new(0));
                let mut many = table();
                many.reserve(0, expected as usize);
                for rows in rows.chunks(batch.min(rows.len())) {
                    many.read_all(rows, &hands).unwrap();
                }
                check(&mut many, &model);
                let allocated = many.entries.allocated();
                many.entries.count();
                assert_eq!(many.entries.allocated(), allocated);
                assert!(many.iter().map(|(key, ..)| *key).eq(one.iter().copied()));
                let pieces = hands.1.into_inner();
                together += usize::from(pieces > 0);
                threads_most = threads_most.max(if pieces > 0 { threads } else { 0 });
            }
        }
        assert!(together >= 6 && threads_most == 3, "{together}");
    }

    #[test]
    fn a_damaged_row_among_many_is_found() {
        let (written, _) = rows(20_000, 20_000, 1);
        let rows: Result<Vec<_>, _> = rows_in(written.bytes()).collect();
        let rows = rows.unwrap();
        for place in [0, 130, 9_000, rows.len() - 1] {
            let mut damaged = rows.clone();
            damaged[place].kind = match damaged[place].kind {
                RowKind::Whole => RowKind::Put,
                RowKind::Put => RowKind::Delete,
                RowKind::Delete => RowKind::Put,
            };
            let threads = Threads(2, AtomicUsize::new(0));
            for hands in [&Alone as &dyn Hands, &threads] {
                let mut table = table();
                table.reserve(0, 20_000);
                let error = table.read_all(&damaged, hands).unwrap_err();
                let group = format!("key group {}", damaged[place].group.0);
                assert!(error.to_string().contains(&group), "{error}");
            }
            assert!(threads.1.into_inner() > 0);
        }
    }

    /// Whoever reads into a table that is being saved tells the snapshot of it, and that is one thread.
    #[test]
    fn a_table_that_has_been_saved_is_filled_by_one_thread() {
        let (written, model) = rows(20_000, 20_000, 3);
        let rows: Result<Vec<_>, _> = rows_in(written.bytes()).collect();
        let mut table = table();
        table.reserve(0, 20_000);
        table
            .begin(&Saving::default(), &mut Rows::default())
            .unwrap();
        let threads = Threads(2, AtomicUsize::new(0));
        table.read_all(&rows.unwrap(), &threads).unwrap();
        assert_eq!(threads.1.into_inner(), 0);
        check(&mut table, &model);
    }
}
