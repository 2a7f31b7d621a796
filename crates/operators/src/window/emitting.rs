//! Emitting the results of a key's window.

use levada_core::Origin;
use levada_runtime::{Blame, Room, Turn};

use crate::process::outputs::Outputs;
use crate::window::contents::{Contents, Emission};

/// Emits results until there is no other, no room, or it is time to let others run.
pub(crate) fn emit<K, T, C: Contents<K, T>>(
    contents: &C,
    emission: &mut Emission<K, C::Accumulator>,
    operator: &Origin,
    outputs: &mut Outputs<C::Out>,
    turn: &mut Turn,
) -> Room {
    while !emission.is_over() {
        let blame = Blame::on(operator);
        let result = contents.next(emission);
        blame.lift();
        let Some(result) = result else {
            emission.accumulator = None;
            break;
        };
        turn.timestamp = emission.span.last();
        outputs.emit(result, turn);
        if outputs.room().and(turn.spend()).is_full() {
            return Room::Full;
        }
    }
    Room::Free
}
