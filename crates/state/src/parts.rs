//! State of an operator that is made of several.

use std::ops::Range;

use levada_core::codec::CodecError;

use crate::error::StateError;
use crate::hands::Hands;
use crate::memory::Measuring;
use crate::saving::{KeyedState, Row, Rows, Saving};

/// Keyed states of one operator, as one: they own the same groups.
pub struct Parts<'a, 'b>(pub &'a mut [&'b mut dyn KeyedState]);

/// Each row says of which part it is.
impl KeyedState for Parts<'_, '_> {
    fn owned(&self) -> Range<u16> {
        self.0.first().map_or(0..0, |part| part.owned())
    }

    fn begin(&mut self, saving: &Saving, rows: &mut Rows) -> Result<(), StateError> {
        let owned = self.owned();
        self.each(rows, |part, rows| {
            assert_eq!(part.owned(), owned, "parts own the same groups");
            part.begin(saving, rows)
        })
    }

    fn save(&mut self, rows: &mut Rows) -> Result<bool, StateError> {
        let mut is_done = true;
        self.each(rows, |part, rows| {
            is_done &= part.save(rows)?;
            Ok(())
        })?;
        Ok(is_done)
    }

    fn reserve(&mut self, part: u16, rows: usize) {
        if let Some(state) = self.0.get_mut(usize::from(part)) {
            state.reserve(0, rows);
        }
    }

    fn read(&mut self, row: &Row<'_>) -> Result<(), StateError> {
        match self.0.get_mut(usize::from(row.part)) {
            Some(part) => part.read(&Row { part: 0, ..*row }),
            None => {
                let damaged = CodecError::damaged("there is no such part of the state");
                Err(StateError::new(row.group, damaged))
            }
        }
    }

    fn read_all(&mut self, rows: &[Row<'_>], hands: &dyn Hands) -> Result<(), StateError> {
        let mut of_parts = vec![Vec::new(); self.0.len()];
        for row in rows {
            match of_parts.get_mut(usize::from(row.part)) {
                Some(of_part) => of_part.push(Row { part: 0, ..*row }),
                None => self.read(row)?,
            }
        }
        let mut parts = self.0.iter_mut().zip(of_parts);
        parts.try_for_each(|(part, rows)| part.read_all(&rows, hands))
    }

    fn memory(&mut self, measuring: &mut Measuring) -> u64 {
        let parts = self.0.iter_mut();
        parts.map(|part| part.memory(measuring)).sum()
    }

    fn show(&self, row: &Row<'_>) -> Option<String> {
        let part = self.0.get(usize::from(row.part))?;
        part.show(&Row { part: 0, ..*row })
    }
}

impl Parts<'_, '_> {
    fn each(
        &mut self,
        rows: &mut Rows,
        mut act: impl FnMut(&mut dyn KeyedState, &mut Rows) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        for (number, part) in self.0.iter_mut().enumerate() {
            rows.set_part(u16::try_from(number).expect("a state has few parts"));
            act(*part, rows)?;
        }
        rows.set_part(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use levada_core::{KeyGroup, Timestamp};

    use super::*;
    use crate::saving::rows_in;
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
            .write("op", &mut Parts(&mut [&mut clock, &mut table]))
            .unwrap();
        let mut clock = GroupClock::new(0..128);
        let mut table = KeyedTable::<u8, u64>::new(0..128, 2);
        let mut parts = [&mut clock as &mut dyn KeyedState, &mut table];
        snapshot.read("op", &mut Parts(&mut parts)).unwrap();
        assert_eq!(clock.of(KeyGroup(3)), Timestamp(50));
        let place = table.find(&7).unwrap();
        assert_eq!(*table.value(place), 50);

        let mut rows = Rows::with_room(usize::MAX);
        Parts(&mut [&mut clock, &mut table])
            .begin(&Saving::default(), &mut rows)
            .unwrap();
        for row in rows_in(rows.bytes()) {
            let row = row.unwrap();
            for length in 0..row.bytes.len() {
                let (mut clock, mut table) = make(0);
                let mut parts = [&mut clock as &mut dyn KeyedState, &mut table];
                let read = Parts(&mut parts).read(&Row {
                    bytes: &row.bytes[..length],
                    ..row
                });
                assert!(read.is_err(), "{length} of {} bytes", row.bytes.len());
            }
        }
    }
}
