//! Records of an operator with two inputs.

use levada_core::KeyGroup;
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
}

/// A record that every subtask gets, on an edge beside a keyed one.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ToAll<T>(pub T);

impl<T> HasKeyGroup for ToAll<T> {
    fn key_group(&self) -> KeyGroup {
        unreachable!("a broadcast does not ask for a key group")
    }
}
