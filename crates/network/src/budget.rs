//! The part of the buffer memory that no edge has planned for: it carries what records larger than a batch need.

use levada_core::sync::atomic::{AtomicU64, Ordering};

use crate::gauge::raise;

/// Bytes of overdraft that the tasks of a process may use together.
///
/// The sum of the edges' bounds and this limit is the buffer memory of the process. One record more than the limit is
/// possible for each task, since a task can only go on with a record once it holds it.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
    used_max: AtomicU64,
}

impl Budget {
    /// A budget of `limit` bytes for overdraft.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
            used_max: AtomicU64::new(0),
        }
    }

    /// The limit in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes in use now.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The most bytes that were ever in use at once.
    #[must_use]
    pub fn used_max(&self) -> u64 {
        self.used_max.load(Ordering::Relaxed)
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.used() >= self.limit
    }

    /// Counts `bytes` as used.
    pub fn charge(&self, bytes: u64) {
        raise(&self.used, &self.used_max, bytes);
    }

    /// Counts `bytes` as free again.
    pub fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}
