//! What a table knows to be saved in slices, and by its changes.
//!
//! ```text
//!          begin 1          begin 2            begin 3
//! epoch 0 ────┼──── epoch 1 ────┼──── epoch 2 ─────┼──── epoch 3
//!                               └─ changes since ──┘
//! ```
//!
//! A snapshot that is begun begins an epoch. An entry bears the epoch of its last change, so a change that is not the first
//! of its epoch has nothing to do but compare. The first one writes the entry as it was, if the running snapshot needs it
//! and has not come to it. What has been removed stays behind as a key and an epoch, until no snapshot can ask for it.
//!
//! The snapshot goes through the table shard by shard, and of changes only to the buckets that are marked as changed. As long
//! as entries stay in their places, those before its own are those that it has come to. Before they move, each is told
//! whether it is one of them; then the shard is begun again, and what the snapshot has come to is passed over.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use levada_core::codec::{self, CodecError};
use levada_core::{Key, KeyGroup, fault};

use crate::error::StateError;
use crate::marks::{Beside, Marks};
use crate::memory::scaled;
use crate::saving::{RowKind, Rows, Saving};
use crate::shards::{Shard, Shards};
use crate::table::entry::{Entry, Mark};
use crate::table::pass::{Pass, is_wanted, pass_over};

/// Writes an entry behind the table's number.
pub(crate) type Write<K, V> = fn(&Entry<K, V>, &mut Vec<u8>) -> Result<(), CodecError>;

pub(crate) struct Saver<K, V> {
    /// How many snapshots have been begun.
    epoch: u32,
    /// What was removed in this epoch and later ones is known.
    known_since: u32,
    begun: VecDeque<Begun>,
    /// First changes of an entry in an epoch, and removals.
    changes: u64,
    /// Keys that were removed, with the epochs in which they were. None of them is in the table.
    removed: Option<Box<Shards<Entry<K, ()>>>>,
    running: Option<Box<Running<K, V>>>,
    hasher: FixedState,
    /// What every row begins with.
    number: Option<i64>,
}

/// A snapshot that may be asked for changes since.
#[derive(Clone, Copy, Debug)]
struct Begun {
    checkpoint: u64,
    epoch: u32,
    /// The number of changes at its beginning.
    changes: u64,
}

/// The snapshot that is being written: it is the one that began the epoch.
struct Running<K, V> {
    /// Changes of this epoch and later ones are wanted.
    base: u32,
    write: Write<K, V>,
    entries: Pass,
    removed: Pass,
    /// What was written because it was about to change.
    before: Rows,
    failed: Option<StateError>,
}

/// The most buckets that are looked at in one go.
const BUCKETS_PER_SLICE: usize = 1 << 15;

/// Below this, removed keys may be more than those that are there.
const REMOVED_MIN: usize = 1_024;

/// The most snapshots that are remembered while none is confirmed.
const BEGUN_MAX: usize = 256;

impl<K: Key, V> Saver<K, V> {
    pub(crate) fn new(hasher: FixedState) -> Self {
        Self {
            epoch: 0,
            known_since: 1,
            begun: VecDeque::new(),
            changes: 0,
            removed: None,
            running: None,
            hasher,
            number: None,
        }
    }

    pub(crate) fn set_number(&mut self, number: i64) {
        self.number = Some(number);
    }

    /// Whether a change of the entry has nothing to do.
    #[inline]
    pub(crate) fn has_touched(&self, entry: &Entry<K, V>) -> bool {
        entry.mark.epoch() == self.epoch
    }

    /// An entry is about to change for the first time in this epoch.
    #[cold]
    #[inline(never)]
    pub(crate) fn touch(&mut self, entry: &mut Entry<K, V>, beside: Beside<'_>) {
        let Beside {
            marks,
            changed,
            bucket,
        } = beside;
        self.write_before(entry, marks, bucket);
        entry.mark.change(self.epoch);
        marks.changed = self.epoch;
        if !fault!("change-unmarked") {
            changed.set(bucket);
        }
        self.changes += 1;
    }

    /// The mark of an entry that is about to be added.
    #[inline]
    pub(crate) fn add(&mut self, key: &K, hash: u64, marks: &mut Marks) -> Mark {
        let was_removed = self.removed.is_some() && self.bring_back(key, hash);
        if self.epoch > 0 {
            marks.changed = self.epoch;
            self.changes += 1;
        }
        Mark::new(self.epoch, was_removed)
    }

    /// An entry has been taken out of a bucket of a shard with these marks, and `left` are left.
    #[inline]
    pub(crate) fn remove(
        &mut self,
        entry: &Entry<K, V>,
        marks: &Marks,
        bucket: usize,
        left: usize,
    ) {
        if self.epoch > 0 {
            self.note_removal(entry, marks, bucket, left);
        }
    }

    /// What has been removed until now is not known to the next snapshots: they are of the whole table.
    pub(crate) fn forget_changes(&mut self) {
        self.known_since = self.epoch + 1;
    }

    /// Whether a snapshot has ever been begun: until then changes are nobody's concern.
    pub(crate) fn has_begun_any(&self) -> bool {
        self.epoch > 0
    }

    pub(crate) fn has_begun(&self, checkpoint: u64) -> bool {
        self.begun
            .iter()
            .any(|begun| begun.checkpoint == checkpoint)
    }

    /// Bytes that it takes: keys that were removed, and what waits to be saved. `key` is what a key owns.
    pub(crate) fn memory(&self, key: f64) -> u64 {
        let removed = self.removed.as_ref().map_or(0, |removed| {
            removed.allocated() as u64 + scaled(key, removed.len())
        });
        let before = self
            .running
            .as_ref()
            .map_or(0, |running| running.before.allocated());
        removed + before
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Begins a snapshot. Whether it is of the whole table.
    pub(crate) fn begin(
        &mut self,
        entries: &mut Shards<Entry<K, V>>,
        saving: &Saving,
        write: Write<K, V>,
        part: u16,
    ) -> bool {
        // The one before may have been given up.
        pass_over(entries);
        self.removed.as_deref_mut().map(pass_over);
        if self.epoch == Mark::EPOCH_MAX {
            self.restart(entries);
        }
        let base = saving
            .base
            .and_then(|base| self.base(base, entries.len()))
            .unwrap_or(0);
        let confirmed = saving.confirmed.and_then(|checkpoint| {
            let mut begun = self.begun.iter().rev();
            begun.find(|begun| begun.checkpoint <= checkpoint).copied()
        });
        let oldest = saving.base.into_iter().chain(saving.confirmed).min();
        self.begun
            .retain(|begun| oldest.is_none_or(|oldest| begun.checkpoint >= oldest));
        if self.begun.len() == BEGUN_MAX {
            self.begun.pop_front();
        }
        self.epoch += 1;
        self.begun.push_back(Begun {
            checkpoint: saving.checkpoint,
            epoch: self.epoch,
            changes: self.changes,
        });
        let confirmed = confirmed.map_or(0, |begun| begun.epoch);
        self.running = Some(Box::new(Running {
            base,
            write,
            entries: Pass::new(RowKind::Put, 0),
            removed: Pass::new(RowKind::Delete, confirmed.max(self.known_since)),
            before: Rows::for_part(part),
            failed: None,
        }));
        base == 0
    }

    /// Writes more of the running snapshot; true when all is written.
    pub(crate) fn save(
        &mut self,
        entries: &mut Shards<Entry<K, V>>,
        rows: &mut Rows,
    ) -> Result<bool, StateError> {
        let Some(running) = &mut self.running else {
            return Ok(true);
        };
        rows.append(&mut running.before);
        if let Some(error) = running.failed.take() {
            return Err(error);
        }
        let mut left = BUCKETS_PER_SLICE;
        let (epoch, base, write) = (self.epoch, running.base, running.write);
        let number = self.number;
        // Nobody will ask for changes from before the first snapshot that is remembered.
        let oldest = self.begun.front().map_or(0, |begun| begun.epoch);
        let begun = self.begun.iter().rev().find(|begun| begun.epoch == base);
        let rows_max = begun.map_or(entries.len() as u64, |begun| self.changes - begun.changes);
        rows.expect(rows_max);
        let is_done = running.entries.go_on(
            entries,
            base..epoch,
            oldest,
            |entry, bytes| {
                put_number(number, bytes);
                write(entry, bytes)
            },
            rows,
            &mut left,
        )?;
        if !is_done {
            return Ok(false);
        }
        // The whole of a table does not say what is not in it.
        let base = if base == 0 { epoch } else { base };
        if let Some(removed) = self.removed.as_deref_mut() {
            let is_done = running.removed.go_on(
                removed,
                base..epoch,
                oldest,
                |entry, bytes| {
                    put_number(number, bytes);
                    codec::encode(&entry.key, bytes)
                },
                rows,
                &mut left,
            )?;
            if !is_done {
                return Ok(false);
            }
            if removed.len() == 0 {
                self.removed = None;
            }
        }
        self.running = None;
        Ok(true)
    }

    /// Takes out what the running snapshot has written because it was about to change.
    pub(crate) fn take_before(&mut self, rows: &mut Rows) -> Result<(), StateError> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        rows.append(&mut running.before);
        running.failed.take().map_or(Ok(()), Err)
    }

    /// The epoch of a snapshot, if it is known what has changed since and that is less than all.
    fn base(&self, checkpoint: u64, entries: usize) -> Option<u32> {
        let mut begun = self.begun.iter().rev();
        let begun = begun.find(|begun| begun.checkpoint == checkpoint)?;
        let is_less = self.changes - begun.changes <= entries as u64;
        (begun.epoch >= self.known_since && is_less).then_some(begun.epoch)
    }

    /// Writes an entry as it is, if the running snapshot needs it and has not come to it.
    fn write_before(&mut self, entry: &Entry<K, V>, marks: &Marks, bucket: usize) {
        let Some(running) = &mut self.running else {
            return;
        };
        let is_wanted = is_wanted(entry.mark, marks, bucket, running.base, self.epoch);
        if is_wanted && !fault!("changed-unwritten") {
            let (number, write) = (self.number, running.write);
            running.write_row(entry.group, RowKind::Put, |bytes| {
                put_number(number, bytes);
                write(entry, bytes)
            });
        }
    }

    #[cold]
    #[inline(never)]
    fn note_removal(&mut self, entry: &Entry<K, V>, marks: &Marks, bucket: usize, left: usize) {
        self.write_before(entry, marks, bucket);
        self.changes += 1;
        let was_there = entry.mark.is_known() || entry.mark.epoch() != self.epoch;
        if !was_there || self.epoch < self.known_since || fault!("tombstone-dropped") {
            return;
        }
        let removed = self.removed.get_or_insert_with(|| Box::new(Shards::new()));
        if removed.len() > left.max(REMOVED_MIN) {
            self.forget_changes();
            return;
        }
        let (key, hasher, epoch) = (&entry.key, &self.hasher, self.epoch);
        let added = removed.get_or_insert(
            hasher.hash_one(key),
            |other| other.key == *key,
            |marks| {
                marks.changed = epoch;
                Ok::<_, Infallible>(Entry {
                    key: key.clone(),
                    value: (),
                    group: entry.group,
                    mark: Mark::new(epoch, true),
                })
            },
            |other| hasher.hash_one(&other.key),
        );
        let Ok(_) = added;
    }

    /// A key that was removed comes back; false if it is none.
    #[cold]
    #[inline(never)]
    fn bring_back(&mut self, key: &K, hash: u64) -> bool {
        let Some(removed) = self.removed.as_deref_mut() else {
            return false;
        };
        let Some(place) = removed.find(hash, |entry| entry.key == *key) else {
            return false;
        };
        let Some((entry, marks)) = removed.remove(place) else {
            return false;
        };
        // The whole of a table does not say what is not in it.
        if let Some(running) = &mut self.running
            && running.base > 0
            && is_wanted(
                entry.mark,
                marks,
                place.bucket as usize,
                running.base,
                self.epoch,
            )
        {
            let number = self.number;
            running.write_row(entry.group, RowKind::Delete, |bytes| {
                put_number(number, bytes);
                codec::encode(&entry.key, bytes)
            });
        }
        true
    }

    /// Epochs begin anew, and no change is known.
    fn restart(&mut self, entries: &mut Shards<Entry<K, V>>) {
        for Shard { table, marks, .. } in entries.shards_mut() {
            *marks = Marks {
                changed: 0,
                scanned: 0,
                ..*marks
            };
            table.iter_mut().for_each(|entry| entry.mark.restart());
        }
        self.removed = None;
        self.begun.clear();
        (self.epoch, self.known_since) = (0, 1);
    }
}

impl<K, V> Running<K, V> {
    fn write_row(
        &mut self,
        group: KeyGroup,
        kind: RowKind,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), CodecError>,
    ) {
        if let Err(error) = self.before.add(group, kind, write) {
            self.failed.get_or_insert(error);
        }
    }
}

fn put_number(number: Option<i64>, bytes: &mut Vec<u8>) {
    if let Some(number) = number {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use crate::saving::rows_in;
    use crate::{KeyedState, KeyedTable};

    use super::*;

    #[test]
    fn after_the_last_epoch_comes_the_first() {
        let mut table = KeyedTable::<u8, u8>::new(0..128, 1);
        let change = |table: &mut KeyedTable<u8, u8>, key| {
            let made = table.get_or_insert(&key, || Ok::<_, ()>((KeyGroup(0), 0)));
            *made.unwrap() += 1;
        };
        let save = |table: &mut KeyedTable<u8, u8>, checkpoint: u64| {
            let base = Some(checkpoint - 1);
            let saving = Saving {
                checkpoint,
                base,
                confirmed: base,
            };
            let mut rows = Rows::with_room(usize::MAX);
            table.begin(&saving, &mut rows).unwrap();
            while !table.save(&mut rows).unwrap() {}
            let kinds = rows_in(rows.bytes()).map(|row| row.unwrap().kind);
            let mut counts = [0; 3];
            kinds.for_each(|kind| counts[kind as usize] += 1);
            counts
        };
        for key in 0..10 {
            change(&mut table, key);
        }
        table.saver.epoch = Mark::EPOCH_MAX - 2;
        assert_eq!(save(&mut table, 1), [128, 10, 0]);
        change(&mut table, 1);
        table.remove(&2);
        assert_eq!(save(&mut table, 2), [0, 1, 1]);
        change(&mut table, 1);
        table.remove(&3);
        assert_eq!(save(&mut table, 3), [128, 8, 0]);
        change(&mut table, 4);
        table.remove(&5);
        assert_eq!(save(&mut table, 4), [0, 1, 1]);
    }
}
