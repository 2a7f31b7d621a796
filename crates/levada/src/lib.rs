//! Levada: a dataflow engine for Rust programs.
//!
//! A job is a Rust program that describes a graph of operators over typed streams. Levada runs its operators on worker
//! threads, connects them by bounded buffers that are granted as credits, and so lets a slow sink slow down its sources
//! instead of filling the memory.
//!
//! ```
//! use levada::prelude::*;
//!
//! fn lengths(job: &Job) {
//!     job.source("words", iterator(vec!["to", "be", "or", "not", "to", "be"]))
//!         .map(str::len)
//!         .key_by(|length| *length)
//!         .count("counts")
//!         .at_end()
//!         .sink("out", for_each(|(length, count)| println!("{count} words of {length} letters")));
//! }
//!
//! let report = levada::Runner::new().run(lengths)?;
//! assert_eq!(report.metrics.records_read(), 6);
//! # Ok::<(), levada::Error>(())
//! ```
//!
//! A program whose `main` is [`levada::main(job)`](main) gets the flags of every job on its command line. The guide in
//! `docs/guide/` begins with a first job.
//!
//! What Levada is not: a cluster scheduler, a database, or a query language.

mod args;
mod connected;
mod entry;
mod error;
mod expiring;
mod flow;
mod job;
mod join;
mod keyed;
mod logs;
mod pipe;
pub mod prelude;
mod progress;
mod report;
mod reserved;
mod runner;
mod side;
mod state_tool;
mod stream;
mod versioned;
mod window_join;
mod windowed;

pub use args::{CommonFlags, PlanFormat, ReportTo};
pub use connected::{Broadcast, Connected, KeyedBroadcast, KeyedConnected};
pub use entry::main;
pub use error::{Error, JobResult, Result};
pub use expiring::Expiring;
pub use flow::Flow;
pub use job::Job;
pub use join::{IntervalJoined, JoinTtl, Joined, Offset, after, before};
pub use keyed::{Keyed, Updates};
pub use levada_connectors as connectors;
pub use levada_core::event_time::{self, NoEventTime};
pub use levada_core::executor::sleep;
pub use levada_core::{
    BoxError, EventTime, Exchange, Key, KeyGroups, OnError, Retry, Span, State, Timestamp,
};
pub use levada_graph::{BufferOptions, Plan};
pub use levada_operators::step::Emitter;
pub use levada_operators::window::{
    self, at_processing_time, at_watermark, continuous, continuous_processing, count_window, every,
    global_window, session, sliding, tumbling,
};
pub use levada_operators::{
    Aggregate, Aggregates, AggregatingState, BroadcastContext, BroadcastProcess, CallError, Calls,
    CoContext, CoProcess, Context, KeyedContext, KeysContext, ListState, MapState, OpenContext,
    OutputEmitter, Permanent, Process, Reducer, ReducingState, SharedContext, SideOutput, Timer,
    Ttl, ValueState, WatermarkGenerator, Watermarks, aggregate, time,
};
pub use levada_runtime::checkpoint::{
    Allowed, CheckpointMetrics, CheckpointOptions, CheckpointSummary, HeldUp, Hold, StartAt,
};
pub use levada_runtime::metrics;
pub use levada_runtime::{
    Discovery, Drain, Environment, Event, Intake, Reader, ReaderContext, Restart, Sink,
    SinkContext, Source, SourceContext, Status, Writer,
};
pub use levada_state::{StateVersion, version};
pub use pipe::Pipe;
pub use report::{Outcome, Report};
pub use runner::{Handle, Prepared, Runner};
pub use side::SideOutputs;
pub use stream::{SinkHandle, Stream};
pub use versioned::Versioned;
pub use window_join::WindowJoin;
pub use windowed::{PreAggregated, Windowed};

/// The README and the guide are tested with the code.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../../../README.md")]
    mod readme {}
    #[doc = include_str!("../../../docs/guide/01-first-job.md")]
    mod first_job {}
    #[doc = include_str!("../../../docs/guide/02-streams-and-state.md")]
    mod streams_and_state {}
    #[doc = include_str!("../../../docs/guide/03-backpressure.md")]
    mod backpressure {}
    #[doc = include_str!("../../../docs/guide/04-state-and-partitions.md")]
    mod state_and_partitions {}
    #[doc = include_str!("../../../docs/guide/05-several-streams.md")]
    mod several_streams {}
    #[doc = include_str!("../../../docs/guide/06-files-and-formats.md")]
    mod files_and_formats {}
    #[doc = include_str!("../../../docs/guide/07-network.md")]
    mod network {}
    #[doc = include_str!("../../../docs/guide/08-log.md")]
    mod log {}
    #[cfg(feature = "postgres")]
    #[doc = include_str!("../../../docs/guide/09-databases-and-async.md")]
    mod databases_and_async {}
    #[doc = include_str!("../../../docs/guide/10-metrics-and-logs.md")]
    mod metrics_and_logs {}
    #[doc = include_str!("../../../docs/guide/11-asynchronous-calls.md")]
    mod asynchronous_calls {}
    #[doc = include_str!("../../../docs/guide/12-event-time.md")]
    mod event_time {}
    #[doc = include_str!("../../../docs/guide/13-windows.md")]
    mod windows {}
    #[doc = include_str!("../../../docs/guide/14-joins.md")]
    mod joins {}
    #[doc = include_str!("../../../docs/guide/15-checkpoints.md")]
    mod checkpoints {}
    #[doc = include_str!("../../../docs/guide/16-recovery-and-upgrades.md")]
    mod recovery_and_upgrades {}
}
