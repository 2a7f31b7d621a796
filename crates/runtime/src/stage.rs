//! A stage as its task sees it: something to poll, with records in it.

mod barriers;
mod commits;
mod confluence;
mod drift;
mod elided;
mod feed;
mod inbox;
mod open_split;
mod overdraft;
mod replay;
mod sender;
mod sink;
mod source;
mod splits;
mod tee;
mod two;

use std::sync::Arc;

use levada_core::key::KeyError;
use levada_core::{Key, KeyGroup, KeyGroups, Room};
use levada_network::HasKeyGroup;
pub use levada_network::Watermark;
use levada_state::StateError;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Participant;
use crate::error::Failure;
use crate::push::{Ending, Read, Visitor};
use crate::turn::Turn;

pub use confluence::{Confluence, Said};
pub(crate) use elided::{Elided, Lend};
pub use feed::{Fed, Feed};
pub(crate) use inbox::{InboxStage, Input};
pub use overdraft::Overdraft;
pub use replay::Replays;
pub(crate) use replay::{EdgeInput, FIRST_OF_BEFORE, Narrow, Replay, Restored as RestoredChannel};
pub(crate) use sender::Sender;
pub(crate) use sink::SinkEnd;
pub use source::OPEN_SPLITS_MAX;
pub(crate) use source::SourceStage;
pub(crate) use splits::Splits;
pub(crate) use tee::Tee;
pub use two::{ToAll, Two};

/// The operators of a task, headed by what brings records in.
///
/// A stage knows batches, signals and state. It knows no threads, channels to other processes, or coordinators, so the
/// same stage runs under worker threads and under the simulator.
pub trait Stage: Send {
    /// Goes on for a turn, and begins a checkpoint that is wanted as soon as its barriers are here.
    fn poll(&mut self, turn: &mut Turn, checkpoints: &mut Participant) -> Progress;

    /// Begins a checkpoint that is wanted, after the stage has ended.
    fn begin(&mut self, turn: &mut Turn, checkpoints: &mut Participant);

    /// The edges on which the barrier of a checkpoint is missing: before it begins here, or while channels are saved for it.
    fn missing(&self, checkpoint: u64) -> Vec<Arc<str>> {
        let _ = checkpoint;
        Vec::new()
    }

    /// Shows all state to the visitor.
    ///
    /// # Errors
    /// What the visitor says.
    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError>;

    /// Ends the stage's life.
    ///
    /// # Errors
    /// If an operator's `close` or a sink's commit fails.
    fn close(&mut self, ending: Ending) -> Result<(), Failure>;

    /// Keeps how far the source had been read for a checkpoint, after every sink of the job has committed; without one, all
    /// that has been read, at the end and after `close`. Called only for a stage whose source wants it.
    ///
    /// # Errors
    /// If it cannot be kept.
    fn settle(&mut self, checkpoint: Option<u64>) -> Result<(), Failure> {
        let _ = checkpoint;
        Ok(())
    }
}

/// What a stage says after a poll.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// There is more to do at once.
    More,
    /// There is nothing to read.
    Idle,
    /// There is no room for what it would emit.
    Blocked,
    /// Its input is complete, and everything has been emitted.
    Ended,
}

impl Progress {
    /// The progress after the chain has been tended: a chain that was full may have room by now, and then nobody will
    /// wake the task for it.
    pub(crate) fn after_tending(self, room: Room) -> Self {
        match (self, room) {
            (Self::Blocked, Room::Free) => Self::More,
            _ => self,
        }
    }

    /// Why a chain without room stopped.
    pub(crate) fn of_full(turn: &Turn) -> Self {
        if turn.is_exhausted() {
            Self::More
        } else {
            Self::Blocked
        }
    }
}

/// A record with its key.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct KeyedRecord<K, T> {
    /// The key.
    pub key: K,
    /// The record.
    pub record: T,
    /// The group of the key, computed once where the record was keyed. None if the record crosses no exchange: then the
    /// group is needed only for a key that is new.
    pub group: Option<KeyGroup>,
}

impl<K: Key, T> KeyedRecord<K, T> {
    /// The group of the key.
    ///
    /// # Errors
    /// If it has to be computed and the key's `Serialize` fails. Whoever asks is the operator that the error names; with an
    /// exchange it is the step that made the key.
    pub fn group_in(&self, groups: KeyGroups) -> Result<KeyGroup, KeyError> {
        match self.group {
            Some(group) => Ok(group),
            None => groups.of(&self.key),
        }
    }
}

impl<K: Key, T> HasKeyGroup for KeyedRecord<K, T> {
    #[inline]
    fn key_group(&self) -> KeyGroup {
        self.group
            .expect("a record that crosses an exchange was given its group")
    }
}

impl<A, R: Read<A> + ?Sized> Read<A> for Box<R> {
    fn read(&mut self, record: &A, turn: &mut Turn) -> Room {
        (**self).read(record, turn)
    }

    fn read_all(&mut self, unread: &mut levada_network::Unread<A>, turn: &mut Turn) -> Room {
        (**self).read_all(unread, turn)
    }
}
