//! Records to a server, in batches.

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use hyper::Uri;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use levada_core::executor::Spawned;
use levada_core::sync::Mutex;
use levada_core::{BoxError, Moment, OnError, Retry, Wake};
use levada_runtime::metrics::OperatorCounters;
use levada_runtime::{Drain, Sink, SinkContext, Writer};
use serde::Serialize;

use crate::dial::CONNECT_TIMEOUT;
use crate::error::Error;
use crate::http::client::{Batch, Client, Delivery, Target};
use crate::on_error::Skipped;

/// POSTs records to an `http://` URL in batches, each record as JSON on a line of its own (`application/x-ndjson`).
///
/// A batch is sent as soon as the one before it has been answered, and has at most 1,000 records or, its last record apart,
/// 1 MiB. Each subtask has one connection, one request at a time, and its records in order. While there is no answer, the job
/// stops behind the sink.
///
/// | answer | what follows |
/// |---|---|
/// | 2xx | the next batch |
/// | none, 408, 429, 5xx | the same batch again, after a wait that grows to 30 s at most and is drawn at random; a `Retry-After` is its lower bound. After 5 min the job fails: see [`retry`](HttpSink::retry) |
/// | anything else | the job fails, with the answer; or [`on_error`](HttpSink::on_error) says otherwise |
///
/// **At least once**: a batch that was taken but whose answer was lost is sent again. Each batch has an `Idempotency-Key`,
/// the same for all attempts, by which a receiver knows that it has it already. A job that goes on from a checkpoint sends what came after it again, in
/// other batches with other keys. What was sent cannot be taken back if the job
/// fails. It can be simulated.
///
/// ```
/// use levada_connectors::http_sink;
///
/// let sink = http_sink("http://localhost:9428/insert").header("Authorization", "Bearer 8fe1");
/// ```
#[must_use]
pub fn http_sink(url: impl Into<String>) -> HttpSink {
    HttpSink {
        url: url.into(),
        headers: Vec::new(),
        is_array: false,
        batch_records_max: 1_000,
        batch_bytes_max: 1 << 20,
        connect_timeout: CONNECT_TIMEOUT,
        request_timeout: Duration::from_secs(30),
        retry: Retry::exponential(Duration::from_millis(500), Duration::from_secs(30))
            .elapsed_max(Duration::from_secs(300)),
        on_error: OnError::Fail,
    }
}

/// The sink made by [`http_sink`].
#[derive(Clone)]
pub struct HttpSink {
    url: String,
    headers: Vec<(String, String)>,
    is_array: bool,
    batch_records_max: usize,
    batch_bytes_max: usize,
    connect_timeout: Duration,
    request_timeout: Duration,
    retry: Retry,
    on_error: OnError,
}

/// Headers and URL may hold what is to be kept secret.
impl fmt::Debug for HttpSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpSink({})", shown(&self.url))
    }
}

impl HttpSink {
    /// Sends this header with every request.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sends each batch as one JSON array (`application/json`).
    #[must_use]
    pub fn json_array(self) -> Self {
        Self {
            is_array: true,
            ..self
        }
    }

    /// The most records of a batch, 1,000 by default.
    ///
    /// # Panics
    /// If it is zero.
    #[must_use]
    pub fn batch_records_max(self, batch_records_max: usize) -> Self {
        assert!(batch_records_max > 0, "a batch has a record");
        Self {
            batch_records_max,
            ..self
        }
    }

    /// The bytes after which a batch takes no further record, 1 MiB by default.
    #[must_use]
    pub fn batch_bytes_max(self, batch_bytes_max: usize) -> Self {
        Self {
            batch_bytes_max,
            ..self
        }
    }

    /// How long each address of the server has to answer at all, 10 s by default.
    #[must_use]
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self {
            connect_timeout,
            ..self
        }
    }

    /// How long one attempt may take, 30 s by default.
    #[must_use]
    pub fn request_timeout(self, request_timeout: Duration) -> Self {
        Self {
            request_timeout,
            ..self
        }
    }

    /// When a batch that was not taken is sent again, and when that is given up and the job fails. By default the first wait
    /// is at most 0.5 s, no wait is longer than 30 s, and after 5 min it is given up.
    #[must_use]
    pub fn retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// What becomes of a batch that the server refuses for good. Without this the job fails.
    #[must_use]
    pub fn on_error(self, on_error: OnError) -> Self {
        Self { on_error, ..self }
    }

    /// Looks through URL and headers.
    fn target(&self) -> Result<(Target, String), Error> {
        let bad = |why: &str| Error::BadUrl {
            url: shown(&self.url),
            why: why.to_owned(),
        };
        let uri: Uri = self.url.parse().map_err(|_| bad("it is no URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(bad(
                "it does not begin with http:// (for https put a proxy in between)",
            ));
        }
        let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad(
                "a password is sent with `.header(\"Authorization\", ..)`",
            ));
        }
        let address = format!(
            "{}:{}",
            authority.host(),
            authority.port_u16().unwrap_or(80)
        );
        let host = HeaderValue::from_str(authority.as_str());
        let kind = if self.is_array {
            "application/json"
        } else {
            "application/x-ndjson"
        };
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.map_err(|_| bad("it names no host"))?);
        headers.insert(USER_AGENT, HeaderValue::from_static("levada"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        for (name, value) in &self.headers {
            let pair = HeaderName::try_from(name)
                .ok()
                .zip(HeaderValue::try_from(value).ok());
            let (name, value) = pair.ok_or_else(|| bad(&format!("`{name}` is no header")))?;
            headers.insert(name, value);
        }
        let target = Target {
            url: shown(&self.url),
            uri,
            headers,
            connect_timeout: self.connect_timeout,
            request_timeout: self.request_timeout,
            retry: self.retry,
        };
        Ok((target, address))
    }
}

/// A URL as messages show it: without what may be a secret, a password before the host and the query.
fn shown(url: &str) -> String {
    let (scheme, rest) = match url.find("://") {
        Some(end) => url.split_at(end + 3),
        None => ("", url),
    };
    // In what is no URL, anything before an `@` may be a piece of a password.
    let authority = match url.parse::<Uri>() {
        Ok(_) => rest.split(['/', '?', '#']).next().unwrap_or(rest),
        Err(_) => rest,
    };
    let rest = &rest[authority.rfind('@').map_or(0, |at| at + 1)..];
    match rest.split_once('?') {
        Some((path, _)) => format!("{scheme}{path}?.."),
        None => format!("{scheme}{rest}"),
    }
}

/// Posts the batches of one subtask.
pub struct HttpWriter<T> {
    sink: HttpSink,
    /// The batch that is being filled.
    body: Vec<u8>,
    records: u64,
    /// Batches made so far.
    batches: u64,
    /// What keys begin with: the run and the subtask.
    key: String,
    slot: Arc<Slot>,
    skipped: Skipped,
    counters: Arc<OperatorCounters>,
    /// Posts; ends with the writer.
    _client: Spawned,
    record: PhantomData<fn(T)>,
}

/// The client at the slot. The writer must not wait for one that has panicked.
struct Attending(Arc<Slot>, String);

impl Drop for Attending {
    fn drop(&mut self) {
        let what = format!("the client of {}", self.1);
        self.0.finish(Delivered {
            records: 0,
            outcome: Err(Error::Stopped { what }),
        });
    }
}

/// Where the writer and its client meet: it holds one batch, or what became of it.
struct Slot {
    state: Mutex<State>,
    writer: Arc<dyn Wake>,
}

struct State {
    phase: Phase,
    client: Option<Waker>,
}

enum Phase {
    /// The client is free.
    Free,
    /// A batch waits for the client.
    Handed(Batch),
    /// The client is posting.
    Posting,
    /// The client is through with a batch.
    Through(Delivered),
}

/// What became of a batch of so many records.
struct Delivered {
    records: u64,
    outcome: Result<Delivery, Error>,
}

impl Slot {
    /// The next batch, for the client.
    async fn next(&self) -> Batch {
        poll_fn(|context| {
            let mut state = self.state.lock();
            match std::mem::replace(&mut state.phase, Phase::Posting) {
                Phase::Handed(batch) => Poll::Ready(batch),
                other => {
                    state.phase = other;
                    state.client = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn finish(&self, delivered: Delivered) {
        self.state.lock().phase = Phase::Through(delivered);
        self.writer.wake();
    }

    fn hand(&self, batch: Batch) {
        let mut state = self.state.lock();
        debug_assert!(matches!(state.phase, Phase::Free), "one batch at a time");
        state.phase = Phase::Handed(batch);
        let client = state.client.take();
        drop(state);
        if let Some(client) = client {
            client.wake();
        }
    }

    /// Whether the client is free; with what became of the last batch, once.
    fn look(&self) -> (bool, Option<Delivered>) {
        let mut state = self.state.lock();
        match std::mem::replace(&mut state.phase, Phase::Free) {
            Phase::Free => (true, None),
            Phase::Through(delivered) => (true, Some(delivered)),
            busy => {
                state.phase = busy;
                (false, None)
            }
        }
    }

    fn is_free(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Free)
    }
}

impl<T: Serialize + 'static> Sink<T> for HttpSink {
    type Writer = HttpWriter<T>;

    fn start(&self, context: &SinkContext) -> Result<(), BoxError> {
        let (_, address) = self.target()?;
        let found = context.environment.network.resolve(&address);
        found.map_err(Error::network("find", &shown(&self.url)))?;
        Ok(())
    }

    /// There is nothing to commit: what was prepared had been taken.
    fn recover(&self, _: Vec<()>, _: &SinkContext) -> Result<(), BoxError> {
        Ok(())
    }

    fn open(&self, context: &SinkContext) -> Result<HttpWriter<T>, BoxError> {
        let environment = &context.environment;
        let (target, address) = self.target()?;
        let addresses = environment.network.resolve(&address);
        let addresses = addresses.map_err(Error::network("find", &target.url))?;
        let url = target.url.clone();
        let slot = Arc::new(Slot {
            state: Mutex::new(State {
                phase: Phase::Free,
                client: None,
            }),
            writer: Arc::clone(&context.waker),
        });
        let mut client = Client::new(Arc::new(target), addresses, environment.clone());
        let meeting = Arc::clone(&slot);
        let what = url.clone();
        let spawned = environment.executor.spawn(Box::pin(async move {
            let meeting = Attending(meeting, what);
            loop {
                let batch = meeting.0.next().await;
                let outcome = client.deliver(&batch).await;
                let records = batch.records;
                meeting.0.finish(Delivered { records, outcome });
            }
        }));
        Ok(HttpWriter {
            sink: self.clone(),
            body: Vec::new(),
            records: 0,
            batches: 0,
            key: format!("{}-{}", context.run, context.subtask),
            slot,
            skipped: Skipped::by_writer(context),
            counters: Arc::clone(&context.counters),
            _client: spawned.map_err(Error::network("post to", &url))?,
            record: PhantomData,
        })
    }
}

impl<T> HttpWriter<T> {
    fn is_full(&self) -> bool {
        self.records >= self.sink.batch_records_max as u64
            || self.body.len() >= self.sink.batch_bytes_max
    }

    /// Hears what became of the last batch and sends the next one, if the client is free. True if it is still free.
    fn send(&mut self) -> Result<bool, BoxError> {
        let (is_free, heard) = self.slot.look();
        if let Some(Delivered { records, outcome }) = heard {
            match outcome? {
                Delivery::Taken => {}
                Delivery::Refused(error) if self.sink.on_error == OnError::Skip => {
                    self.skipped.skip(|| Ok(error))?;
                    self.counters.records_skipped.add(records - 1);
                }
                Delivery::Refused(error) => return Err(error.into()),
            }
        }
        if !is_free || self.records == 0 {
            return Ok(is_free);
        }
        if self.sink.is_array {
            self.body.push(b']');
        }
        let key = format!("{}-{}", self.key, self.batches);
        self.batches += 1;
        self.slot.hand(Batch {
            body: Bytes::from(std::mem::take(&mut self.body)),
            records: std::mem::take(&mut self.records),
            key,
        });
        Ok(false)
    }
}

impl<T: Serialize> HttpWriter<T> {
    fn append(&mut self, record: &T) -> Result<(), Error> {
        if self.sink.is_array {
            self.body.push(if self.records == 0 { b'[' } else { b',' });
        }
        serde_json::to_writer(&mut self.body, record).map_err(Error::Format)?;
        if !self.sink.is_array {
            self.body.push(b'\n');
        }
        self.records += 1;
        Ok(())
    }
}

impl<T: Serialize + 'static> Writer<T> for HttpWriter<T> {
    type Pending = ();

    fn write(&mut self, records: &mut impl Drain<T>) -> Result<(), BoxError> {
        while !records.is_over() {
            if self.is_full() {
                self.send()?;
                if self.is_full() {
                    return Ok(());
                }
            }
            let Some(record) = records.next() else {
                return Ok(());
            };
            self.append(&record)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        self.send()?;
        Ok(())
    }

    fn flush_again(&self) -> Option<Moment> {
        (self.records > 0 || !self.slot.is_free()).then_some(Moment::NEVER)
    }

    fn is_drained(&mut self) -> Result<bool, BoxError> {
        self.send()
    }

    fn prepare(&mut self) -> Result<(), BoxError> {
        debug_assert_eq!(self.records, 0, "it is asked whether all has been sent");
        Ok(())
    }

    fn commit(&mut self, (): ()) -> Result<(), BoxError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let check = |url: &str, expect: &str| {
            assert_eq!(shown(url), expect);
            let sink = http_sink(url).header("Authorization", "Bearer hush");
            assert!(!format!("{sink:?}").contains("hush"));
            if let Err(error) = sink.target() {
                assert!(!error.to_string().contains("hush"), "{error}");
            }
        };
        check("http://a:80/in", "http://a:80/in");
        check("http://user:hush@a/in", "http://a/in");
        check("http://user:hu@hush@a/in", "http://a/in");
        check("http://user:my hush@a/in", "http://a/in");
        check("http://user:hu/hush @a/in", "http://a/in");
        check("user:hush@a", "a");
        check("http://a/in?token=hush", "http://a/in?..");
        check("http://a/in?mail=b@hush", "http://a/in?..");
        check("https://a/@b", "https://a/@b");
    }
}
