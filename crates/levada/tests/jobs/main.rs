//! Whole jobs, in the simulator and on threads: results, backpressure, event time, metrics, the end.

mod backpressure;
mod closing;
mod emissions;
mod everything;
mod failures;
mod metrics;
mod results;
mod scripted;
mod seeds;
mod splits;
mod splits_edges;
mod state_memory;
mod threads;
mod timeouts;
mod watermarks;
mod wide;
