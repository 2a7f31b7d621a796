//! What the coordinator tells a task about checkpoints.

use std::sync::Arc;

use levada_core::sync::Mutex;
use levada_core::sync::atomic::{AtomicBool, Ordering};
use levada_state::Saving;

/// A checkpoint that all tasks are to take part in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Order {
    /// Its number, and what is wanted of the state.
    pub(crate) saving: Saving,
    /// Whether a channel whose barrier has come waits for the others.
    pub(crate) aligns: bool,
    /// Whether sources stop at the barrier.
    pub(crate) stops: bool,
}

impl Order {
    pub(crate) fn number(&self) -> u64 {
        self.saving.checkpoint
    }
}

/// What has been told to a task, until it looks. Each entry says all that there is to know about its subject, so that a later
/// one takes the place of one that has not been read: nothing queues up.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    is_there: AtomicBool,
    letters: Mutex<Letters>,
}

/// The last word on each subject.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Letters {
    /// A checkpoint is to be taken.
    pub(crate) order: Option<Order>,
    /// This checkpoint must not wait any longer: its barriers overtake.
    pub(crate) overtake: Option<u64>,
    /// Checkpoints up to this one are given up, or complete.
    pub(crate) over: Option<u64>,
    /// Checkpoints up to this one are complete: sinks commit what they prepared for them.
    pub(crate) commit: Option<u64>,
    /// For checkpoints up to this one every sink has committed: sources keep how far they had been read.
    pub(crate) settle: Option<u64>,
}

impl Mail {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Adds to what has been told. The task must be woken if it is to look soon.
    pub(crate) fn tell(&self, write: impl FnOnce(&mut Letters)) {
        let mut letters = self.letters.lock();
        write(&mut letters);
        self.is_there.store(true, Ordering::Release);
    }

    /// What has been told since the last time.
    pub(crate) fn take(&self) -> Option<Letters> {
        if !self.is_there.load(Ordering::Acquire) {
            return None;
        }
        let mut letters = self.letters.lock();
        self.is_there.store(false, Ordering::Relaxed);
        Some(std::mem::take(&mut letters))
    }
}
