//! Lines to a server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use levada_core::net::{Connection, Network, Ready};
use levada_core::{BoxError, Moment, OnError, Wake};
use levada_runtime::{Drain, Sink, SinkContext, Writer};

use crate::dial::{CONNECT_TIMEOUT, Dial};
use crate::error::Error;
use crate::format::{AsText, Custom, Format, Formatting, JsonLine, Tsv};
use crate::on_error::Skipped;

/// Connects to `host:port` and writes every record as a line: a string as it is, anything else as JSON.
///
/// Each subtask has a connection of its own, which is made when the job starts. While the other side does not read, the job
/// stops behind the sink. When the job has come to its end the connections are closed; the other side cannot tell that from
/// the end of a job that failed.
///
/// **At most once**: a connection that breaks fails the job, and what the kernel had taken but the other side had not read
/// is lost. A job that goes on from a checkpoint connects anew and sends again what came after it, so some records may come
/// twice. It can be simulated.
///
/// ```
/// use levada_connectors::tcp_sink;
///
/// let plain = tcp_sink("localhost:9001");
/// let fields = tcp_sink("localhost:9001").tsv();
/// ```
#[must_use]
pub fn tcp_sink(address: impl Into<String>) -> TcpSink<AsText> {
    TcpSink {
        address: address.into(),
        connect_timeout: CONNECT_TIMEOUT,
        format: AsText,
        on_error: OnError::Fail,
    }
}

/// The sink made by [`tcp_sink`].
#[derive(Clone, Debug)]
pub struct TcpSink<F> {
    address: String,
    connect_timeout: Duration,
    format: F,
    on_error: OnError,
}

impl<F> TcpSink<F> {
    /// What becomes of a record that cannot be formatted: it fails the job, or is skipped.
    #[must_use]
    pub fn on_error(self, on_error: OnError) -> Self {
        Self { on_error, ..self }
    }

    /// Writes JSON lines: strings too are JSON, in quotes.
    #[must_use]
    pub fn jsonl(self) -> TcpSink<JsonLine> {
        self.with(JsonLine)
    }

    /// Joins the fields of each record by TAB; see [`Tsv`].
    #[must_use]
    pub fn tsv(self) -> TcpSink<Tsv> {
        self.with(Tsv)
    }

    /// Writes each record as the closure does; a line break is added.
    pub fn format<T, W>(self, write: W) -> TcpSink<Custom<W>>
    where
        W: Fn(&T, &mut String) + Send + Sync + 'static,
    {
        self.with(Custom::new(write))
    }

    /// How long the other side has to answer, 10 s by default, for each address of the host.
    #[must_use]
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self {
            connect_timeout,
            ..self
        }
    }

    fn with<G>(self, format: G) -> TcpSink<G> {
        TcpSink {
            address: self.address,
            connect_timeout: self.connect_timeout,
            format,
            on_error: self.on_error,
        }
    }
}

/// Bytes that are gathered before they are written, and the most that wait for the other side.
const BUFFER_BYTES: usize = 64 << 10;

/// Writes to one connection.
pub struct TcpWriter<F> {
    address: String,
    formatting: Formatting<F>,
    link: Link,
    /// What has not been sent begins at `sent`.
    buffer: Vec<u8>,
    sent: usize,
    network: Arc<dyn Network>,
    waker: Arc<dyn Wake>,
}

enum Link {
    Connecting(Dial),
    Connected {
        connection: Box<dyn Connection>,
        /// Whether the other side may still say something; nobody listens to it.
        hearing: bool,
    },
}

impl<T, F: Format<T>> Sink<T> for TcpSink<F> {
    type Writer = TcpWriter<F>;

    /// There is nothing to commit: what was prepared had been sent.
    fn recover(&self, _: Vec<()>, _: &SinkContext) -> Result<(), BoxError> {
        Ok(())
    }

    fn open(&self, context: &SinkContext) -> Result<Self::Writer, BoxError> {
        let network = Arc::clone(&context.environment.network);
        let found = network.resolve(&self.address);
        let addresses = found.map_err(Error::network("find", &self.address))?;
        Ok(TcpWriter {
            address: self.address.clone(),
            formatting: Formatting::new(
                self.format.clone(),
                self.on_error,
                Skipped::by_writer(context),
            ),
            link: Link::Connecting(Dial::new(addresses, self.connect_timeout)),
            buffer: Vec::new(),
            sent: 0,
            network,
            waker: Arc::clone(&context.waker),
        })
    }
}

impl<F> TcpWriter<F> {
    fn waiting(&self) -> usize {
        self.buffer.len() - self.sent
    }

    /// Sends what can be sent; true if that is everything. If not, the task is woken when there is more to do.
    fn send(&mut self) -> Result<bool, Error> {
        let (connection, hearing) = match &mut self.link {
            Link::Connected {
                connection,
                hearing,
            } => (connection, hearing),
            Link::Connecting(dial) => {
                let dialled = dial.poll(&*self.network, &self.waker);
                match dialled.map_err(Error::network("connect to", &self.address))? {
                    None => return Ok(false),
                    Some(connection) => {
                        self.link = Link::Connected {
                            connection,
                            hearing: true,
                        };
                        return self.send();
                    }
                }
            }
        };
        *hearing = *hearing
            && hear_nothing(&mut **connection)
                .map_err(Error::network("write to", &self.address))?;
        while self.sent < self.buffer.len() {
            match connection.write(&self.buffer[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    connection
                        .wake_when(Ready::Write, &self.waker)
                        .map_err(Error::network("write to", &self.address))?;
                    // What has been sent makes room in front, once it is worth the move.
                    if self.sent >= BUFFER_BYTES / 2 {
                        self.buffer.drain(..self.sent);
                        self.sent = 0;
                    }
                    return Ok(false);
                }
                Err(error) => return Err(Error::network("write to", &self.address)(error)),
            }
        }
        self.buffer.clear();
        self.sent = 0;
        Ok(true)
    }
}

/// Reads what the other side says and forgets it: a connection that is closed with something unread is reset, and what was
/// written to it may be lost. False at the end of what it says.
fn hear_nothing(connection: &mut dyn Connection) -> io::Result<bool> {
    /// One that talks without end must not keep us from writing.
    const READS_MAX: usize = 16;
    let mut buffer = [0; 1_024];
    for _ in 0..READS_MAX {
        match connection.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

impl<T, F: Format<T>> Writer<T> for TcpWriter<F> {
    type Pending = ();

    fn write(&mut self, records: &mut impl Drain<T>) -> Result<(), BoxError> {
        while !records.is_over() {
            if self.waiting() >= BUFFER_BYTES {
                self.send()?;
                if self.waiting() >= BUFFER_BYTES {
                    return Ok(());
                }
            }
            let Some(record) = records.next() else {
                return Ok(());
            };
            self.formatting.write(&record, &mut self.buffer)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        self.send()?;
        Ok(())
    }

    fn flush_again(&self) -> Option<Moment> {
        let is_connecting = matches!(self.link, Link::Connecting(_));
        (is_connecting || self.waiting() > 0).then_some(Moment::NEVER)
    }

    fn is_drained(&mut self) -> Result<bool, BoxError> {
        Ok(self.send()?)
    }

    fn prepare(&mut self) -> Result<(), BoxError> {
        debug_assert_eq!(self.waiting(), 0, "it is asked whether all has been sent");
        Ok(())
    }

    fn commit(&mut self, (): ()) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<F> Drop for TcpWriter<F> {
    /// Tells the other side that no more comes.
    fn drop(&mut self) {
        if let Link::Connected { connection, .. } = &mut self.link
            && let Err(error) = connection.shutdown()
        {
            tracing::debug!("cannot close the connection with {}: {error}", self.address);
        }
    }
}
