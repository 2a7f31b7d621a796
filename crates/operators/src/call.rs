//! Asynchronous calls: a future for each record, many at a time.
//!
//! ```text
//!  records ──▶ queue: running, done, running, watermark, running… ──▶ results
//!                │ spawn                ▲ mailbox, wakes the task
//!                └──▶ executor ─────────┘
//! ```
//!
//! The queue holds every call from the moment its record came to the moment its result has been emitted, with the record:
//! that is what a snapshot saves, so that a restored operator makes these calls again. It holds no more calls than the program
//! allows; when it is full the operator has no room, and so the stage before it waits.

mod attempts;
mod error;
mod node;
mod operator;
mod options;
mod queue;

pub use error::{CallError, Permanent};
pub use node::{Asynchronous, CallNode};
pub use options::Calls;
