//! Windows: records of a key gathered by their event time, and results when it has passed.

mod contents;
mod emitting;
mod joined;
mod kind;
mod no_timestamp;
mod node;
mod options;
mod panes;
mod partial;
mod sessions;
mod sliced;
mod slicing;
mod trigger;

pub use contents::{Aggregated, Applied, Contents, Emission, Folded, Versioned};
pub use joined::{Joined, Unmatched};
pub use kind::{
    CountWindow, Global, NeverMerged, PanedKind, ProcessingTime, Session, SlicedKind, Sliding,
    Triggered, Tumbling, WindowKind, WindowsOf, count_window, global_window, session, sliding,
    tumbling,
};
pub use options::{LateOutput, WindowOptions};
pub use panes::Assigner;
pub use partial::{Merged, Partial, PreAggregateStep};
pub use slicing::Slicing;
pub use trigger::{
    AtProcessingTime, AtWatermark, Continuous, ContinuousProcessing, Decision, Every, Purging,
    Trigger, TriggerContext, at_processing_time, at_watermark, continuous, continuous_processing,
    every,
};
