//! The operator graph of a job: built node by node, checked as a whole, and planned into stages with bounds.
//!
//! Nothing here knows record types, threads or channels: a node is a name and a place in the user's program. All errors
//! of a graph are found before anything runs, and each names the lines that made it.
//!
//! ```text
//! JobGraph ──plan(options)──▶ Plan: parallelism of each node, stages, exchanges with the bytes they may hold
//! ```

mod bounds;
mod error;
mod graph;
mod plan;
mod render;
mod stages;

pub use bounds::{Bound, BufferOptions, Bytes, Shortage};
pub use error::{Error, Errors};
pub use graph::{Edge, EdgeId, JobGraph, Node, NodeId, NodeKind, Output, Pattern, StepSpec};
pub use plan::{Exchange, Plan, PlanOptions, PlannedNode, Stage, StageId};
