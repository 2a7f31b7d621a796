//! Futures on the simulator's thread, in virtual time.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use levada_core::executor::{BoxFuture, Executor, Spawned};
use levada_core::sync::Mutex;
use levada_core::{Clock, Moment};

use crate::world::VirtualClock;

/// Polls futures when the simulator's scheduler says so. Clones are the same executor.
#[derive(Clone)]
pub(crate) struct SimulatedExecutor(Arc<Shared>);

struct Shared {
    clock: Arc<VirtualClock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By number; one that is being polled is not here.
    futures: BTreeMap<u64, BoxFuture>,
    next: u64,
    ready: Vec<u64>,
    /// The one that is being polled, and whether its handle has been dropped meanwhile.
    polled: Option<(u64, bool)>,
    /// By moment, then in the order in which they were set.
    timers: BTreeMap<(Moment, u64), Waker>,
    timers_set: u64,
}

impl SimulatedExecutor {
    pub(crate) fn new(clock: Arc<VirtualClock>) -> Self {
        Self(Arc::new(Shared {
            clock,
            state: Mutex::new(State::default()),
        }))
    }

    /// How many futures can go on.
    pub(crate) fn ready(&self) -> usize {
        self.0.state.lock().ready.len()
    }

    /// Polls one of those that can go on.
    pub(crate) fn poll(&self, index: usize) {
        let mut state = self.0.state.lock();
        let id = state.ready.swap_remove(index);
        let Some(mut future) = state.futures.remove(&id) else {
            return;
        };
        state.polled = Some((id, false));
        drop(state);
        let waker = Waker::from(Arc::new(Ready {
            id,
            shared: Arc::clone(&self.0),
        }));
        let mut context = Context::from_waker(&waker);
        // A panic ends the future and nothing else, as in production.
        let poll = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context)));
        let mut state = self.0.state.lock();
        let ended = state.polled.take().is_some_and(|(_, ended)| ended);
        if let (Ok(Poll::Pending), false) = (poll, ended) {
            state.futures.insert(id, future);
            return;
        }
        drop(state);
        drop(future);
    }

    /// When the next timer is over.
    pub(crate) fn next_timer(&self) -> Option<Moment> {
        let state = self.0.state.lock();
        state.timers.keys().next().map(|(at, _)| *at)
    }

    /// Wakes the futures whose time has come.
    pub(crate) fn fire(&self) {
        let now = self.0.clock.now();
        loop {
            let mut state = self.0.state.lock();
            match state.timers.first_entry() {
                Some(timer) if timer.key().0 <= now => {
                    let waker = timer.remove();
                    drop(state);
                    waker.wake();
                }
                _ => return,
            }
        }
    }
}

impl Executor for SimulatedExecutor {
    fn spawn(&self, future: BoxFuture) -> io::Result<Spawned> {
        let mut state = self.0.state.lock();
        let id = state.next;
        state.next += 1;
        state.futures.insert(id, future);
        state.ready.push(id);
        let shared = Arc::clone(&self.0);
        Ok(Spawned::new(move || shared.end(id)))
    }

    fn sleep(&self, duration: Duration) -> BoxFuture {
        Box::pin(Sleep {
            shared: Arc::clone(&self.0),
            duration,
            until: None,
            timer: None,
        })
    }

    fn for_run(&self) -> Arc<dyn Executor> {
        Arc::new(self.clone())
    }

    fn stop(&self, _: Duration) -> bool {
        let mut state = self.0.state.lock();
        let futures = std::mem::take(&mut state.futures);
        let timers = std::mem::take(&mut state.timers);
        state.ready.clear();
        drop(state);
        drop((futures, timers));
        true
    }
}

impl Shared {
    fn end(&self, id: u64) {
        let mut state = self.state.lock();
        state.ready.retain(|other| *other != id);
        let future = state.futures.remove(&id);
        if let Some((_, ended)) = state.polled.as_mut().filter(|(polled, _)| *polled == id) {
            *ended = true;
        }
        drop(state);
        drop(future);
    }
}

/// Wakes a future.
struct Ready {
    id: u64,
    shared: Arc<Shared>,
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        let mut state = self.shared.state.lock();
        if !state.ready.contains(&self.id) {
            state.ready.push(self.id);
        }
    }
}

struct Sleep {
    shared: Arc<Shared>,
    duration: Duration,
    until: Option<Moment>,
    timer: Option<(Moment, u64)>,
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            let waker = self.shared.state.lock().timers.remove(&timer);
            drop(waker);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let now = self.shared.clock.now();
        let end = now + self.duration;
        let until = *self.until.get_or_insert(end);
        if now >= until {
            return Poll::Ready(());
        }
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        let timer = match self.timer {
            Some(timer) => timer,
            None => {
                state.timers_set += 1;
                *self.timer.insert((until, state.timers_set))
            }
        };
        let before = state.timers.insert(timer, context.waker().clone());
        drop(state);
        drop(before);
        Poll::Pending
    }
}
