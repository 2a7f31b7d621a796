//! Records between the server and the job.

use std::collections::VecDeque;
use std::sync::Arc;

use levada_core::Wake;
use levada_core::executor::Spawned;
use levada_core::sync::Mutex;
use tokio::sync::watch;

/// Holds the records of whole requests until the job takes them.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    /// True once nothing more is taken in.
    closed: watch::Sender<bool>,
    records_max: usize,
}

struct State<T> {
    records: VecDeque<T>,
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
    pub(super) fn new(
        records_max: usize,
        requests: Option<u64>,
        records: Option<u64>,
    ) -> Arc<Self> {
        assert!(records_max > 0, "a queue holds at least one record");
        Arc::new(Self {
            state: Mutex::new(State {
                records: VecDeque::new(),
                requests_left: requests,
                records_left: records,
                reader: None,
                server: None,
                served: None,
            }),
            closed: watch::Sender::new(requests == Some(0) || records == Some(0)),
            records_max,
        })
    }

    /// Takes in all of these records, or none.
    pub(super) fn offer(&self, records: Vec<T>) -> Result<(), Refused> {
        let mut state = self.state.lock();
        self.admit(&state, records.len())?;
        let count = |left: &mut Option<u64>, by: u64| {
            *left = left.map(|left| left.saturating_sub(by));
            *left == Some(0)
        };
        let is_last = count(&mut state.requests_left, 1)
            | count(&mut state.records_left, records.len() as u64);
        state.records.extend(records);
        assert!(
            state.records.len() <= self.records_max,
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
        self.admit(&self.state.lock(), 1)
    }

    fn admit(&self, state: &State<T>, records: usize) -> Result<(), Refused> {
        if *self.closed.borrow() {
            Err(Refused::Closed)
        } else if records > self.records_max {
            Err(Refused::TooMany)
        } else if state.records.len() + records > self.records_max {
            Err(Refused::Full)
        } else {
            Ok(())
        }
    }

    pub(super) fn records_max(&self) -> usize {
        self.records_max
    }

    /// Takes nothing in from now on.
    pub(super) fn close(&self) {
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
        self.state.lock().records.pop_front()
    }

    /// How the server ended, once it has and no record is left.
    pub(super) fn over(&self) -> Option<Served> {
        let state = self.state.lock();
        state.served.filter(|_| state.records.is_empty())
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

    #[test]
    fn a_request_is_taken_in_as_a_whole_or_not_at_all() {
        let queue = Queue::new(3, None, None);
        assert_eq!(queue.offer(vec![1, 2]), Ok(()));
        assert_eq!(queue.offer(vec![3, 4]), Err(Refused::Full));
        assert_eq!(queue.offer(vec![3, 4, 5, 6]), Err(Refused::TooMany));
        assert_eq!(queue.offer(vec![3]), Ok(()));
        assert_eq!(queue.is_ready(), Err(Refused::Full));
        assert_eq!(queue.take(), Some(1));
        assert_eq!(queue.is_ready(), Ok(()));
        queue.close();
        assert_eq!(queue.offer(vec![7]), Err(Refused::Closed));
        assert_eq!((queue.take(), queue.take()), (Some(2), Some(3)));
        assert_eq!(queue.over(), None, "the server is there");
        queue.ended(Served::Everybody);
        assert_eq!(queue.over(), Some(Served::Everybody));
    }

    #[test]
    fn the_last_request_or_record_closes_it() {
        let queue = Queue::new(10, Some(2), None);
        assert_eq!(queue.offer(vec![1, 2]), Ok(()));
        assert_eq!(queue.offer(Vec::new()), Ok(()));
        assert_eq!(queue.offer(vec![3]), Err(Refused::Closed));
        let queue = Queue::new(10, None, Some(3));
        assert_eq!(queue.offer(vec![1, 2]), Ok(()));
        assert_eq!(queue.offer(vec![3, 4]), Ok(()));
        assert_eq!(queue.offer(vec![5]), Err(Refused::Closed));
    }
}
