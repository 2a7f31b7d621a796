//! Futures on a thread of their own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use levada_core::executor::{BoxFuture, Executor, Spawned};
use levada_core::sync::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::error::Error;
use crate::thread::{self, Joined};

/// Runs futures on one thread, `levada-async`, which is started with the first of them.
///
/// The thread runs a current-thread tokio runtime, so whatever needs one (clients of databases, HTTP) finds it.
#[derive(Default)]
pub(super) struct SystemExecutor(Mutex<Option<Running>>);

struct Running {
    handle: Handle,
    /// Dropped to stop the thread.
    stop: oneshot::Sender<()>,
    /// Disconnected once the thread has dropped all futures.
    stopped: Receiver<()>,
    thread: Joined,
}

impl SystemExecutor {
    fn handle(&self) -> io::Result<Handle> {
        let mut running = self.0.lock();
        if let Some(running) = &*running {
            return Ok(running.handle.clone());
        }
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, asked) = oneshot::channel::<()>();
        let (alive, stopped) = bounded(0);
        let thread = thread::start("levada-async".to_owned(), move || {
            // Nothing is ever sent: the sender is dropped.
            let _ = runtime.block_on(asked);
            drop(runtime);
            drop::<crossbeam_channel::Sender<()>>(alive);
        });
        let thread = thread.map_err(|error| match error {
            Error::Thread { source, .. } => io::Error::new(source.kind(), source),
            other => io::Error::other(other),
        })?;
        *running = Some(Running {
            handle: handle.clone(),
            stop,
            stopped,
            thread,
        });
        Ok(handle)
    }
}

impl Executor for SystemExecutor {
    fn spawn(&self, future: BoxFuture) -> io::Result<Spawned> {
        let task = self.handle()?.spawn(future).abort_handle();
        Ok(Spawned::new(move || task.abort()))
    }

    fn sleep(&self, duration: Duration) -> BoxFuture {
        // The timer is made when the future is first polled: then it is on the thread that looks after it.
        Box::pin(async move { tokio::time::sleep(duration).await })
    }

    fn for_run(&self) -> Arc<dyn Executor> {
        Arc::new(Self::default())
    }

    fn stop(&self, deadline: Duration) -> bool {
        let Some(running) = self.0.lock().take() else {
            return true;
        };
        drop(running.stop);
        if let Err(RecvTimeoutError::Timeout) = running.stopped.recv_timeout(deadline) {
            return false;
        }
        running.thread.join();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_future_runs_waits_and_ends() {
        let executor = SystemExecutor::default();
        let (sender, receiver) = bounded(1);
        let sleep = executor.sleep(Duration::from_millis(1));
        let spawned = executor.spawn(Box::pin(async move {
            sleep.await;
            let name = std::thread::current().name().map(str::to_owned);
            sender.send(name).expect("the test waits");
        }));
        let name = receiver.recv_timeout(LONG).unwrap();
        assert_eq!(name.as_deref(), Some("levada-async"));
        drop(spawned);
        assert!(executor.stop(LONG));
    }

    /// Tells when it is dropped.
    struct Dropped(crossbeam_channel::Sender<()>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }

    #[test]
    fn a_future_whose_handle_is_dropped_ends() {
        let executor = SystemExecutor::default();
        let (sender, receiver) = bounded(1);
        let (started, running) = bounded(1);
        let guard = Dropped(sender);
        let spawned = executor
            .spawn(Box::pin(async move {
                let _guard = guard;
                started.send(()).expect("the test waits");
                std::future::pending::<()>().await;
            }))
            .unwrap();
        running.recv_timeout(LONG).unwrap();
        assert!(receiver.is_empty());
        drop(spawned);
        receiver.recv_timeout(LONG).unwrap();
        assert!(executor.stop(LONG));
    }

    #[test]
    fn a_future_that_blocks_is_left_behind() {
        let executor = SystemExecutor::default();
        let (release, blocked) = bounded::<()>(0);
        let (started, running) = bounded(1);
        let spawned = executor.spawn(Box::pin(async move {
            started.send(()).expect("the test waits");
            let _ = blocked.recv();
        }));
        running.recv_timeout(LONG).unwrap();
        assert!(!executor.stop(Duration::from_millis(10)));
        drop((release, spawned));
    }
}
