//! One call: its attempts, the waits between them, and its time limits.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use levada_core::executor::{BoxFuture, Executor, Scoped};
use levada_core::{BoxError, Clock};
use levada_runtime::Environment;

use crate::call::error::{NoAnswer, Permanent, sentence};
use crate::call::{CallError, Calls};

/// What the program does for a record.
pub(crate) type Call<T, B> = Arc<dyn Fn(T) -> BoxFuture<Result<B, BoxError>> + Send + Sync>;

/// How a call ended.
pub(crate) enum Outcome<T, B> {
    /// With a result, or after its last attempt.
    Ended(Result<B, CallError<T>>),
    /// The program's code panicked.
    Panicked(Box<dyn Any + Send>),
}

/// Makes a call for a record; the future is ready when the call has ended. Whatever of the program's code panics in it, the
/// operator learns of it: it would wait for ever otherwise.
pub(crate) async fn make<T, B>(
    record: T,
    call: Call<T, B>,
    calls: Calls,
    environment: Environment,
) -> Outcome<T, B>
where
    T: Clone + Send + 'static,
    B: Send + 'static,
{
    match catch_panic(end(record, call, calls, environment)).await {
        Ok(ended) => Outcome::Ended(ended),
        Err(payload) => Outcome::Panicked(payload),
    }
}

async fn end<T, B>(
    record: T,
    call: Call<T, B>,
    calls: Calls,
    environment: Environment,
) -> Result<B, CallError<T>>
where
    T: Clone,
{
    let mut attempts = 0;
    let executor = Arc::clone(&environment.executor);
    let tried = attempt(&record, &call, &calls, &environment, &mut attempts);
    let limited = within(&*executor, Some(calls.timeout), tried).await;
    limited
        .and_then(|result| result)
        .map_err(|error| CallError {
            message: sentence(&*error),
            record,
            attempts,
        })
}

/// Tries until there is a result, or nothing more is to be tried. Counts the attempts as they begin: whoever gives up
/// waiting for this future still knows how many there were.
async fn attempt<T, B>(
    record: &T,
    call: &Call<T, B>,
    calls: &Calls,
    environment: &Environment,
    attempts: &mut u32,
) -> Result<B, BoxError>
where
    T: Clone,
{
    let executor = &environment.executor;
    let begun = environment.clock.now();
    loop {
        *attempts += 1;
        let future = Scoped::new(call(record.clone()), Arc::clone(executor));
        let error = match within(&**executor, calls.attempt_timeout, future).await {
            Ok(Ok(result)) => return Ok(result),
            Ok(Err(error)) | Err(error) => error,
        };
        if error.is::<Permanent>() {
            return Err(error);
        }
        let elapsed = elapsed_since(&*environment.clock, begun);
        let random = &*environment.random;
        let delay = calls
            .retry
            .delay_after(*attempts, elapsed, Duration::ZERO, random);
        match delay {
            Some(delay) => executor.sleep(delay).await,
            None => return Err(error),
        }
    }
}

fn elapsed_since(clock: &dyn Clock, begun: levada_core::Moment) -> Duration {
    clock.now() - begun
}

/// The future's result, or an error if it takes longer than the limit.
async fn within<F: Future>(
    executor: &dyn Executor,
    limit: Option<Duration>,
    future: F,
) -> Result<F::Output, BoxError> {
    let Some(limit) = limit else {
        return Ok(future.await);
    };
    let mut future = pin!(future);
    let mut timer = executor.sleep(limit);
    poll_fn(|context| {
        if let Poll::Ready(result) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(result));
        }
        match timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(NoAnswer(limit).into())),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// The future's result, or what it panicked with.
async fn catch_panic<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    poll_fn(
        |context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Ready(result)) => Poll::Ready(Ok(result)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(payload) => Poll::Ready(Err(payload)),
        },
    )
    .await
}
