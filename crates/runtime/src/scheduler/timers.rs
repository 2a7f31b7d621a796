//! Tasks that want to be woken at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use levada_core::Moment;
use levada_core::sync::Mutex;
use levada_core::sync::atomic::{AtomicU64, Ordering};

use crate::task::TaskCell;

/// A heap of deadlines. A task sets one, and another only if it is earlier ([`TaskCell`] sees to that), so there are about
/// as many as tasks. Waking a task once too often does no harm.
pub(crate) struct Timers {
    heap: Mutex<BinaryHeap<Reverse<Timer>>>,
    /// The earliest deadline in nanoseconds, for a look without the lock.
    next: AtomicU64,
}

struct Timer {
    at: Moment,
    task: Arc<TaskCell>,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Self {
            heap: Mutex::new(BinaryHeap::new()),
            next: AtomicU64::new(u64::MAX),
        }
    }

    pub(crate) fn set(&self, task: &Arc<TaskCell>, at: Moment) {
        let mut heap = self.heap.lock();
        heap.push(Reverse(Timer {
            at,
            task: Arc::clone(task),
        }));
        self.publish(&heap);
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Moment {
        Moment::from_nanos(self.next.load(Ordering::Acquire))
    }

    /// Wakes every task whose time has come.
    pub(crate) fn fire(&self, now: Moment) {
        while self.next() <= now {
            let mut heap = self.heap.lock();
            let due = match heap.peek() {
                Some(Reverse(timer)) if timer.at <= now => heap.pop(),
                _ => None,
            };
            self.publish(&heap);
            drop(heap);
            match due {
                Some(Reverse(timer)) => timer.task.wake_by_timer(),
                None => return,
            }
        }
    }

    /// Forgets all deadlines.
    pub(crate) fn clear(&self) {
        let mut heap = self.heap.lock();
        heap.clear();
        self.publish(&heap);
    }

    fn publish(&self, heap: &BinaryHeap<Reverse<Timer>>) {
        let next = heap
            .peek()
            .map_or(u64::MAX, |Reverse(timer)| timer.at.as_nanos());
        self.next.store(next, Ordering::Release);
    }
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}
