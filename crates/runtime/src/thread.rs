//! The one place where threads are started (invariant 7): each has a name and is joined.

use std::sync::Arc;

use levada_core::sync::thread;

use crate::error::Error;

/// A thread that is waited for when this value is joined.
pub(crate) struct Joined(thread::JoinHandle<()>);

/// Starts a thread.
///
/// # Errors
/// If the operating system refuses, with the thread's name.
pub(crate) fn start(name: String, run: impl FnOnce() + Send + 'static) -> Result<Joined, Error> {
    match thread::Builder::new().name(name.clone()).spawn(run) {
        Ok(handle) => Ok(Joined(handle)),
        Err(source) => Err(Error::Thread {
            name,
            source: Arc::new(source),
        }),
    }
}

impl Joined {
    /// Waits for the thread to end.
    ///
    /// # Panics
    /// If the thread panicked: what the user's code does is caught in its task, so this is the engine's own.
    pub(crate) fn join(self) {
        if let Err(panic) = self.0.join() {
            std::panic::resume_unwind(panic);
        }
    }
}
