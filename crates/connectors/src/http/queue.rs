//! Records between the server and the job.

use std::collections::VecDeque;
use std::sync::Arc;
use std::vec;

use levada_core::Wake;
use levada_core::executor::Spawned;
use levada_core::net::Listener;
use levada_core::sync::Mutex;
use tokio::sync::watch;

/// Holds the records of whole requests until the job takes them.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    /// Where the server listens, until nothing more is taken in.
    pub(super) listener: Mutex<Option<Box<dyn Listener>>>,
    /// True once nothing more is taken in.
    closed: watch::Sender<bool>,
    bounds: Bounds,
}

/// How much waits in a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) records_max: usize,
    /// Bytes of bodies. A request whose body is larger is taken in when nothing else waits.
    pub(super) bytes_max: usize,
}

/// What the job has not yet taken of a request.
struct Waiting<T> {
    records: vec::IntoIter<T>,
    /// The bytes of its whole body.
    bytes: usize,
}

struct State<T> {
    waiting: VecDeque<Waiting<T>>,
    /// Records of them that are left, and the bytes of their bodies.
    records: usize,
    bytes: usize,
    /// Requests and records that are still to come; no limit if none.
    requests_left: Option<u64>,
    records_left: Option<u64>,
    reader: Option<Arc<dyn Wake>>,
    /// Kept so that it goes on when the reader has gone: whoever waits for an answer gets one.
    server: Option<Spawned>,
    /// Whether the server has answered everybody, or has failed; none while it serves.
    served: Option<Served>,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Served {
    Everybody,
    /// It was stopped, or has panicked: nobody knows who was waiting.
    Stopped,
}

/// Why records were not taken in. None of a request is, or all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refused {
    /// There is no room now.
    Full,
    /// There never is room for so many.
    TooMany,
    /// The source has ended.
    Closed,
}

impl<T> Queue<T> {
    pub(super) fn new(bounds: Bounds, requests: Option<u64>, records: Option<u64>) -> Arc<Self> {
        assert!(bounds.records_max > 0, "a queue holds at least one record");
        Arc::new(Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                records: 0,
                bytes: 0,
                requests_left: requests,
                records_left: records,
                reader: None,
                server: None,
                served: None,
            }),
            listener: Mutex::new(None),
            closed: watch::Sender::new(requests == Some(0) || records == Some(0)),
            bounds,
        })
    }

    /// Takes in all of these records, which had so many bytes, or none.
    pub(super) fn offer(&self, records: Vec<T>, bytes: usize) -> Result<(), Refused> {
        let mut state = self.state.lock();
        self.admit(&state, records.len(), bytes)?;
        let count = |left: &mut Option<u64>, by: u64| {
            *left = left.map(|left| left.saturating_sub(by));
            *left == Some(0)
        };
        let is_last = count(&mut state.requests_left, 1)
            | count(&mut state.records_left, records.len() as u64);
        if !records.is_empty() {
            state.records += records.len();
            state.bytes += bytes;
            let records = records.into_iter();
            state.waiting.push_back(Waiting { records, bytes });
        }
        assert!(
            state.records <= self.bounds.records_max,
            "a queue has a bound"
        );
        let reader = state.reader.clone();
        drop(state);
        if is_last {
            self.close();
        } else if let Some(reader) = reader {
            reader.wake();
        }
        Ok(())
    }

    /// Whether a request with a record would be taken in now.
    pub(super) fn is_ready(&self) -> Result<(), Refused> {
        self.admit(&self.state.lock(), 1, 1)
    }

    fn admit(&self, state: &State<T>, records: usize, bytes: usize) -> Result<(), Refused> {
        let Bounds {
            records_max,
            bytes_max,
        } = self.bounds;
        if *self.closed.borrow() {
            Err(Refused::Closed)
        } else if records > records_max {
            Err(Refused::TooMany)
        } else if state.records + records > records_max
            || state.bytes > 0 && state.bytes + bytes > bytes_max
        {
            Err(Refused::Full)
        } else {
            Ok(())
        }
    }

    pub(super) fn records_max(&self) -> usize {
        self.bounds.records_max
    }

    /// Takes nothing in from now on.
    pub(super) fn close(&self) {
        // Here and not by the server, which may come to it later: whoever starts again listens at the same port.
        *self.listener.lock() = None;
        self.closed.send_replace(true);
        self.wake();
    }

    /// Comes to its end when nothing more is taken in.
    pub(super) fn closed(&self) -> impl Future<Output = ()> + Send + use<T> {
        let mut closed = self.closed.subscribe();
        async move {
            // A queue that is gone takes nothing in either.
            let _ = closed.wait_for(|closed| *closed).await.is_ok();
        }
    }

    /// The next record.
    pub(super) fn take(&self) -> Option<T> {
        let mut state = self.state.lock();
        let first = state.waiting.front_mut()?;
        let record = first.records.next();
        let (left, bytes) = (first.records.len(), first.bytes);
        state.records -= 1;
        if left == 0 {
            state.waiting.pop_front();
            state.bytes -= bytes;
        }
        record
    }

    /// How the server ended, once it has and no record is left.
    pub(super) fn over(&self) -> Option<Served> {
        let state = self.state.lock();
        state.served.filter(|_| state.records == 0)
    }

    /// Wakes this reader, and keeps the server alive.
    pub(super) fn connect(&self, reader: Arc<dyn Wake>, server: Spawned) {
        let mut state = self.state.lock();
        state.reader = Some(reader);
        if state.served.is_none() {
            state.server = Some(server);
        }
    }

    /// The server is gone.
    pub(super) fn ended(&self, served: Served) {
        let mut state = self.state.lock();
        state.served = Some(served);
        let server = state.server.take();
        drop(state);
        // Its handle ends a future that is at its end.
        drop(server);
        self.wake();
    }

    fn wake(&self) {
        let reader = self.state.lock().reader.clone();
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounded(records_max: usize, requests: Option<u64>, records: Option<u64>) -> Arc<Queue<u8>> {
        let bounds = Bounds {
            records_max,
            bytes_max: 100,
        };
        Queue::new(bounds, requests, records)
    }

    #[test]
    fn bodies_have_a_bound_in_bytes_too() {
        let queue = bounded(10, None, None);
        assert_eq!(queue.offer(vec![1, 2], 60), Ok(()));
        assert_eq!(queue.offer(vec![3], 41), Err(Refused::Full));
        assert_eq!(queue.offer(vec![3], 40), Ok(()));
        assert_eq!(queue.is_ready(), Err(Refused::Full));
        assert_eq!(queue.take(), Some(1));
        assert_eq!(queue.is_ready(), Err(Refused::Full), "its body is not gone");
        assert_eq!(queue.take(), Some(2));
        assert_eq!(queue.offer(vec![4, 5], 60), Ok(()));
        assert_eq!((queue.take(), queue.take()), (Some(3), Some(4)));
        assert_eq!((queue.take(), queue.take()), (Some(5), None));
        // One that is larger than all waits alone.
        assert_eq!(queue.offer(vec![6], 1_000), Ok(()));
        assert_eq!(queue.is_ready(), Err(Refused::Full));
        assert_eq!(queue.take(), Some(6));
        assert_eq!(queue.is_ready(), Ok(()));
    }

    #[test]
    fn a_request_is_taken_in_as_a_whole_or_not_at_all() {
        let queue = bounded(3, None, None);
        assert_eq!(queue.offer(vec![1, 2], 1), Ok(()));
        assert_eq!(queue.offer(vec![3, 4], 1), Err(Refused::Full));
        assert_eq!(queue.offer(vec![3, 4, 5, 6], 1), Err(Refused::TooMany));
        assert_eq!(queue.offer(vec![3], 1), Ok(()));
        assert_eq!(queue.is_ready(), Err(Refused::Full));
        assert_eq!(queue.take(), Some(1));
        assert_eq!(queue.is_ready(), Ok(()));
        queue.close();
        assert_eq!(queue.offer(vec![7], 1), Err(Refused::Closed));
        assert_eq!((queue.take(), queue.take()), (Some(2), Some(3)));
        assert_eq!(queue.over(), None, "the server is there");
        queue.ended(Served::Everybody);
        assert_eq!(queue.over(), Some(Served::Everybody));
    }

    #[test]
    fn the_last_request_or_record_closes_it() {
        let queue = bounded(10, Some(2), None);
        assert_eq!(queue.offer(vec![1, 2], 1), Ok(()));
        assert_eq!(queue.offer(Vec::new(), 1), Ok(()));
        assert_eq!(queue.offer(vec![3], 1), Err(Refused::Closed));
        let queue = bounded(10, None, Some(3));
        assert_eq!(queue.offer(vec![1, 2], 1), Ok(()));
        assert_eq!(queue.offer(vec![3, 4], 1), Ok(()));
        assert_eq!(queue.offer(vec![5], 1), Err(Refused::Closed));
    }
}
