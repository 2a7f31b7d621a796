//! What travels on a channel: batches of records, and control elements between them.

use std::sync::Arc;

use levada_core::{Moment, Timestamp};

use crate::gauge::Charge;

/// A record with its timestamp.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry<T> {
    /// The record.
    pub record: T,
    /// Its event time; [`Timestamp::MIN`] if it was given none.
    pub timestamp: Timestamp,
}

/// Records that travel together against one credit.
///
/// A batch knows what it is charged for: while it exists its bytes are counted as held by its edge.
#[derive(Debug)]
pub struct Batch<T> {
    pub(crate) entries: Entries<T>,
    /// When the oldest record left its source, for the latency at sinks.
    pub(crate) born: Moment,
    /// Counts the batches of a channel without a gap.
    pub(crate) sequence: u64,
    /// A watermark that applies after the last record.
    pub(crate) watermark: Option<Watermark>,
    /// The bytes this batch is counted for, unless it is shared: then the shared part holds the charge.
    pub(crate) charge: Option<Charge>,
}

/// The records of a batch: of one reader, or shared by the channels of a broadcast.
#[derive(Debug)]
pub(crate) enum Entries<T> {
    Owned(Vec<Entry<T>>),
    Shared(Arc<SharedEntries<T>>),
}

/// Records that several channels carry; the last reader gives them back.
#[derive(Debug)]
pub(crate) struct SharedEntries<T> {
    pub(crate) entries: Vec<Entry<T>>,
    pub(crate) charge: Option<Charge>,
}

impl<T> Batch<T> {
    /// The records, in the order in which they were pushed.
    #[must_use]
    pub fn entries(&self) -> &[Entry<T>] {
        match &self.entries {
            Entries::Owned(entries) => entries,
            Entries::Shared(shared) => &shared.entries,
        }
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// When the oldest record left its source.
    #[must_use]
    pub fn born(&self) -> Moment {
        self.born
    }

    /// The watermark that applies after the last record.
    #[must_use]
    pub fn watermark(&self) -> Option<Watermark> {
        self.watermark
    }
}

/// What a channel says about event time. It is all that there is to say, so that of two with no record between them the
/// later one is enough.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Watermark {
    /// No record with this timestamp or an earlier one follows.
    pub at: Timestamp,
    /// There is nothing for now: until the next watermark the channel does not hold back the others of its reader.
    pub is_idle: bool,
}

impl Watermark {
    /// The watermark of a channel on which records may follow at any time.
    #[must_use]
    pub fn active(at: Timestamp) -> Self {
        Self { at, is_idle: false }
    }

    /// The watermark of a channel that has nothing for now.
    #[must_use]
    pub fn idle(at: Timestamp) -> Self {
        Self { at, is_idle: true }
    }
}

/// An element that carries no records, costs no credit and is never dropped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Control {
    /// How far the channel is in event time.
    Watermark(Watermark),
    /// The boundary between two epochs of a checkpoint.
    Barrier(u64),
    /// Nothing at all follows. A channel that stops without it has failed.
    End,
}

/// What a channel delivers.
#[derive(Debug)]
pub enum Element<T> {
    /// Records, sent against a credit.
    Batch(Batch<T>),
    /// A control element, which needs none.
    Control(Control),
}
