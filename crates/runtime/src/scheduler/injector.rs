//! A queue of ready tasks with a length that can be read without its lock.

use std::collections::VecDeque;
use std::sync::Arc;

use levada_core::sync::Mutex;
use levada_core::sync::atomic::{AtomicUsize, Ordering};

use crate::task::TaskCell;

/// Ready tasks, oldest first. Bounded by the number of tasks: each is in one queue at most.
#[derive(Default)]
pub(crate) struct Injector {
    tasks: Mutex<VecDeque<Arc<TaskCell>>>,
    len: AtomicUsize,
}

impl Injector {
    pub(crate) fn push(&self, task: Arc<TaskCell>) {
        let mut tasks = self.tasks.lock();
        tasks.push_back(task);
        self.len.store(tasks.len(), Ordering::Release);
    }

    pub(crate) fn pop(&self) -> Option<Arc<TaskCell>> {
        if !self.seems_filled() {
            return None;
        }
        let mut tasks = self.tasks.lock();
        let task = tasks.pop_front();
        self.len.store(tasks.len(), Ordering::Release);
        task
    }

    /// The number of tasks, as of a moment ago.
    pub(crate) fn gauge(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Whether there were tasks a moment ago.
    pub(crate) fn seems_filled(&self) -> bool {
        self.gauge() > 0
    }

    /// Whether there is no task, by a look under the lock.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.lock().is_empty()
    }
}
