//! Records in HTTP requests of others, and in requests to others.
//!
//! HTTP/1.1 is hyper's; connections and time are the engine's, so that servers and clients run in the simulator as they do
//! in production. TLS is not spoken: put a proxy in front.

mod body;
mod client;
mod link;
mod queue;
mod server;
mod sink;
mod source;

pub use sink::{HttpSink, HttpWriter, http_sink};
pub use source::{HttpReader, HttpSource, http_source};
