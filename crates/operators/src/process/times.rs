//! The times of a process: its watermark, and the timers of its keys.

use std::sync::Arc;
use std::time::Duration;

use levada_core::key::KeyError;
use levada_core::{Clock, Key, KeyGroup, Moment, Timestamp};
use levada_runtime::Subtask;
use levada_state::{DueQueue, GroupClock, KeyedState, Timers};

use crate::process::Timer;

/// Timers of both kinds by key, and what says which of them are due.
pub(crate) struct Times<K> {
    watermark: GroupClock,
    event: Timers<K>,
    processing: Timers<K>,
    /// Of the timers of `event`, those that the restored watermark of their group has reached; the operator's own may be
    /// behind it. Some may have fired or been deleted since.
    reached: DueQueue<K>,
    /// Whether a timer of `event` may be due.
    due: bool,
    /// While a watermark fires timers, the one before it.
    catching_up: Option<Timestamp>,
    /// Of the timers of `processing`, those up to here are due; none if the time of day has to be asked.
    wall: Option<Timestamp>,
    /// When the first timer of `processing` is due, as far as is known.
    look_at: Moment,
    /// The time of the timer that `look_at` was computed for.
    looked_for: Timestamp,
    clock: Arc<dyn Clock>,
}

impl<K: Key> Times<K> {
    /// No timers, for the keys of these groups.
    pub(crate) fn new(owned: std::ops::Range<u16>, subtask: &Subtask) -> Self {
        Self {
            watermark: GroupClock::new(owned.clone()),
            event: Timers::new(owned.clone(), subtask.table_seed),
            processing: Timers::new(owned, subtask.table_seed),
            reached: DueQueue::new(),
            due: false,
            catching_up: None,
            wall: None,
            look_at: Moment::NEVER,
            looked_for: Timestamp::MAX,
            clock: Arc::clone(&subtask.environment.clock),
        }
    }

    /// What is saved.
    pub(crate) fn states(&mut self) -> [&mut dyn KeyedState; 3] {
        [&mut self.watermark, &mut self.event, &mut self.processing]
    }

    /// What the queue beside the timers takes in memory.
    pub(crate) fn queue_bytes(&self) -> u64 {
        self.reached.memory(self.event.key_heap())
    }

    /// State has been read: finds what is due.
    pub(crate) fn restore(&mut self) {
        for (key, group, at) in self.event.iter() {
            if at <= self.watermark.of(group) {
                self.reached.add(at, key.clone());
            }
        }
        self.due = true;
        self.catching_up = Some(Timestamp::MIN);
        self.look();
    }

    /// Takes a watermark. Whether it has to wait for timers.
    pub(crate) fn raise(&mut self, watermark: Timestamp) -> bool {
        let before = self.watermark.watermark();
        self.watermark.raise(watermark);
        if self.event.earliest().is_some_and(|at| at <= watermark) {
            self.due = true;
            self.catching_up = Some(before);
        }
        self.due
    }

    /// How far time has come for a timer of event time that fires: to its own time, as if its watermark had come from there
    /// just now; but for one that was set late, to the watermark of its key.
    pub(crate) fn come_to(
        &self,
        at: Timestamp,
        watermark: impl FnOnce() -> Timestamp,
    ) -> Timestamp {
        at.max(self.catching_up.unwrap_or_else(watermark))
    }

    /// The watermark for a key whose group `group` tells.
    pub(crate) fn watermark(
        &self,
        group: impl FnOnce() -> Result<KeyGroup, KeyError>,
    ) -> Timestamp {
        let own = self.watermark.watermark();
        if !self.watermark.is_divided() {
            return own;
        }
        // A key that cannot be hashed has been in no snapshot.
        group().map_or(own, |group| self.watermark.of(group))
    }

    /// The time of day.
    pub(crate) fn processing_time(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Sets a timer; its key's group is asked for if the key has none yet.
    pub(crate) fn set(
        &mut self,
        key: &K,
        timer: Timer,
        group: impl FnOnce() -> Result<KeyGroup, KeyError>,
    ) -> Result<(), KeyError> {
        match timer {
            Timer::Event(at) => {
                if self.event.set(key, at, group)? {
                    self.note_event(key, at);
                }
            }
            Timer::Processing(at) => {
                self.processing.set(key, at, group)?;
                if at < self.looked_for {
                    self.looked_for = at;
                    self.look_at = Moment::ZERO;
                }
            }
        }
        Ok(())
    }

    fn note_event(&mut self, key: &K, at: Timestamp) {
        self.due |= at <= self.watermark.watermark();
        if self.watermark.is_divided()
            && let Some(group) = self.event.group(key)
            && at <= self.watermark.of(group)
        {
            self.reached.add(at, key.clone());
            self.due = true;
        }
    }

    pub(crate) fn delete(&mut self, key: &K, timer: Timer) {
        match timer {
            Timer::Event(at) => self.event.delete(key, at),
            Timer::Processing(at) => self.processing.delete(key, at),
        };
    }

    /// Deletes all timers of a key.
    pub(crate) fn forget(&mut self, key: &K) {
        self.event.clear(key);
        self.processing.clear(key);
    }

    /// Whether a timer of event time may be due: to be asked after each call of the user's code.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.due
    }

    /// Whether a timer may be due at `now`.
    pub(crate) fn may_be_due(&self, now: Moment) -> bool {
        self.due || self.look_at <= now
    }

    /// The next timer that is due.
    pub(crate) fn take_due(&mut self, now: Moment) -> Option<(K, Timer)> {
        if self.due {
            if let Some((key, at)) = self.take_event() {
                return Some((key, Timer::Event(at)));
            }
            self.due = false;
            self.catching_up = None;
        }
        if self.look_at > now || self.has_ended() {
            return None;
        }
        let wall = *self.wall.get_or_insert_with(|| self.clock.wall());
        if let Some((key, at)) = self.processing.take(wall) {
            return Some((key, Timer::Processing(at)));
        }
        self.look();
        None
    }

    /// First those that the operator's own watermark has reached, which are earlier than all others.
    fn take_event(&mut self) -> Option<(K, Timestamp)> {
        if let Some(taken) = self.event.take(self.watermark.watermark()) {
            return Some(taken);
        }
        while let Some((at, key)) = self.reached.take(Timestamp::MAX) {
            if self.event.delete(&key, at) {
                return Some((key, at));
            }
        }
        None
    }

    /// When the task has to be woken, if nothing else happens.
    pub(crate) fn wake_at(&mut self) -> Option<Moment> {
        if self.processing.is_empty() || self.has_ended() {
            return None;
        }
        // The time of day may have been set since.
        self.look();
        (self.look_at != Moment::NEVER).then_some(self.look_at)
    }

    /// When the time of day will be `at`, if nobody sets it; now if it has been.
    pub(crate) fn moment_of(&self, at: Timestamp) -> Moment {
        let millis = at.0.saturating_sub(self.clock.wall().0);
        self.clock.now() + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    fn look(&mut self) {
        self.wall = None;
        match self.processing.earliest() {
            None => {
                self.look_at = Moment::NEVER;
                self.looked_for = Timestamp::MAX;
            }
            Some(at) => {
                self.look_at = self.moment_of(at);
                self.looked_for = at;
            }
        }
    }

    /// Whether the input has ended: then no timer of processing time fires.
    fn has_ended(&self) -> bool {
        self.watermark.watermark() == Timestamp::MAX
    }
}
