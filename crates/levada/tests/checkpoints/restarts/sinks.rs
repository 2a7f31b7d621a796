//! Sinks that say whether they were closed, and that refuse.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use levada::{BoxError, Drain, Sink, SinkContext, Writer};
use levada_core::sync::Mutex;
use levada_testing::{Epoch, LedgerSink, LedgerWriter};

/// What a sink holds: as many as there are threads that may still write.
pub(super) struct Held {
    open: Arc<Mutex<u32>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.open.lock() -= 1;
    }
}

pub(super) struct Holding {
    pub(super) open: Arc<Mutex<u32>>,
    pub(super) openings: Arc<AtomicU32>,
}

impl Sink<u64> for Holding {
    type Writer = Held;

    fn open(&self, context: &SinkContext) -> Result<Held, BoxError> {
        let mut open = self.open.lock();
        assert!(
            (*open as usize) < context.parallelism,
            "a writer of an earlier attempt is still open"
        );
        *open += 1;
        self.openings.fetch_add(1, Ordering::Relaxed);
        Ok(Held {
            open: Arc::clone(&self.open),
        })
    }

    /// On a thread of its own.
    fn is_blocking(&self) -> bool {
        true
    }
}

impl Writer<u64> for Held {
    type Pending = ();

    fn write(&mut self, records: &mut impl Drain<u64>) -> Result<(), BoxError> {
        records.for_each(drop);
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    fn commit(&mut self, (): ()) -> Result<(), BoxError> {
        Ok(())
    }
}

/// A ledger that refuses so many commits.
pub(super) struct Refusing {
    pub(super) sink: LedgerSink<(u64, u64)>,
    pub(super) refusals: Arc<AtomicU32>,
}

pub(super) struct RefusingWriter {
    writer: LedgerWriter<(u64, u64)>,
    refusals: Arc<AtomicU32>,
}

impl Sink<(u64, u64)> for Refusing {
    type Writer = RefusingWriter;

    fn open(&self, context: &SinkContext) -> Result<RefusingWriter, BoxError> {
        Ok(RefusingWriter {
            writer: self.sink.open(context)?,
            refusals: Arc::clone(&self.refusals),
        })
    }
}

impl Writer<(u64, u64)> for RefusingWriter {
    type Pending = Epoch<(u64, u64)>;

    fn write(&mut self, records: &mut impl Drain<(u64, u64)>) -> Result<(), BoxError> {
        self.writer.write(records)
    }

    fn prepare(&mut self) -> Result<Self::Pending, BoxError> {
        self.writer.prepare()
    }

    fn commit(&mut self, epoch: Self::Pending) -> Result<(), BoxError> {
        let less = |left: u32| left.checked_sub(1);
        let refused = self
            .refusals
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        match refused {
            Ok(_) => Err("the ledger is locked".into()),
            Err(_) => self.writer.commit(epoch),
        }
    }
}
