//! Processes: the user's own operators, with state, several inputs and side outputs.

mod broadcast;
mod connected;
mod context;
mod dated;
mod keyed;
mod node;
mod operator;
pub(crate) mod outputs;
mod shared;
pub(crate) mod side;
mod single;
mod timer;
pub(crate) mod times;

pub use broadcast::{BroadcastContext, BroadcastProcess, Informed, InformedWithoutKeys};
pub use connected::{CoProcess, Connected};
pub use context::{
    CoContext, Context, KeyedContext, KeysContext, OpenContext, OutputEmitter, SharedContext,
};
pub use node::{ProcessNode, SidePorts};
pub use operator::{Logic, Parts};
pub use side::SideOutput;
pub use single::{Process, Single};
pub use timer::Timer;
