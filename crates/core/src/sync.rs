//! The one import path of locks and atomics for everything that runs on several threads.
//!
//! In a normal build they are `parking_lot`'s locks and the standard atomics. With `--cfg loom` and `--cfg shuttle`
//! they are those of the model checkers, so that the code that is checked is the code that runs.

use std::fmt;
use std::ops::{Deref, DerefMut};

pub use imp::atomic;
pub use imp::thread;
pub use imp::thread_local;

#[cfg(not(any(loom, shuttle)))]
mod imp {
    pub(super) use parking_lot::{Condvar, Mutex, MutexGuard};
    pub use std::sync::atomic;
    pub use std::thread;
    pub use std::thread_local;
}

#[cfg(loom)]
mod imp {
    pub use loom::sync::atomic;
    pub(super) use loom::sync::{Condvar, Mutex, MutexGuard};
    pub use loom::thread;
    pub use loom::thread_local;
}

#[cfg(all(shuttle, not(loom)))]
mod imp {
    pub use shuttle::sync::atomic;
    pub(super) use shuttle::sync::{Condvar, Mutex, MutexGuard};
    pub use shuttle::thread;
    pub use shuttle::thread_local;
}

/// A lock that is not poisoned by a panic: the task that panicked has failed, and its data is not used again.
pub struct Mutex<T>(imp::Mutex<T>);

/// Access to what a [`Mutex`] protects.
pub struct MutexGuard<'a, T>(imp::MutexGuard<'a, T>);

impl<T> Mutex<T> {
    /// A lock around `value`.
    pub fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        #[cfg(not(any(loom, shuttle)))]
        let guard = self.0.lock();
        #[cfg(any(loom, shuttle))]
        let guard = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        MutexGuard(guard)
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex { .. }")
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A condition that threads wait for under a [`Mutex`].
#[derive(Debug, Default)]
pub struct Condvar(imp::Condvar);

impl Condvar {
    /// A condition nobody waits for yet.
    #[must_use]
    pub fn new() -> Self {
        Self(imp::Condvar::new())
    }

    /// Waits for a notification; may also return without one.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        #[cfg(not(any(loom, shuttle)))]
        {
            let mut guard = guard;
            self.0.wait(&mut guard.0);
            guard
        }
        #[cfg(any(loom, shuttle))]
        MutexGuard(
            self.0
                .wait(guard.0)
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    /// Waits for a notification, at most for `span`; may also return earlier without one. Under a model checker there
    /// is no time, and the wait ends with a notification only.
    pub fn wait_for<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        span: std::time::Duration,
    ) -> MutexGuard<'a, T> {
        #[cfg(not(any(loom, shuttle)))]
        {
            let mut guard = guard;
            self.0.wait_for(&mut guard.0, span);
            guard
        }
        #[cfg(any(loom, shuttle))]
        {
            let _ = span;
            self.wait(guard)
        }
    }

    /// Wakes one waiting thread.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all waiting threads.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}
