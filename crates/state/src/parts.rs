//! State of an operator that is made of several.

use std::ops::Range;

use levada_core::KeyGroup;
use levada_core::codec;

use crate::error::StateError;
use crate::snapshot::KeyedState;

/// Keyed states of one operator, as one: they own the same groups.
pub struct Parts<'a, 'b>(pub &'a mut [&'b mut dyn KeyedState]);

/// A group is written part by part, each as its length in bytes (u64) and its bytes.
impl KeyedState for Parts<'_, '_> {
    fn owned(&self) -> Range<u16> {
        self.0.first().map_or(0..0, |part| part.owned())
    }

    fn write(&self, groups: &mut [Vec<u8>]) -> Result<(), StateError> {
        for part in &*self.0 {
            assert_eq!(part.owned(), self.owned(), "parts own the same groups");
            let mut written = vec![Vec::new(); groups.len()];
            part.write(&mut written)?;
            for (bytes, part) in groups.iter_mut().zip(written) {
                codec::encode_part(&part, bytes);
            }
        }
        Ok(())
    }

    fn read_group(&mut self, group: KeyGroup, mut bytes: &[u8]) -> Result<(), StateError> {
        let damaged = |error| StateError::new(group, error);
        for part in &mut *self.0 {
            let own = codec::decode_part(&mut bytes).map_err(damaged)?;
            part.read_group(group, own)?;
        }
        codec::expect_end(bytes).map_err(damaged)
    }
}

#[cfg(test)]
mod tests {
    use levada_core::Timestamp;

    use super::*;
    use crate::{GroupClock, KeyedTable, Snapshot};

    #[test]
    fn parts_are_read_as_they_were_written_and_damage_is_found() {
        let make = |watermark| {
            let mut clock = GroupClock::new(0..128);
            clock.raise(Timestamp(watermark));
            let mut table = KeyedTable::<u8, u64>::new(0..128, 1);
            table
                .get_or_insert(&7, || Ok::<_, ()>((KeyGroup(3), watermark as u64)))
                .unwrap();
            (clock, table)
        };
        let (mut clock, mut table) = make(50);
        let mut snapshot = Snapshot::new();
        snapshot
            .write("op", &Parts(&mut [&mut clock, &mut table]))
            .unwrap();
        let mut clock = GroupClock::new(0..128);
        let mut table = KeyedTable::<u8, u64>::new(0..128, 2);
        let mut parts = [&mut clock as &mut dyn KeyedState, &mut table];
        snapshot.read("op", &mut Parts(&mut parts)).unwrap();
        assert_eq!(clock.of(KeyGroup(3)), Timestamp(50));
        let place = table.find(&7).unwrap();
        assert_eq!(*table.value(place), 50);

        let mut groups = vec![Vec::new(); 128];
        Parts(&mut [&mut clock, &mut table])
            .write(&mut groups)
            .unwrap();
        let whole = groups.swap_remove(3);
        for length in 0..whole.len() {
            let (mut clock, mut table) = make(0);
            let mut parts = [&mut clock as &mut dyn KeyedState, &mut table];
            let read = Parts(&mut parts).read_group(KeyGroup(3), &whole[..length]);
            assert!(read.is_err(), "{length} of {} bytes", whole.len());
        }
    }
}
