//! What job programs import: `use levada::prelude::*;`.

#[cfg(feature = "postgres")]
pub use crate::connectors::postgres;
pub use crate::connectors::{
    BadRecord, csv, files, for_each, from_stream, generator, into_sink, iterator, jsonl, log_sink,
    log_source, sink_channel, source_channel, stdout, tcp_lines, tcp_listen, tcp_sink, text_files,
};
pub use crate::{
    Aggregate, BroadcastContext, BroadcastProcess, Calls, CoContext, CoProcess, Context, Flow, Job,
    JoinTtl, Keyed, ListState, MapState, OnError, OpenContext, Process, SharedContext, SideOutput,
    Span, StateVersion, Stream, Timer, Timestamp, Ttl, ValueState, WatermarkGenerator, Watermarks,
    Windowed, after, at_processing_time, at_watermark, before, continuous, continuous_processing,
    count_window, every, global_window, session, sliding, tumbling, version,
};
pub use levada_core::event_time::{days, hours, millis, minutes, seconds};
