//! Futures: where they run, and how they wait.
//!
//! Operators never run futures on a worker thread. An [`Executor`] runs them: in production on a thread of its own, in a
//! simulation on the simulator's, in virtual time.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A future that can be sent to an executor.
pub type BoxFuture<T = ()> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs futures.
pub trait Executor: Send + Sync {
    /// Runs a future until it ends or its handle is dropped. A panic ends the future and nothing else.
    ///
    /// # Errors
    /// If the thread that runs futures cannot be started.
    fn spawn(&self, future: BoxFuture) -> io::Result<Spawned>;

    /// A future that is ready once this time has passed.
    fn sleep(&self, duration: Duration) -> BoxFuture;

    /// An executor for one run of a job, which is stopped with it.
    fn for_run(&self) -> Arc<dyn Executor>;

    /// Drops all futures and joins the thread that ran them; false if it is still in one of them at the deadline.
    fn stop(&self, deadline: Duration) -> bool;
}

/// A future that runs. Dropping the handle ends it.
#[must_use = "a future is ended when its handle is dropped"]
pub struct Spawned(Option<Box<dyn FnOnce() + Send>>);

impl Spawned {
    /// A handle that calls this when it is dropped.
    pub fn new(end: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(end)))
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<dyn Executor>>> = const { RefCell::new(None) };
}

/// Waits, inside a future that the engine runs: in virtual time under a simulation.
///
/// # Panics
/// Outside of such a future.
pub async fn sleep(duration: Duration) {
    let executor = CURRENT.with_borrow(Clone::clone);
    let executor = executor.expect("`sleep` is called in a future that the engine runs");
    executor.sleep(duration).await;
}

/// A future in which [`sleep`] knows its executor.
pub struct Scoped<F> {
    future: Pin<Box<F>>,
    executor: Arc<dyn Executor>,
}

impl<F: Future> Scoped<F> {
    /// Lets the future wait by this executor's time.
    pub fn new(future: F, executor: Arc<dyn Executor>) -> Self {
        Self {
            future: Box::pin(future),
            executor,
        }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let before = CURRENT.replace(Some(Arc::clone(&self.executor)));
        let _restore = Restore(before);
        self.future.as_mut().poll(context)
    }
}

/// Puts back the executor of the future outside, also when the one inside panics.
struct Restore(Option<Arc<dyn Executor>>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}
