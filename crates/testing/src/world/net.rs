//! A network in memory: slow, in small pieces, with peers that do as they are told.

mod peer;
mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use levada_core::Wake;
use levada_core::net::{Connection, Listener, Network, Ready};
use levada_core::random::SplitMix64;
use levada_core::sync::Mutex;

pub use peer::Peer;
use wire::{Wire, WireEnd};

/// TCP in memory. Clones are the same network.
///
/// Each direction of a connection holds a few bytes to a few thousand, drawn from the seed; so is how much a read or a
/// write moves. Peers act between the polls of the job.
#[derive(Clone)]
pub struct MemoryNet {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    random: SplitMix64,
    /// The most bytes that one direction of a connection holds.
    capacity: usize,
    /// By name, with the addresses given to them.
    hosts: BTreeMap<String, SocketAddr>,
    listeners: BTreeMap<SocketAddr, Listening>,
    /// Whom the job finds when it connects; the last one again and again.
    servers: BTreeMap<SocketAddr, VecDeque<Peer>>,
    /// Addresses from which no answer comes.
    silent: BTreeSet<SocketAddr>,
    /// Addresses that somebody else listens at.
    taken: BTreeSet<SocketAddr>,
    /// Peers that wait for the job to listen.
    callers: VecDeque<(SocketAddr, Peer)>,
    wires: Vec<Wire>,
}

#[derive(Default)]
struct Listening {
    /// Wires that nobody has accepted.
    backlog: VecDeque<usize>,
    waker: Option<Arc<dyn Wake>>,
}

impl MemoryNet {
    /// The network of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = SplitMix64::new(seed);
        let capacity = [3, 64, 1_024, 65_536][random.below(4) as usize];
        let inner = Inner {
            random,
            capacity,
            hosts: BTreeMap::new(),
            listeners: BTreeMap::new(),
            servers: BTreeMap::new(),
            silent: BTreeSet::new(),
            taken: BTreeSet::new(),
            callers: VecDeque::new(),
            wires: Vec::new(),
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// Whoever connects to this address finds these peers, one after the other, and then the last one again.
    ///
    /// # Panics
    /// If there is no peer, or the address is no `host:port`.
    pub fn serve(&self, address: &str, peers: impl IntoIterator<Item = Peer>) {
        let peers: VecDeque<_> = peers.into_iter().collect();
        assert!(!peers.is_empty(), "a server is a peer at least");
        let mut inner = self.inner.lock();
        let address = inner.register(address);
        inner.servers.insert(address, peers);
    }

    /// Whoever connects to this address hears nothing.
    pub fn never_answer(&self, address: &str) {
        let mut inner = self.inner.lock();
        let address = inner.register(address);
        inner.silent.insert(address);
    }

    /// Somebody else listens at this address.
    pub fn occupy(&self, address: &str) {
        let mut inner = self.inner.lock();
        let address = inner.register(address);
        inner.taken.insert(address);
    }

    /// A peer connects to this address as soon as the job listens there.
    pub fn call(&self, address: &str, peer: Peer) {
        let mut inner = self.inner.lock();
        let address = inner.register(address);
        inner.callers.push_back((address, peer));
    }

    /// What each peer has read, in the order in which they were connected.
    #[must_use]
    pub fn received(&self) -> Vec<Vec<u8>> {
        let inner = self.inner.lock();
        inner
            .wires
            .iter()
            .map(|wire| wire.received.clone())
            .collect()
    }

    /// Whether the job has said that it will write no more, of each connection.
    #[must_use]
    pub fn shut_down(&self) -> Vec<bool> {
        let inner = self.inner.lock();
        inner.wires.iter().map(|wire| wire.shut_down).collect()
    }

    /// How many bytes all peers have sent, as far as there was room.
    #[must_use]
    pub fn sent(&self) -> usize {
        let inner = self.inner.lock();
        inner.wires.iter().map(|wire| wire.peer.sent).sum()
    }

    /// The most bytes that one direction of a connection holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.inner.lock().capacity
    }

    /// Lets one peer act; false if none can.
    pub(crate) fn step(&self) -> bool {
        let mut inner = self.inner.lock();
        let mut wakers = Vec::new();
        let acted = inner.call_in(&mut wakers) || inner.act(&mut wakers);
        drop(inner);
        for waker in wakers {
            waker.wake();
        }
        acted
    }
}

impl Inner {
    /// Gives a host an address when it is named for the first time.
    fn register(&mut self, address: &str) -> SocketAddr {
        if let Ok(address) = address.parse() {
            return address;
        }
        if let Some(known) = self.hosts.get(address) {
            return *known;
        }
        let (_, port) = split(address).expect("an address is host:port");
        let number = u8::try_from(self.hosts.len() + 1).expect("a network of 255 hosts");
        let given = SocketAddr::from(([10, 0, 0, number], port));
        self.hosts.insert(address.to_owned(), given);
        given
    }

    /// Connects a peer that waits for the job to listen.
    fn call_in(&mut self, wakers: &mut Vec<Arc<dyn Wake>>) -> bool {
        let Self {
            callers, listeners, ..
        } = self;
        let at = callers
            .iter()
            .position(|(to, _)| listeners.contains_key(to));
        let Some((address, peer)) = at.and_then(|at| callers.remove(at)) else {
            return false;
        };
        let port = 40_000 + u16::try_from(self.wires.len()).expect("some thousand connections");
        let from = SocketAddr::from(([10, 0, 1, 1], port));
        self.wires.push(Wire::accepted(from, peer, self.capacity));
        let listening = self.listeners.get_mut(&address);
        let listening = listening.expect("it was found a moment ago");
        listening.backlog.push_back(self.wires.len() - 1);
        wakers.extend(listening.waker.take());
        true
    }

    /// Lets one of the peers that can act do so.
    fn act(&mut self, wakers: &mut Vec<Arc<dyn Wake>>) -> bool {
        let able: Vec<_> = (0..self.wires.len())
            .filter(|wire| self.wires[*wire].can_act())
            .collect();
        if able.is_empty() {
            return false;
        }
        let wire = able[self.random.below(able.len() as u64) as usize];
        self.wires[wire].act(&mut self.random, wakers);
        true
    }
}

fn split(address: &str) -> io::Result<(&str, u16)> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "invalid socket address");
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    Ok((host, port.parse().map_err(|_| wrong())?))
}

impl Network for MemoryNet {
    fn resolve(&self, address: &str) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = address.parse() {
            return Ok(vec![address]);
        }
        split(address)?;
        match self.inner.lock().hosts.get(address) {
            Some(known) => Ok(vec![*known]),
            None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the host has no address",
            )),
        }
    }

    fn connect(&self, address: SocketAddr, _: Duration) -> io::Result<Box<dyn Connection>> {
        let mut inner = self.inner.lock();
        let capacity = inner.capacity;
        let peer = match inner.servers.get_mut(&address) {
            Some(peers) if peers.len() > 1 => peers.pop_front(),
            Some(peers) => peers.front().cloned(),
            None => None,
        };
        let silent = inner.silent.contains(&address);
        let wire = match peer {
            Some(peer) if !silent => Wire::asked(address, peer, capacity),
            _ => Wire::unanswered(address, silent),
        };
        inner.wires.push(wire);
        let wire = inner.wires.len() - 1;
        Ok(Box::new(self.end(wire, address)))
    }

    fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>> {
        let mut inner = self.inner.lock();
        if inner.taken.contains(&address) || inner.listeners.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        inner.listeners.insert(address, Listening::default());
        Ok(Box::new(MemoryListener {
            address,
            net: self.clone(),
        }))
    }
}

impl MemoryNet {
    fn end(&self, wire: usize, peer: SocketAddr) -> MemoryConnection {
        MemoryConnection {
            wire,
            peer,
            net: self.clone(),
        }
    }
}

struct MemoryListener {
    address: SocketAddr,
    net: MemoryNet,
}

impl Listener for MemoryListener {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn accept(&mut self) -> io::Result<Box<dyn Connection>> {
        let mut inner = self.net.inner.lock();
        let listening = inner.listening(self.address);
        let wire = listening
            .backlog
            .pop_front()
            .ok_or(io::ErrorKind::WouldBlock)?;
        let peer = inner.wires[wire].address;
        drop(inner);
        Ok(Box::new(self.net.end(wire, peer)))
    }

    fn wake_when_ready(&mut self, waker: &Arc<dyn Wake>) -> io::Result<()> {
        let mut inner = self.net.inner.lock();
        let listening = inner.listening(self.address);
        if listening.backlog.is_empty() {
            listening.waker = Some(Arc::clone(waker));
            return Ok(());
        }
        drop(inner);
        waker.wake();
        Ok(())
    }
}

impl Inner {
    fn listening(&mut self, address: SocketAddr) -> &mut Listening {
        self.listeners
            .get_mut(&address)
            .expect("it is there until the listener is dropped")
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        let mut inner = self.net.inner.lock();
        let listening = inner.listeners.remove(&self.address);
        for wire in listening.into_iter().flat_map(|gone| gone.backlog) {
            inner.wires[wire].close();
        }
    }
}

struct MemoryConnection {
    wire: usize,
    peer: SocketAddr,
    net: MemoryNet,
}

impl MemoryConnection {
    fn with<R>(&mut self, act: impl FnOnce(WireEnd<'_>) -> R) -> R {
        let inner = &mut *self.net.inner.lock();
        act(WireEnd {
            wire: &mut inner.wires[self.wire],
            random: &mut inner.random,
        })
    }
}

impl Connection for MemoryConnection {
    fn peer(&self) -> SocketAddr {
        self.peer
    }

    fn is_connected(&mut self) -> io::Result<bool> {
        self.with(|end| end.wire.is_connected())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.with(|end| end.read(buffer))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|end| end.write(bytes))
    }

    fn shutdown(&mut self) -> io::Result<()> {
        self.with(|end| end.wire.shutdown())
    }

    fn wake_when(&mut self, ready: Ready, waker: &Arc<dyn Wake>) -> io::Result<()> {
        if self.with(|end| end.wire.wait(ready, waker)) {
            waker.wake();
        }
        Ok(())
    }
}

impl Drop for MemoryConnection {
    fn drop(&mut self) {
        self.with(|end| end.wire.close());
    }
}
