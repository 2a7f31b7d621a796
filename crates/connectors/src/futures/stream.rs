//! Records from a stream of the `futures` crates.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use levada_core::BoxError;
use levada_runtime::{Intake, Reader, ReaderContext, Source, SourceContext, Status};

use crate::futures::TaskWake;

/// The records of a `futures::Stream`, read by one subtask.
///
/// The stream is polled by its task, when there is room for a record: backpressure reaches as far as the stream itself, and
/// a stream that is pending costs no thread. It is made anew for each start of the job. After a restore the job goes on
/// with what the new stream yields, so what was in flight is lost (at most once), unless the stream itself knows where it
/// was.
///
/// The stream is polled on a worker thread of Levada's, so it must not block, and a stream that needs the reactor of an
/// async runtime (a socket or a timer of tokio's) must be read inside that runtime and handed over by a channel:
/// `tokio_stream::wrappers::ReceiverStream`, `futures::channel::mpsc`. A panic of the stream is the source's failure. It
/// runs under the simulator if what wakes it does.
///
/// A stream of `Result`s is a stream of records that are `Result`s.
///
/// ```
/// use levada_connectors::from_stream;
///
/// let numbers = from_stream(|| futures_util::stream::iter(0..1_000u64));
/// ```
pub fn from_stream<F, S>(make: F) -> FromStream<F>
where
    F: Fn() -> S + Send + Sync + 'static,
    S: Stream<Item: Send + 'static> + Send + 'static,
{
    FromStream { make }
}

/// The source made by [`from_stream`].
#[derive(Clone, Debug)]
pub struct FromStream<F> {
    make: F,
}

/// Polls a stream.
pub struct StreamReader<S> {
    stream: Pin<Box<S>>,
    waker: Waker,
    read: u64,
}

impl<F, S> Source for FromStream<F>
where
    F: Fn() -> S + Send + Sync + 'static,
    S: Stream<Item: Send + 'static> + Send + 'static,
{
    type Out = S::Item;
    type Split = ();
    type Reader = StreamReader<S>;

    fn splits(&self, _: &SourceContext) -> Result<Vec<()>, BoxError> {
        Ok(vec![()])
    }

    fn open(
        &self,
        (): (),
        position: Option<u64>,
        context: &ReaderContext,
    ) -> Result<StreamReader<S>, BoxError> {
        Ok(StreamReader {
            stream: Box::pin((self.make)()),
            waker: TaskWake::waker(&context.waker),
            read: position.unwrap_or(0),
        })
    }

    fn parallelism_max(&self) -> Option<(usize, &'static str)> {
        Some((
            1,
            "a stream is read by one subtask; call `.rebalance()` behind it",
        ))
    }
}

impl<S> Reader for StreamReader<S>
where
    S: Stream<Item: Send + 'static> + Send + 'static,
{
    type Out = S::Item;
    /// How many records have been read; they cannot be read again.
    type Position = u64;

    fn read(&mut self, intake: &mut impl Intake<S::Item>) -> Result<Status, BoxError> {
        let mut context = Context::from_waker(&self.waker);
        while !intake.is_full() {
            match self.stream.as_mut().poll_next(&mut context) {
                Poll::Ready(Some(record)) => {
                    self.read += 1;
                    intake.push(record);
                }
                // The reader is dropped, so a stream that has ended is not polled again.
                Poll::Ready(None) => return Ok(Status::Done),
                Poll::Pending => return Ok(Status::Idle(None)),
            }
        }
        Ok(Status::More)
    }

    fn position(&self) -> u64 {
        self.read
    }
}
