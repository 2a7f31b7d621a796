//! The server of a source: one future for all connections, none of which can hold up another.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, Stream};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use levada_core::Clock;
use levada_core::executor::{BoxFuture, Executor};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::http::body::{BadBody, Kind, Undecoded};
use crate::http::link::{EngineTimer, Link};
use crate::http::queue::{Queue, Refused, Served};

/// What a server allows.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) path: String,
    pub(super) body_bytes_max: usize,
    pub(super) connections_max: usize,
    /// For the head of a request, and again for its body.
    pub(super) time_limit: Duration,
}

/// Serves a queue.
pub(super) struct Server<T> {
    pub(super) queue: Arc<Queue<T>>,
    pub(super) limits: Limits,
    pub(super) executor: Arc<dyn Executor>,
    pub(super) clock: Arc<dyn Clock>,
}

/// After which time a client should try again when there is no room, in seconds.
const RETRY_AFTER_SECONDS: u64 = 1;

/// How long clients have to take their last answer.
const PARTING: Duration = Duration::from_secs(5);

/// How long the server waits when it cannot accept anybody, for instance because the process has no file left.
const RECOVERY: Duration = Duration::from_millis(100);

/// Tells the queue when the server has gone, however it went.
struct Gone<T>(Arc<Queue<T>>, Served);

impl<T> Drop for Gone<T> {
    fn drop(&mut self) {
        self.0.ended(self.1);
    }
}

impl<T: DeserializeOwned + Send + 'static> Server<T> {
    /// Serves until the queue is closed and everybody has an answer.
    pub(super) async fn serve(self: Arc<Self>, address: SocketAddr) {
        let mut gone = Gone(Arc::clone(&self.queue), Served::Stopped);
        let mut is_closed = false;
        let mut connections: FuturesUnordered<BoxFuture> = FuturesUnordered::new();
        let mut closed = pin!(self.queue.closed());
        let mut pause: Option<BoxFuture> = None;
        poll_fn(|context| {
            is_closed = is_closed || closed.as_mut().poll(context).is_ready();
            if let Some(waiting) = &mut pause
                && waiting.as_mut().poll(context).is_ready()
            {
                pause = None;
            }
            loop {
                while let Poll::Ready(Some(())) = Stream::poll_next(pin!(&mut connections), context)
                {
                }
                let mut listener = self.queue.listener.lock();
                let Some(listener) = listener.as_mut().filter(|_| !is_closed) else {
                    break;
                };
                if pause.is_some() || connections.len() >= self.limits.connections_max {
                    break;
                }
                match Link::poll_accept(&mut **listener, context) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(link)) => {
                        connections.push(Box::pin(Arc::clone(&self).converse(link)));
                    }
                    Poll::Ready(Err(error)) => {
                        tracing::warn!("cannot accept at {address}: {error}");
                        let mut waiting = self.executor.sleep(RECOVERY);
                        if waiting.as_mut().poll(context).is_pending() {
                            pause = Some(waiting);
                        }
                    }
                }
            }
            if is_closed && connections.is_empty() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        gone.1 = Served::Everybody;
    }

    /// Answers the requests of one connection.
    async fn converse(self: Arc<Self>, link: Link) {
        let service = service_fn(|request| {
            let server = Arc::clone(&self);
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        let timer = EngineTimer::new(Arc::clone(&self.executor), Arc::clone(&self.clock));
        let connection = http1::Builder::new()
            .timer(timer)
            .header_read_timeout(self.limits.time_limit)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(link, service);
        let mut connection = pin!(connection);
        let closing = pin!(self.queue.closed());
        let ended = match select(connection.as_mut(), closing).await {
            Either::Left((ended, _)) => ended,
            Either::Right(_) => {
                connection.as_mut().graceful_shutdown();
                match select(connection, self.executor.sleep(PARTING)).await {
                    Either::Left((ended, _)) => ended,
                    Either::Right(_) => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!("a client's connection ended: {error}");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() != self.limits.path {
            let message = format!("records are taken at {}", self.limits.path);
            return says(StatusCode::NOT_FOUND, &message);
        }
        match *request.method() {
            Method::POST => {}
            Method::GET | Method::HEAD => {
                return match self.queue.is_ready() {
                    Ok(()) => json(StatusCode::OK, &Ready { ready: true }),
                    Err(refused) => self.refuse(refused),
                };
            }
            _ => {
                let mut response = says(StatusCode::METHOD_NOT_ALLOWED, "records are POSTed");
                let allowed = HeaderValue::from_static("GET, HEAD, POST");
                response.headers_mut().insert(ALLOW, allowed);
                return response;
            }
        }
        match self.take(request).await {
            Ok(accepted) => json(StatusCode::ACCEPTED, &Accepted { accepted }),
            Err(response) => response,
        }
    }

    /// Takes in the records of a request; the answer if it does not.
    async fn take(&self, request: Request<Incoming>) -> Result<usize, Response<Full<Bytes>>> {
        // Refused before the body is read: decoding what is refused afterwards would cost most when there is least.
        self.queue.is_ready().map_err(|why| self.refuse(why))?;
        let unsupported = |message: &str| says(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
        if request.headers().contains_key(CONTENT_ENCODING) {
            return Err(unsupported("the body must not be compressed"));
        }
        let content_type = request.headers().get(CONTENT_TYPE);
        let kind = content_type.and_then(|kind| Kind::of(kind.to_str().ok()?));
        let kind = kind.ok_or_else(|| {
            unsupported("expected Content-Type application/json, application/x-ndjson or text/plain, in UTF-8")
        })?;
        let body = self.read(request.into_body()).await?;
        let records = kind
            .decode(&body, self.queue.records_max())
            .map_err(|undecoded| match undecoded {
                Undecoded::Bad(bad) => json(StatusCode::BAD_REQUEST, &bad),
                Undecoded::TooMany => self.refuse(Refused::TooMany),
            })?;
        let count = records.len();
        self.queue
            .offer(records, body.len())
            .map_err(|why| self.refuse(why))?;
        Ok(count)
    }

    /// Reads a body, within its limits of size and time, and as long as the source has not ended.
    async fn read(&self, body: Incoming) -> Result<Bytes, Response<Full<Bytes>>> {
        let most = self.limits.body_bytes_max;
        let too_large = || {
            let message = format!("a body has at most {most} bytes");
            says(StatusCode::PAYLOAD_TOO_LARGE, &message)
        };
        if body.size_hint().lower() > most as u64 {
            return Err(too_large());
        }
        let collect = pin!(Limited::new(body, most).collect());
        let closing = pin!(self.queue.closed());
        let over = select(self.executor.sleep(self.limits.time_limit), closing);
        match select(collect, over).await {
            Either::Left((Ok(collected), _)) => Ok(collected.to_bytes()),
            Either::Left((Err(error), _)) if error.is::<LengthLimitError>() => Err(too_large()),
            Either::Left((Err(error), _)) => {
                let message = format!("the body did not come: {error}");
                Err(says(StatusCode::BAD_REQUEST, &message))
            }
            Either::Right((Either::Left(_), _)) => {
                let message = format!("the body did not come within {:?}", self.limits.time_limit);
                Err(says(StatusCode::REQUEST_TIMEOUT, &message))
            }
            Either::Right((Either::Right(_), _)) => Err(self.refuse(Refused::Closed)),
        }
    }

    fn refuse(&self, refused: Refused) -> Response<Full<Bytes>> {
        let message = match refused {
            Refused::Full => "there is no room for more records now",
            Refused::Closed => "the job has ended",
            Refused::TooMany => {
                let most = self.queue.records_max();
                let message = format!("a request has at most {most} records");
                return says(StatusCode::PAYLOAD_TOO_LARGE, &message);
            }
        };
        let mut response = says(StatusCode::SERVICE_UNAVAILABLE, message);
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        response
    }
}

/// The most bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;

#[derive(Serialize)]
struct Accepted {
    accepted: usize,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
}

fn says(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    let body = BadBody {
        error: message.to_owned(),
        ..BadBody::default()
    };
    json(status, &body)
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(body).expect("text and numbers have a place in JSON");
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Where a server listens.
pub(super) fn told(address: SocketAddr, path: &str) -> String {
    format!("http://{address}{path}")
}
