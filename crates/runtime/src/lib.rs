//! Levada's tasks, the threads that run them, and the traits that sources, sinks and operators implement.
//!
//! ```text
//!  Program (graph + factories) ──plan──▶ Plan ──launch──▶ tasks ──┬─ Pool: worker threads, whole tasks are stolen
//!                                                                 ├─ OwnThread: a task that may block
//!                                                                 └─ the simulator
//! ```
//!
//! A task is a state machine that is polled: it never blocks a worker thread, stops when there is no room for what it
//! emits or when its time is over, and is woken when that changes. What it polls is a [`Stage`](stage::Stage): a chain of
//! operators between two exchanges. This crate knows no operator with state; those are in `levada-operators`.

pub mod checkpoint;
mod coordinator;
pub mod embedded;
mod environment;
mod error;
mod event;
mod launch;
pub mod metrics;
mod push;
mod restart;
pub mod scheduler;
mod sink;
mod source;
mod split_clock;
pub mod stage;
mod state_memory;
mod step;
mod subtask;
mod task;
mod thread;
mod throttle;
mod turn;
pub mod wiring;

pub use coordinator::Coordinator;
pub use environment::Environment;
pub use error::{Blame, Error, Failure, blaming, closing};
pub use event::Event;
pub use launch::{Attempt, Launched, RunOptions, launch};
pub use levada_core::{BoxError, Room};
pub use levada_network::{Entry, HasKeyGroup, Unread};
pub use levada_state::StateError;
pub use push::{Downstream, Ending, Epochs, Prepared, Push, Read, Sends, Signal, Visitor};
pub use restart::Restart;
pub use sink::{Drain, Sink, SinkContext, Writer};
pub use source::{Discovery, Intake, Reader, ReaderContext, Source, SourceContext, Status};
pub use split_clock::{SplitClock, SplitSlot};
pub use stage::{KeyedRecord, Overdraft, ToAll, Two};
pub use step::{Identity, Step};
pub use subtask::Subtask;
pub use task::{SPAN_TARGET, TaskCell};
pub use throttle::Throttle;
pub use turn::{Allowance, Limits, Turn};
