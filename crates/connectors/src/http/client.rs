//! One client with one connection: posts a batch until it is taken, refused, or time is up.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Method, Request, StatusCode, Uri};
use levada_core::{Clock, Retry};
use levada_runtime::Environment;

use crate::error::Error;
use crate::http::link::Link;

/// Where and how to post.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) url: String,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) connect_timeout: Duration,
    pub(super) request_timeout: Duration,
    pub(super) retry: Retry,
}

/// A body to be posted, with the key by which a receiver knows that it has it already.
pub(super) struct Batch {
    pub(super) body: Bytes,
    pub(super) records: u64,
    pub(super) key: String,
}

/// What became of a batch.
pub(super) enum Delivery {
    Taken,
    /// The receiver will never take it.
    Refused(Error),
}

/// Posts batches over one connection, which is made when there is none.
pub(super) struct Client {
    target: Arc<Target>,
    addresses: Vec<SocketAddr>,
    environment: Environment,
    connection: Option<Connection>,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Pin<Box<http1::Connection<Link, Full<Bytes>>>>,
}

/// What came of one attempt.
enum Attempt {
    Taken,
    Refused(Error),
    /// To be tried again, not before this time has passed.
    Failed(String, Duration),
}

/// How much of an answer is read, and told.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const ANSWER_TOLD_MAX: usize = 200;

impl Client {
    pub(super) fn new(
        target: Arc<Target>,
        addresses: Vec<SocketAddr>,
        environment: Environment,
    ) -> Self {
        Self {
            target,
            addresses,
            environment,
            connection: None,
        }
    }

    /// Posts a batch until it is taken or refused.
    ///
    /// # Errors
    /// If neither happens in time.
    pub(super) async fn deliver(&mut self, batch: &Batch) -> Result<Delivery, Error> {
        let clock = Arc::clone(&self.environment.clock);
        let began = clock.now();
        let mut attempt = 1;
        loop {
            let (last, at_least) = match self.attempt(batch).await {
                Attempt::Taken => return Ok(Delivery::Taken),
                Attempt::Refused(error) => return Ok(Delivery::Refused(error)),
                Attempt::Failed(last, at_least) => (last, at_least),
            };
            let elapsed = clock.now() - began;
            let random = &*self.environment.random;
            let Some(delay) = self
                .target
                .retry
                .delay_after(attempt, elapsed, at_least, random)
            else {
                return Err(Error::GaveUp {
                    url: self.target.url.clone(),
                    attempts: attempt,
                    elapsed,
                    last,
                });
            };
            tracing::warn!(
                "{} has not taken {} records: {last}; next attempt in {delay:?}",
                self.target.url,
                batch.records
            );
            self.environment.executor.sleep(delay).await;
            attempt += 1;
        }
    }

    async fn attempt(&mut self, batch: &Batch) -> Attempt {
        let timeout = self.environment.executor.sleep(self.target.request_timeout);
        let was_open = self.connection.is_some();
        let posted = match select(pin!(self.post(batch)), timeout).await {
            Either::Left((posted, _)) => Some(posted),
            Either::Right(_) => None,
        };
        match posted {
            Some(Ok((status, headers, answer))) => self.judge(status, &headers, &answer),
            Some(Err(error)) => {
                self.connection = None;
                // A connection that was kept may have been closed meanwhile: that is no failure of the receiver.
                if was_open {
                    return Box::pin(self.attempt(batch)).await;
                }
                Attempt::Failed(chain(&*error), Duration::ZERO)
            }
            None => {
                self.connection = None;
                let limit = self.target.request_timeout;
                Attempt::Failed(format!("no answer within {limit:?}"), Duration::ZERO)
            }
        }
    }

    fn judge(&self, status: StatusCode, headers: &HeaderMap, answer: &[u8]) -> Attempt {
        if status.is_success() {
            return Attempt::Taken;
        }
        let again = status.is_server_error()
            || matches!(
                status,
                StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
            );
        if again {
            let wait = headers
                .get(RETRY_AFTER)
                .and_then(|value| retry_after(value, &*self.environment.clock));
            return Attempt::Failed(format!("it answered {status}"), wait.unwrap_or_default());
        }
        let told = &answer[..answer.len().min(ANSWER_TOLD_MAX)];
        let mut answer = String::from_utf8_lossy(told).trim().to_owned();
        if let Some(location) = headers.get(LOCATION).filter(|_| status.is_redirection()) {
            answer = format!(
                "it points to {}: give that address, redirections are not followed",
                String::from_utf8_lossy(location.as_bytes())
            );
        }
        Attempt::Refused(Error::Refused {
            url: self.target.url.clone(),
            status: status.to_string(),
            answer,
        })
    }

    /// One request and its answer.
    async fn post(
        &mut self,
        batch: &Batch,
    ) -> Result<(StatusCode, HeaderMap, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.sender.is_closed() => connection,
            _ => {
                let link = Link::connect(
                    &*self.environment.network,
                    self.addresses.clone(),
                    self.target.connect_timeout,
                );
                let (sender, driver) = http1::handshake(link.await?).await?;
                Connection {
                    sender,
                    driver: Box::pin(driver),
                }
            }
        };
        let mut request = Request::new(Full::new(batch.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = path(&self.target.uri);
        *request.headers_mut() = self.target.headers.clone();
        let key = HeaderValue::try_from(format!("\"{}\"", batch.key))?;
        request.headers_mut().insert(IDEMPOTENCY_KEY, key);

        let (outcome, is_open) = connection.exchange(request).await;
        let (status, headers, answer) = outcome?;
        if is_open && answer.is_some() {
            self.connection = Some(connection);
        }
        let answer = answer.map(Collected::to_bytes);
        Ok((status, headers, answer.unwrap_or_default()))
    }
}

impl Connection {
    /// Sends a request; its answer, and whether the connection is still open. What is too long to be told is no error, but
    /// there is no body then, and the rest of it is still on its way.
    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> (
        Result<(StatusCode, HeaderMap, Option<Collected<Bytes>>), hyper::Error>,
        bool,
    ) {
        let Self { sender, driver } = self;
        let mut exchange = pin!(async {
            sender.ready().await?;
            let (head, body) = sender.send_request(request).await?.into_parts();
            let answer = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            Ok((head.status, head.headers, answer.ok()))
        });
        // The driver moves the bytes; when it ends, the exchange learns of it.
        let mut driving = true;
        let outcome = poll_fn(|context| {
            loop {
                if let Poll::Ready(outcome) = exchange.as_mut().poll(context) {
                    return Poll::Ready(outcome);
                }
                if !driving || driver.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                driving = false;
            }
        });
        (outcome.await, driving)
    }
}

/// `Idempotency-Key`, as in draft-ietf-httpapi-idempotency-key-header.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

fn path(uri: &Uri) -> Uri {
    let path = uri.path_and_query().cloned();
    path.map_or_else(|| Uri::from_static("/"), Uri::from)
}

/// How long a receiver asks to be left alone: seconds, or a date.
fn retry_after(value: &HeaderValue, clock: &dyn Clock) -> Option<Duration> {
    let value = value.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let date = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    let now = u64::try_from(clock.wall().0).unwrap_or(0);
    Some(date.saturating_sub(Duration::from_millis(now)))
}

/// An error with its sources.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use levada_core::{Moment, Timestamp};

    use super::*;

    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> Moment {
            Moment::ZERO
        }

        fn wall(&self) -> Timestamp {
            // 1994-11-06 12:00:00.
            Timestamp(784_123_200_000)
        }
    }

    #[test]
    fn a_receiver_asks_for_a_wait_in_seconds_or_by_a_date() {
        let check = |text: &str, seconds: Option<u64>| {
            let value = HeaderValue::from_str(text).unwrap();
            let expect = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(&value, &Noon), expect, "{text}");
        };
        check("120", Some(120));
        check(" 0 ", Some(0));
        check("Sun, 06 Nov 1994 12:01:30 GMT", Some(90));
        check("Sunday, 06-Nov-94 12:00:01 GMT", Some(1));
        check("Sun Nov  6 12:00:02 1994", Some(2));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(0));
        check("soon", None);
        check("-1", None);
    }
}
