//! The engine's connections and time, as hyper wants them.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::rt::ReadBufCursor;
use levada_core::executor::{BoxFuture, Executor};
use levada_core::net::{Connection, Listener, Network, Ready};
use levada_core::sync::Mutex;
use levada_core::{Clock, Wake};

use crate::dial::Dial;

/// Wakes a future where the engine wakes a task.
struct FutureWake(Waker);

impl Wake for FutureWake {
    fn wake(&self) {
        self.0.wake_by_ref();
    }
}

fn waker(context: &Context<'_>) -> Arc<dyn Wake> {
    Arc::new(FutureWake(context.waker().clone()))
}

/// A connection.
pub(super) struct Link(Box<dyn Connection>);

impl Link {
    /// Connects to the first of these addresses that answers, each within the time limit.
    pub(super) async fn connect(
        network: &dyn Network,
        addresses: Vec<SocketAddr>,
        time_limit: Duration,
    ) -> io::Result<Self> {
        let mut dial = Dial::new(addresses, time_limit);
        let connection = poll_fn(|context| match dial.poll(network, &waker(context)) {
            Ok(None) => Poll::Pending,
            Ok(Some(connection)) => Poll::Ready(Ok(connection)),
            Err(error) => Poll::Ready(Err(error)),
        });
        connection.await.map(Self)
    }

    /// The next peer that connects.
    pub(super) fn poll_accept(
        listener: &mut dyn Listener,
        context: &Context<'_>,
    ) -> Poll<io::Result<Self>> {
        match listener.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                match listener.wake_when_ready(&waker(context)) {
                    Ok(()) => Poll::Pending,
                    Err(error) => Poll::Ready(Err(error)),
                }
            }
            other => Poll::Ready(other.map(Self)),
        }
    }

    /// Does something now, or when the connection is ready for it.
    fn poll<R>(
        &mut self,
        ready: Ready,
        context: &Context<'_>,
        act: impl FnOnce(&mut dyn Connection) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        match act(&mut *self.0) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                match self.0.wake_when(ready, &waker(context)) {
                    Ok(()) => Poll::Pending,
                    Err(error) => Poll::Ready(Err(error)),
                }
            }
            other => Poll::Ready(other),
        }
    }
}

/// How much is read at once.
const CHUNK_BYTES: usize = 8 << 10;

impl hyper::rt::Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunk = [0; CHUNK_BYTES];
        let most = buffer.remaining().min(CHUNK_BYTES);
        let read = self.poll(Ready::Read, context, |connection| {
            connection.read(&mut chunk[..most])
        });
        read.map_ok(|n| buffer.put_slice(&chunk[..n]))
    }
}

impl hyper::rt::Write for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(Ready::Write, context, |connection| connection.write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.shutdown())
    }
}

/// The engine's time. An [`Instant`] cannot be made, so hyper's are counted from one.
pub(super) struct EngineTimer {
    executor: Arc<dyn Executor>,
    clock: Arc<dyn Clock>,
    origin: Instant,
    /// Nanoseconds of the clock at the origin.
    began: levada_core::Moment,
}

impl EngineTimer {
    #[expect(
        clippy::disallowed_methods,
        reason = "only distances to this instant are used, and the clock measures those"
    )]
    pub(super) fn new(executor: Arc<dyn Executor>, clock: Arc<dyn Clock>) -> Self {
        Self {
            began: clock.now(),
            executor,
            clock,
            origin: Instant::now(),
        }
    }
}

impl hyper::rt::Timer for EngineTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep(Mutex::new(self.executor.sleep(duration))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep(deadline.saturating_duration_since(hyper::rt::Timer::now(self)))
    }

    fn now(&self) -> Instant {
        self.origin + (self.clock.now() - self.began)
    }
}

/// The lock makes the future `Sync`, as hyper wants it; nobody else holds it.
struct Sleep(Mutex<BoxFuture>);

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.lock().as_mut().poll(context)
    }
}

impl hyper::rt::Sleep for Sleep {}
