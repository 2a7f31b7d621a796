//! What state takes in memory, estimated.
//!
//! Tables know exactly what they have allocated. What their entries own on the heap is measured for a few of them at a time,
//! in turn: their mean stands for all that are alike, and what is far larger than the mean is counted by itself.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::shards::Cursor;

/// How much may be measured while the memory of some states is asked for, and how much has been done.
#[derive(Debug)]
pub struct Measuring {
    left: u64,
    steps: u64,
    /// Which table has its turn when little is left.
    round: u64,
    tables: u64,
}

/// The most entries of a table that are measured in one go.
pub(crate) const ENTRIES_MAX: usize = 32;

/// Work for which a table is asked at all.
const STEPS_PER_TABLE: u64 = 8;

/// When little is left, one table in so many has its turn.
const TABLES_PER_TURN: u64 = 8;

impl Measuring {
    /// About so much work may be done: a step is a part of a value that is looked at. The rounds are counted by the caller.
    #[must_use]
    pub fn new(steps: u64, round: u64) -> Self {
        Self {
            left: steps,
            steps: 0,
            round,
            tables: 0,
        }
    }

    /// The work that has been done.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How many entries of a table may be measured, of which so many have been before.
    pub(crate) fn entries(&mut self, before: u32) -> usize {
        self.tables += 1;
        self.spend(STEPS_PER_TABLE);
        if self.left > 0 {
            return ENTRIES_MAX;
        }
        let has_its_turn = (self.tables + self.round).is_multiple_of(TABLES_PER_TURN);
        usize::from(before == 0 || has_its_turn)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.left == 0
    }

    pub(crate) fn spend(&mut self, steps: u64) {
        self.steps += steps;
        self.left = self.left.saturating_sub(steps);
    }
}

/// What is known of the entries of a table.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    /// Where the next entries are measured.
    pub(crate) next: Cursor,
    /// Bytes that a key owns.
    key: f64,
    /// Bytes that an entry owns, key included, unless it is large.
    entry: f64,
    /// How many have been measured.
    count: u32,
    /// Entries that are far from the mean, by the hash of their key.
    large: Option<Box<HashMap<u64, u64, FixedState>>>,
    large_bytes: u64,
}

/// An entry that has been measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) hash: u64,
    pub(crate) key: u64,
    pub(crate) entry: u64,
}

/// The most entries that are counted by themselves.
const LARGE_MAX: usize = 4_096;

/// An entry of less is never counted by itself.
const LARGE_BYTES: f64 = 4_096.0;

/// An entry is large if it owns so many times the mean.
const LARGE_TIMES: f64 = 16.0;

/// The mean is that of about so many entries, the last ones that were measured.
const WINDOW: usize = 1_024;

impl Sample {
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Bytes that a key owns.
    pub(crate) fn of_key(&self) -> f64 {
        self.key
    }

    /// Bytes that so many entries own.
    pub(crate) fn of(&self, entries: usize) -> u64 {
        let large = self.large.as_ref().map_or(0, |large| large.len());
        scaled(self.entry, entries.saturating_sub(large)) + self.large_bytes
    }

    /// Takes entries that stand for all `entries` of the table.
    pub(crate) fn add(&mut self, measured: &mut [Measured], entries: usize) {
        if self.count == 0 {
            measured.sort_unstable_by_key(|of| of.entry);
            if let Some(median) = measured.get(measured.len() / 2) {
                self.entry = median.entry as f64;
            }
        }
        let mut keys = 0;
        let mut sum = 0;
        let mut count = 0u32;
        for of in measured.iter() {
            self.forget(of.hash);
            if !self.take_large(of) {
                keys += of.key;
                sum += of.entry;
                count += 1;
            }
        }
        if count == 0 {
            return;
        }
        // The first ones are the mean; of a table that is measured as a whole, they are all of it.
        let window = WINDOW.min(entries) as f64;
        let seen = f64::from(self.count.saturating_add(count))
            .min(window)
            .max(1.0);
        let part = (f64::from(count) / seen).min(1.0);
        self.key += (keys as f64 / f64::from(count) - self.key) * part;
        self.entry += (sum as f64 / f64::from(count) - self.entry) * part;
        self.count = self.count.saturating_add(count);
    }

    /// Takes an entry that was used lately, and stands for no other.
    pub(crate) fn add_used(&mut self, measured: &Measured) {
        if self.count > 0 {
            self.forget(measured.hash);
            self.take_large(measured);
        }
    }

    /// Whether an entry is counted by itself, which it is from now on.
    fn take_large(&mut self, measured: &Measured) -> bool {
        if (measured.entry as f64) <= LARGE_BYTES.max(LARGE_TIMES * self.entry) {
            return false;
        }
        let large = self.large.get_or_insert_default();
        if large.len() >= LARGE_MAX {
            // So many are no exception: those that are measured next raise the mean.
            return false;
        }
        large.insert(measured.hash, measured.entry);
        self.large_bytes += measured.entry;
        true
    }

    /// Whether an entry that is removed may be one that is counted by itself.
    #[inline]
    pub(crate) fn has_large(&self) -> bool {
        self.large.is_some()
    }

    /// The entry of this hash is gone, or measured again.
    pub(crate) fn forget(&mut self, hash: u64) {
        if let Some(large) = &mut self.large {
            self.large_bytes -= large.remove(&hash).unwrap_or(0);
            if large.is_empty() {
                self.large = None;
            }
        }
    }
}

/// The product, as bytes.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "it is an estimate, and not negative"
)]
pub(crate) fn scaled(bytes: f64, count: usize) -> u64 {
    (bytes * count as f64) as u64
}
