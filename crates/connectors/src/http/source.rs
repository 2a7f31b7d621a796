//! Records that others POST.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use levada_core::net::Listener;
use levada_core::sync::Mutex;
use levada_core::{BoxError, Origin};
use levada_runtime::{Environment, Intake, Reader, ReaderContext, Source, SourceContext, Status};
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::http::queue::{Bounds, Queue, Served};
use crate::http::server::{Limits, Server, told};

/// Listens at `host:port` and takes in the records that others POST.
///
/// | `Content-Type` | the body |
/// |---|---|
/// | `application/json` | one value, or an array of them |
/// | `application/x-ndjson`, `application/jsonl` | a value on each line |
/// | `text/plain` | lines, for records that are made of a string |
///
/// | answer | when |
/// |---|---|
/// | 202 | all records of the request wait for the job, in a queue of at most 10,000 records and 64 MiB |
/// | 400 | the body cannot be understood: nothing of it was taken, a JSON object names line and column |
/// | 404, 405, 415 | another path, method or kind of body |
/// | 408 | head or body did not come within 30 s; without a complete head the connection is closed |
/// | 413 | the body has more than 8 MiB, or more records than the queue holds |
/// | 503, with `Retry-After` | the queue is full, or the job has ended: nothing was taken |
///
/// It is 503 and not 429, for it is the job that cannot follow, not the client that asks too often. `GET` on the path
/// answers 200 or 503 by the same rule, for load balancers.
///
/// **At most once**: what was answered with 202 is lost if the job fails before it has dealt with it. A job that goes on from
/// a checkpoint listens at the same port and goes on with what it is sent then. A cancelled job takes
/// nothing more; whoever waits for an answer gets a 503 or loses the connection. It listens before the job starts, and without
/// end unless [`requests`](HttpSource::requests) or [`records`](HttpSource::records) is set. At most 256 connections are
/// served at once; others wait. It can be simulated.
///
/// Whoever can reach the port can write into the job: there is no other protection, so think twice before you listen at
/// anything but `127.0.0.1`.
///
/// ```
/// use levada_connectors::http_source;
///
/// let orders = http_source::<(String, u64)>("127.0.0.1:8080").path("/orders");
/// ```
#[must_use]
pub fn http_source<T: DeserializeOwned + Send + 'static>(
    address: impl Into<String>,
) -> HttpSource<T> {
    HttpSource {
        address: address.into(),
        limits: Limits {
            path: "/".to_owned(),
            body_bytes_max: 8 << 20,
            connections_max: 256,
            time_limit: Duration::from_secs(30),
        },
        bounds: Bounds {
            records_max: 10_000,
            bytes_max: 64 << 20,
        },
        requests: None,
        records: None,
        on_listening: None,
        shared: Arc::default(),
        record: PhantomData,
    }
}

/// The source made by [`http_source`]. Clones are the same source.
pub struct HttpSource<T> {
    address: String,
    limits: Limits,
    bounds: Bounds,
    requests: Option<u64>,
    records: Option<u64>,
    on_listening: Option<Arc<dyn Fn(SocketAddr) + Send + Sync>>,
    shared: Arc<Mutex<Shared<T>>>,
    record: PhantomData<fn() -> T>,
}

/// What is open while a job runs.
struct Shared<T> {
    /// Opened before the job starts, taken by the reader.
    listener: Option<Box<dyn Listener>>,
    /// The queue of the reader, to be closed by a cancel.
    queue: Option<Arc<Queue<T>>>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self {
            listener: None,
            queue: None,
        }
    }
}

impl<T> Clone for HttpSource<T> {
    fn clone(&self) -> Self {
        Self {
            address: self.address.clone(),
            limits: self.limits.clone(),
            bounds: self.bounds,
            requests: self.requests,
            records: self.records,
            on_listening: self.on_listening.clone(),
            shared: Arc::clone(&self.shared),
            record: PhantomData,
        }
    }
}

impl<T> fmt::Debug for HttpSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpSource({}{})", self.address, self.limits.path)
    }
}

impl<T> HttpSource<T> {
    /// The path at which records are taken, `/` by default.
    ///
    /// # Panics
    /// If it does not begin with `/`.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.limits.path = path.into();
        assert!(self.limits.path.starts_with('/'), "a path begins with /");
        self
    }

    /// The most bytes that a body may have, 8 MiB by default.
    #[must_use]
    pub fn body_bytes_max(mut self, body_bytes_max: usize) -> Self {
        self.limits.body_bytes_max = body_bytes_max;
        self
    }

    /// The most connections that are served at once, 256 by default; others wait.
    ///
    /// # Panics
    /// If it is zero.
    #[must_use]
    pub fn connections_max(mut self, connections_max: usize) -> Self {
        assert!(connections_max > 0, "somebody is to be served");
        self.limits.connections_max = connections_max;
        self
    }

    /// How long a client may take for the head of a request, and again for its body: 30 s by default.
    #[must_use]
    pub fn time_limit(mut self, time_limit: Duration) -> Self {
        self.limits.time_limit = time_limit;
        self
    }

    /// The most records that wait for the job, 10,000 by default, and so the most that a request may have.
    ///
    /// # Panics
    /// If it is zero.
    #[must_use]
    pub fn queue(mut self, records_max: usize) -> Self {
        assert!(records_max > 0, "a queue holds at least one record");
        self.bounds.records_max = records_max;
        self
    }

    /// The most bytes of bodies whose records wait for the job, 64 MiB by default. A larger body is taken when no other
    /// waits.
    #[must_use]
    pub fn queue_bytes(mut self, bytes_max: usize) -> Self {
        self.bounds.bytes_max = bytes_max;
        self
    }

    /// Ends the stream when so many requests have been answered with 202.
    #[must_use]
    pub fn requests(self, requests: u64) -> Self {
        Self {
            requests: Some(requests),
            ..self
        }
    }

    /// Ends the stream when so many records have been taken in. The last request is taken as a whole, so there may be a few
    /// more.
    #[must_use]
    pub fn records(self, records: u64) -> Self {
        Self {
            records: Some(records),
            ..self
        }
    }

    /// Calls this with the address, once the job listens: the port is the one the system chose if zero was asked for.
    #[must_use]
    pub fn on_listening(self, tell: impl Fn(SocketAddr) + Send + Sync + 'static) -> Self {
        Self {
            on_listening: Some(Arc::new(tell)),
            ..self
        }
    }
}

impl<T> HttpSource<T> {
    fn listen(
        &self,
        address: SocketAddr,
        operator: &Origin,
        environment: &Environment,
    ) -> Result<Box<dyn Listener>, Error> {
        let listener = environment.network.listen(address);
        let listener = listener.map_err(Error::network("listen at", &self.address))?;
        let address = listener.address();
        let url = told(address, &self.limits.path);
        tracing::info!(%operator, "listens at {url}");
        if let Some(tell) = &self.on_listening {
            tell(address);
        }
        Ok(listener)
    }
}

impl<T: DeserializeOwned + Send + 'static> Source for HttpSource<T> {
    type Out = T;
    /// The address at which it listens.
    type Split = SocketAddr;
    type Reader = HttpReader<T>;

    fn splits(&self, context: &SourceContext) -> Result<Vec<SocketAddr>, BoxError> {
        let network = &context.environment.network;
        let found = network.resolve(&self.address);
        let addresses = found.map_err(Error::network("find", &self.address))?;
        // Of an attempt that came no further.
        self.shared.lock().listener = None;
        let listener = self.listen(addresses[0], &context.operator, &context.environment)?;
        let address = listener.address();
        self.shared.lock().listener = Some(listener);
        Ok(vec![address])
    }

    fn open(
        &self,
        address: SocketAddr,
        position: Option<u64>,
        context: &ReaderContext,
    ) -> Result<HttpReader<T>, BoxError> {
        let environment = &context.environment;
        let queue = Queue::new(self.bounds, self.requests, self.records);
        let mut shared = self.shared.lock();
        let listener = shared.listener.take();
        shared.queue = Some(Arc::clone(&queue));
        drop(shared);
        let listener = match listener.filter(|listener| listener.address() == address) {
            Some(listener) => listener,
            // The job goes on from a checkpoint: at the same port, so that its clients find it.
            None => self.listen(address, &context.operator, environment)?,
        };
        *queue.listener.lock() = Some(listener);
        let server = Arc::new(Server {
            queue: Arc::clone(&queue),
            limits: self.limits.clone(),
            executor: Arc::clone(&environment.executor),
            clock: Arc::clone(&environment.clock),
        });
        let spawned = environment
            .executor
            .spawn(Box::pin(server.serve(address)))
            .map_err(Error::network("serve", &self.address))?;
        queue.connect(Arc::clone(&context.waker), spawned);
        Ok(HttpReader {
            queue,
            address,
            read: position.unwrap_or(0),
        })
    }

    fn parallelism_max(&self) -> Option<(usize, &'static str)> {
        Some((
            1,
            "a port is listened at by one subtask; call `.rebalance()` behind it",
        ))
    }

    fn cancel(&self) {
        let queue = self.shared.lock().queue.take();
        if let Some(queue) = queue {
            queue.close();
        }
    }
}

/// Reads what the server has taken in.
pub struct HttpReader<T> {
    queue: Arc<Queue<T>>,
    address: SocketAddr,
    read: u64,
}

impl<T: Send + 'static> Reader for HttpReader<T> {
    type Out = T;
    /// How many records have been read; they cannot be read again.
    type Position = u64;

    fn read(&mut self, intake: &mut impl Intake<T>) -> Result<Status, BoxError> {
        while !intake.is_full() {
            let Some(record) = self.queue.take() else {
                return match self.queue.over() {
                    None => Ok(Status::Idle(None)),
                    Some(Served::Everybody) => Ok(Status::Done),
                    Some(Served::Stopped) => {
                        let what = format!("the server at {}", self.address);
                        Err(Error::Stopped { what }.into())
                    }
                };
            };
            self.read += 1;
            intake.push(record);
        }
        Ok(Status::More)
    }

    fn position(&self) -> u64 {
        self.read
    }
}

impl<T> Drop for HttpReader<T> {
    /// Nobody takes what would still come in.
    fn drop(&mut self) {
        self.queue.close();
    }
}
