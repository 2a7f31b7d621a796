//! Records of an operator with two inputs.

use std::ops::Range;

use levada_core::KeyGroup;
use levada_core::key::common;
use levada_network::HasKeyGroup;
use serde::{Deserialize, Serialize};

/// A record of the first or of the second input.
///
/// An operator with two inputs reads one type of records: each of its edges makes this of its own. So there is no order
/// between the inputs, none can be held up by the other, and the two can be of any types.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Two<A, B> {
    /// Of the first input.
    First(A),
    /// Of the second input.
    Second(B),
}

impl<A: HasKeyGroup, B: HasKeyGroup> HasKeyGroup for Two<A, B> {
    #[inline]
    fn key_group(&self) -> KeyGroup {
        match self {
            Self::First(record) => record.key_group(),
            Self::Second(record) => record.key_group(),
        }
    }

    fn narrow(&mut self, groups: &Range<u16>) -> bool {
        match self {
            Self::First(record) => record.narrow(groups),
            Self::Second(record) => record.narrow(groups),
        }
    }
}

/// A record that every subtask gets, on an edge beside a keyed one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ToAll<T> {
    /// The record.
    pub record: T,
    /// The key groups whose state it has not met; all of the subtask's if none are named. With another parallelism the
    /// old subtasks from which a new one has its keys may not have come equally far in the broadcast.
    pub only: Option<Range<u16>>,
}

impl<T> ToAll<T> {
    /// A record for all keys.
    pub fn new(record: T) -> Self {
        Self { record, only: None }
    }
}

impl<T> HasKeyGroup for ToAll<T> {
    fn key_group(&self) -> KeyGroup {
        unreachable!("a broadcast does not ask for a key group")
    }

    fn narrow(&mut self, groups: &Range<u16>) -> bool {
        let groups = match &self.only {
            Some(only) => common(only, groups),
            None => groups.clone(),
        };
        let is_any = !groups.is_empty();
        self.only = Some(groups);
        is_any
    }
}
