//! Records that other threads receive from a job.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use levada_core::sync::Mutex;
use levada_core::sync::atomic::{AtomicUsize, Ordering};
use levada_core::{BoxError, Wake};
use levada_runtime::{Drain, Sink, SinkContext, Writer};

use crate::channel::Closed;

/// A channel out of a job that holds at most `capacity` records. While it is full the job stops behind it.
///
/// Records can be received at once, so they are repeated if the job goes on from a checkpoint (at least once). The receiver
/// sees the end when the job has come to its end, or has failed for good: not in between, when it is started again after a
/// failure.
///
/// ```
/// use levada_connectors::sink_channel;
///
/// let (sink, receiver) = sink_channel::<u64>(128);
/// # drop((sink, receiver));
/// ```
///
/// # Panics
/// If the capacity is zero.
#[must_use]
pub fn sink_channel<T: Send + 'static>(capacity: usize) -> (ChannelSink<T>, ChannelReceiver<T>) {
    assert!(capacity > 0, "a channel holds at least one record");
    let (sender, receiver) = bounded(capacity);
    let places = Arc::new(Places {
        taken: AtomicUsize::new(0),
        capacity,
        writers: Mutex::new(Vec::new()),
    });
    let sink = ChannelSink {
        unused: Arc::new(Mutex::new(Some(sender))),
        started: Arc::default(),
        places: Arc::clone(&places),
    };
    (sink, ChannelReceiver { receiver, places })
}

/// The places of a channel. A writer takes a place before it takes a record, so that it never holds one it cannot send.
struct Places {
    taken: AtomicUsize,
    capacity: usize,
    writers: Mutex<Vec<Arc<dyn Wake>>>,
}

impl Places {
    fn take(&self) -> bool {
        let free = |taken: usize| (taken < self.capacity).then_some(taken + 1);
        self.taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, free)
            .is_ok()
    }

    fn give_back(&self) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
    }

    fn wake(&self) {
        for writer in &*self.writers.lock() {
            writer.wake();
        }
    }
}

/// Receives records from a job.
pub struct ChannelReceiver<T> {
    receiver: Receiver<T>,
    places: Arc<Places>,
}

impl<T> ChannelReceiver<T> {
    /// Waits for the next record; none when the job has ended and all have been received.
    #[must_use]
    pub fn recv(&self) -> Option<T> {
        self.received(self.receiver.recv().ok())
    }

    /// The next record, if one is there.
    #[must_use]
    pub fn try_recv(&self) -> Option<T> {
        self.received(self.receiver.try_recv().ok())
    }

    /// All records until the job has ended.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.recv())
    }

    /// How many records the channel holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.receiver.len()
    }

    /// Whether the channel holds no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    fn received(&self, record: Option<T>) -> Option<T> {
        if record.is_some() {
            self.places.give_back();
            self.places.wake();
        }
        record
    }
}

impl<T> Drop for ChannelReceiver<T> {
    fn drop(&mut self) {
        // The writers find out that nobody receives when they try to send.
        while self.try_recv().is_some() {}
        let (_, nobody) = bounded(0);
        self.receiver = nobody;
        self.places.wake();
    }
}

/// The sink made by [`sink_channel`]. Clones are the same sink, and one of them can be used: a function that builds a job
/// may be called more than once, a channel ends once.
pub struct ChannelSink<T> {
    /// Until one of the clones is started.
    unused: Arc<Mutex<Option<Sender<T>>>>,
    /// From the start of this one on: so the channel outlives an attempt that has failed, and ends with the job.
    started: Arc<Mutex<Started<T>>>,
    places: Arc<Places>,
}

struct Started<T> {
    sender: Option<Sender<T>>,
    /// Writers of this attempt that are there.
    writers: usize,
    /// Whether one of them has been given up: then it is not the end.
    given_up: bool,
}

impl<T> Default for Started<T> {
    fn default() -> Self {
        Self {
            sender: None,
            writers: 0,
            given_up: false,
        }
    }
}

impl<T> Clone for ChannelSink<T> {
    fn clone(&self) -> Self {
        Self {
            unused: Arc::clone(&self.unused),
            started: Arc::default(),
            places: Arc::clone(&self.places),
        }
    }
}

/// Writes into a channel.
pub struct ChannelWriter<T> {
    sender: Sender<T>,
    started: Arc<Mutex<Started<T>>>,
    places: Arc<Places>,
}

impl<T> Drop for ChannelWriter<T> {
    fn drop(&mut self) {
        let mut started = self.started.lock();
        started.writers -= 1;
        if started.writers == 0 && !started.given_up {
            started.sender = None;
        }
    }
}

impl<T: Send + 'static> Sink<T> for ChannelSink<T> {
    type Writer = ChannelWriter<T>;

    fn start(&self, _: &SinkContext) -> Result<(), BoxError> {
        let mut started = self.started.lock();
        if started.sender.is_none() {
            let unused = self.unused.lock().take();
            started.sender = Some(unused.ok_or("the channel is filled by another job")?);
        }
        started.given_up = false;
        self.places.writers.lock().clear();
        Ok(())
    }

    /// There is nothing to commit: what was prepared had been sent.
    fn recover(&self, _: Vec<()>, _: &SinkContext) -> Result<(), BoxError> {
        Ok(())
    }

    fn open(&self, context: &SinkContext) -> Result<ChannelWriter<T>, BoxError> {
        self.places.writers.lock().push(Arc::clone(&context.waker));
        let mut started = self.started.lock();
        let sender = started.sender.clone();
        let sender = sender.expect("a sink is started before it is opened");
        started.writers += 1;
        Ok(ChannelWriter {
            sender,
            started: Arc::clone(&self.started),
            places: Arc::clone(&self.places),
        })
    }
}

impl<T: Send + 'static> Writer<T> for ChannelWriter<T> {
    type Pending = ();

    fn write(&mut self, records: &mut impl Drain<T>) -> Result<(), BoxError> {
        while !records.is_over() && self.places.take() {
            let Some(record) = records.next() else {
                self.places.give_back();
                return Ok(());
            };
            // There is a place, so this does not wait.
            if self.sender.send(record).is_err() {
                return Err(Closed(()).into());
            }
        }
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    fn commit(&mut self, (): ()) -> Result<(), BoxError> {
        Ok(())
    }

    fn abort(&mut self) -> Result<(), BoxError> {
        self.started.lock().given_up = true;
        Ok(())
    }
}
