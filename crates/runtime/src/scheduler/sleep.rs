//! Where workers sleep when there is nothing to run.
//!
//! The race to win: a worker finds every queue empty and goes to sleep while another thread enqueues a task and sees
//! nobody asleep. Both sides write first and look second, with a full fence between (Dekker's pattern):
//!
//! | sleeper | waker |
//! |---|---|
//! | announces itself in `idle` | enqueues the task |
//! | fence | fence |
//! | looks into the queues once more | looks at `idle` |
//!
//! At least one of them sees the other. Wake-ups are counted as tokens, so that many of them wake no more workers than
//! there is work for, and none is lost between a worker's decision and its sleep.

use std::time::Duration;

use levada_core::sync::atomic::{AtomicUsize, Ordering, fence};
use levada_core::sync::{Condvar, Mutex};

/// The bed of all workers of a pool.
#[derive(Debug, Default)]
pub(crate) struct Sleep {
    idle: AtomicUsize,
    /// Wake-ups that nobody has taken yet; never more than sleepers.
    tokens: Mutex<usize>,
    condvar: Condvar,
}

impl Sleep {
    /// Sleeps until there is a token or `timeout` has passed, unless `look` finds work after the announcement.
    pub(crate) fn sleep(&self, timeout: Option<Duration>, look: impl FnOnce() -> bool) {
        self.idle.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if !look() {
            let mut tokens = self.tokens.lock();
            if *tokens == 0 {
                tokens = match timeout {
                    Some(timeout) => self.condvar.wait_for(tokens, timeout),
                    None => self.condvar.wait(tokens),
                };
            }
            // After a timeout or a spurious wake-up there is none, and the worker looks around for nothing.
            *tokens = tokens.saturating_sub(1);
        }
        self.idle.fetch_sub(1, Ordering::SeqCst);
    }

    /// Wakes one sleeper, if there is one that no earlier call has woken.
    pub(crate) fn wake_one(&self) {
        fence(Ordering::SeqCst);
        if self.idle.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut tokens = self.tokens.lock();
        if *tokens < self.idle.load(Ordering::SeqCst) {
            *tokens += 1;
            drop(tokens);
            self.condvar.notify_one();
        }
    }

    /// Wakes all.
    pub(crate) fn wake_all(&self) {
        fence(Ordering::SeqCst);
        let mut tokens = self.tokens.lock();
        *tokens = self.idle.load(Ordering::SeqCst);
        drop(tokens);
        self.condvar.notify_all();
    }
}
