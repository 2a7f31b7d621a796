//! The times of a task.

use std::sync::Arc;

use levada_core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use levada_core::{Clock, Moment};
use serde::Serialize;

/// What a task is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// There is nothing to read.
    Idle,
    /// It is being polled.
    Busy,
    /// There is no room for what it would emit.
    Backpressured,
    /// It could run, but no thread is free.
    Waiting,
    /// A snapshot holds it up.
    Checkpointing,
}

impl Activity {
    const ALL: [Self; 5] = [
        Self::Idle,
        Self::Busy,
        Self::Backpressured,
        Self::Waiting,
        Self::Checkpointing,
    ];
}

/// How long a task has done what, in nanoseconds; the sum is its age.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Times {
    /// Nothing to read.
    pub idle: u64,
    /// Being polled.
    pub busy: u64,
    /// No room for its output.
    pub backpressured: u64,
    /// Ready, but no thread was free.
    pub waiting: u64,
    /// Held up by a snapshot.
    pub checkpointing: u64,
}

impl Times {
    /// The age of the task.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.idle + self.busy + self.backpressured + self.waiting + self.checkpointing
    }

    fn of(&mut self, activity: Activity) -> &mut u64 {
        match activity {
            Activity::Idle => &mut self.idle,
            Activity::Busy => &mut self.busy,
            Activity::Backpressured => &mut self.backpressured,
            Activity::Waiting => &mut self.waiting,
            Activity::Checkpointing => &mut self.checkpointing,
        }
    }
}

/// The times of a running task. Whoever moves the task from one state to the next writes them, one at a time.
pub(crate) struct TaskTimes {
    /// Odd while the fields below are being written, so that a reader knows to look again.
    version: AtomicUsize,
    activity: AtomicUsize,
    since: AtomicU64,
    totals: [AtomicU64; Activity::ALL.len()],
    polls: AtomicU64,
}

/// Times with the clock they are read from.
pub(crate) struct Clocked {
    pub(crate) times: Arc<TaskTimes>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl TaskTimes {
    pub(crate) fn new(now: Moment) -> Arc<Self> {
        Arc::new(Self {
            version: AtomicUsize::new(0),
            activity: AtomicUsize::new(Activity::Waiting as usize),
            since: AtomicU64::new(now.as_nanos()),
            totals: Default::default(),
            polls: AtomicU64::new(0),
        })
    }

    pub(crate) fn enter(&self, activity: Activity, now: Moment) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        levada_core::sync::atomic::fence(Ordering::Release);
        let since = Moment::from_nanos(self.since.load(Ordering::Relaxed));
        let total = &self.totals[self.activity.load(Ordering::Relaxed)];
        total.store(
            total.load(Ordering::Relaxed) + now.nanos_since(since),
            Ordering::Relaxed,
        );
        self.since.store(now.as_nanos(), Ordering::Relaxed);
        self.activity.store(activity as usize, Ordering::Relaxed);
        if activity == Activity::Busy {
            self.polls
                .store(self.polls.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        self.version.store(version + 2, Ordering::Release);
    }

    pub(crate) fn polls(&self) -> u64 {
        self.polls.load(Ordering::Relaxed)
    }

    pub(crate) fn read(&self, now: Moment) -> (Activity, Times) {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let mut times = Times::default();
            for (activity, total) in Activity::ALL.into_iter().zip(&self.totals) {
                *times.of(activity) = total.load(Ordering::Relaxed);
            }
            let activity = Activity::ALL[self.activity.load(Ordering::Relaxed)];
            let since = Moment::from_nanos(self.since.load(Ordering::Relaxed));
            levada_core::sync::atomic::fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                *times.of(activity) += now.nanos_since(since);
                return (activity, times);
            }
            std::hint::spin_loop();
        }
    }
}

impl Clocked {
    pub(crate) fn enter(&self, activity: Activity) -> Moment {
        let now = self.clock.now();
        self.times.enter(activity, now);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_sum_to_the_age() {
        let at = Moment::from_nanos;
        let times = TaskTimes::new(at(100));
        times.enter(Activity::Busy, at(110));
        times.enter(Activity::Backpressured, at(150));
        times.enter(Activity::Waiting, at(180));
        times.enter(Activity::Busy, at(181));
        times.enter(Activity::Idle, at(190));
        let (activity, read) = times.read(at(200));
        assert_eq!(activity, Activity::Idle);
        let expected = Times {
            idle: 10,
            busy: 49,
            backpressured: 30,
            waiting: 11,
            checkpointing: 0,
        };
        assert_eq!(read, expected);
        assert_eq!((read.total(), times.polls()), (100, 2));
    }
}
