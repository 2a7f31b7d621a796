//! Levada's operators, written against the traits of `levada-runtime`.
//!
//! Stateless ones are [steps](step): they fuse by type with what follows. Those with state are nodes of the graph with a
//! name; they keep a table per key group and can be stopped, saved and restored between any two of their outputs.

pub mod aggregate;
mod call;
mod deduplicate;
pub mod join;
mod kinds;
pub mod process;
mod running;
mod state_check;
pub mod step;
pub mod time;
mod ttl;
pub mod window;

pub use aggregate::{Aggregate, Aggregates};
pub use call::{Asynchronous, CallError, CallNode, Calls, Permanent};
pub use deduplicate::Deduplicate;
pub use join::JoinNode;
pub use kinds::{AggregatingState, ListState, MapState, Reducer, ReducingState, ValueState};
pub use process::{
    BroadcastContext, BroadcastProcess, CoContext, CoProcess, Context, KeyedContext, KeysContext,
    OpenContext, OutputEmitter, Process, ProcessNode, SharedContext, SideOutput, SidePorts, Timer,
};
pub use running::RunningNode;
pub use time::{WatermarkGenerator, Watermarks};
pub use ttl::Ttl;
