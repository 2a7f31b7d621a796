//! A split that is being read.

use std::sync::Arc;

use levada_core::sync::atomic::{AtomicBool, Ordering};
use levada_core::{Moment, Timestamp, Wake};

use crate::source::{ReaderContext, Source};

/// A reader, and whether it is its turn.
pub(super) struct OpenSplit<S: Source> {
    pub(super) reader: S::Reader,
    /// What it reads.
    pub(super) split: S::Split,
    /// It has nothing before this moment, unless it rings.
    rests_until: Option<Moment>,
    bell: Arc<Bell>,
    /// It is too far ahead of the others, until the slowest one is here.
    pub(super) held_until: Option<Timestamp>,
}

/// Wakes the task for one of its readers.
pub(super) struct Bell {
    rung: AtomicBool,
    task: Arc<dyn Wake>,
}

impl Wake for Bell {
    fn wake(&self) {
        // Before the task is woken, so that the poll that this causes finds it.
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl Bell {
    /// The bell of a reader that is about to be opened.
    pub(super) fn new(context: &ReaderContext) -> Arc<Self> {
        Arc::new(Self {
            rung: AtomicBool::new(false),
            task: Arc::clone(&context.waker),
        })
    }
}

impl<S: Source> OpenSplit<S> {
    pub(super) fn new(reader: S::Reader, split: S::Split, bell: Arc<Bell>) -> Self {
        Self {
            reader,
            split,
            rests_until: None,
            bell,
            held_until: None,
        }
    }

    /// Whether it may have something.
    pub(super) fn is_ready(&self, now: Moment) -> bool {
        match self.rests_until {
            None => true,
            Some(until) => until <= now || self.bell.rung.load(Ordering::Acquire),
        }
    }

    /// It is about to be read: what rings from now on is news.
    pub(super) fn begin(&mut self) {
        self.rests_until = None;
        self.bell.rung.store(false, Ordering::Release);
    }

    /// It has nothing before this moment, unless it rings.
    pub(super) fn rest(&mut self, until: Option<Moment>) {
        self.rests_until = Some(until.unwrap_or(Moment::NEVER));
    }

    /// When it is to be read again, although it has not rung.
    pub(super) fn alarm(&self) -> Option<Moment> {
        self.rests_until.filter(|until| *until != Moment::NEVER)
    }
}
