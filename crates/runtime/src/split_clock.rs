//! Which splits a task reads, and what is known of the event time of each.
//!
//! The head of the task and the elements of its chain that care for event time (`timestamps`) write to each other here. A
//! head that reads exchanges has one split, which is always open; a source opens and closes them.
//!
//! ```text
//!  head ──▶ slots: open, generation, nothing to read since; current; held
//!  element ──▶ watermark of each slot, whether it counts as idle, the drift that is allowed
//! ```
//!
//! What an element may rely on: [`Downstream::resume`](crate::Downstream::resume) is called after a split has been opened and
//! before the first of its records, after each run of records, and once more when there is nothing to read, before the task
//! sleeps. What it has to do:
//!
//! 1. Its watermark is the least over the slots that are open and not idle. While [`SplitClock::is_held`] it does not rise,
//!    and idleness is not declared.
//! 2. If no slot is open, or all are idle, it is idle.
//! 3. Whoever was idle and is no more says its watermark again before anything else, risen or not, held or not.

use std::time::Duration;

use levada_core::{Moment, Timestamp};

/// The splits that a task reads.
#[derive(Debug)]
pub struct SplitClock {
    current: usize,
    slots: Vec<SplitSlot>,
    held: bool,
    drift_max: Option<Duration>,
}

/// A place for a split that is being read. When the split has come to its end, another one may take its place.
#[derive(Debug)]
pub struct SplitSlot {
    generation: u64,
    open: bool,
    /// There has been nothing to read.
    idle: Option<Silence>,
    watermark: Timestamp,
    counts_as_idle: bool,
}

/// How long there has been nothing to read.
#[derive(Clone, Copy, Debug)]
struct Silence {
    /// Up to the last time that somebody looked.
    span: Duration,
    /// When that was; none if nobody could look since.
    looked: Option<Moment>,
}

impl SplitClock {
    /// One split that is open for ever.
    #[must_use]
    pub fn one() -> Self {
        let mut clock = Self::none();
        clock.open();
        clock
    }

    /// No split so far.
    #[must_use]
    pub fn none() -> Self {
        Self {
            current: 0,
            slots: Vec::new(),
            held: false,
            drift_max: None,
        }
    }

    /// The slot of the split whose records are being pushed.
    #[inline]
    #[must_use]
    pub fn current(&self) -> usize {
        self.current
    }

    /// All slots, open or not. There are never fewer than there were.
    #[must_use]
    pub fn slots(&self) -> &[SplitSlot] {
        &self.slots
    }

    /// Whether splits that nobody reads yet may have records of any time: no watermark rises until they are read.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// An element says how far a split has come, and whether it counts as idle. If several elements say so, the furthest
    /// counts: this is about which splits are read, not about which records are late.
    pub fn report(&mut self, slot: usize, watermark: Timestamp, counts_as_idle: bool) {
        let slot = &mut self.slots[slot];
        slot.watermark = slot.watermark.max(watermark);
        slot.counts_as_idle = counts_as_idle;
    }

    /// An element wants splits to be at most this far apart.
    pub fn limit_drift(&mut self, max: Duration) {
        self.drift_max = Some(self.drift_max.map_or(max, |other| other.min(max)));
    }

    /// How far splits may be apart, if an element has said so.
    #[must_use]
    pub fn drift_max(&self) -> Option<Duration> {
        self.drift_max
    }

    /// A head begins to read a split. Returns its slot.
    pub fn open(&mut self) -> usize {
        let free = self.slots.iter().position(|slot| !slot.open);
        let slot = free.unwrap_or_else(|| {
            self.slots.push(SplitSlot::new());
            self.slots.len() - 1
        });
        self.slots[slot] = SplitSlot {
            generation: self.slots[slot].generation + 1,
            open: true,
            ..SplitSlot::new()
        };
        slot
    }

    /// A split has been read to its end.
    pub fn close(&mut self, slot: usize) {
        self.slots[slot].open = false;
    }

    /// The records that follow are of this slot's split.
    pub fn select(&mut self, slot: usize) {
        self.current = slot;
    }

    /// There is nothing to read in a split.
    pub fn found_nothing(&mut self, slot: usize, now: Moment) {
        let idle = &mut self.slots[slot].idle;
        let before = idle.unwrap_or(Silence {
            span: Duration::ZERO,
            looked: None,
        });
        *idle = Some(Silence {
            span: before.span + before.looked.map_or(Duration::ZERO, |looked| now - looked),
            looked: Some(now),
        });
    }

    /// A split has something to read, or it is not known whether it has.
    pub fn is_busy(&mut self, slot: usize) {
        self.slots[slot].idle = None;
        self.slots[slot].counts_as_idle = false;
    }

    /// From now on nobody can look, because there is no room: time does not count until somebody finds nothing again.
    pub fn pause_idleness(&mut self) {
        for slot in 0..self.slots.len() {
            self.pause(slot);
        }
    }

    /// A split may have something, but cannot be read for now.
    pub fn pause(&mut self, slot: usize) {
        if let Some(silence) = &mut self.slots[slot].idle {
            silence.looked = None;
        }
    }

    /// Whether splits wait that nobody reads yet.
    pub fn set_held(&mut self, held: bool) {
        self.held = held;
    }
}

impl SplitSlot {
    fn new() -> Self {
        Self {
            generation: 0,
            open: false,
            idle: None,
            watermark: Timestamp::MIN,
            counts_as_idle: false,
        }
    }

    /// Changes when another split takes the slot.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether a split is being read here.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether the split counts as idle, or there has been nothing to read for at least this long. Time without room behind
    /// the head does not count. A split that counts as idle does so until it has something.
    #[must_use]
    pub fn is_idle_for(&self, span: Duration) -> bool {
        self.counts_as_idle || self.idle.is_some_and(|silence| silence.span >= span)
    }

    /// When there will have been nothing to read for this long, if it stays so.
    #[must_use]
    pub fn idle_at(&self, span: Duration) -> Option<Moment> {
        let silence = self.idle?;
        Some(silence.looked? + span.saturating_sub(silence.span))
    }

    /// The watermark that an element has reported.
    #[must_use]
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// Whether an element counts the split as idle.
    #[must_use]
    pub fn counts_as_idle(&self) -> bool {
        self.counts_as_idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_slot_is_used_again_and_knows_nothing_of_the_split_before() {
        let mut clock = SplitClock::none();
        assert_eq!([clock.open(), clock.open()], [0, 1]);
        clock.report(0, Timestamp(5), true);
        clock.found_nothing(0, at(1));
        clock.close(0);
        assert!(!clock.slots()[0].is_open());
        assert_eq!([clock.open(), clock.open()], [0, 2]);
        let slot = &clock.slots()[0];
        assert_eq!((slot.generation(), slot.watermark()), (2, Timestamp::MIN));
        assert!(slot.is_open() && !slot.counts_as_idle());
        assert_eq!(slot.idle_at(Duration::ZERO), None);
        assert_eq!(clock.slots()[1].generation(), 1);
    }

    #[test]
    fn only_time_in_which_there_was_room_makes_a_split_idle() {
        let span = Duration::from_secs(10);
        let mut clock = SplitClock::one();
        assert!(!clock.slots()[0].is_idle_for(Duration::ZERO));
        clock.found_nothing(0, at(1));
        assert_eq!(clock.slots()[0].idle_at(span), Some(at(11)));
        clock.found_nothing(0, at(10));
        assert_eq!(clock.slots()[0].idle_at(span), Some(at(11)));
        clock.pause_idleness();
        assert_eq!(clock.slots()[0].idle_at(span), None);
        clock.found_nothing(0, at(100));
        assert!(!clock.slots()[0].is_idle_for(span), "90 s without room");
        assert_eq!(clock.slots()[0].idle_at(span), Some(at(101)));
        clock.found_nothing(0, at(101));
        assert!(clock.slots()[0].is_idle_for(span));
        clock.report(0, Timestamp(1), true);
        clock.is_busy(0);
        assert_eq!(clock.slots()[0].idle_at(span), None);
        assert!(!clock.slots()[0].is_idle_for(span));
        clock.report(0, Timestamp(1), true);
        assert!(clock.slots()[0].is_idle_for(span), "it has been declared");
    }

    #[test]
    fn the_furthest_watermark_and_the_least_drift_count() {
        let mut clock = SplitClock::one();
        clock.report(0, Timestamp(5), false);
        clock.report(0, Timestamp(3), false);
        assert_eq!(clock.slots()[0].watermark(), Timestamp(5));
        clock.limit_drift(Duration::from_secs(2));
        clock.limit_drift(Duration::from_secs(3));
        assert_eq!(clock.drift_max(), Some(Duration::from_secs(2)));
    }
}
