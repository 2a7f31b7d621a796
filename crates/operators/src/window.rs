//! Windows: records of a key gathered by their event time, and results when it has passed.

mod contents;
mod emitting;
mod joined;
mod kind;
mod node;
mod options;
mod partial;
mod rows;
mod sessions;
mod sliced;
mod slicing;

pub use contents::{Aggregated, Applied, Contents, Emission, Folded};
pub use joined::{Joined, Unmatched};
pub use kind::{
    NeverMerged, Session, SlicedKind, Sliding, Tumbling, WindowKind, session, sliding, tumbling,
};
pub use node::SlicedNode;
pub use options::{LateOutput, WindowOptions};
pub use partial::{Merged, Partial, PreAggregateStep};
pub use slicing::Slicing;
