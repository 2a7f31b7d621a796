//! Records into a sink of the `futures` crates.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use levada_core::{BoxError, Moment};
use levada_runtime::{Drain, Sink, SinkContext, Writer};

use crate::futures::TaskWake;

/// Gives every record to a `futures::Sink`, made anew for each subtask, each start of the job, and the first record after a
/// checkpoint.
///
/// A record is taken only when the sink is ready for it, so backpressure comes from the sink itself, without a queue in
/// between. The sink is flushed whenever its task has nothing more to give it for now, and closed at each checkpoint and at the
/// end of the input; neither is complete before it has closed, so that it can keep nothing back. What it was given is not undone when the job fails, and is repeated if the
/// job is restored (at least once); a job that is cancelled drops its sinks without closing them.
///
/// The sink is polled on a worker thread of Levada's, so it must not block, and one that needs the reactor of an async
/// runtime (a socket of tokio's) must be driven inside that runtime and fed by a channel: `tokio_util::sync::PollSender`,
/// `futures::channel::mpsc`. A panic of the sink is this sink's failure. It runs under the simulator if what wakes it does.
///
/// ```
/// use levada_connectors::into_sink;
///
/// let (sender, receiver) = futures_channel::mpsc::channel::<u64>(16);
/// let sink = into_sink(move || sender.clone());
/// # let _: &dyn levada_runtime::Sink<u64, Writer = _> = &sink;
/// # drop(receiver);
/// ```
pub fn into_sink<F, K>(make: F) -> IntoSink<F>
where
    F: Fn() -> K + Send + Sync + 'static,
{
    IntoSink {
        make: Arc::new(make),
    }
}

/// The sink made by [`into_sink`].
#[derive(Debug)]
pub struct IntoSink<F> {
    make: Arc<F>,
}

impl<F> Clone for IntoSink<F> {
    fn clone(&self) -> Self {
        Self {
            make: Arc::clone(&self.make),
        }
    }
}

/// How far the sink has been closed.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Closing {
    Open,
    /// From here on it is only asked to close: its contract allows no more.
    Begun,
    Closed,
}

/// Polls a sink.
pub struct SinkWriter<T, F, K> {
    make: Arc<F>,
    sink: Pin<Box<K>>,
    waker: Waker,
    /// Whether something was sent that has not been flushed.
    unflushed: bool,
    closing: Closing,
    record: PhantomData<fn(T)>,
}

impl<T, F, K> Sink<T> for IntoSink<F>
where
    T: Send + 'static,
    F: Fn() -> K + Send + Sync + 'static,
    K: futures_sink::Sink<T, Error: Into<BoxError>> + Send + 'static,
{
    type Writer = SinkWriter<T, F, K>;

    /// There is nothing to commit: what was prepared had been closed.
    fn recover(&self, _: Vec<()>, _: &SinkContext) -> Result<(), BoxError> {
        Ok(())
    }

    fn open(&self, context: &SinkContext) -> Result<SinkWriter<T, F, K>, BoxError> {
        Ok(SinkWriter {
            make: Arc::clone(&self.make),
            sink: Box::pin((self.make)()),
            waker: TaskWake::waker(&context.waker),
            unflushed: false,
            closing: Closing::Open,
            record: PhantomData,
        })
    }
}

impl<T, F, K> Writer<T> for SinkWriter<T, F, K>
where
    T: Send,
    F: Fn() -> K + Send + Sync,
    K: futures_sink::Sink<T, Error: Into<BoxError>> + Send,
{
    type Pending = ();

    fn write(&mut self, records: &mut impl Drain<T>) -> Result<(), BoxError> {
        let mut context = Context::from_waker(&self.waker);
        while !records.is_over() {
            if self.closing == Closing::Closed {
                // A checkpoint has closed it.
                self.sink = Box::pin((self.make)());
                self.closing = Closing::Open;
            }
            match self.sink.as_mut().poll_ready(&mut context) {
                Poll::Ready(ready) => ready.map_err(Into::into)?,
                Poll::Pending => return Ok(()),
            }
            let Some(record) = records.next() else {
                return Ok(());
            };
            self.sink.as_mut().start_send(record).map_err(Into::into)?;
            self.unflushed = true;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        if self.unflushed {
            let mut context = Context::from_waker(&self.waker);
            if let Poll::Ready(flushed) = self.sink.as_mut().poll_flush(&mut context) {
                flushed.map_err(Into::into)?;
                self.unflushed = false;
            }
        }
        Ok(())
    }

    fn flush_again(&self) -> Option<Moment> {
        self.unflushed.then_some(Moment::NEVER)
    }

    fn is_drained(&mut self) -> Result<bool, BoxError> {
        if self.closing != Closing::Closed {
            self.closing = Closing::Begun;
            self.unflushed = false;
            let mut context = Context::from_waker(&self.waker);
            match self.sink.as_mut().poll_close(&mut context) {
                Poll::Ready(closed) => closed.map_err(Into::into)?,
                Poll::Pending => return Ok(false),
            }
            self.closing = Closing::Closed;
        }
        Ok(true)
    }

    fn prepare(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    fn commit(&mut self, (): ()) -> Result<(), BoxError> {
        Ok(())
    }
}
