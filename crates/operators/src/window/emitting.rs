//! Emitting the results of a key's window.

use std::mem;

use levada_core::Origin;
use levada_runtime::{Blame, Room, Turn};

use crate::process::outputs::Outputs;
use crate::window::contents::{Contents, Emission};

/// What came of looking for something to emit.
pub(crate) enum Looked<T> {
    Found(T),
    /// It is time to let others run.
    Interrupted,
    /// There is nothing left.
    Nothing,
}

/// Emits results until there is no other, no room, or it is time to let others run.
pub(crate) fn emit<K, T, C: Contents<K, T>>(
    contents: &C,
    emission: &mut Emission<K, C::Accumulator>,
    operator: &Origin,
    outputs: &mut Outputs<C::Out>,
    turn: &mut Turn,
) -> Room {
    let before = mem::replace(&mut turn.timestamp, emission.span.last());
    let mut room = Room::Free;
    while !emission.is_over() && !room.is_full() {
        let blame = Blame::on(operator);
        let result = contents.next(emission);
        blame.lift();
        let Some(result) = result else {
            // Very many keys may have nothing to emit.
            emission.accumulator = None;
            room = outputs.room().and(turn.spend());
            break;
        };
        outputs.emit(result, turn);
        room = outputs.room().and(turn.spend());
    }
    turn.timestamp = before;
    room
}
