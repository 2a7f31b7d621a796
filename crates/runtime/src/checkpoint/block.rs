//! What tasks hand to the writer of checkpoints.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use levada_checkpoint::{BlockKind, Manifest};
use levada_core::Wake;
use levada_core::sync::Mutex;
use levada_core::sync::atomic::{AtomicU64, Ordering};

use crate::checkpoint::writer::Start;

/// A piece of a checkpoint. What `from` and `to` are depends on the kind.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) kind: BlockKind,
    /// An operator or an edge.
    pub(crate) name: Arc<str>,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) payload: Vec<u8>,
    /// Records in it, if it was in flight, or rows of keyed state.
    pub(crate) records: u64,
}

/// What the writer is told.
pub(crate) enum ToWriter {
    /// A checkpoint begins.
    Start(Start),
    /// A block of this checkpoint.
    Block(u64, Block),
    /// All tasks have handed on all blocks of this checkpoint. Its manifest, but for the files.
    Finish(Box<Manifest>),
    /// This checkpoint is given up.
    Discard(u64),
}

/// The way of blocks to the writer. How much may be under way is bounded by bytes: a task asks before it saves a slice. Only
/// what a task saves at the barrier itself is not held up; it does so once per checkpoint.
#[derive(Clone)]
pub(crate) struct Outlet {
    sender: Sender<ToWriter>,
    load: Arc<Load>,
}

/// Bytes that wait for the disk, and who waits for them to become fewer.
pub(crate) struct Load {
    bytes: AtomicU64,
    bytes_max: AtomicU64,
    limit: u64,
    waiting: Mutex<Vec<Arc<dyn Wake>>>,
}

impl Outlet {
    /// An outlet with room for about so many bytes, and where they arrive.
    pub(crate) fn new(limit: u64) -> (Self, Receiver<ToWriter>) {
        #[expect(
            clippy::disallowed_methods,
            reason = "its bound is in bytes, and in `Load`"
        )]
        let (sender, receiver) = unbounded();
        let load = Arc::new(Load {
            bytes: AtomicU64::new(0),
            bytes_max: AtomicU64::new(0),
            limit: limit.max(1),
            waiting: Mutex::default(),
        });
        (Self { sender, load }, receiver)
    }

    pub(crate) fn load(&self) -> &Arc<Load> {
        &self.load
    }

    /// Hands on a block. Without a writer nobody wants it.
    pub(crate) fn send(&self, checkpoint: u64, block: Block) -> u64 {
        let bytes = block.payload.len() as u64;
        self.load.add(bytes);
        if self
            .sender
            .send(ToWriter::Block(checkpoint, block))
            .is_err()
        {
            self.load.done(bytes);
        }
        bytes
    }

    pub(crate) fn tell(&self, message: ToWriter) {
        let _ = self.sender.send(message);
    }
}

impl Load {
    fn add(&self, bytes: u64) {
        let now = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes_max.fetch_max(now, Ordering::Relaxed);
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The most that ever waited.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max.load(Ordering::Relaxed)
    }

    /// Whether nothing more should be saved now.
    pub(crate) fn is_over(&self) -> bool {
        self.bytes() >= self.limit
    }

    /// Whether nothing more should be saved now. Whoever is told so is woken when that changes.
    pub(crate) fn is_full(&self, waker: &Arc<dyn Wake>) -> bool {
        if self.bytes() < self.limit {
            return false;
        }
        let mut waiting = self.waiting.lock();
        // Under the lock, so that whoever takes the last bytes away finds the waker or is seen here.
        if self.bytes() < self.limit {
            return false;
        }
        if !waiting.iter().any(|other| Arc::ptr_eq(other, waker)) {
            waiting.push(Arc::clone(waker));
        }
        true
    }

    /// Bytes have been written or given up.
    pub(crate) fn done(&self, bytes: u64) {
        let before = self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        if before - bytes < self.limit {
            let woken = std::mem::take(&mut *self.waiting.lock());
            for waker in woken {
                waker.wake();
            }
        }
    }
}
