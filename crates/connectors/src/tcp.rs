//! Lines over TCP, in and out.
//!
//! Nothing here blocks: sockets wake the tasks that wait for them, so a source or sink needs no thread of its own, a job
//! can be cancelled whatever its peers do, and a job that is full stops reading: the peer's window closes, and it waits.

mod line;
mod listen;
mod peer;
mod sink;
mod source;

pub use listen::{TcpListen, TcpListenReader, tcp_listen};
pub use sink::{TcpSink, TcpWriter, tcp_sink};
pub use source::{TcpLines, TcpLinesReader, tcp_lines};

/// The default for the longest line.
const LINE_BYTES_MAX: usize = 1 << 20;
