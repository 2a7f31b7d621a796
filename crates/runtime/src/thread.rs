//! The one place where threads are started (invariant 7): each has a name and is joined.

use std::sync::Arc;

use levada_core::sync::{Mutex, thread};

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

/// Does something to each of several things on so many threads, this one and others of this name; they come back in their order.
pub(crate) fn each<T, R>(
    name: &str,
    threads: usize,
    things: Vec<T>,
    act: impl Fn(usize, &mut T) -> R + Send + Sync + 'static,
) -> Vec<(T, R)>
where
    T: Send + 'static,
    R: Send + 'static,
{
    let threads = threads.min(things.len());
    let left = Arc::new(Mutex::new(things.into_iter().enumerate()));
    let done = Arc::new(Mutex::new(Vec::new()));
    let work = {
        let (left, done) = (Arc::clone(&left), Arc::clone(&done));
        Arc::new(move || {
            loop {
                let Some((index, mut thing)) = left.lock().next() else {
                    return;
                };
                let result = act(index, &mut thing);
                done.lock().push((index, thing, result));
            }
        })
    };
    let helpers: Vec<_> = (1..threads)
        .map_while(|number| {
            let work = Arc::clone(&work);
            // Without help it takes longer.
            start(format!("{name}-{number}"), move || work()).ok()
        })
        .collect();
    work();
    helpers.into_iter().for_each(Joined::join);
    let mut done = std::mem::take(&mut *done.lock());
    done.sort_by_key(|(index, ..)| *index);
    done.into_iter()
        .map(|(_, thing, result)| (thing, result))
        .collect()
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
