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
/// Records can be received at once, so they are repeated if the job is restored (at least once).
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
        sender: Arc::new(Mutex::new(Some(sender))),
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
    sender: Arc<Mutex<Option<Sender<T>>>>,
    places: Arc<Places>,
}

impl<T> Clone for ChannelSink<T> {
    fn clone(&self) -> Self {
        Self {
            sender: Arc::clone(&self.sender),
            places: Arc::clone(&self.places),
        }
    }
}

/// Writes into a channel.
pub struct ChannelWriter<T> {
    sender: Sender<T>,
    places: Arc<Places>,
}

impl<T: Send + 'static> Sink<T> for ChannelSink<T> {
    type Writer = ChannelWriter<T>;

    fn open(&self, context: &SinkContext) -> Result<ChannelWriter<T>, BoxError> {
        self.places.writers.lock().push(Arc::clone(&context.waker));
        let mut sender = self.sender.lock();
        let mine = sender
            .clone()
            .ok_or("the channel is filled by another job")?;
        if context.subtask + 1 == context.parallelism {
            // The stream ends when the last writer is dropped, so the sink must not keep a sender.
            *sender = None;
        }
        Ok(ChannelWriter {
            sender: mine,
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
}
