//! The scheduler of a simulation: a seed decides who runs next, and for how long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use levada_core::executor::Executor;
use levada_core::random::SplitMix64;
use levada_core::sync::Mutex;
use levada_core::{Clock, Moment};
use levada_runtime::scheduler::Schedule;
use levada_runtime::{Limits, TaskCell};

use crate::world::{SimulatedExecutor, VirtualClock};

/// Polls tasks on the calling thread.
pub(crate) struct SimulatedScheduler {
    state: Mutex<State>,
    clock: Arc<VirtualClock>,
    executor: SimulatedExecutor,
}

struct State {
    random: SplitMix64,
    ready: Vec<Arc<TaskCell>>,
    /// By moment, then in the order in which they were set.
    timers: BTreeMap<(Moment, u64), Arc<TaskCell>>,
    timers_set: u64,
    polls: u64,
    /// Which task ran, poll by poll, folded into one number.
    schedule: u64,
    /// Whether tasks are sometimes woken for nothing.
    spurious: bool,
}

/// Who is polled next.
enum Picked {
    Task(Arc<TaskCell>),
    /// By its place among those that can go on.
    Future(usize),
}

/// What a step did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// A task was polled.
    Polled,
    /// Nobody was ready; time moved on to the next timer.
    Waited,
    /// Nobody is ready, and there is no timer.
    Stuck,
}

impl SimulatedScheduler {
    pub(crate) fn new(
        seed: u64,
        clock: Arc<VirtualClock>,
        executor: SimulatedExecutor,
    ) -> Arc<Self> {
        let mut random = SplitMix64::new(seed);
        // A wake-up for nothing must do no harm. But it may hide that a real one was lost, so most seeds have none.
        let spurious = random.below(4) == 0;
        Arc::new(Self {
            state: Mutex::new(State {
                random,
                ready: Vec::new(),
                timers: BTreeMap::new(),
                timers_set: 0,
                polls: 0,
                schedule: 0xcbf2_9ce4_8422_2325,
                spurious,
            }),
            clock,
            executor,
        })
    }

    /// Polls one task or future, or lets time pass, to a timer that is due by `until` at the latest.
    pub(crate) fn step(&self, tasks: &[Arc<TaskCell>], until: Moment) -> Step {
        self.fire();
        match self.pick(tasks) {
            Some(Picked::Task(task)) => {
                task.run();
                return Step::Polled;
            }
            Some(Picked::Future(index)) => {
                self.executor.poll(index);
                return Step::Polled;
            }
            None => {}
        }
        let task = self.state.lock().timers.keys().next().map(|(at, _)| *at);
        let next = task.into_iter().chain(self.executor.next_timer()).min();
        match next {
            Some(at) if at <= until => {
                self.clock.advance_to(at);
                Step::Waited
            }
            _ => Step::Stuck,
        }
    }

    /// How many polls there were.
    pub(crate) fn polls(&self) -> u64 {
        self.state.lock().polls
    }

    /// A number that two runs share if they polled the same tasks in the same order.
    pub(crate) fn schedule(&self) -> u64 {
        self.state.lock().schedule
    }

    /// Forgets everybody: tasks and scheduler hold each other.
    pub(crate) fn clear(&self) {
        let mut state = self.state.lock();
        let ready = std::mem::take(&mut state.ready);
        let timers = std::mem::take(&mut state.timers);
        drop(state);
        drop((ready, timers));
        self.executor.stop(Duration::ZERO);
    }

    /// Takes a task or a future that can go on, and lets some time pass for its poll.
    fn pick(&self, tasks: &[Arc<TaskCell>]) -> Option<Picked> {
        let mut state = self.state.lock();
        let futures = self.executor.ready();
        if state.ready.is_empty() && futures == 0 {
            return None;
        }
        if state.spurious && state.random.below(16) == 0 {
            let any = state.random.below(tasks.len() as u64) as usize;
            drop(state);
            tasks[any].wake();
            state = self.state.lock();
        }
        let runnable = state.ready.len();
        let index = state.random.below((runnable + futures) as u64) as usize;
        let (picked, number) = if index < runnable {
            let task = state.ready.swap_remove(index);
            let number = task.id() as u64;
            (Picked::Task(task), number)
        } else {
            (Picked::Future(index - runnable), u64::MAX - index as u64)
        };
        state.polls += 1;
        // FNV-1a over the numbers of the tasks.
        state.schedule = (state.schedule ^ number).wrapping_mul(0x0000_0100_0000_01b3);
        let nanos = 1_000 + state.random.below(200_000);
        self.clock.advance(Duration::from_nanos(nanos));
        Some(picked)
    }

    /// Wakes the tasks whose time has come.
    fn fire(&self) {
        self.executor.fire();
        let now = self.clock.now();
        loop {
            let mut state = self.state.lock();
            match state.timers.first_entry() {
                Some(timer) if timer.key().0 <= now => {
                    let task = timer.remove();
                    drop(state);
                    task.wake_by_timer();
                }
                _ => return,
            }
        }
    }
}

impl Schedule for SimulatedScheduler {
    fn ready(&self, task: Arc<TaskCell>) {
        self.state.lock().ready.push(task);
    }

    fn wake_at(&self, task: &Arc<TaskCell>, at: Moment) {
        let mut state = self.state.lock();
        state.timers_set += 1;
        let key = (at, state.timers_set);
        state.timers.insert(key, Arc::clone(task));
    }

    /// Polls of all lengths: often a single record, sometimes a long run.
    fn limits(&self) -> Limits {
        let random = &mut self.state.lock().random;
        let records_max = match random.below(4) {
            0 => 1,
            1 => 4,
            2 => 64,
            _ => 4_096,
        };
        Limits {
            records: 1 + u32::try_from(random.below(records_max)).expect("a few thousand records"),
            batches: 1 + u32::try_from(random.below(4)).expect("a few batches"),
            sealed: 1 + u32::try_from(random.below(4)).expect("a few batches"),
            ..Limits::default()
        }
    }
}
