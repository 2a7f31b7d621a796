//! Records that other threads send into a job.

use std::sync::{Arc, Weak};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use levada_core::sync::Mutex;
use levada_core::{BoxError, Wake};
use levada_runtime::{Intake, Reader, ReaderContext, Source, SourceContext, Status};

use crate::channel::Closed;

/// A channel into a job that holds at most `capacity` records.
///
/// The stream ends when all senders are dropped. A channel cannot be read twice: a job that is started again, or goes on from
/// a checkpoint, reads what the channel holds and what is sent next, so what was in flight is lost (at most once). Whoever
/// sends meanwhile waits, and learns that the channel is closed when the job has ended for good.
///
/// ```
/// use levada_connectors::source_channel;
///
/// let (sender, source) = source_channel::<u64>(128);
/// # drop((sender, source));
/// ```
///
/// # Panics
/// If the capacity is zero.
#[must_use]
pub fn source_channel<T: Send + 'static>(capacity: usize) -> (ChannelSender<T>, ChannelSource<T>) {
    assert!(capacity > 0, "a channel holds at least one record");
    let (sender, receiver) = bounded(capacity);
    let reader = Arc::new(Waker::default());
    let source = ChannelSource {
        unused: Arc::new(Mutex::new(Some(receiver))),
        started: Arc::default(),
        reader: Arc::clone(&reader),
    };
    let sender = ChannelSender {
        sender: Some(sender),
        reader,
    };
    (sender, source)
}

/// The task that reads, once it does.
#[derive(Default)]
struct Waker(Mutex<Option<Arc<dyn Wake>>>);

impl Waker {
    fn wake(&self) {
        let waker = self.0.lock().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Sends records into a job. Clones send into the same stream.
pub struct ChannelSender<T> {
    sender: Option<Sender<T>>,
    reader: Arc<Waker>,
}

impl<T> ChannelSender<T> {
    /// Sends a record; waits while the channel is full, which is how far backpressure reaches.
    ///
    /// # Errors
    /// If the job has ended; the record comes back.
    pub fn send(&self, record: T) -> Result<(), Closed<T>> {
        let Some(sender) = &self.sender else {
            return Err(Closed(record));
        };
        sender.send(record).map_err(|error| Closed(error.0))?;
        self.reader.wake();
        Ok(())
    }

    /// How many records the channel holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sender.as_ref().map_or(0, Sender::len)
    }

    /// Whether the channel holds no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Clone for ChannelSender<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            reader: Arc::clone(&self.reader),
        }
    }
}

impl<T> Drop for ChannelSender<T> {
    fn drop(&mut self) {
        // First gone, then told: the reader must see the end when it looks.
        self.sender = None;
        self.reader.wake();
    }
}

/// The source made by [`source_channel`]. Clones are the same source, and one of them can be read: a function that builds a
/// job may be called more than once, a channel can be read once.
pub struct ChannelSource<T> {
    /// Until one of the clones is started.
    unused: Arc<Mutex<Option<Receiver<T>>>>,
    /// From the start of this one on, while nobody reads. The reader gives it back, unless the source has gone: then the
    /// senders learn that nobody reads.
    started: Arc<Mutex<Option<Receiver<T>>>>,
    reader: Arc<Waker>,
}

impl<T> Clone for ChannelSource<T> {
    fn clone(&self) -> Self {
        Self {
            unused: Arc::clone(&self.unused),
            started: Arc::default(),
            reader: Arc::clone(&self.reader),
        }
    }
}

/// Reads a channel.
pub struct ChannelReader<T> {
    /// There until the reader is dropped.
    receiver: Option<Receiver<T>>,
    source: Weak<Mutex<Option<Receiver<T>>>>,
    read: u64,
}

impl<T> Drop for ChannelReader<T> {
    fn drop(&mut self) {
        if let Some(source) = self.source.upgrade() {
            *source.lock() = self.receiver.take();
        }
    }
}

impl<T: Send + 'static> Source for ChannelSource<T> {
    type Out = T;
    type Split = ();
    type Reader = ChannelReader<T>;

    fn splits(&self, _: &SourceContext) -> Result<Vec<()>, BoxError> {
        Ok(vec![()])
    }

    fn open(
        &self,
        (): (),
        position: Option<u64>,
        context: &ReaderContext,
    ) -> Result<ChannelReader<T>, BoxError> {
        let mut receiver = self.started.lock().take();
        if receiver.is_none() {
            receiver = self.unused.lock().take();
        }
        if receiver.is_none() {
            return Err("the channel is read by another job".into());
        }
        *self.reader.0.lock() = Some(Arc::clone(&context.waker));
        Ok(ChannelReader {
            receiver,
            source: Arc::downgrade(&self.started),
            read: position.unwrap_or(0),
        })
    }

    fn parallelism_max(&self) -> Option<(usize, &'static str)> {
        Some((
            1,
            "a channel is read by one subtask; call `.rebalance()` behind it",
        ))
    }
}

impl<T: Send + 'static> Reader for ChannelReader<T> {
    type Out = T;
    /// How many records have been read; they cannot be read again.
    type Position = u64;

    fn read(&mut self, intake: &mut impl Intake<T>) -> Result<Status, BoxError> {
        let Some(receiver) = &self.receiver else {
            return Ok(Status::Done);
        };
        while !intake.is_full() {
            match receiver.try_recv() {
                Ok(record) => {
                    self.read += 1;
                    intake.push(record);
                }
                Err(TryRecvError::Empty) => return Ok(Status::Idle(None)),
                Err(TryRecvError::Disconnected) => return Ok(Status::Done),
            }
        }
        Ok(Status::More)
    }

    fn position(&self) -> u64 {
        self.read
    }
}
