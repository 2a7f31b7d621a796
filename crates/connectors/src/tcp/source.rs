//! Lines from a server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use levada_core::{BoxError, Moment, OnError, Retry};
use levada_runtime::{Intake, Reader, ReaderContext, Source, SourceContext, Status};
use serde::de::DeserializeOwned;

use crate::dial::{CONNECT_TIMEOUT, Dial};
use crate::error::Error;
use crate::files::{Decode, Json, Text};
use crate::on_error::{ErrorPolicy, Plain, Results, Skipped};
use crate::tcp::LINE_BYTES_MAX;
use crate::tcp::peer::{Decoding, Heard, Peer};

/// Connects to `host:port` and reads lines (`\n` or `\r\n`) of UTF-8 until the other side closes: what `nc -l` and Flink's
/// `socketTextStream` expect. The last line needs no line break.
///
/// **At most once**: a socket cannot be read again. After a restore the job connects anew and goes on with what it is sent
/// then. A connection that breaks fails the job; so does a bad line, unless [`on_error`](TcpLines::on_error) or
/// [`results`](TcpLines::results) says otherwise. The name is looked up when the job starts. A line has at most 1 MiB unless
/// [`line_bytes_max`](TcpLines::line_bytes_max) is set. While the job is full it does not read, so that the other side has to
/// wait. It can be simulated.
///
/// ```
/// use levada_connectors::tcp_lines;
///
/// let words = tcp_lines("localhost:9000");
/// let pairs = tcp_lines("localhost:9000").json::<(String, u64)>();
/// ```
#[must_use]
pub fn tcp_lines(address: impl Into<String>) -> TcpLines<Text> {
    TcpLines {
        address: address.into(),
        connect_timeout: CONNECT_TIMEOUT,
        retry: Retry::never(),
        decoding: Decoding {
            decoder: Text::default(),
            policy: Plain::default(),
            line_bytes_max: LINE_BYTES_MAX,
        },
    }
}

/// The source made by [`tcp_lines`].
#[derive(Clone, Debug)]
pub struct TcpLines<D, P = Plain> {
    address: String,
    connect_timeout: Duration,
    retry: Retry,
    decoding: Decoding<D, P>,
}

impl<P> TcpLines<Text, P> {
    /// Puts U+FFFD in the place of bytes that are not UTF-8. Without this such a line is a bad one.
    #[must_use]
    pub fn lossy(mut self) -> Self {
        self.decoding.decoder.lossy = true;
        self
    }

    /// Reads each line as JSON. Empty lines are passed over.
    #[must_use]
    pub fn json<T: DeserializeOwned + Send + 'static>(self) -> TcpLines<Json<T>, P> {
        TcpLines {
            address: self.address,
            connect_timeout: self.connect_timeout,
            retry: self.retry,
            decoding: Decoding {
                decoder: Json::new(),
                policy: self.decoding.policy,
                line_bytes_max: self.decoding.line_bytes_max,
            },
        }
    }
}

impl<D> TcpLines<D> {
    /// What becomes of a line that cannot be decoded or is too long. Without this it fails the job.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.decoding.policy.on_error = on_error;
        self
    }

    /// Yields `Result`s: a line that cannot be decoded or is too long is an `Err` with its place.
    #[must_use]
    pub fn results(self) -> TcpLines<D, Results> {
        TcpLines {
            address: self.address,
            connect_timeout: self.connect_timeout,
            retry: self.retry,
            decoding: Decoding {
                decoder: self.decoding.decoder,
                policy: Results,
                line_bytes_max: self.decoding.line_bytes_max,
            },
        }
    }
}

impl<D, P> TcpLines<D, P> {
    /// The most bytes that a line may have, 1 MiB by default.
    #[must_use]
    pub fn line_bytes_max(mut self, line_bytes_max: usize) -> Self {
        self.decoding.line_bytes_max = line_bytes_max;
        self
    }

    /// How long the other side has to answer, 10 s by default, for each address of the host.
    #[must_use]
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self {
            connect_timeout,
            ..self
        }
    }

    /// Tries again when no connection can be made: a server may start later than the job. A connection that was there and
    /// broke fails the job all the same, for nobody knows what was lost with it.
    #[must_use]
    pub fn retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }
}

impl<D, P> Source for TcpLines<D, P>
where
    D: Decode,
    P: ErrorPolicy<D::Record>,
{
    type Out = P::Out;
    /// The addresses of the host.
    type Split = Vec<SocketAddr>;
    type Reader = TcpLinesReader<D, P>;

    fn splits(&self, context: &SourceContext) -> Result<Vec<Vec<SocketAddr>>, BoxError> {
        let found = context.environment.network.resolve(&self.address);
        Ok(vec![found.map_err(Error::network("find", &self.address))?])
    }

    fn open(
        &self,
        addresses: Vec<SocketAddr>,
        position: Option<u64>,
        context: &ReaderContext,
    ) -> Result<Self::Reader, BoxError> {
        // A checkpoint may be older than what the name stands for.
        let addresses = match position {
            Some(_) => context
                .environment
                .network
                .resolve(&self.address)
                .unwrap_or(addresses),
            None => addresses,
        };
        Ok(TcpLinesReader {
            state: State::Connecting(Dial::new(addresses.clone(), self.connect_timeout)),
            source: self.clone(),
            addresses,
            attempt: 1,
            began: context.environment.clock.now(),
            skipped: Skipped::by_reader(context),
            context: context.clone(),
            read: position.unwrap_or(0),
        })
    }

    fn parallelism_max(&self) -> Option<(usize, &'static str)> {
        Some((
            1,
            "a connection is read by one subtask; call `.rebalance()` behind it",
        ))
    }
}

/// Reads lines from a server.
pub struct TcpLinesReader<D, P> {
    source: TcpLines<D, P>,
    addresses: Vec<SocketAddr>,
    state: State,
    /// The number of the attempt to connect, and when the first one began.
    attempt: u32,
    began: Moment,
    skipped: Skipped,
    context: ReaderContext,
    read: u64,
}

enum State {
    /// No attempt before this moment.
    Waiting(Moment),
    Connecting(Dial),
    Connected(Peer),
}

impl<D: Decode, P: ErrorPolicy<D::Record>> TcpLinesReader<D, P> {
    /// Comes nearer to a connection; none once it is there.
    fn connect(&mut self) -> Result<Option<Status>, Error> {
        let environment = &self.context.environment;
        let dial = match &mut self.state {
            State::Connected(_) => return Ok(None),
            State::Waiting(until) => {
                if environment.clock.now() < *until {
                    return Ok(Some(Status::Idle(Some(*until))));
                }
                let dial = Dial::new(self.addresses.clone(), self.source.connect_timeout);
                self.state = State::Connecting(dial);
                return Ok(Some(Status::More));
            }
            State::Connecting(dial) => dial,
        };
        match dial.poll(&*environment.network, &self.context.waker) {
            Ok(None) => Ok(Some(Status::Idle(None))),
            Ok(Some(connection)) => {
                let name = self.source.address.clone();
                let most = self.source.decoding.line_bytes_max;
                self.state = State::Connected(Peer::new(connection, name, most));
                Ok(None)
            }
            Err(error) => {
                let now = environment.clock.now();
                let random = &*environment.random;
                let retry = &self.source.retry;
                let again =
                    retry.delay_after(self.attempt, now - self.began, Duration::ZERO, random);
                let Some(delay) = again else {
                    return Err(Error::network("connect to", &self.source.address)(error));
                };
                tracing::warn!(
                    operator = %self.context.operator,
                    "cannot connect to {}: {error}; next attempt in {delay:?}",
                    self.source.address
                );
                self.attempt += 1;
                self.state = State::Waiting(now + delay);
                Ok(Some(Status::Idle(Some(now + delay))))
            }
        }
    }
}

impl<D: Decode, P: ErrorPolicy<D::Record>> Reader for TcpLinesReader<D, P> {
    type Out = P::Out;
    /// How many records have been read; they cannot be read again.
    type Position = u64;

    fn read(&mut self, intake: &mut impl Intake<P::Out>) -> Result<Status, BoxError> {
        if let Some(status) = self.connect()? {
            return Ok(status);
        }
        let State::Connected(peer) = &mut self.state else {
            return Ok(Status::More);
        };
        let before = intake.room();
        let waker = Arc::clone(&self.context.waker);
        let heard = peer.hear(intake, &self.source.decoding, &self.skipped, &waker);
        self.read += before.saturating_sub(intake.room()) as u64;
        match heard? {
            Heard::More => Ok(Status::More),
            Heard::Nothing => Ok(Status::Idle(None)),
            Heard::End => Ok(Status::Done),
            Heard::Broken(source) => Err(Error::Broken {
                peer: self.source.address.clone(),
                line: peer.line(),
                source,
            }
            .into()),
        }
    }

    fn position(&self) -> u64 {
        self.read
    }
}
