//! What job programs import: `use levada::prelude::*;`.

pub use crate::connectors::{
    files, for_each, generator, iterator, sink_channel, source_channel, stdout, text_files,
};
pub use crate::{
    Aggregate, Context, Flow, Job, Keyed, OpenContext, Process, SideOutput, Stream, Timestamp,
};
