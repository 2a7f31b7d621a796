//! TCP as the engine sees it: nothing waits, who finds nothing to do is woken later.
//!
//! Each operation that the kernel might hold up returns [`io::ErrorKind::WouldBlock`] instead. Who is told so asks to be
//! woken and comes back. So a connection needs no thread of its own, a cancel need not interrupt anybody, and one piece of
//! code runs in production and in the simulator.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::wake::Wake;

/// The network (invariant: nothing else in the engine opens a socket).
pub trait Network: Send + Sync {
    /// The addresses of `host:port`, at least one. This may wait for a name server: only what runs before the job's tasks
    /// do may call it.
    ///
    /// # Errors
    /// If the text is no `host:port`, or the host has no address.
    fn resolve(&self, address: &str) -> io::Result<Vec<SocketAddr>>;

    /// Begins to connect. [`Connection::is_connected`] tells what came of it; after `time_limit` that is
    /// [`io::ErrorKind::TimedOut`].
    ///
    /// # Errors
    /// What the operating system says at once.
    fn connect(&self, address: SocketAddr, time_limit: Duration)
    -> io::Result<Box<dyn Connection>>;

    /// Listens.
    ///
    /// # Errors
    /// What the operating system says, for instance that the port is in use.
    fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>>;
}

/// What a connection is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ready {
    /// It may have something to read, or has come to its end.
    Read,
    /// It may take something, or has been connected, or has broken.
    Write,
}

/// Waits for peers to connect.
pub trait Listener: Send {
    /// Where it listens: the port is the one the system chose if zero was asked for.
    fn address(&self) -> SocketAddr;

    /// The next peer.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is none; else what the operating system says.
    fn accept(&mut self) -> io::Result<Box<dyn Connection>>;

    /// Wakes once, when a peer may have come. It may do so for nothing. A new call takes the place of the last one.
    ///
    /// # Errors
    /// If nobody can watch.
    fn wake_when_ready(&mut self, waker: &Arc<dyn Wake>) -> io::Result<()>;
}

/// A connection with a peer. It is closed when it is dropped.
pub trait Connection: Send {
    /// The other side.
    fn peer(&self) -> SocketAddr;

    /// Whether the connection is there. An accepted one always is.
    ///
    /// # Errors
    /// If it cannot be made, or not within the time limit.
    fn is_connected(&mut self) -> io::Result<bool>;

    /// Reads what has come; zero bytes at the end of what the peer sends.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing has come; else what the operating system says.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes as much as there is room for, at least a byte. It is sent sooner or later, unless the connection breaks; what
    /// the peer has taken nobody knows.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is no room; else what the operating system says.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Says that nothing more will be written: the peer reads what was sent, then the end.
    ///
    /// # Errors
    /// What the operating system says.
    fn shutdown(&mut self) -> io::Result<()>;

    /// Wakes once, when the connection may be ready for this. It may do so for nothing. A new call takes the place of the
    /// last one for the same.
    ///
    /// # Errors
    /// If nobody can watch.
    fn wake_when(&mut self, ready: Ready, waker: &Arc<dyn Wake>) -> io::Result<()>;
}

impl fmt::Debug for dyn Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.peer())
    }
}

impl fmt::Debug for dyn Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({})", self.address())
    }
}
