//! The state of a task as its wakers and its runner see it: one atomic word, no lost wake-up.

use levada_core::fault;
use levada_core::sync::atomic::{AtomicU8, Ordering};

const IDLE: u8 = 0;
const READY: u8 = 1;
const RUNNING: u8 = 2;
/// Running, and woken since the poll began: the poll may have missed what it was woken for.
const WOKEN: u8 = 3;
const DONE: u8 = 4;

/// Whether a task is asleep, ready, running, or done.
///
/// Orderings: whoever wakes has written what the task shall see before the call (`Release`), and the poll that follows
/// reads it (`Acquire`). The word itself decides who enqueues the task, so that it is in at most one queue.
#[derive(Debug)]
pub struct TaskState(AtomicU8);

impl TaskState {
    /// A task that is ready to be polled for the first time.
    #[must_use]
    pub fn ready() -> Self {
        Self(AtomicU8::new(READY))
    }

    /// Wakes the task. True if the caller must enqueue it.
    #[must_use]
    pub fn wake(&self) -> bool {
        let woken = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| match state {
                IDLE => Some(READY),
                RUNNING => Some(WOKEN),
                // It will be polled anyhow, or never again. Written once more all the same: the poll that follows must
                // see what was written before this call.
                READY => Some(READY),
                WOKEN => Some(WOKEN),
                _ => None,
            });
        woken == Ok(IDLE)
    }

    /// A runner has taken the task from its queue.
    ///
    /// # Panics
    /// If the task was not ready: then it was in two queues.
    pub fn start(&self) {
        let before = self.0.swap(RUNNING, Ordering::AcqRel);
        assert_eq!(before, READY, "a task is in one queue at most");
    }

    /// The poll has ended with nothing more to do. False if the task was woken meanwhile: then it is ready again, and the
    /// caller must enqueue it.
    #[must_use]
    pub fn sleep(&self) -> bool {
        if fault!("lost-wakeup") {
            self.0.store(IDLE, Ordering::Release);
            return true;
        }
        let slept = self
            .0
            .compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire);
        if slept.is_err() {
            self.go_on();
        }
        slept.is_ok()
    }

    /// The poll has ended, and there is more to do. The caller must enqueue the task.
    pub fn go_on(&self) {
        // Not a store: a wake-up that this overwrites must be read, or the poll that follows might not see what it was
        // for. (Found by loom.)
        self.0.swap(READY, Ordering::AcqRel);
    }

    /// The task is never polled again.
    pub fn finish(&self) {
        self.0.store(DONE, Ordering::Release);
    }

    /// Whether the task is never polled again.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.0.load(Ordering::Acquire) == DONE
    }
}
