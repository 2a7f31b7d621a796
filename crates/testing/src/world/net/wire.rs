//! A connection in memory, with the peer at its other end.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use levada_core::Wake;
use levada_core::net::Ready;
use levada_core::random::SplitMix64;

use super::peer::{Ending, Peer};

/// The time limit of a connection that nobody answers, in steps of the network.
const SILENT_STEPS: u32 = 50;

/// A connection: the job holds one end of it, a peer the other.
pub(super) struct Wire {
    pub(super) address: SocketAddr,
    pub(super) peer: Peer,
    /// What the peer has read.
    pub(super) received: Vec<u8>,
    /// Whether the job has closed its side, or all of it.
    pub(super) shut_down: bool,
    closed: bool,
    phase: Phase,
    /// On its way to the job.
    inbound: VecDeque<u8>,
    /// On its way to the peer.
    outbound: VecDeque<u8>,
    capacity: usize,
    /// Whether the peer has closed its side.
    ended: bool,
    waiting: Vec<(Ready, Arc<dyn Wake>)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// The job has asked; the answer will come.
    Asked,
    /// The job has asked, and nobody will answer. Counts steps.
    Silent(u32),
    /// Nobody listens there; the job does not know yet.
    Refusing,
    Connected,
    Failed(io::ErrorKind),
}

/// What the job does to a wire.
pub(super) struct WireEnd<'a> {
    pub(super) wire: &'a mut Wire,
    pub(super) random: &'a mut SplitMix64,
}

impl Wire {
    /// A peer has connected to the job.
    pub(super) fn accepted(address: SocketAddr, peer: Peer, capacity: usize) -> Self {
        Self {
            address,
            peer,
            received: Vec::new(),
            shut_down: false,
            closed: false,
            phase: Phase::Connected,
            inbound: VecDeque::new(),
            outbound: VecDeque::new(),
            capacity,
            ended: false,
            waiting: Vec::new(),
        }
    }

    /// The job connects to a peer.
    pub(super) fn asked(address: SocketAddr, peer: Peer, capacity: usize) -> Self {
        Self {
            phase: Phase::Asked,
            ..Self::accepted(address, peer, capacity)
        }
    }

    /// The job connects to nobody.
    pub(super) fn unanswered(address: SocketAddr, silent: bool) -> Self {
        Self {
            phase: if silent {
                Phase::Silent(0)
            } else {
                Phase::Refusing
            },
            ..Self::accepted(address, Peer::reads(), 0)
        }
    }

    /// Whether the peer can do anything.
    pub(super) fn can_act(&self) -> bool {
        match self.phase {
            Phase::Asked | Phase::Refusing | Phase::Silent(_) => !self.closed,
            Phase::Failed(_) => false,
            Phase::Connected => self.can_send() || self.can_read() || self.can_end(),
        }
    }

    fn can_send(&self) -> bool {
        !self.closed
            && self.peer.sent < self.peer.outgoing.len()
            && self.inbound.len() < self.capacity
    }

    fn can_read(&self) -> bool {
        self.peer.appetite > 0 && !self.outbound.is_empty()
    }

    fn can_end(&self) -> bool {
        !self.ended && !self.closed && self.peer.is_through() && self.peer.ending != Ending::Stay
    }

    /// Lets the peer act; the caller knows that it can.
    pub(super) fn act(&mut self, random: &mut SplitMix64, wakers: &mut Vec<Arc<dyn Wake>>) {
        match self.phase {
            Phase::Asked => self.phase = Phase::Connected,
            Phase::Refusing => self.phase = Phase::Failed(io::ErrorKind::ConnectionRefused),
            Phase::Silent(SILENT_STEPS) => self.phase = Phase::Failed(io::ErrorKind::TimedOut),
            Phase::Silent(steps) => self.phase = Phase::Silent(steps + 1),
            Phase::Failed(_) => {}
            Phase::Connected => self.talk(random),
        }
        for (ready, waker) in std::mem::take(&mut self.waiting) {
            if self.is_ready(ready) {
                wakers.push(waker);
            } else {
                self.waiting.push((ready, waker));
            }
        }
    }

    fn talk(&mut self, random: &mut SplitMix64) {
        let sends = self.can_send() && (!self.can_read() || random.below(2) == 0);
        if sends {
            let left = self.peer.outgoing.len() - self.peer.sent;
            let n = piece(random, left.min(self.capacity - self.inbound.len()));
            let begin = self.peer.sent;
            self.inbound.extend(&self.peer.outgoing[begin..begin + n]);
            self.peer.sent += n;
        } else if self.can_read() {
            let n = piece(random, self.outbound.len().min(self.peer.appetite));
            self.received.extend(self.outbound.drain(..n));
            self.peer.hear(&self.received);
            if self.peer.appetite != usize::MAX {
                self.peer.appetite -= n;
            }
        } else {
            self.ended = true;
            if self.peer.ending == Ending::Reset {
                self.inbound.clear();
                self.outbound.clear();
                self.phase = Phase::Failed(io::ErrorKind::ConnectionReset);
            }
        }
        assert!(self.inbound.len() <= self.capacity, "a buffer has a bound");
    }

    pub(super) fn is_connected(&self) -> io::Result<bool> {
        match self.phase {
            Phase::Asked | Phase::Refusing | Phase::Silent(_) => Ok(false),
            Phase::Connected => Ok(true),
            Phase::Failed(kind) => Err(kind.into()),
        }
    }

    pub(super) fn shutdown(&mut self) -> io::Result<()> {
        match self.phase {
            Phase::Failed(kind) => Err(kind.into()),
            _ => {
                self.shut_down = true;
                Ok(())
            }
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.shut_down = true;
        self.waiting.clear();
        self.inbound.clear();
    }

    /// Asks for a wake-up; true if it is due at once.
    pub(super) fn wait(&mut self, ready: Ready, waker: &Arc<dyn Wake>) -> bool {
        if self.is_ready(ready) {
            return true;
        }
        self.waiting.retain(|(other, _)| *other != ready);
        self.waiting.push((ready, Arc::clone(waker)));
        false
    }

    fn is_ready(&self, ready: Ready) -> bool {
        match (self.phase, ready) {
            (Phase::Failed(_), _) => true,
            (Phase::Connected, Ready::Read) => !self.inbound.is_empty() || self.ended,
            (Phase::Connected, Ready::Write) => self.outbound.len() < self.capacity,
            _ => false,
        }
    }
}

impl WireEnd<'_> {
    pub(super) fn read(self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self { wire, random } = self;
        if let Phase::Failed(kind) = wire.phase {
            return Err(kind.into());
        }
        if wire.inbound.is_empty() {
            return if wire.ended {
                Ok(0)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            };
        }
        let n = piece(random, wire.inbound.len().min(buffer.len()));
        for (to, from) in buffer.iter_mut().zip(wire.inbound.drain(..n)) {
            *to = from;
        }
        Ok(n)
    }

    pub(super) fn write(self, bytes: &[u8]) -> io::Result<usize> {
        let Self { wire, random } = self;
        if let Phase::Failed(kind) = wire.phase {
            return Err(kind.into());
        }
        if wire.shut_down {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = bytes.len().min(wire.capacity - wire.outbound.len());
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = piece(random, room);
        wire.outbound.extend(&bytes[..n]);
        Ok(n)
    }
}

/// From one byte to all of them.
fn piece(random: &mut SplitMix64, most: usize) -> usize {
    match random.below(3) {
        0 => 1,
        1 => most,
        _ => 1 + random.below(most as u64) as usize,
    }
}
