//! The rows of all keys, and when they are gone.

use std::ops::Range;

use levada_core::key::KeyError;
use levada_core::{Exchange, Key, KeyGroup, KeyGroups, Timestamp};
use levada_runtime::KeyedRecord;
use levada_state::{DueQueue, KeyedTable};

use crate::join::rule::{Rule, Side};
use crate::join::sides::{Sides, Way};

/// What the join keeps in one subtask.
pub(crate) struct Kept<K, A, B, R: Rule> {
    pub(crate) table: KeyedTable<K, Sides<A, B, R::Stamp>>,
    pub(crate) rule: R,
    /// When to look for rows that are gone: one entry for each chunk that has rows. It stands where the first row that came
    /// is gone, then where the latest one is; so a row from the future holds the others of its chunk at the most.
    due: DueQueue<Due<K>>,
    /// Times are rounded up to a power of two, less one of which this is: few different times make a small queue.
    coarseness: i64,
}

/// Rows may stay for this part of a life longer than they are needed.
const LATENESS: i64 = 64;

/// The rows of a key, if there are any.
pub(crate) type Found<'a, A, B, R> = Option<&'a Sides<A, B, <R as Rule>::Stamp>>;

/// A chunk in which rows may be gone.
struct Due<K> {
    key: K,
    side: Side,
    chunk: u64,
}

impl<K, A, B, R> Kept<K, A, B, R>
where
    K: Key,
    A: Exchange,
    B: Exchange,
    R: Rule,
{
    pub(crate) fn new(owned: Range<u16>, table_seed: u64, rule: R) -> Self {
        let most = rule.life().checked_div(LATENESS).unwrap_or_default().max(1);
        Self {
            table: KeyedTable::new(owned, table_seed),
            rule,
            due: DueQueue::new(),
            coarseness: (1 << most.ilog2()) - 1,
        }
    }

    /// Keeps a record, unless it is gone by `now`. Returns the rows of its key, if there are any.
    #[inline]
    pub(crate) fn keep<W: Way<A, B>>(
        &mut self,
        keyed: &KeyedRecord<K, W::Own>,
        stamp: R::Stamp,
        gone_at: Option<Timestamp>,
        now: Timestamp,
        groups: KeyGroups,
    ) -> Result<Found<'_, A, B, R>, KeyError> {
        if gone_at.is_some_and(|at| at <= now) {
            let place = self.table.find(&keyed.key);
            return Ok(place.map(|place| self.table.value(place)));
        }
        let sides = self.table.get_or_insert(&keyed.key, || {
            let group = keyed.group_in(groups)?;
            Ok::<_, KeyError>((group, Sides::default()))
        })?;
        let begun = W::own(sides).push(stamp, keyed.record.clone());
        if let (Some(chunk), Some(at)) = (begun, gone_at) {
            let (key, side) = (keyed.key.clone(), W::SIDE);
            let at = rounded_up(at, self.coarseness);
            self.due.add(at, Due { key, side, chunk });
        }
        Ok(Some(sides))
    }

    /// The rows of a key.
    pub(crate) fn find(&self, key: &K) -> Found<'_, A, B, R> {
        self.table.find(key).map(|place| self.table.value(place))
    }

    /// The group of a key that has rows.
    pub(crate) fn group(&self, key: &K) -> Option<KeyGroup> {
        self.table.find(key).map(|place| self.table.group(place))
    }

    /// What the queue takes in memory.
    pub(crate) fn queue_bytes(&self) -> u64 {
        self.due.memory(self.table.key_heap())
    }

    /// When the next rows may be gone.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.due.earliest()
    }

    /// Removes the rows of one chunk that are gone by `now`; false if no chunk is due.
    pub(crate) fn remove_next(&mut self, now: Timestamp) -> bool {
        let Some((_, due)) = self.due.take(now) else {
            return false;
        };
        let Some(place) = self.table.find(&due.key) else {
            return true;
        };
        let rule = &self.rule;
        let gone = |time| rule.gone_at(due.side, time).is_some_and(|at| at <= now);
        let sides = self.table.value_mut(place);
        let latest = match due.side {
            Side::First => sides.first.remove(due.chunk, gone),
            Side::Second => sides.second.remove(due.chunk, gone),
        };
        if let Some(at) = latest.and_then(|time| rule.gone_at(due.side, time)) {
            self.due.add(rounded_up(at, self.coarseness), due);
        } else if sides.is_empty() {
            self.table.remove(&due.key);
        }
        true
    }

    /// After a restore: finds out again when rows are gone.
    #[inline(never)]
    pub(crate) fn look_through(&mut self) {
        self.due.clear();
        for (key, sides) in self.table.iter_mut() {
            let first = sides.first.chunks().map(|chunk| (Side::First, chunk));
            let second = sides.second.chunks().map(|chunk| (Side::Second, chunk));
            for (side, (chunk, earliest)) in first.chain(second) {
                if let Some(at) = self.rule.gone_at(side, earliest) {
                    let (key, at) = (key.clone(), rounded_up(at, self.coarseness));
                    self.due.add(at, Due { key, side, chunk });
                }
            }
        }
    }
}

/// The next time at or after this one at which something may be due.
#[inline]
fn rounded_up(Timestamp(at): Timestamp, coarseness: i64) -> Timestamp {
    at.checked_add(coarseness)
        .map_or(Timestamp::MAX, |at| Timestamp(at & !coarseness))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_due_before_its_time() {
        for coarseness in [0, 1, 7, (1 << 56) - 1] {
            for at in [i64::MIN, -9, -8, -1, 0, 1, 8, 9, i64::MAX - 1, i64::MAX] {
                let rounded = rounded_up(Timestamp(at), coarseness).0;
                assert!(rounded >= at && rounded.abs_diff(at) <= coarseness.unsigned_abs());
            }
        }
    }
}
