//! Worker threads that poll tasks and steal whole ones from each other.
//!
//! Each worker has a queue and a *next* slot. A task that a worker wakes goes into its slot, so that a consumer runs right
//! after its producer while the batch is in cache; what was in the slot moves to the queue. Only queues are stolen from.
//! A sleeping worker is woken when there is more than the waker will run next, since waking costs as much as a batch.
//!
//! # Shutdown
//! 1. The coordinator has seen every task end, so no task is in any queue.
//! 2. `stop` is set and all workers are woken.
//! 3. Each worker sees `stop` before it sleeps again, and returns.
//! 4. [`Workers::join`] waits for the threads.

use std::cell::Cell;
use std::sync::Arc;

use levada_core::sync::atomic::{AtomicBool, Ordering};
use levada_core::sync::{Mutex, thread_local};
use levada_core::{Clock, Moment, fault};

use crate::error::Error;
use crate::scheduler::Schedule;
use crate::scheduler::injector::Injector;
use crate::scheduler::sleep::Sleep;
use crate::scheduler::timers::Timers;
use crate::task::TaskCell;
use crate::thread::{self, Joined};

/// How often the slot may be used in a row before its task must queue like all others.
const SLOT_RUNS_MAX: u32 = 16;

/// How often a worker looks at the common queue first, so that nothing waits there for ever.
const COMMON_EVERY: u32 = 61;

/// Looks around before a worker sleeps: some ten microseconds, as much as half of a wake-up costs.
const SPINS: u32 = if cfg!(any(loom, shuttle)) { 0 } else { 200 };

/// What the workers share.
pub struct Pool {
    /// Tasks woken by threads that are no workers.
    common: Injector,
    workers: Vec<Worker>,
    sleep: Sleep,
    timers: Timers,
    stop: AtomicBool,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Worker {
    next: Mutex<Option<Arc<TaskCell>>>,
    queue: Injector,
}

/// The threads of a pool.
pub(crate) struct Workers {
    pool: Arc<Pool>,
    threads: Vec<Joined>,
}

thread_local! {
    #[expect(
        clippy::missing_const_for_thread_local,
        reason = "the model checkers' thread locals know no constants"
    )]
    /// The pool (by address) and the number of the worker that this thread is.
    static CURRENT: Cell<Option<(usize, usize)>> = Cell::new(None);
}

impl Pool {
    /// A pool for `threads` workers, none of which runs yet.
    #[must_use]
    pub fn new(threads: usize, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            common: Injector::default(),
            workers: (0..threads).map(|_| Worker::default()).collect(),
            sleep: Sleep::default(),
            timers: Timers::new(),
            stop: AtomicBool::new(false),
            clock,
        })
    }

    /// Starts the worker threads.
    ///
    /// # Errors
    /// If a thread cannot be started; those that were are stopped.
    pub(crate) fn start(self: &Arc<Self>) -> Result<Workers, Error> {
        let mut workers = Workers {
            pool: Arc::clone(self),
            threads: Vec::new(),
        };
        for index in 0..self.workers.len() {
            let pool = Arc::clone(self);
            let name = format!("levada-worker-{index}");
            match thread::start(name, move || pool.work(index)) {
                Ok(thread) => workers.threads.push(thread),
                Err(error) => {
                    workers.join();
                    return Err(error);
                }
            }
        }
        Ok(workers)
    }

    /// Lets the workers return once they have nothing to run.
    pub(super) fn stop(&self) {
        self.timers.clear();
        self.stop.store(true, Ordering::Release);
        self.sleep.wake_all();
    }

    /// Ready tasks in all queues, as of a moment ago.
    #[must_use]
    pub fn queued(&self) -> usize {
        let queues = self.workers.iter().map(|worker| worker.queue.gauge());
        self.common.gauge() + queues.sum::<usize>()
    }

    pub(super) fn work(self: Arc<Self>, index: usize) {
        CURRENT.with(|current| current.set(Some((self.address(), index))));
        let mut turn = 0u32;
        let mut slot_runs = 0;
        let mut now = self.clock.now();
        loop {
            if self.timers.next() <= now {
                self.timers.fire(now);
            }
            turn = turn.wrapping_add(1);
            let task = if turn.is_multiple_of(COMMON_EVERY) {
                self.common
                    .pop()
                    .or_else(|| self.take(index, &mut slot_runs))
            } else {
                self.take(index, &mut slot_runs)
            };
            if let Some(task) = task {
                now = task.run();
                continue;
            }
            if self.stop.load(Ordering::Acquire) {
                break;
            }
            if self.spin() {
                continue;
            }
            now = self.clock.now();
            let next = self.timers.next();
            if next <= now {
                continue;
            }
            let timeout = (next != Moment::NEVER).then(|| next - now);
            self.sleep.sleep(timeout, || {
                self.stop.load(Ordering::Acquire) || self.any_work() || self.timers.next() < next
            });
            now = self.clock.now();
        }
        CURRENT.with(|current| current.set(None));
    }

    /// The next task for a worker: from its slot, its queue, the common queue, or another worker's queue.
    fn take(&self, index: usize, slot_runs: &mut u32) -> Option<Arc<TaskCell>> {
        let worker = &self.workers[index];
        if *slot_runs < SLOT_RUNS_MAX || !worker.queue.seems_filled() {
            let next = worker.next.lock().take();
            if next.is_some() {
                *slot_runs += 1;
                return next;
            }
        }
        *slot_runs = 0;
        let others = (1..self.workers.len()).map(|step| (index + step) % self.workers.len());
        worker
            .queue
            .pop()
            .or_else(|| self.common.pop())
            .or_else(|| {
                let mut others = others;
                others.find_map(|other| self.workers[other].queue.pop())
            })
    }

    fn spin(&self) -> bool {
        for _ in 0..SPINS {
            if self.queued() > 0 {
                return true;
            }
            std::hint::spin_loop();
        }
        false
    }

    fn any_work(&self) -> bool {
        !self.common.is_empty() || self.workers.iter().any(|worker| !worker.queue.is_empty())
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn current(&self) -> Option<usize> {
        CURRENT
            .with(Cell::get)
            .filter(|(pool, _)| *pool == self.address())
            .map(|(_, worker)| worker)
    }

    /// Wakes a sleeping worker if this one has more than it will run next.
    fn share(&self, surplus: bool) {
        if surplus && !fault!("surplus-unseen") {
            self.sleep.wake_one();
        }
    }
}

impl Schedule for Pool {
    fn ready(&self, task: Arc<TaskCell>) {
        let Some(current) = self.current() else {
            self.common.push(task);
            self.sleep.wake_one();
            return;
        };
        let worker = &self.workers[current];
        let before = worker.next.lock().replace(task);
        if let Some(before) = before {
            worker.queue.push(before);
        }
        self.share(worker.queue.seems_filled());
    }

    fn yielded(&self, task: Arc<TaskCell>) {
        let Some(current) = self.current() else {
            return self.ready(task);
        };
        let worker = &self.workers[current];
        let next = worker.next.lock().is_some();
        worker.queue.push(task);
        self.share(next || worker.queue.gauge() > 1);
    }

    fn wake_at(&self, task: &Arc<TaskCell>, at: Moment) {
        let earliest = at < self.timers.next();
        self.timers.set(task, at);
        // A worker that sets a timer looks at it before it sleeps; from elsewhere somebody must be told.
        if earliest && self.current().is_none() {
            self.sleep.wake_one();
        }
    }
}

impl Workers {
    /// Stops the workers and waits for them.
    pub(crate) fn join(self) {
        self.pool.stop();
        for thread in self.threads {
            thread.join();
        }
    }
}
