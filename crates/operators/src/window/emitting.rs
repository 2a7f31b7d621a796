//! Emitting the results of a key's window.

use std::collections::VecDeque;
use std::mem;
use std::ops::Range;

use levada_core::codec::{self, CodecError};
use levada_core::{KeyGroup, Origin};
use levada_runtime::{Blame, Room, Turn};
use levada_state::{StateError, ValueReader, write_rows};
use serde::Serialize;
use serde::de::DeserializeOwned;

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

/// Windows that have fired and whose results have not all been emitted, in their order. There is one at most, except after a
/// restore and where one call makes several fire.
pub(crate) struct Emissions<K, A> {
    waiting: VecDeque<(KeyGroup, Emission<K, A>)>,
    reader: ValueReader<A>,
}

impl<K, A> Emissions<K, A> {
    /// Accumulators in a snapshot are read so.
    pub(crate) fn set_reader(&mut self, reader: ValueReader<A>) {
        self.reader = reader;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds one that waits for its turn.
    pub(crate) fn add(&mut self, group: KeyGroup, emission: Emission<K, A>) {
        self.waiting.push_back((group, emission));
    }

    /// Emits what waits, until there is no room or it is time to let others run.
    pub(crate) fn go_on<T, C>(
        &mut self,
        contents: &C,
        operator: &Origin,
        outputs: &mut Outputs<C::Out>,
        turn: &mut Turn,
    ) -> Room
    where
        C: Contents<K, T, Accumulator = A>,
    {
        while let Some((_, emission)) = self.waiting.front_mut() {
            let room = emit(contents, emission, operator, outputs, turn);
            if emission.is_over() {
                self.waiting.pop_front();
            }
            if room.is_full() {
                return Room::Full;
            }
        }
        Room::Free
    }

    /// Emits the results of a window when none waits before it; what has no room waits.
    pub(crate) fn begin<T, C>(
        &mut self,
        (group, mut emission): (KeyGroup, Emission<K, A>),
        contents: &C,
        operator: &Origin,
        outputs: &mut Outputs<C::Out>,
        turn: &mut Turn,
    ) -> Room
    where
        C: Contents<K, T, Accumulator = A>,
    {
        let room = emit(contents, &mut emission, operator, outputs, turn);
        if !emission.is_over() {
            self.add(group, emission);
        }
        room
    }
}

impl<K, A> Default for Emissions<K, A> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            reader: ValueReader::default(),
        }
    }
}

/// In a snapshot: the number of a group's emissions (u64), then each.
impl<K: Serialize + DeserializeOwned, A: Serialize + DeserializeOwned> Emissions<K, A> {
    pub(crate) fn write(
        &self,
        owned: &Range<u16>,
        groups: &mut [Vec<u8>],
    ) -> Result<(), StateError> {
        write_rows(owned, groups, |add| {
            let mut emissions = self.waiting.iter();
            emissions.try_for_each(|(group, emission)| {
                add(*group, &|bytes| codec::encode(emission, bytes))
            })
        })
    }

    /// Reads those of a group, from the beginning of `bytes`, and moves past them.
    pub(crate) fn read(&mut self, group: KeyGroup, bytes: &mut &[u8]) -> Result<(), CodecError> {
        for _ in 0..codec::decode_next::<u64>(bytes)? {
            let emission = Emission {
                key: codec::decode_next(bytes)?,
                span: codec::decode_next(bytes)?,
                accumulator: self.reader.read_option(bytes)?,
                position: codec::decode_next(bytes)?,
            };
            self.add(group, emission);
        }
        Ok(())
    }
}

/// Emits results until there is no other, no room, or it is time to let others run. Leaves the turn's timestamp as it was.
fn emit<K, T, C: Contents<K, T>>(
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

#[cfg(test)]
mod tests {
    use levada_core::{Span, Timestamp};

    use super::*;

    #[test]
    fn what_is_being_emitted_is_read_with_accumulators_of_an_older_version() {
        let span = Span {
            start: Timestamp(0),
            end: Timestamp(10),
        };
        let mut before = Emissions::<u8, u32>::default();
        let mut now = Emissions::<u8, u64>::default();
        now.set_reader(ValueReader::new(|bytes| {
            Ok(100 + u64::from(codec::decode_next::<u32>(bytes)?))
        }));
        for (key, accumulator) in [(1, Some(7)), (2, None)] {
            let emission = Emission {
                accumulator,
                position: 3,
                ..Emission::new(key, span, 0)
            };
            before.add(KeyGroup(0), emission);
        }
        let mut groups = vec![Vec::new()];
        before.write(&(0..1), &mut groups).unwrap();
        let mut bytes = groups[0].as_slice();
        now.read(KeyGroup(0), &mut bytes).unwrap();
        assert!(bytes.is_empty());
        let read = now.waiting.iter();
        let read: Vec<_> = read
            .map(|(_, emission)| (emission.key, emission.accumulator, emission.position))
            .collect();
        assert_eq!(read, [(1, Some(107), 3), (2, None, 3)]);
        assert!(
            now.waiting
                .iter()
                .all(|(_, emission)| emission.span == span)
        );
    }
}
