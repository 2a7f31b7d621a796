//! How far the splits of a source are apart in event time.

use std::sync::Arc;

use levada_core::sync::Mutex;
use levada_core::sync::atomic::{AtomicI64, Ordering};
use levada_core::{Timestamp, Wake};

/// What the subtasks of a source tell each other, if the program limits the drift (`max_drift`).
///
/// Each says how far the slowest of its splits is that are not idle and have a watermark. The least of these is the floor. A
/// split that is ahead of the floor by more than is allowed is not read until the floor has risen; its subtask is woken then.
/// The slowest split is at the floor, so there is always one that is read: and since holding a split keeps no credit and stops
/// no reader of an exchange, nothing locks.
pub(crate) struct Drift {
    /// [`Timestamp::MAX`] if no split has a watermark. Written under the lock.
    floor: AtomicI64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By subtask.
    slowest: Vec<Option<Timestamp>>,
    /// By subtask: those that wait, and for how high a floor.
    waiting: Vec<Option<(Timestamp, Arc<dyn Wake>)>>,
}

impl Drift {
    pub(crate) fn new() -> Self {
        Self {
            floor: AtomicI64::new(i64::MAX),
            state: Mutex::new(State::default()),
        }
    }

    pub(crate) fn floor(&self) -> Timestamp {
        // What the floor was is right too: whoever acts on it looks again under the lock before it waits.
        Timestamp(self.floor.load(Ordering::Relaxed))
    }

    /// A subtask says how far its slowest split is; none if it holds up nobody.
    pub(crate) fn publish(&self, subtask: usize, slowest: Option<Timestamp>) {
        let mut state = self.state.lock();
        let subtasks = state.slowest.len().max(subtask + 1);
        state.slowest.resize(subtasks, None);
        state.slowest[subtask] = slowest;
        let floor = state.slowest.iter().flatten().min();
        let floor = floor.copied().unwrap_or(Timestamp::MAX);
        self.floor.store(floor.0, Ordering::Relaxed);
        let waiting = state.waiting.iter_mut();
        let due: Vec<_> = waiting
            .filter_map(|waiting| waiting.take_if(|(needed, _)| *needed <= floor))
            .collect();
        drop(state);
        for (_, waker) in due {
            waker.wake();
        }
    }

    /// Asks to wake a subtask when the floor is as high as this. False if it is by now.
    pub(crate) fn wait(&self, subtask: usize, waker: &Arc<dyn Wake>, needed: Timestamp) -> bool {
        let mut state = self.state.lock();
        if self.floor() >= needed {
            return false;
        }
        let subtasks = state.waiting.len().max(subtask + 1);
        state.waiting.resize(subtasks, None);
        state.waiting[subtask] = Some((needed, Arc::clone(waker)));
        true
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Wake for Counting {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_is_held_is_woken_when_the_slowest_has_gone_on() {
        let drift = Drift::new();
        let counting = Arc::new(Counting::default());
        let waker = Arc::clone(&counting) as Arc<dyn Wake>;
        let woken = || counting.0.load(Ordering::Relaxed);
        assert_eq!(drift.floor(), Timestamp::MAX);
        drift.publish(2, Some(Timestamp(9)));
        drift.publish(0, Some(Timestamp(5)));
        assert_eq!(drift.floor(), Timestamp(5));
        assert!(drift.wait(2, &waker, Timestamp(7)));
        drift.publish(2, Some(Timestamp(10)));
        drift.publish(0, Some(Timestamp(6)));
        assert_eq!((woken(), drift.floor()), (0, Timestamp(6)), "not enough");
        drift.publish(0, Some(Timestamp(7)));
        assert_eq!(woken(), 1);
        assert!(!drift.wait(2, &waker, Timestamp(7)), "it has risen since");
        assert!(drift.wait(2, &waker, Timestamp(8)));
        drift.publish(0, None);
        assert_eq!((woken(), drift.floor()), (2, Timestamp(10)));
        drift.publish(0, Some(Timestamp(11)));
        assert_eq!(woken(), 2, "it waits no more");
    }
}
