//! Channels between a job and the other threads of the program.

mod sink;
mod source;

use std::fmt;

pub use sink::{ChannelReceiver, ChannelSink, sink_channel};
pub use source::{ChannelSender, ChannelSource, source_channel};

/// The other end of a channel is gone; what could not be sent comes back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Closed<T>(pub T);

impl<T> fmt::Display for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the other end of the channel is gone")
    }
}

impl<T: fmt::Debug> std::error::Error for Closed<T> {}
