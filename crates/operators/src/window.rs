//! Windows: records of a key gathered by their event time, and results when it has passed.

mod contents;
mod emitting;
mod kind;
mod node;
mod options;
mod sliced;
mod slicing;

pub use contents::{Aggregated, Applied, Contents, Emission, Folded};
pub use kind::{NeverMerged, Sliding, Tumbling, WindowKind, sliding, tumbling};
pub use node::SlicedNode;
pub use options::{LateOutput, WindowOptions};
pub use slicing::Slicing;
