//! The operating system's TCP.

mod watcher;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

use levada_core::net::{Connection, Listener, Network, Ready};
use levada_core::sync::Mutex;
use levada_core::{Clock, Moment, Wake};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use watcher::{Ticket, Watcher};

pub(super) struct SystemNetwork {
    clock: Arc<dyn Clock>,
    /// Lives as long as a socket does.
    watcher: Mutex<Weak<Watcher>>,
}

impl SystemNetwork {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            watcher: Mutex::new(Weak::new()),
        }
    }

    fn watcher(&self) -> io::Result<Arc<Watcher>> {
        let mut slot = self.watcher.lock();
        if let Some(watcher) = slot.upgrade() {
            return Ok(watcher);
        }
        let watcher = Arc::new(Watcher::start(Arc::clone(&self.clock))?);
        *slot = Arc::downgrade(&watcher);
        Ok(watcher)
    }
}

impl Network for SystemNetwork {
    fn resolve(&self, address: &str) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<_> = address.to_socket_addrs()?.collect();
        if found.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the host has no address",
            ));
        }
        Ok(found)
    }

    fn connect(
        &self,
        address: SocketAddr,
        time_limit: Duration,
    ) -> io::Result<Box<dyn Connection>> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let deadline = self.clock.now() + time_limit;
        Ok(Box::new(SystemConnection {
            socket: Arc::new(TcpStream::from(socket)),
            peer: address,
            connecting: Some(deadline),
            tickets: [None; 2],
            watcher: self.watcher()?,
            clock: Arc::clone(&self.clock),
        }))
    }

    fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>> {
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        Ok(Box::new(SystemListener {
            address: socket.local_addr()?,
            socket: Arc::new(socket),
            ticket: None,
            watcher: self.watcher()?,
            clock: Arc::clone(&self.clock),
        }))
    }
}

struct SystemListener {
    address: SocketAddr,
    socket: Arc<TcpListener>,
    ticket: Option<Ticket>,
    watcher: Arc<Watcher>,
    clock: Arc<dyn Clock>,
}

impl Listener for SystemListener {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn accept(&mut self) -> io::Result<Box<dyn Connection>> {
        let (socket, peer) = uninterrupted(|| self.socket.accept())?;
        socket.set_nonblocking(true)?;
        Ok(Box::new(SystemConnection {
            socket: Arc::new(socket),
            peer,
            connecting: None,
            tickets: [None; 2],
            watcher: Arc::clone(&self.watcher),
            clock: Arc::clone(&self.clock),
        }))
    }

    fn wake_when_ready(&mut self, waker: &Arc<dyn Wake>) -> io::Result<()> {
        let socket: Arc<dyn AsFd + Send + Sync> = Arc::clone(&self.socket) as _;
        let ticket = &mut self.ticket;
        self.watcher
            .watch(ticket, socket, PollFlags::IN, Moment::NEVER, waker);
        Ok(())
    }
}

impl Drop for SystemListener {
    fn drop(&mut self) {
        self.watcher.forget(self.ticket.take());
    }
}

struct SystemConnection {
    socket: Arc<TcpStream>,
    peer: SocketAddr,
    /// Until when it must be connected, while it is not.
    connecting: Option<Moment>,
    /// For reading and for writing.
    tickets: [Option<Ticket>; 2],
    watcher: Arc<Watcher>,
    clock: Arc<dyn Clock>,
}

impl Connection for SystemConnection {
    fn peer(&self) -> SocketAddr {
        self.peer
    }

    fn is_connected(&mut self) -> io::Result<bool> {
        let Some(deadline) = self.connecting else {
            return Ok(true);
        };
        let mut polled = [PollFd::new(&*self.socket, PollFlags::OUT)];
        let at_once = Timespec::default();
        let ready = uninterrupted(|| Ok(rustix::event::poll(&mut polled, Some(&at_once))?))?;
        if ready == 0 {
            return if self.clock.now() < deadline {
                Ok(false)
            } else {
                Err(io::ErrorKind::TimedOut.into())
            };
        }
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        // What is written is gathered before: the kernel need not wait for more.
        self.socket.set_nodelay(true)?;
        self.connecting = None;
        Ok(true)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| (&*self.socket).read(buffer))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        uninterrupted(|| (&*self.socket).write(bytes))
    }

    fn shutdown(&mut self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }

    fn wake_when(&mut self, ready: Ready, waker: &Arc<dyn Wake>) -> io::Result<()> {
        let [reading, writing] = &mut self.tickets;
        let (ticket, flags) = match ready {
            Ready::Read => (reading, PollFlags::IN),
            Ready::Write => (writing, PollFlags::OUT),
        };
        let deadline = self.connecting.unwrap_or(Moment::NEVER);
        let socket: Arc<dyn AsFd + Send + Sync> = Arc::clone(&self.socket) as _;
        self.watcher.watch(ticket, socket, flags, deadline, waker);
        Ok(())
    }
}

impl Drop for SystemConnection {
    fn drop(&mut self) {
        for ticket in &mut self.tickets {
            self.watcher.forget(ticket.take());
        }
    }
}

/// Does it again when a signal came in between.
fn uninterrupted<R>(mut act: impl FnMut() -> io::Result<R>) -> io::Result<R> {
    loop {
        match act() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use crossbeam_channel::{Receiver, Sender, bounded};

    use super::*;
    use crate::environment::Environment;

    /// Wakes whoever waits at the other end of a channel.
    struct Bell(Sender<()>);

    impl Wake for Bell {
        fn wake(&self) {
            let _ = self.0.try_send(());
        }
    }

    fn bell() -> (Arc<dyn Wake>, Receiver<()>) {
        let (sender, receiver) = bounded(1);
        (Arc::new(Bell(sender)), receiver)
    }

    fn network() -> Arc<dyn Network> {
        Environment::system().network
    }

    fn listening(network: &dyn Network) -> Box<dyn Listener> {
        network.listen("127.0.0.1:0".parse().unwrap()).unwrap()
    }

    /// Does something until it would not block, with a wake-up before each new try.
    fn awaited<R>(woken: &Receiver<()>, mut act: impl FnMut() -> io::Result<R>) -> io::Result<R> {
        loop {
            match act() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => woken.recv().unwrap(),
                other => return other,
            }
        }
    }

    /// Accepts and connects; the first of the pair has accepted.
    fn pair(network: &dyn Network) -> (Box<dyn Connection>, Box<dyn Connection>) {
        let (waker, woken) = bell();
        let mut listener = listening(network);
        let limit = Duration::from_secs(10);
        let mut connection = network.connect(listener.address(), limit).unwrap();
        let accepted = awaited(&woken, || {
            listener.wake_when_ready(&waker)?;
            listener.accept()
        });
        awaited(&woken, || {
            connection.wake_when(Ready::Write, &waker)?;
            match connection.is_connected() {
                Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
                other => other,
            }
        })
        .unwrap();
        (accepted.unwrap(), connection)
    }

    #[test]
    fn bytes_and_their_end_arrive() {
        let network = network();
        let (mut left, mut right) = pair(&*network);
        let (waker, woken) = bell();
        let mut buffer = [0; 16];
        assert_eq!(
            left.read(&mut buffer).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        assert_eq!(right.write(b"water").unwrap(), 5);
        right.shutdown().unwrap();
        let mut read = Vec::new();
        loop {
            let n = awaited(&woken, || {
                left.wake_when(Ready::Read, &waker)?;
                left.read(&mut buffer)
            });
            match n.unwrap() {
                0 => break,
                n => read.extend_from_slice(&buffer[..n]),
            }
        }
        assert_eq!(read, b"water");
        // The other direction is still open.
        assert_eq!(left.write(b"!").unwrap(), 1);
        let n = awaited(&woken, || {
            right.wake_when(Ready::Read, &waker)?;
            right.read(&mut buffer)
        });
        assert_eq!(n.unwrap(), 1);
    }

    #[test]
    fn a_peer_that_does_not_read_holds_up_the_writer_until_it_does() {
        let network = network();
        let (mut reader, mut writer) = pair(&*network);
        let (waker, woken) = bell();
        let mut written = 0;
        loop {
            match writer.write(&[7; 65_536]) {
                Ok(n) => written += n,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    break;
                }
            }
            assert!(written < 64 << 20, "the kernel's buffers have an end");
        }
        writer.wake_when(Ready::Write, &waker).unwrap();
        let other = thread::Builder::new();
        let reading = other
            .spawn(move || {
                let (waker, woken) = bell();
                let mut left = written + b"more".len();
                let mut buffer = vec![0; 65_536];
                while left > 0 {
                    left -= awaited(&woken, || {
                        reader.wake_when(Ready::Read, &waker)?;
                        reader.read(&mut buffer)
                    })
                    .unwrap();
                }
                reader
            })
            .unwrap();
        woken.recv().unwrap();
        assert_eq!(writer.write(b"more").unwrap(), 4);
        reading.join().unwrap();
    }

    #[test]
    fn nobody_listens() {
        let network = network();
        let (waker, woken) = bell();
        let free = listening(&*network).address();
        let refused = network
            .connect(free, Duration::from_secs(10))
            .and_then(|mut connection| {
                awaited(&woken, || {
                    connection.wake_when(Ready::Write, &waker)?;
                    match connection.is_connected() {
                        Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
                        other => other,
                    }
                })
            });
        assert_eq!(
            refused.unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
    }

    #[test]
    fn a_port_in_use_is_refused() {
        let network = network();
        let first = listening(&*network);
        let second = network.listen(first.address());
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn text_that_is_no_address() {
        let network = network();
        assert!(network.resolve("127.0.0.1").is_err());
        assert!(network.resolve("127.0.0.1:http").is_err());
        assert_eq!(network.resolve("127.0.0.1:80").unwrap().len(), 1);
    }

    #[test]
    fn whoever_waits_for_a_connection_is_woken_at_its_deadline() {
        let network = network();
        let (waker, woken) = bell();
        // A listener that accepts nobody answers no further connection once its queue is full.
        let full = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&full, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
        rustix::net::listen(&full, 0).unwrap();
        let address = TcpListener::from(full.try_clone().unwrap())
            .local_addr()
            .unwrap();
        let mut connections = Vec::new();
        loop {
            let mut connection = network.connect(address, Duration::from_millis(20)).unwrap();
            let outcome = awaited(&woken, || {
                connection.wake_when(Ready::Write, &waker)?;
                match connection.is_connected() {
                    Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
                    other => other,
                }
            });
            connections.push(connection);
            match outcome {
                Ok(_) => assert!(connections.len() < 100, "the queue has an end"),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                    return;
                }
            }
        }
    }
}
