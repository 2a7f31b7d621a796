//! The one place where threads are started (invariant 7): each has a name and is joined.

use std::sync::Arc;

use levada_core::sync::atomic::{AtomicIsize, Ordering};
use levada_core::sync::{Mutex, thread};
use levada_state::{Hands, Piece, StateError};

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

/// Makes something of each of several things on so many threads, this one and others of this name, whoever has time; the results
/// are in the order of the things.
pub(crate) fn each<T: Send, R: Send>(
    name: &str,
    threads: usize,
    things: Vec<T>,
    act: impl Fn(usize, T) -> R + Sync,
) -> Vec<R> {
    let others = 1..threads.min(things.len());
    let left = Mutex::new(things.into_iter().enumerate());
    let done = Mutex::new(Vec::new());
    let work = || {
        loop {
            let Some((index, thing)) = left.lock().next() else {
                return;
            };
            let result = act(index, thing);
            done.lock().push((index, result));
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = others
            .map_while(|number| {
                let other = std::thread::Builder::new().name(format!("{name}-{number}"));
                // Without help it takes longer.
                other.spawn_scoped(scope, work).ok()
            })
            .collect();
        work();
        for other in others {
            if let Err(panic) = other.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    let mut done = std::mem::take(&mut *done.lock());
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Of so many threads, those that have nothing to do.
pub(crate) struct FreeThreads {
    name: &'static str,
    /// May be less than none: whoever has work of its own asks nobody.
    free: AtomicIsize,
}

/// A thread that has something to do.
pub(crate) struct Busy<'a>(&'a FreeThreads);

impl FreeThreads {
    pub(crate) fn new(name: &'static str, threads: usize) -> Self {
        let free = AtomicIsize::new(isize::try_from(threads).unwrap_or(isize::MAX));
        Self { name, free }
    }

    /// This thread has something to do.
    pub(crate) fn take(&self) -> Busy<'_> {
        self.free.fetch_sub(1, Ordering::Relaxed);
        Busy(self)
    }

    /// Another thread, if one is free.
    fn try_take(&self) -> Option<Busy<'_>> {
        let busy = self.take();
        // It is given back if there was none.
        (self.free.load(Ordering::Relaxed) >= 0).then_some(busy)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::Relaxed);
    }
}

impl Hands for FreeThreads {
    fn count(&self) -> usize {
        1 + usize::try_from(self.free.load(Ordering::Relaxed)).unwrap_or(0)
    }

    fn each(&self, pieces: Vec<Piece<'_>>) -> Result<(), StateError> {
        let taken: Vec<_> = (1..pieces.len()).map_while(|_| self.try_take()).collect();
        let results = each(self.name, 1 + taken.len(), pieces, |_, piece| piece());
        results.into_iter().collect()
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

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use levada_core::codec::CodecError;

    use super::*;

    #[test]
    fn pieces_are_done_by_whoever_is_free_and_the_first_error_is_told() {
        for (threads, helpers) in [(0, 0), (1, 0), (2, 1), (3, 2), (9, 2)] {
            let free = FreeThreads::new("levada-test", threads);
            let _busy = free.take();
            let before = free.count();
            let seen = Mutex::new(Vec::new());
            let barrier = std::sync::Barrier::new(helpers + 1);
            let piece = |number: usize| {
                let (seen, barrier) = (&seen, &barrier);
                Box::new(move || {
                    // All threads that are to be there come here, and none alone.
                    if number <= helpers {
                        barrier.wait();
                    }
                    seen.lock().push(std::thread::current().id());
                    let error = CodecError::damaged(format!("piece {number}"));
                    match number {
                        0 => Ok(()),
                        _ => Err(StateError::of_operator(error)),
                    }
                }) as Piece<'_>
            };
            let error = free.each((0..3).map(piece).collect()).unwrap_err();
            let error = crate::error::chain(&error);
            assert!(error.contains("piece 1"), "{error}");
            let mut seen = std::mem::take(&mut *seen.lock());
            assert_eq!(seen.len(), 3);
            seen.sort_by_key(|id| format!("{id:?}"));
            seen.dedup();
            assert!(seen.len() > helpers, "{seen:?} of {threads} threads");
            assert_eq!(free.count(), before, "they are free again");
        }
    }

    #[test]
    fn a_panic_of_a_piece_comes_to_whoever_waits() {
        let free = FreeThreads::new("levada-test", 2);
        let _busy = free.take();
        for place in 0..2 {
            let barrier = std::sync::Barrier::new(2);
            let piece = |number| {
                let barrier = &barrier;
                Box::new(move || {
                    barrier.wait();
                    assert!(number != place, "piece {number}");
                    Ok(())
                }) as Piece<'_>
            };
            let done = catch_unwind(AssertUnwindSafe(|| free.each((0..2).map(piece).collect())));
            let text = done.unwrap_err().downcast::<String>().unwrap();
            assert!(text.contains(&format!("piece {place}")), "{text}");
            assert_eq!(free.count(), 2);
        }
    }
}
