//! How records move inside a task: pushed, with an answer about room, and resumable wherever there was none.
//!
//! A stage is a chain of these. The rules of the chain:
//!
//! 1. [`Room::Full`] means that the record was taken and nothing may follow. The caller stops and passes it on.
//!    [`Room::Later`] is passed on too, but only the head of the task need stop for it.
//! 2. Before anything follows, [`Downstream::resume`] is called until it says [`Room::Free`]. It finishes the innermost
//!    unfinished emission first, so that order is kept. Calling it when nothing is unfinished is allowed and cheap.
//! 3. A signal is sent only when there is room. Whoever has something to emit because of it does so before passing it
//!    on, and may suspend in between.
//! 4. A push leaves [`Turn::timestamp`] as it found it.

use levada_core::codec::CodecError;
use levada_core::{Origin, Room, Timestamp};
use levada_network::{Saved, Unread};
use levada_state::{KeyedState, OperatorState, StateError};

use crate::checkpoint::ChannelName;
use crate::error::Failure;
use crate::stage::Replays;
use crate::turn::Turn;

/// What goes through a chain besides records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signal {
    /// No record with this timestamp or an earlier one follows.
    Watermark(Timestamp),
    /// There is nothing for now: until the next watermark this input does not hold back others. Who was idle and has
    /// something says its watermark first, whether or not it has risen.
    Idle,
    /// Nothing follows: the input is complete.
    End,
}

/// How a chain is closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// The whole job has come to its end: sinks commit what they prepared.
    Commit,
    /// The job was cancelled or has failed: sinks give up what they have not committed.
    Abort,
}

/// What every element of a chain can do, whatever its records.
pub trait Downstream: Send {
    /// Goes on with what had no room.
    fn resume(&mut self, turn: &mut Turn) -> Room;

    /// Says that the records which follow left their source at [`Turn::born`]: once for a batch, so that no element needs to
    /// look at each record.
    fn mark(&mut self, turn: &mut Turn);

    /// Passes a signal, after whatever must be emitted before it.
    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room;

    /// Looks after buffers at the end of a poll. [`Room::Full`] means that somebody else will wake the task when there is
    /// room; [`Room::Free`], that a chain which was full before may go on now.
    fn tend(&mut self, turn: &mut Turn) -> Room;

    /// Shows all state to the visitor, which writes or reads it.
    ///
    /// # Errors
    /// What the visitor says.
    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError>;

    /// Ends the chain's life: called once, after the last signal, a cancel or a failure.
    ///
    /// # Errors
    /// If an operator's `close` or a sink's commit fails; the rest of the chain is closed all the same.
    fn close(&mut self, ending: Ending) -> Result<(), Failure>;
}

/// Takes records of type `A` by value.
pub trait Push<A>: Downstream {
    /// Takes one record.
    fn push(&mut self, record: A, turn: &mut Turn) -> Room;

    /// Takes records until there is no room, the turn is over, or nothing is left. One virtual call brings a whole run of
    /// records into a chain; inside of it every call is static.
    fn push_all(
        &mut self,
        unread: &mut Unread<A>,
        clone: Option<fn(&A) -> A>,
        turn: &mut Turn,
    ) -> Room {
        unread.take(clone, |entry| {
            turn.timestamp = entry.timestamp;
            let room = self.push(entry.record, turn);
            room.and(turn.spend())
        })
    }
}

/// Takes records of type `A` by reference: they stay in their batch, and their maker drops them.
pub trait Read<A>: Downstream {
    /// Reads one record.
    fn read(&mut self, record: &A, turn: &mut Turn) -> Room;

    /// Reads records until there is no room, the turn is over, or nothing is left.
    fn read_all(&mut self, unread: &mut Unread<A>, turn: &mut Turn) -> Room {
        unread.lend(|entry| {
            turn.timestamp = entry.timestamp;
            let room = self.read(&entry.record, turn);
            room.and(turn.spend())
        })
    }
}

/// Is shown the state of a chain, operator by operator.
pub trait Visitor {
    /// Keyed state of an operator.
    ///
    /// # Errors
    /// If the state cannot be written or read.
    fn keyed(&mut self, operator: &Origin, state: &mut dyn KeyedState) -> Result<(), StateError> {
        let _ = (operator, state);
        Ok(())
    }

    /// State of a subtask that is not kept by key.
    ///
    /// # Errors
    /// If the state cannot be written or read.
    fn operator(
        &mut self,
        operator: &Origin,
        subtask: usize,
        parallelism: usize,
        state: &mut dyn OperatorState,
    ) -> Result<(), StateError> {
        let _ = (operator, subtask, parallelism, state);
        Ok(())
    }

    /// What a sink has prepared.
    ///
    /// # Errors
    /// If it cannot be written or read.
    fn sink(
        &mut self,
        operator: &Origin,
        subtask: usize,
        sink: &mut dyn Epochs,
    ) -> Result<(), StateError> {
        let _ = (operator, subtask, sink);
        Ok(())
    }

    /// The sending end of an exchange.
    ///
    /// # Errors
    /// If what it holds cannot be written.
    fn sender(&mut self, operator: &Origin, sender: &mut dyn Sends) -> Result<(), StateError> {
        let _ = (operator, sender);
        Ok(())
    }

    /// What was in flight on the way into an operator when the checkpoint was taken that it goes on from.
    ///
    /// # Errors
    /// If it cannot be written or read.
    fn replay(&mut self, replay: &mut dyn Replays) -> Result<(), StateError> {
        let _ = replay;
        Ok(())
    }
}

/// A sink, as checkpoints see it.
pub trait Epochs {
    /// Ends the epoch of a checkpoint. Until the sink has prepared it takes no record.
    ///
    /// # Errors
    /// If it cannot be made safe.
    fn prepare(&mut self, checkpoint: u64) -> Result<Prepared, Failure>;

    /// Whether the epoch of this checkpoint is prepared.
    fn has_prepared(&self, checkpoint: u64) -> bool;

    /// Checkpoints up to this one are given up: an epoch that was to be prepared for one of them goes on.
    fn give_up(&mut self, checkpoint: u64);

    /// Commits what was prepared for checkpoints up to this one.
    ///
    /// # Errors
    /// If it cannot be committed.
    fn commit(&mut self, checkpoint: u64) -> Result<(), Failure>;
}

/// What a sink says when an epoch ends.
#[derive(Debug)]
pub enum Prepared {
    /// It waits for somebody outside: it is to be asked again.
    NotYet,
    /// There is nothing to commit.
    Nothing,
    /// All epochs that are prepared and have not been committed, each behind its length (u64).
    Epochs(Vec<u8>),
}

/// The sending end of an exchange, as checkpoints see it.
pub trait Sends {
    /// Sends a barrier behind all that was sent before.
    fn barrier(&mut self, checkpoint: u64);

    /// Whether a barrier that was sent has been delivered.
    fn has_delivered(&self, checkpoint: u64) -> bool;

    /// Sends a barrier ahead, and shows what it overtakes. One that was sent in its order and waits goes ahead now.
    ///
    /// # Errors
    /// If a record cannot be encoded.
    fn overtake(
        &mut self,
        checkpoint: u64,
        save: &mut dyn FnMut(&ChannelName, Saved),
    ) -> Result<(), CodecError>;
}

impl<P: Downstream + ?Sized> Downstream for Box<P> {
    fn resume(&mut self, turn: &mut Turn) -> Room {
        (**self).resume(turn)
    }

    fn mark(&mut self, turn: &mut Turn) {
        (**self).mark(turn);
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        (**self).signal(signal, turn)
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        (**self).tend(turn)
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        (**self).visit(visitor)
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        (**self).close(ending)
    }
}

impl<A, P: Push<A> + ?Sized> Push<A> for Box<P> {
    fn push(&mut self, record: A, turn: &mut Turn) -> Room {
        (**self).push(record, turn)
    }

    fn push_all(
        &mut self,
        unread: &mut Unread<A>,
        clone: Option<fn(&A) -> A>,
        turn: &mut Turn,
    ) -> Room {
        (**self).push_all(unread, clone, turn)
    }
}

/// Implements [`Downstream`] for an element that only passes on what is not a record: `forward_downstream!(self.next)`.
#[macro_export]
macro_rules! forward_downstream {
    (@rest $next:tt) => {
        fn mark(&mut self, turn: &mut $crate::Turn) {
            self.$next.mark(turn);
        }

        fn tend(&mut self, turn: &mut $crate::Turn) -> $crate::Room {
            self.$next.tend(turn)
        }

        fn visit(
            &mut self,
            visitor: &mut dyn $crate::Visitor,
        ) -> ::std::result::Result<(), $crate::StateError> {
            self.$next.visit(visitor)
        }

        fn close(&mut self, ending: $crate::Ending) -> ::std::result::Result<(), $crate::Failure> {
            self.$next.close(ending)
        }
    };
    ($next:tt) => {
        fn resume(&mut self, turn: &mut $crate::Turn) -> $crate::Room {
            self.$next.resume(turn)
        }

        fn signal(&mut self, signal: $crate::Signal, turn: &mut $crate::Turn) -> $crate::Room {
            self.$next.signal(signal, turn)
        }

        $crate::forward_downstream!(@rest $next);
    };
}
