//! The rows of one key on one side, in the order in which they came.
//!
//! Few rows are one vector. Of many, a chunk is sealed whenever it is full, with the range of its times: whoever looks for
//! rows of certain times passes over the others by the chunk, and what is gone is removed by the chunk. The order of the
//! rows has nothing to do with their times.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::join::rule::{Stamp, Within};
use levada_core::Timestamp;

/// A record that is kept.
#[derive(Deserialize, Serialize)]
pub(crate) struct Row<T, S> {
    pub(crate) stamp: S,
    pub(crate) record: T,
}

/// Rows of a key.
pub(crate) struct Rows<T, S> {
    /// The latest rows, at most [`CHUNK_ROWS`].
    open: Vec<Row<T, S>>,
    /// The rows before them, once there were too many for one chunk.
    sealed: Option<Box<Sealed<T, S>>>,
}

struct Sealed<T, S> {
    /// The number of the first chunk. Chunks are numbered in their order, and keep their numbers.
    first: u64,
    /// The first one has rows; another one may have lost them all.
    chunks: VecDeque<Chunk<T, S>>,
}

struct Chunk<T, S> {
    rows: Vec<Row<T, S>>,
    /// The range of their times.
    times: Within,
}

/// Rows of a chunk: removing what is gone from one of them is little work.
const CHUNK_ROWS: usize = 128;

/// How far somebody has come in the rows of a key.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Position {
    chunk: usize,
    row: usize,
    /// Rows before it: what finds the place again after rows have been written and read.
    pub(crate) passed: u64,
}

/// What comes next.
pub(crate) enum Next<'a, T, S> {
    /// A row with a time that was asked for.
    Row(&'a Row<T, S>),
    /// The end of a chunk, and some work.
    Chunk,
    /// Nothing.
    End,
}

impl<T, S: Stamp> Rows<T, S> {
    /// Adds a row. Returns the number of its chunk if it is the first row in it.
    #[inline]
    pub(crate) fn push(&mut self, stamp: S, record: T) -> Option<u64> {
        if self.open.len() == CHUNK_ROWS {
            self.seal();
        }
        let first = self.open.is_empty();
        if first {
            // Most keys of many have one row.
            self.open.reserve_exact(1);
        }
        self.open.push(Row { stamp, record });
        first.then(|| self.open_number())
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.sealed().is_none_or(VecDeque::is_empty)
    }

    /// How many there are.
    fn len(&self) -> usize {
        let sealed = self.sealed().into_iter().flatten();
        sealed.map(|chunk| chunk.rows.len()).sum::<usize>() + self.open.len()
    }

    /// The place behind so many rows.
    pub(crate) fn seek(&self, passed: u64) -> Position {
        let mut position = Position {
            passed,
            ..Position::default()
        };
        let mut left = usize::try_from(passed).unwrap_or(usize::MAX);
        for chunk in self.sealed().into_iter().flatten() {
            if left < chunk.rows.len() {
                break;
            }
            left -= chunk.rows.len();
            position.chunk += 1;
        }
        position.row = left;
        position
    }

    /// Goes on to the next row with such a time.
    #[inline]
    pub(crate) fn next(&self, position: &mut Position, times: Within) -> Next<'_, T, S> {
        let (rows, last) = match self.sealed().and_then(|chunks| chunks.get(position.chunk)) {
            None => (&self.open, true),
            Some(chunk) if position.row == 0 && !chunk.times.overlaps(times) => {
                position.chunk += 1;
                position.passed += chunk.rows.len() as u64;
                return Next::Chunk;
            }
            Some(chunk) => (&chunk.rows, false),
        };
        while let Some(row) = rows.get(position.row) {
            position.row += 1;
            position.passed += 1;
            if times.contains(row.stamp.time()) {
                return Next::Row(row);
            }
        }
        if last {
            return Next::End;
        }
        position.chunk += 1;
        position.row = 0;
        Next::Chunk
    }

    /// Whether no row follows.
    pub(crate) fn is_end(&self, position: Position) -> bool {
        position.chunk == self.sealed().map_or(0, VecDeque::len) && position.row == self.open.len()
    }

    /// Removes rows that are gone from a chunk. Returns the latest time of those that stay there.
    pub(crate) fn remove(
        &mut self,
        chunk: u64,
        gone: impl Fn(Timestamp) -> bool,
    ) -> Option<Timestamp> {
        if chunk == self.open_number() {
            self.open.retain(|row| !gone(row.stamp.time()));
            if self.open.is_empty() {
                self.open = Vec::new();
            }
            return self.open.iter().map(|row| row.stamp.time()).max();
        }
        let sealed = self.sealed.as_deref_mut()?;
        let place = usize::try_from(chunk.checked_sub(sealed.first)?).ok()?;
        let chunk = sealed.chunks.get_mut(place)?;
        if gone(chunk.times.to) {
            chunk.rows = Vec::new();
        } else {
            chunk.rows.retain(|row| !gone(row.stamp.time()));
        }
        let times = times_of(&chunk.rows);
        if let Some(times) = times {
            chunk.times = times;
        }
        while sealed
            .chunks
            .pop_front_if(|chunk| chunk.rows.is_empty())
            .is_some()
        {
            sealed.first += 1;
        }
        times.map(|times| times.to)
    }

    /// The chunks that have rows, with the earliest time of each.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (u64, Timestamp)> {
        let first = self.sealed.as_ref().map_or(0, |sealed| sealed.first);
        let sealed = self.sealed().into_iter().flatten();
        let sealed = (first..).zip(sealed.map(|chunk| &chunk.rows));
        sealed
            .chain([(self.open_number(), &self.open)])
            .filter_map(|(number, rows)| Some((number, times_of(rows)?.from)))
    }

    fn sealed(&self) -> Option<&VecDeque<Chunk<T, S>>> {
        self.sealed.as_ref().map(|sealed| &sealed.chunks)
    }

    fn open_number(&self) -> u64 {
        let sealed = self.sealed.as_ref();
        sealed.map_or(0, |sealed| sealed.first + sealed.chunks.len() as u64)
    }

    #[inline(never)]
    fn seal(&mut self) {
        let rows = std::mem::take(&mut self.open);
        let sealed = self.sealed.get_or_insert_default();
        let times = times_of(&rows).expect("a full chunk has rows");
        sealed.chunks.push_back(Chunk { rows, times });
    }
}

/// The range of the times of some rows; none if there are no rows.
fn times_of<T, S: Stamp>(rows: &[Row<T, S>]) -> Option<Within> {
    rows.iter()
        .map(|row| row.stamp.time())
        .fold(None, |range, time| {
            let Within { from, to } = range.unwrap_or(Within {
                from: time,
                to: time,
            });
            Some(Within {
                from: from.min(time),
                to: to.max(time),
            })
        })
}

impl<T, S> Default for Rows<T, S> {
    fn default() -> Self {
        Self {
            open: Vec::new(),
            sealed: None,
        }
    }
}

impl<T, S> Default for Sealed<T, S> {
    fn default() -> Self {
        Self {
            first: 0,
            chunks: VecDeque::new(),
        }
    }
}

/// Written as a sequence of rows: chunks are not part of the state.
impl<T: Serialize, S: Stamp> Serialize for Rows<T, S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let mut rows = serializer.serialize_seq(Some(self.len()))?;
        let sealed = self.sealed().into_iter().flatten();
        for row in sealed.flat_map(|chunk| &chunk.rows).chain(&self.open) {
            rows.serialize_element(row)?;
        }
        rows.end()
    }
}

impl<'de, T: Deserialize<'de>, S: Stamp> Deserialize<'de> for Rows<T, S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(RowsVisitor(PhantomData))
    }
}

struct RowsVisitor<T, S>(PhantomData<(T, S)>);

impl<'de, T: Deserialize<'de>, S: Stamp> Visitor<'de> for RowsVisitor<T, S> {
    type Value = Rows<T, S>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the rows of a key")
    }

    fn visit_seq<Q: SeqAccess<'de>>(self, mut sequence: Q) -> Result<Self::Value, Q::Error> {
        let mut rows = Rows::default();
        while let Some(Row { stamp, record }) = sequence.next_element()? {
            rows.push(stamp, record);
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use levada_core::codec;
    use proptest::prelude::*;

    use super::*;

    type Numbers = Rows<u32, Timestamp>;

    fn within(from: i64, to: i64) -> Within {
        Within {
            from: Timestamp(from),
            to: Timestamp(to),
        }
    }

    fn all(rows: &Numbers, mut position: Position, times: Within) -> Vec<u32> {
        let mut found = Vec::new();
        loop {
            match rows.next(&mut position, times) {
                Next::Row(row) => found.push(row.record),
                Next::Chunk => {}
                Next::End => {
                    assert!(rows.is_end(position));
                    assert_eq!(position.passed, rows.len() as u64);
                    return found;
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Against a vector, with chunks that lose rows while others are added, from any place on, through the codec.
        #[test]
        fn are_found_by_time_in_the_order_in_which_they_came(
            times in prop::collection::vec(0..100i64, 0..700),
            removals in prop::collection::vec((0..700usize, 0..8u64, 0..100i64), 0..6),
            asked in (0..100i64, 0..100i64),
            passed in 0..700usize,
        ) {
            let mut rows = Numbers::default();
            // By row: its chunk, its time, whether it is there.
            let mut model: Vec<(u64, i64, bool)> = Vec::new();
            let mut chunk = 0;
            for (n, time) in times.iter().enumerate() {
                if let Some(begun) = rows.push(Timestamp(*time), n as u32) {
                    chunk = begun;
                }
                model.push((chunk, *time, true));
                for (_, chunk, until) in removals.iter().filter(|(at, ..)| *at == n) {
                    let latest = rows.remove(*chunk, |time| time.0 <= *until);
                    let mut kept = None;
                    for (of, time, there) in &mut model {
                        if of == chunk {
                            *there &= *time > *until;
                            kept = if *there { kept.max(Some(Timestamp(*time))) } else { kept };
                        }
                    }
                    prop_assert_eq!(latest, kept);
                }
            }
            let left: Vec<_> = (0..).zip(&model).filter(|(_, row)| row.2).collect();
            prop_assert_eq!(rows.len(), left.len());
            prop_assert_eq!(rows.is_empty(), left.is_empty());
            let (from, to) = asked;
            let passed = passed.min(left.len());
            let expected: Vec<u32> = left[passed..]
                .iter()
                .filter(|(_, row)| from <= row.1 && row.1 <= to)
                .map(|(n, _)| *n)
                .collect();
            prop_assert_eq!(&all(&rows, rows.seek(passed as u64), within(from, to)), &expected);
            let mut numbers: Vec<_> = left.iter().map(|(_, row)| row.0).collect();
            numbers.dedup();
            prop_assert!(rows.chunks().map(|(number, _)| number).eq(numbers));

            let mut bytes = Vec::new();
            codec::encode(&rows, &mut bytes).unwrap();
            let rows: Numbers = codec::decode(&bytes).unwrap();
            prop_assert_eq!(&all(&rows, rows.seek(passed as u64), within(from, to)), &expected);
        }
    }

    #[test]
    fn a_row_from_the_future_keeps_no_other() {
        let mut rows = Numbers::default();
        for n in 0..100_000u32 {
            let time = if n == 0 { i64::MAX - 1 } else { i64::from(n) };
            if let Some(chunk) = rows.push(Timestamp(time), n).and_then(|n| n.checked_sub(2)) {
                rows.remove(chunk, |time| time.0 < i64::from(n));
            }
        }
        assert!(rows.len() <= 3 * CHUNK_ROWS, "{}", rows.len());
        assert_eq!(rows.seek(0).passed, 0);
        assert_eq!(
            all(&rows, rows.seek(0), within(i64::MAX - 1, i64::MAX - 1)),
            [0]
        );
    }

    #[test]
    fn a_key_with_one_row_has_room_for_one() {
        let mut rows = Numbers::default();
        assert_eq!(rows.push(Timestamp(0), 7), Some(0));
        assert_eq!(rows.open.capacity(), 1);
        assert_eq!(rows.remove(0, |_| true), None);
        assert!(rows.is_empty() && rows.open.capacity() == 0);
    }
}
