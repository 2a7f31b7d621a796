//! Who polls a task, and when.
//!
//! ```text
//!            wake                    worker takes it
//!   Idle ───────────▶ Ready ──────────────────────▶ Running ──▶ Done
//!    ▲                  ▲  ▲                         │  │  │ wake
//!    │                  │  └────── yields ───────────┘  │  ▼
//!    └──────────────────┼───── nothing to do ───────────┘ Woken
//!                       └──────────────── poll ends ───────┘
//! ```
//!
//! A task knows only [`Schedule`]: worker threads, a thread of its own, and the simulator are the three that implement
//! it.

mod injector;
#[cfg(all(test, any(loom, shuttle)))]
mod model;
mod own_thread;
mod pool;
mod sleep;
mod state;
mod timers;

use std::sync::Arc;

use levada_core::Moment;

use crate::task::TaskCell;
use crate::turn::Limits;

pub use own_thread::OwnThread;
pub use pool::Pool;
pub(crate) use pool::Workers;
pub use state::TaskState;

/// Polls tasks that are ready.
pub trait Schedule: Send + Sync {
    /// The task is ready; it must be run, once, after this call.
    fn ready(&self, task: Arc<TaskCell>);

    /// The task has given way to others: it must be run after those that were ready before.
    fn yielded(&self, task: Arc<TaskCell>) {
        self.ready(task);
    }

    /// The task wants to be woken at `at`.
    fn wake_at(&self, task: &Arc<TaskCell>, at: Moment);

    /// How long the next poll may be.
    fn limits(&self) -> Limits {
        Limits::default()
    }
}
