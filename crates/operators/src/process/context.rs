//! What a process sees of its subtask, its key and its outputs.

use std::fmt;
use std::panic;

use levada_core::key::KeyError;
use levada_core::{BoxError, KeyGroups, Origin, Room, Timestamp};
use levada_runtime::metrics::OperatorCounters;
use levada_runtime::{KeyedRecord, Turn};
use levada_state::{KeyedTable, Place};

use crate::process::Process;
use crate::process::side::{AnyPort, Port, SideOutput};

/// The subtask that a process is opened in.
#[derive(Clone, Debug)]
pub struct OpenContext {
    pub(crate) operator: Origin,
    pub(crate) subtask: usize,
    pub(crate) parallelism: usize,
}

impl OpenContext {
    /// The name of the operator.
    #[must_use]
    pub fn name(&self) -> &str {
        self.operator.name()
    }

    /// The number of the subtask, from 0.
    #[must_use]
    pub fn subtask(&self) -> usize {
        self.subtask
    }

    /// How many subtasks the operator has.
    #[must_use]
    pub fn parallelism(&self) -> usize {
        self.parallelism
    }
}

/// The key of the record in hand, its state, and the outputs.
pub struct Context<'a, P: Process> {
    pub(crate) keyed: &'a KeyedRecord<P::Key, P::In>,
    pub(crate) key_groups: KeyGroups,
    pub(crate) table: &'a mut KeyedTable<P::Key, P::State>,
    /// Where the key's state is, once it has been looked up.
    pub(crate) place: Option<Place>,
    pub(crate) main: &'a mut Port<P::Out>,
    pub(crate) sides: &'a mut [Box<dyn AnyPort>],
    pub(crate) room: &'a mut [Room],
    pub(crate) owner: u32,
    pub(crate) operator: &'a Origin,
    pub(crate) counters: &'a OperatorCounters,
    pub(crate) turn: &'a mut Turn,
}

impl<P: Process> Context<'_, P> {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &P::Key {
        &self.keyed.key
    }

    /// The record's event time; [`Timestamp::MIN`] if it was given none.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.turn.timestamp
    }

    /// The key's state, made by `Default` if there is none.
    #[inline]
    pub fn state(&mut self) -> &mut P::State {
        let place = match self.place {
            Some(place) => place,
            None => {
                let place = self.find_or_insert();
                *self.place.insert(place)
            }
        };
        self.table.value_mut(place)
    }

    /// The key's state, if there is one.
    #[must_use]
    pub fn existing_state(&self) -> Option<&P::State> {
        let place = self.place.or_else(|| self.table.find(&self.keyed.key))?;
        Some(self.table.value(place))
    }

    /// Forgets the key's state.
    pub fn clear(&mut self) {
        self.place = None;
        self.table.remove(&self.keyed.key);
    }

    /// Emits a record on the main output.
    #[inline]
    pub fn emit(&mut self, record: P::Out) {
        self.counters.records_out.add(1);
        self.room[0] = self
            .main
            .emit(record, self.room[0], self.operator, self.turn);
    }

    /// Emits a record on a side output.
    pub fn emit_to<T: Send + 'static>(&mut self, side: &SideOutput<T>, record: T) {
        let output = side.output();
        let port = self
            .sides
            .get_mut(output - 1)
            .filter(|_| side.owner() == self.owner)
            .and_then(|port| port.as_any().downcast_mut::<Port<T>>());
        match port {
            Some(port) => {
                self.counters.records_out.add(1);
                self.room[output] = port.emit(record, self.room[output], self.operator, self.turn);
            }
            None => self.fail(NotMine),
        }
    }

    #[inline]
    fn find_or_insert(&mut self) -> Place {
        let place = self.table.find_or_insert(&self.keyed.key, || {
            let group = self.keyed.group_in(self.key_groups)?;
            Ok::<_, KeyError>((group, P::State::default()))
        });
        match place {
            Ok(place) => {
                debug_assert!(
                    self.keyed
                        .group_in(self.key_groups)
                        .is_ok_and(|group| group == self.table.group(place)),
                    "equal keys serialise equally"
                );
                place
            }
            Err(error) => {
                self.fail(error);
                // There is no state to go on with: the task fails with what the turn has been told.
                panic::resume_unwind(Box::new("a key cannot be hashed"));
            }
        }
    }

    /// Ends the job with an error of this operator.
    pub fn fail(&mut self, error: impl Into<BoxError>) {
        self.room[0] = self.turn.fail(self.operator, error);
    }
}

/// A side output was used in an operator that it does not belong to.
#[derive(Debug)]
struct NotMine;

impl fmt::Display for NotMine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a side output can only be written by the process it was made for")
    }
}

impl std::error::Error for NotMine {}
