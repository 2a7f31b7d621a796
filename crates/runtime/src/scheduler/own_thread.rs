//! A thread for one task that may block: no worker waits for a file or a socket.

use std::sync::Arc;

use levada_core::sync::{Condvar, Mutex};
use levada_core::{Clock, Moment};

use crate::error::Error;
use crate::scheduler::Schedule;
use crate::task::TaskCell;
use crate::thread::{self, Joined};

/// The scheduler of one task, on a thread of its own.
pub struct OwnThread {
    state: Mutex<State>,
    condvar: Condvar,
    clock: Arc<dyn Clock>,
}

struct State {
    ready: bool,
    wake_at: Moment,
}

impl OwnThread {
    /// A scheduler whose thread does not run yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                ready: false,
                wake_at: Moment::NEVER,
            }),
            condvar: Condvar::new(),
            clock,
        })
    }

    /// Starts the thread; it ends with its task.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(crate) fn start(self: &Arc<Self>, task: Arc<TaskCell>) -> Result<Joined, Error> {
        let own = Arc::clone(self);
        // The kernel shows 15 bytes of a thread's name.
        let name = format!("levada-own-{}", task.id());
        thread::start(name, move || {
            while !task.is_done() {
                if own.await_work() {
                    task.run();
                } else {
                    task.wake_by_timer();
                }
            }
        })
    }

    /// Waits until the task is ready (true), or its time has come (false).
    fn await_work(&self) -> bool {
        let mut state = self.state.lock();
        loop {
            if std::mem::take(&mut state.ready) {
                return true;
            }
            state = if state.wake_at == Moment::NEVER {
                self.condvar.wait(state)
            } else {
                let now = self.clock.now();
                if state.wake_at <= now {
                    state.wake_at = Moment::NEVER;
                    return false;
                }
                let timeout = state.wake_at - now;
                self.condvar.wait_for(state, timeout)
            };
        }
    }
}

impl Schedule for OwnThread {
    fn ready(&self, _: Arc<TaskCell>) {
        let mut state = self.state.lock();
        state.ready = true;
        drop(state);
        self.condvar.notify_one();
    }

    fn wake_at(&self, _: &Arc<TaskCell>, at: Moment) {
        let mut state = self.state.lock();
        state.wake_at = state.wake_at.min(at);
        // Only the task's own thread sets its timers, and it looks at them before it waits.
    }
}
