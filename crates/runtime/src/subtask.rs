//! What an operator knows about the subtask it is built for.

use std::ops::Range;
use std::sync::Arc;

use levada_core::{KeyGroups, Origin, Wake};
use levada_network::Budget;

use crate::checkpoint::{Restored, saved_version};
use crate::environment::Environment;
use crate::metrics::OperatorCounters;
use crate::metrics::user::{SubtaskMetrics, UserMetrics};
use crate::sink::SinkContext;
use crate::source::ReaderContext;
use crate::stage::Overdraft;
use crate::throttle::Throttle;

/// One parallel instance of an operator.
#[derive(Clone)]
pub struct Subtask {
    /// The operator's name and place.
    pub operator: Origin,
    /// The number of the subtask, from 0.
    pub index: usize,
    /// How many subtasks the operator has.
    pub parallelism: usize,
    /// The key groups of the job.
    pub key_groups: KeyGroups,
    /// The world outside.
    pub environment: Environment,
    /// Counts what the operator does.
    pub counters: Arc<OperatorCounters>,
    /// Wakes the task.
    pub waker: Arc<dyn Wake>,
    /// The seed of the job's tables.
    pub table_seed: u64,
    /// Whether what it emits crosses an exchange, so that a keyed record must know its group.
    pub crosses_exchange: bool,
    /// Whether each record is pushed while the split it is from is the current one: nothing stands between the source and
    /// here that emits of its own accord, and no exchange.
    pub knows_splits: bool,
    pub(crate) run: Arc<str>,
    pub(crate) restored: Option<Arc<Restored>>,
    pub(crate) user: UserMetrics,
    pub(crate) budget: Arc<Budget>,
    pub(crate) overdraft_bytes_max: u64,
    pub(crate) throttle: Option<Arc<Throttle>>,
}

impl Subtask {
    /// The key groups that this subtask owns.
    #[must_use]
    pub fn owned_groups(&self) -> Range<u16> {
        self.key_groups.owned_by(self.index, self.parallelism)
    }

    /// The version of the operator's state in the checkpoint that the job goes on from; none if it begins without.
    #[must_use]
    pub fn saved_version(&self) -> Option<u32> {
        let restored = self.restored.as_ref()?;
        saved_version(restored.manifest(), self.operator.name())
    }

    /// A place for what a closure emits without room.
    #[must_use]
    pub fn overdraft<T>(&self) -> Overdraft<T> {
        Overdraft::new(Arc::clone(&self.budget), self.overdraft_bytes_max)
    }

    /// Counters, gauges and histograms that the operator names itself.
    #[must_use]
    pub fn metrics(&self) -> SubtaskMetrics {
        self.user.of_subtask(self.operator.name(), self.index)
    }

    pub(crate) fn reader_context(&self) -> ReaderContext {
        ReaderContext {
            operator: self.operator.clone(),
            subtask: self.index,
            parallelism: self.parallelism,
            environment: self.environment.clone(),
            waker: Arc::clone(&self.waker),
            counters: Arc::clone(&self.counters),
            metrics: self.metrics(),
        }
    }

    pub(crate) fn sink_context(&self) -> SinkContext {
        SinkContext {
            operator: self.operator.clone(),
            subtask: self.index,
            parallelism: self.parallelism,
            run: Arc::clone(&self.run),
            is_restored: self.restored.is_some(),
            environment: self.environment.clone(),
            waker: Arc::clone(&self.waker),
            counters: Arc::clone(&self.counters),
            metrics: self.metrics(),
        }
    }
}
