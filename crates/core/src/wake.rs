//! Wake-ups: how one part of the engine tells a task that there is something to do.

use std::sync::{Arc, OnceLock};

/// Something that can be woken: in production a task of the scheduler.
pub trait Wake: Send + Sync {
    /// Makes sure that the task is polled after this call, once, however often it is called before that poll.
    fn wake(&self);
}

/// A place for a waker that becomes known after the thing that wakes it has been built.
///
/// Waking an empty slot does nothing: whoever fills it must look for work once afterwards.
#[derive(Clone, Default)]
pub struct WakerSlot(Arc<OnceLock<Arc<dyn Wake>>>);

impl WakerSlot {
    /// Fills the slot.
    ///
    /// # Panics
    /// If it was filled before: a slot belongs to one task for the whole attempt.
    pub fn fill(&self, waker: Arc<dyn Wake>) {
        assert!(
            self.0.set(waker).is_ok(),
            "a waker slot belongs to one task and is filled once"
        );
    }
}

impl Wake for WakerSlot {
    fn wake(&self) {
        if let Some(waker) = self.0.get() {
            waker.wake();
        }
    }
}
