//! What an exchange holds, counted where it changes: per batch, never per record.

use std::sync::Arc;

use levada_core::Moment;
use levada_core::sync::atomic::{AtomicU64, Ordering};

use crate::budget::Budget;

/// The bytes that an exchange holds between its producers and its consumers, over all of its channels.
///
/// Counted are queued and in-flight batches, the batch in a consumer's hand, spent batches their maker has not looked at
/// yet, and open batches that are full. A batch counts for at most its target; what a large record has beyond that is
/// overdraft.
#[derive(Debug, Default)]
pub struct EdgeGauge {
    held: AtomicU64,
    held_max: AtomicU64,
    overdraft: AtomicU64,
    overdraft_max: AtomicU64,
    batches: AtomicU64,
    records: AtomicU64,
}

impl EdgeGauge {
    /// Bytes held now, overdraft apart.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// The most bytes that were ever held at once, overdraft apart.
    #[must_use]
    pub fn held_max(&self) -> u64 {
        self.held_max.load(Ordering::Relaxed)
    }

    /// Bytes held beyond the target of a batch, by records larger than what was left of it.
    #[must_use]
    pub fn overdraft(&self) -> u64 {
        self.overdraft.load(Ordering::Relaxed)
    }

    /// The most overdraft there ever was.
    #[must_use]
    pub fn overdraft_max(&self) -> u64 {
        self.overdraft_max.load(Ordering::Relaxed)
    }

    /// Batches sealed so far.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Records in the batches sealed so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }
}

/// One channel as seen by its producer.
#[derive(Debug, Default)]
pub struct ChannelGauge {
    pub(crate) credits: AtomicU64,
    pub(crate) queued: AtomicU64,
    waited_nanos: AtomicU64,
    /// The moment, in nanoseconds, since which the producer waits for this channel; zero if it does not.
    waiting_since: AtomicU64,
}

impl ChannelGauge {
    /// Credits the producer has not used.
    #[must_use]
    pub fn credits(&self) -> u64 {
        self.credits.load(Ordering::Relaxed)
    }

    /// Batches that wait for a credit.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    /// How long the producer has waited for this channel until `now`, in nanoseconds.
    #[must_use]
    pub fn waited_nanos(&self, now: Moment) -> u64 {
        let since = self.waiting_since.load(Ordering::Relaxed);
        let still = if since == 0 {
            0
        } else {
            now.nanos_since(Moment::from_nanos(since))
        };
        self.waited_nanos.load(Ordering::Relaxed) + still
    }

    pub(crate) fn begin_waiting(&self, now: Moment) {
        if self.waiting_since.load(Ordering::Relaxed) == 0 {
            self.waiting_since
                .store(now.as_nanos().max(1), Ordering::Relaxed);
        }
    }

    pub(crate) fn end_waiting(&self, now: Moment) {
        let since = self.waiting_since.swap(0, Ordering::Relaxed);
        if since != 0 {
            let waited = now.nanos_since(Moment::from_nanos(since));
            self.waited_nanos.fetch_add(waited, Ordering::Relaxed);
        }
    }
}

/// Where the batches of one outbox are charged: its edges (several if they share batches), the budget of the process,
/// and its own share of the overdraft.
#[derive(Debug)]
pub(crate) struct Account {
    edges: Vec<Arc<EdgeGauge>>,
    budget: Arc<Budget>,
    overdraft: AtomicU64,
}

impl Account {
    pub(crate) fn new(edges: Vec<Arc<EdgeGauge>>, budget: Arc<Budget>) -> Self {
        Self {
            edges,
            budget,
            overdraft: AtomicU64::new(0),
        }
    }

    pub(crate) fn count_sealed(&self, records: usize) {
        for edge in &self.edges {
            edge.batches.fetch_add(1, Ordering::Relaxed);
            edge.records.fetch_add(records as u64, Ordering::Relaxed);
        }
    }

    /// Whether this outbox must wait until its own large records are consumed. One that has none outstanding may always
    /// go on: else two tasks could wait for each other's overdraft.
    pub(crate) fn overdrawn(&self) -> bool {
        self.overdraft.load(Ordering::Relaxed) > 0 && self.is_exhausted()
    }

    /// Whether the process has no overdraft left.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.budget.is_exhausted()
    }
}

/// The bytes of one batch, counted while this value lives.
#[derive(Debug)]
pub(crate) struct Charge {
    account: Arc<Account>,
    bytes: u64,
    overdraft: u64,
}

impl Charge {
    pub(crate) fn new(account: &Arc<Account>, bytes: usize, target: usize) -> Self {
        let charge = Self {
            account: Arc::clone(account),
            bytes: bytes.min(target) as u64,
            overdraft: bytes.saturating_sub(target) as u64,
        };
        for edge in &account.edges {
            raise(&edge.held, &edge.held_max, charge.bytes);
            raise(&edge.overdraft, &edge.overdraft_max, charge.overdraft);
        }
        if charge.overdraft > 0 {
            account
                .overdraft
                .fetch_add(charge.overdraft, Ordering::Relaxed);
            account.budget.charge(charge.overdraft);
        }
        charge
    }

    /// Whether the batch holds more than its target.
    pub(crate) fn is_overdraft(&self) -> bool {
        self.overdraft > 0
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        for edge in &self.account.edges {
            edge.held.fetch_sub(self.bytes, Ordering::Relaxed);
            edge.overdraft.fetch_sub(self.overdraft, Ordering::Relaxed);
        }
        if self.overdraft > 0 {
            self.account
                .overdraft
                .fetch_sub(self.overdraft, Ordering::Relaxed);
            self.account.budget.release(self.overdraft);
        }
    }
}

pub(crate) fn raise(gauge: &AtomicU64, high_water: &AtomicU64, by: u64) {
    if by == 0 {
        return;
    }
    let now = gauge.fetch_add(by, Ordering::Relaxed) + by;
    high_water.fetch_max(now, Ordering::Relaxed);
}
