//! How far a source has been read, until it is committed.

use std::collections::VecDeque;

use crate::source::{Reader, Source};

/// A split, and how far it has been read.
pub(crate) type Positioned<S> = (
    <S as Source>::Split,
    <<S as Source>::Reader as Reader>::Position,
);

/// What one subtask has read and has not committed.
pub(crate) struct Commits<S: Source> {
    /// Splits that have been read to their end, the earliest first.
    done: VecDeque<Positioned<S>>,
    /// How many have been committed.
    committed: u64,
    /// By checkpoint: how many had been read to their end, and where the others were.
    marks: VecDeque<Mark<S>>,
}

struct Mark<S: Source> {
    checkpoint: u64,
    done: u64,
    open: Vec<Positioned<S>>,
}

impl<S: Source> Commits<S> {
    /// These have been read to their end before, and perhaps not been committed.
    pub(crate) fn new(done: Vec<Positioned<S>>) -> Self {
        Self {
            done: done.into(),
            committed: 0,
            marks: VecDeque::new(),
        }
    }

    /// A split has been read to its end.
    pub(crate) fn done(&mut self, split: Positioned<S>) {
        self.done.push_back(split);
    }

    /// What has been read to its end and is not known to be committed.
    pub(crate) fn uncommitted(&self) -> &VecDeque<Positioned<S>> {
        &self.done
    }

    /// A checkpoint has begun; the others are where they are.
    pub(crate) fn mark(&mut self, checkpoint: u64, open: Vec<Positioned<S>>) {
        // One checkpoint is taken at a time: those before the last two were given up.
        if self.marks.len() > 2 {
            self.marks.pop_front();
        }
        self.marks.push_back(Mark {
            checkpoint,
            done: self.committed + self.done.len() as u64,
            open,
        });
    }

    /// What is to be committed for checkpoints up to this one; all that has been read to its end if none.
    pub(crate) fn take(&mut self, checkpoint: Option<u64>) -> Vec<Positioned<S>> {
        let Some(checkpoint) = checkpoint else {
            self.marks.clear();
            return self.done.drain(..).collect();
        };
        let mut last = None;
        while self
            .marks
            .front()
            .is_some_and(|mark| mark.checkpoint <= checkpoint)
        {
            last = self.marks.pop_front();
        }
        let Some(mark) = last else {
            return Vec::new();
        };
        let count = (mark.done - self.committed) as usize;
        self.committed = mark.done;
        self.done.drain(..count).chain(mark.open).collect()
    }
}
