//! Lines from whoever connects.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use levada_core::net::Listener;
use levada_core::sync::Mutex;
use levada_core::{BoxError, Moment, OnError, Origin};
use levada_runtime::{Environment, Intake, Reader, ReaderContext, Source, SourceContext, Status};
use serde::de::DeserializeOwned;

use crate::bad_record::BadRecord;
use crate::error::Error;
use crate::files::{Decode, Json, Text};
use crate::on_error::{ErrorPolicy, Plain, Results, Skipped};
use crate::tcp::LINE_BYTES_MAX;
use crate::tcp::peer::{Decoding, Heard, Peer};

/// Listens at `host:port` and reads lines (`\n` or `\r\n`) of UTF-8 from everybody who connects, as one stream: the lines of
/// a peer in their order, peers in turn. The last line of a peer needs no line break.
///
/// **At most once**: a socket cannot be read again. After a restore the job listens anew, at the same port, and goes on with what it is sent
/// then. A bad line fails the job, and so does a connection that breaks, unless [`on_error`](TcpListen::on_error) or
/// [`results`](TcpListen::results) says otherwise. It listens before the job starts, on the addresses that the host has
/// then, and without end unless [`peers`](TcpListen::peers) is set. A line has at most 1 MiB, and at most 64 peers are heard at once;
/// others wait until one of these has gone. While the job is full it does not read, so that the peers have to wait. It can be
/// simulated.
///
/// Whoever can reach the port can write into the job: there is no other protection, so think twice before you listen at
/// anything but `127.0.0.1`.
///
/// ```
/// use levada_connectors::tcp_listen;
///
/// let lines = tcp_listen("127.0.0.1:9000").line_bytes_max(64 << 10);
/// ```
#[must_use]
pub fn tcp_listen(address: impl Into<String>) -> TcpListen<Text> {
    TcpListen {
        address: address.into(),
        listening: Arc::default(),
        options: Options {
            peers: None,
            connections_max: 64,
            idle_timeout: None,
            on_listening: None,
        },
        decoding: Decoding {
            decoder: Text::default(),
            policy: Plain::default(),
            line_bytes_max: LINE_BYTES_MAX,
        },
    }
}

/// The source made by [`tcp_listen`]. Clones are the same source.
#[derive(Clone)]
pub struct TcpListen<D, P = Plain> {
    address: String,
    /// Opened before the job starts, taken by the reader.
    listening: Arc<Mutex<Option<Box<dyn Listener>>>>,
    options: Options,
    decoding: Decoding<D, P>,
}

#[derive(Clone)]
struct Options {
    /// How many peers are heard in all; no limit if none.
    peers: Option<u64>,
    connections_max: usize,
    idle_timeout: Option<Duration>,
    on_listening: Option<Arc<dyn Fn(SocketAddr) + Send + Sync>>,
}

impl<D, P> fmt::Debug for TcpListen<D, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcpListen({})", self.address)
    }
}

impl<P> TcpListen<Text, P> {
    /// Puts U+FFFD in the place of bytes that are not UTF-8. Without this such a line is a bad one.
    #[must_use]
    pub fn lossy(mut self) -> Self {
        self.decoding.decoder.lossy = true;
        self
    }

    /// Reads each line as JSON. Empty lines are passed over.
    #[must_use]
    pub fn json<T: DeserializeOwned + Send + 'static>(self) -> TcpListen<Json<T>, P> {
        TcpListen {
            address: self.address,
            listening: self.listening,
            options: self.options,
            decoding: Decoding {
                decoder: Json::new(),
                policy: self.decoding.policy,
                line_bytes_max: self.decoding.line_bytes_max,
            },
        }
    }
}

impl<D> TcpListen<D> {
    /// What becomes of a line that cannot be decoded or is too long, and of one that is cut off because its connection
    /// broke. Without this it fails the job.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.decoding.policy.on_error = on_error;
        self
    }

    /// Yields `Result`s: a line that cannot be decoded or is too long, and a connection that breaks, is an `Err` with its
    /// place.
    #[must_use]
    pub fn results(self) -> TcpListen<D, Results> {
        TcpListen {
            address: self.address,
            listening: self.listening,
            options: self.options,
            decoding: Decoding {
                decoder: self.decoding.decoder,
                policy: Results,
                line_bytes_max: self.decoding.line_bytes_max,
            },
        }
    }
}

impl<D, P> TcpListen<D, P> {
    /// The most bytes that a line may have, 1 MiB by default.
    #[must_use]
    pub fn line_bytes_max(mut self, line_bytes_max: usize) -> Self {
        self.decoding.line_bytes_max = line_bytes_max;
        self
    }

    /// Ends the stream when so many peers have come and gone.
    #[must_use]
    pub fn peers(mut self, peers: u64) -> Self {
        self.options.peers = Some(peers);
        self
    }

    /// How many peers are heard at once, 64 by default; others wait until one of these has gone.
    ///
    /// # Panics
    /// If it is zero.
    #[must_use]
    pub fn connections_max(mut self, connections_max: usize) -> Self {
        assert!(connections_max > 0, "somebody is to be heard");
        self.options.connections_max = connections_max;
        self
    }

    /// Closes the connection of a peer that has sent nothing for so long, so that it does not keep others waiting for
    /// ever. Without this it may.
    #[must_use]
    pub fn idle_timeout(mut self, idle_timeout: Duration) -> Self {
        self.options.idle_timeout = Some(idle_timeout);
        self
    }

    /// Calls this with the address, once the job listens: the port is the one the system chose if zero was asked for.
    #[must_use]
    pub fn on_listening(mut self, tell: impl Fn(SocketAddr) + Send + Sync + 'static) -> Self {
        self.options.on_listening = Some(Arc::new(tell));
        self
    }
}

impl<D, P> TcpListen<D, P> {
    fn listen(
        &self,
        address: SocketAddr,
        operator: &Origin,
        environment: &Environment,
    ) -> Result<Box<dyn Listener>, Error> {
        let listener = environment.network.listen(address);
        let listener = listener.map_err(Error::network("listen at", &self.address))?;
        let address = listener.address();
        tracing::info!(%operator, "listens at {address}");
        if let Some(tell) = &self.options.on_listening {
            tell(address);
        }
        Ok(listener)
    }
}

impl<D, P> Source for TcpListen<D, P>
where
    D: Decode,
    P: ErrorPolicy<D::Record>,
{
    type Out = P::Out;
    /// The address at which it listens.
    type Split = SocketAddr;
    type Reader = TcpListenReader<D, P>;

    fn splits(&self, context: &SourceContext) -> Result<Vec<SocketAddr>, BoxError> {
        let network = &context.environment.network;
        let found = network.resolve(&self.address);
        let addresses = found.map_err(Error::network("find", &self.address))?;
        // Of an attempt that came no further.
        *self.listening.lock() = None;
        let listener = self.listen(addresses[0], &context.operator, &context.environment)?;
        let address = listener.address();
        *self.listening.lock() = Some(listener);
        Ok(vec![address])
    }

    fn open(
        &self,
        address: SocketAddr,
        position: Option<u64>,
        context: &ReaderContext,
    ) -> Result<Self::Reader, BoxError> {
        let listening = self.listening.lock().take();
        let listener = match listening.filter(|listener| listener.address() == address) {
            Some(listener) => listener,
            // The job goes on from a checkpoint: at the same port, so that its peers find it.
            None => self.listen(address, &context.operator, &context.environment)?,
        };
        Ok(TcpListenReader {
            listener: Some(listener),
            guests: Vec::new(),
            next: 0,
            accepted: 0,
            options: self.options.clone(),
            decoding: self.decoding.clone(),
            address: self.address.clone(),
            skipped: Skipped::by_reader(context),
            context: context.clone(),
            read: position.unwrap_or(0),
        })
    }

    fn parallelism_max(&self) -> Option<(usize, &'static str)> {
        Some((
            1,
            "a port is listened at by one subtask; call `.rebalance()` behind it",
        ))
    }
}

/// Reads lines from whoever connects.
pub struct TcpListenReader<D, P> {
    /// None once all peers have come.
    listener: Option<Box<dyn Listener>>,
    guests: Vec<Guest>,
    /// The guest whose turn it is.
    next: usize,
    accepted: u64,
    options: Options,
    decoding: Decoding<D, P>,
    address: String,
    skipped: Skipped,
    context: ReaderContext,
    read: u64,
}

/// A peer that has come.
struct Guest {
    peer: Peer,
    /// Since when nothing has come from it.
    silent_since: Option<Moment>,
}

impl<D: Decode, P: ErrorPolicy<D::Record>> TcpListenReader<D, P> {
    /// Takes in who waits at the door, as far as there is room.
    fn accept(&mut self) -> Result<(), Error> {
        while let Some(listener) = &mut self.listener {
            if self.options.peers == Some(self.accepted) {
                self.listener = None;
                return Ok(());
            }
            if self.guests.len() == self.options.connections_max {
                return Ok(());
            }
            let connection = match listener.accept() {
                Ok(connection) => connection,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return listener
                        .wake_when_ready(&self.context.waker)
                        .map_err(Error::network("listen at", &self.address));
                }
                // A peer that has gone before it was let in.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(Error::network("listen at", &self.address)(error)),
            };
            let name = connection.peer().to_string();
            tracing::debug!(operator = %self.context.operator, "{name} has connected");
            self.accepted += 1;
            self.guests.push(Guest {
                peer: Peer::new(connection, name, self.decoding.line_bytes_max),
                silent_since: None,
            });
        }
        Ok(())
    }

    /// Hears the guest whose turn it is. What it says, and whether it stays.
    fn hear(&mut self, intake: &mut impl Intake<P::Out>) -> Result<(Heard, bool), BoxError> {
        let guest = &mut self.guests[self.next];
        let heard = guest
            .peer
            .hear(intake, &self.decoding, &self.skipped, &self.context.waker)?;
        let parting = match &heard {
            Heard::More => {
                guest.silent_since = None;
                return Ok((heard, true));
            }
            Heard::End => None,
            Heard::Broken(error) => Some(format!("the connection broke: {error}")),
            Heard::Nothing => {
                let now = self.context.environment.clock.now();
                let since = *guest.silent_since.get_or_insert(now);
                match self.options.idle_timeout {
                    Some(most) if now >= since + most => guest
                        .peer
                        .is_within_a_line()
                        .then(|| format!("the peer has sent nothing for {most:?}")),
                    _ => return Ok((heard, true)),
                }
            }
        };
        if let Some(message) = parting {
            let describe = || -> Result<BadRecord, BoxError> { Ok(guest.peer.unfinished(message)) };
            if let Some(record) = self.decoding.policy.bad(&self.skipped, describe)? {
                intake.push(record);
            }
        }
        Ok((heard, false))
    }

    /// When the next guest has been silent for too long.
    fn next_deadline(&self) -> Option<Moment> {
        let most = self.options.idle_timeout?;
        let since = self.guests.iter().filter_map(|guest| guest.silent_since);
        since.map(|since| since + most).min()
    }
}

impl<D: Decode, P: ErrorPolicy<D::Record>> Reader for TcpListenReader<D, P> {
    type Out = P::Out;
    /// How many records have been read; they cannot be read again.
    type Position = u64;

    fn read(&mut self, intake: &mut impl Intake<P::Out>) -> Result<Status, BoxError> {
        self.accept()?;
        let before = intake.room();
        let mut quiet = true;
        // Each guest has a turn. A new one may take the place of one that has left.
        for _ in 0..self.guests.len() {
            if intake.is_full() {
                quiet = false;
                break;
            }
            self.next %= self.guests.len().max(1);
            let (heard, stays) = self.hear(intake)?;
            quiet &= matches!(heard, Heard::Nothing) && stays;
            if stays {
                self.next += 1;
            } else {
                self.guests.remove(self.next);
            }
        }
        self.read += before.saturating_sub(intake.room()) as u64;
        if self.guests.is_empty() && self.options.peers == Some(self.accepted) {
            return Ok(Status::Done);
        }
        Ok(if quiet {
            Status::Idle(self.next_deadline())
        } else {
            Status::More
        })
    }

    fn position(&self) -> u64 {
        self.read
    }
}
