//! The way of a snapshot through a table.

use std::ops::Range;

use levada_core::codec::CodecError;

use crate::error::StateError;
use crate::marks::Marks;
use crate::saving::{RowKind, Rows};
use crate::shards::{Shard, Shards};
use crate::table::entry::{Entry, Mark};

/// How far a snapshot has come.
pub(crate) struct Pass {
    kind: RowKind,
    shard: usize,
    bucket: usize,
    /// That of the shard when it was begun; none if it has not been.
    layout: Option<u32>,
    /// What has last changed before this epoch is not needed any more.
    horizon: u32,
}

/// So many that are passed over, since they are not marked, count as one that is looked at.
const UNMARKED_BUCKETS: usize = 1 << 10;

/// So many entries are looked at one right after the other: their ways from memory are waited for together.
const AHEAD: usize = 16;

impl Pass {
    pub(crate) fn new(kind: RowKind, horizon: u32) -> Self {
        Self {
            kind,
            shard: 0,
            bucket: 0,
            layout: None,
            horizon,
        }
    }

    /// Goes on through entries, as far as there is room and `left` allows; true at their end. Those are written that have last
    /// changed in the epochs `wanted`, which end with the running one. Changes before `oldest` are forgotten.
    pub(crate) fn go_on<K, V>(
        &mut self,
        entries: &mut Shards<Entry<K, V>>,
        wanted: Range<u32>,
        oldest: u32,
        write: impl Fn(&Entry<K, V>, &mut Vec<u8>) -> Result<(), CodecError>,
        rows: &mut Rows,
        left: &mut usize,
    ) -> Result<bool, StateError> {
        while let Some(shard) = entries.shard_mut(self.shard) {
            let is_unchanged = shard.marks.changed < wanted.start && self.horizon == 0;
            if shard.marks.scanned != wanted.end && !is_unchanged {
                if self.layout != Some(shard.marks.layout) {
                    self.layout = Some(shard.marks.layout);
                    self.bucket = 0;
                }
                shard.marks.is_mixed = true;
                let len = shard.table.len();
                let is_done = self.go_through(shard, &wanted, oldest, &write, rows, left);
                shard.marks.come_to = self.bucket as u32;
                let lost = len - shard.table.len();
                entries.lose(lost);
                if !is_done? {
                    return Ok(false);
                }
            }
            if let Some(shard) = entries.shard_mut(self.shard) {
                shard.marks.scanned = wanted.end;
                shard.marks.leave();
            }
            self.next_shard();
        }
        Ok(true)
    }

    /// Goes on through a shard.
    fn go_through<K, V>(
        &mut self,
        shard: &mut Shard<Entry<K, V>>,
        wanted: &Range<u32>,
        oldest: u32,
        write: &impl Fn(&Entry<K, V>, &mut Vec<u8>) -> Result<(), CodecError>,
        rows: &mut Rows,
        left: &mut usize,
    ) -> Result<bool, StateError> {
        let Shard {
            table,
            marks,
            changed,
        } = shard;
        let looks_at_all = wanted.start == 0 || self.horizon > 0;
        let buckets = table.num_buckets();
        while self.bucket < buckets {
            let mut ahead = [(buckets, None); AHEAD];
            let mut next = self.bucket;
            for place in &mut ahead {
                if !looks_at_all {
                    next = changed.next(next).map_or(buckets, |next| next.min(buckets));
                }
                if next == buckets {
                    break;
                }
                *place = (next, table.get_bucket(next).map(|entry| entry.mark));
                next += 1;
            }
            *left = left.saturating_sub((next - self.bucket) / UNMARKED_BUCKETS);
            for (bucket, mark) in ahead.into_iter().filter(|(bucket, _)| *bucket < buckets) {
                if rows.is_full() || *left == 0 {
                    self.bucket = bucket;
                    return Ok(false);
                }
                *left -= 1;
                let Some(mark) = mark else {
                    changed.clear(bucket);
                    continue;
                };
                let is_written = marks.by_entry && mark.is_written();
                if !is_written
                    && wanted.contains(&mark.epoch())
                    && let Some(entry) = table.get_bucket(bucket)
                {
                    rows.add(entry.group, self.kind, |bytes| write(entry, bytes))?;
                }
                if marks.by_entry
                    && let Some(entry) = table.get_bucket_mut(bucket)
                {
                    entry.mark.set_written(true);
                }
                if mark.epoch() < oldest {
                    changed.clear(bucket);
                }
                if mark.epoch() < self.horizon
                    && let Ok(found) = table.get_bucket_entry(bucket)
                {
                    found.remove();
                }
            }
            self.bucket = next;
        }
        Ok(true)
    }

    fn next_shard(&mut self) {
        self.shard += 1;
        self.bucket = 0;
        self.layout = None;
    }
}

/// Whether a snapshot of the changes since `base`, which began `epoch`, has to write an entry that is, or was, in this bucket of
/// a shard with these marks.
pub(crate) fn is_wanted(mark: Mark, marks: &Marks, bucket: usize, base: u32, epoch: u32) -> bool {
    let has_come = match (marks.is_mixed, marks.by_entry) {
        (false, _) => marks.scanned == epoch,
        (true, false) => bucket < marks.come_to as usize,
        (true, true) => mark.is_written(),
    };
    !has_come && (base..epoch).contains(&mark.epoch())
}

/// Ends a way through shards that has been left before its end.
pub(crate) fn pass_over<K, V>(entries: &mut Shards<Entry<K, V>>) {
    for shard in entries.shards_mut() {
        shard.marks.leave();
    }
}
