//! The rows of an operator's keyed state, wherever their bytes are.

use std::ops::Range;

use levada_core::KeyGroup;

use crate::error::StateError;
use crate::saving::{KeyedState, Row, RowKind, Rows, rows_in};

/// What counts of the rows of a chain of snapshots: all that were written, but for those that a later [`RowKind::Whole`] of
/// their part and group has made void.
///
/// It knows chunks of rows by `C`, which says where their bytes are; so they need not be kept in memory. Whoever restores a
/// state takes the [`steps`](RowLog::steps), gets the bytes of the chunk of each, [finds](RowLog::find) the rows in them, and hands
/// these to the state.
#[derive(Clone, Debug)]
pub struct RowLog<C> {
    /// With the groups between the least and the greatest that has rows in it.
    chunks: Vec<(C, Range<u16>)>,
    /// By the part of the operator's state, and by key group.
    parts: Vec<Vec<Counted>>,
}

impl<C> Default for RowLog<C> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            parts: Vec::new(),
        }
    }
}

/// What is to be read of a chunk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RowStep {
    chunk: usize,
    rows: StepRows,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum StepRows {
    All,
    OfPart(u16),
    OfOthers(u16),
}

/// The rows of a part and group that count.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    /// The first one's chunk, and where in it that begins.
    from: (usize, usize),
    /// The last one's chunk.
    last: usize,
    /// The snapshot that the last of them is of, and how many of its rows say that something is there.
    snapshot: usize,
    puts: usize,
    /// The most that there are in one snapshot. What a later one puts may be in the place of what is there: it is not known
    /// to be more.
    puts_max: usize,
}

impl<C> RowLog<C> {
    /// Adds rows of one of the snapshots behind the others.
    ///
    /// # Errors
    /// If the bytes are no rows.
    pub fn add(&mut self, snapshot: usize, chunk: C, bytes: &[u8]) -> Result<(), StateError> {
        let number = self.chunks.len();
        let (mut least, mut end) = (u16::MAX, 0);
        let mut offset = 0;
        for row in rows_in(bytes) {
            let row = row?;
            least = least.min(row.group.0);
            end = end.max(row.group.0.saturating_add(1));
            let counted = self.counted(row.part, row.group);
            counted.last = number;
            match row.kind {
                RowKind::Whole => {
                    *counted = Counted {
                        from: (number, offset),
                        last: number,
                        ..Counted::default()
                    };
                }
                RowKind::Put => {
                    if counted.snapshot != snapshot {
                        (counted.snapshot, counted.puts) = (snapshot, 0);
                    }
                    counted.puts += 1;
                    counted.puts_max = counted.puts_max.max(counted.puts);
                }
                RowKind::Delete => {}
            }
            offset += length(&row);
        }
        self.chunks.push((chunk, least..end));
        Ok(())
    }

    /// What has been added of these groups does not count any more.
    pub fn forget(&mut self, groups: &Range<u16>) {
        let from = (self.chunks.len(), 0);
        for part in &mut self.parts {
            for (number, counted) in part.iter_mut().enumerate() {
                if groups.contains(&(number as u16)) {
                    *counted = Counted {
                        from,
                        ..Counted::default()
                    };
                }
            }
        }
    }

    /// Tells a state how much it is about to read.
    pub fn reserve(&self, state: &mut dyn KeyedState) {
        let owned = state.owned();
        for (number, part) in self.parts.iter().enumerate() {
            let end = usize::from(owned.end).min(part.len());
            let begin = usize::from(owned.start).min(end);
            let puts = part[begin..end]
                .iter()
                .map(|counted| counted.puts_max)
                .sum();
            state.reserve(number as u16, puts);
        }
    }

    /// What is to be read for a state, step by step.
    pub fn steps(&self, state: &dyn KeyedState) -> Vec<(RowStep, &C)> {
        let owned = state.owned();
        let step = |(number, chunk), rows| {
            let step = RowStep {
                chunk: number,
                rows,
            };
            (step, chunk)
        };
        let all = self.chunks(&owned);
        let Some(first) = state.first_part() else {
            return all.map(|chunk| step(chunk, StepRows::All)).collect();
        };
        let of_first = self.chunks_with(first, &owned);
        let of_first = (self.chunks(&owned)).filter(|(number, _)| of_first.contains(number));
        let of_first = of_first.map(|chunk| step(chunk, StepRows::OfPart(first)));
        of_first
            .chain(all.map(|chunk| step(chunk, StepRows::OfOthers(first))))
            .collect()
    }

    /// The chunks in which there may be rows of these groups, with their numbers, in the order in which they are to be read.
    pub(crate) fn chunks(&self, groups: &Range<u16>) -> impl Iterator<Item = (usize, &C)> {
        let (begin, end) = (groups.start, groups.end);
        let numbered = self.chunks.iter().enumerate();
        numbered.filter_map(move |(number, (chunk, groups))| {
            (groups.start < end && begin < groups.end).then_some((number, chunk))
        })
    }

    /// The chunks in which there may be rows of a part that count.
    fn chunks_with(&self, part: u16, groups: &Range<u16>) -> Range<usize> {
        let part = self.parts.get(usize::from(part));
        let groups = usize::from(groups.start)..usize::from(groups.end);
        let counted = part.into_iter().flatten().enumerate();
        let counted = counted.filter(|(group, _)| groups.contains(group));
        counted.fold(self.chunks.len()..0, |chunks, (_, counted)| {
            chunks.start.min(counted.from.0)..chunks.end.max(counted.last + 1)
        })
    }

    /// Finds the rows of a chunk that count and are of the groups that a state owns.
    ///
    /// # Errors
    /// If the bytes are no rows.
    pub fn find<'a>(
        &self,
        step: RowStep,
        bytes: &'a [u8],
        owned: &Range<u16>,
        rows: &mut Vec<Row<'a>>,
    ) -> Result<(), StateError> {
        self.each(step.chunk, bytes, |row| {
            let is_wanted = match step.rows {
                StepRows::All => true,
                StepRows::OfPart(part) => row.part == part,
                StepRows::OfOthers(part) => row.part != part,
            };
            if is_wanted && owned.contains(&row.group.0) {
                rows.push(*row);
            }
            Ok(())
        })
    }

    /// Looks at what counts of a chunk.
    pub(crate) fn each<'a>(
        &self,
        number: usize,
        bytes: &'a [u8],
        mut take: impl FnMut(&Row<'a>) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let mut offset = 0;
        for row in rows_in(bytes) {
            let row = row?;
            let part = self.parts.get(usize::from(row.part));
            let counted = part.and_then(|part| part.get(usize::from(row.group.0)));
            if counted.is_some_and(|counted| (number, offset) >= counted.from) {
                take(&row)?;
            }
            offset += length(&row);
        }
        Ok(())
    }

    fn counted(&mut self, part: u16, group: KeyGroup) -> &mut Counted {
        let (part, group) = (usize::from(part), usize::from(group.0));
        if self.parts.len() <= part {
            self.parts.resize_with(part + 1, Vec::new);
        }
        let part = &mut self.parts[part];
        if part.len() <= group {
            part.resize(group + 1, Counted::default());
        }
        &mut part[group]
    }
}

fn length(row: &Row<'_>) -> usize {
    Rows::HEADER_BYTES + row.bytes.len()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::hands::Alone;

    /// By part and group.
    type ToldRows = BTreeMap<(u16, u16), Vec<(u8, Vec<u8>)>>;

    /// By part and group: what was put in each snapshot.
    type ToldPuts = BTreeMap<(u16, u16), BTreeMap<usize, usize>>;

    /// Keeps what it is told, as a map.
    #[derive(Debug, Default, Eq, PartialEq)]
    struct Told {
        owned: Range<u16>,
        rows: ToldRows,
        expected: BTreeMap<u16, usize>,
        first_part: Option<u16>,
        /// Parts whose rows have been read, each as often as after another one.
        parts: Vec<u16>,
    }

    impl KeyedState for Told {
        fn owned(&self) -> Range<u16> {
            self.owned.clone()
        }

        fn begin(&mut self, _: &crate::Saving, _: &mut Rows) -> Result<(), StateError> {
            unreachable!("it is only read into")
        }

        fn save(&mut self, _: &mut Rows) -> Result<bool, StateError> {
            unreachable!("it is only read into")
        }

        fn memory(&mut self, _: &mut crate::Measuring) -> u64 {
            0
        }

        fn reserve(&mut self, part: u16, rows: usize) {
            self.expected.insert(part, rows);
        }

        fn first_part(&self) -> Option<u16> {
            self.first_part
        }

        fn read(&mut self, row: &Row<'_>) -> Result<(), StateError> {
            if self.parts.last() != Some(&row.part) {
                self.parts.push(row.part);
            }
            let of = self.rows.entry((row.part, row.group.0)).or_default();
            of.push((row.kind as u8, row.bytes.to_vec()));
            Ok(())
        }
    }

    #[derive(Clone, Debug)]
    enum Act {
        Row(u16, u16, RowKind, u8),
        NextChunk,
        NextSnapshot,
        Forget(u16, u16),
    }

    fn act() -> impl Strategy<Value = Act> {
        let kind = prop_oneof![
            1 => Just(RowKind::Whole), 6 => Just(RowKind::Put), 2 => Just(RowKind::Delete)
        ];
        prop_oneof![
            20 => (0..3u16, 0..8u16, kind, any::<u8>())
                .prop_map(|(part, group, kind, byte)| Act::Row(part, group, kind, byte)),
            3 => Just(Act::NextChunk),
            1 => Just(Act::NextSnapshot),
            1 => (0..8u16, 0..8u16).prop_map(|(begin, end)| Act::Forget(begin, end)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_counts_is_read_by_whoever_owns_it(
            acts in prop::collection::vec(act(), 0..200),
            owned in (0..9u16, 0..9u16),
            first_part in prop::option::of(0..4u16),
        ) {
            let owned = owned.0..owned.1;
            let mut log = RowLog::default();
            let mut model = Told { owned: owned.clone(), ..Told::default() };
            let mut rows = Rows::with_room(usize::MAX);
            let mut snapshot = 0;
            let mut puts = ToldPuts::new();
            for act in acts {
                match act {
                    Act::Row(part, group, kind, byte) => {
                        rows.set_part(part);
                        let bytes = vec![byte; usize::from(byte % 5)];
                        let write = |row: &mut Vec<u8>| {
                            row.extend_from_slice(&bytes);
                            Ok(())
                        };
                        rows.add(KeyGroup(group), kind, write).unwrap();
                        let of = model.rows.entry((part, group)).or_default();
                        let puts = puts.entry((part, group)).or_default();
                        match kind {
                            RowKind::Whole => {
                                of.clear();
                                puts.clear();
                            }
                            RowKind::Put => *puts.entry(snapshot).or_default() += 1,
                            RowKind::Delete => {}
                        }
                        of.push((kind as u8, bytes));
                    }
                    Act::NextChunk => {
                        let bytes = rows.take();
                        log.add(snapshot, bytes.clone(), &bytes).unwrap();
                    }
                    Act::NextSnapshot => {
                        let bytes = rows.take();
                        log.add(snapshot, bytes.clone(), &bytes).unwrap();
                        snapshot += 1;
                    }
                    Act::Forget(begin, end) => {
                        let bytes = rows.take();
                        log.add(snapshot, bytes.clone(), &bytes).unwrap();
                        log.forget(&(begin..end));
                        model.rows.retain(|(_, group), _| !(begin..end).contains(group));
                        puts.retain(|(_, group), _| !(begin..end).contains(group));
                    }
                }
            }
            let bytes = rows.take();
            log.add(snapshot, bytes.clone(), &bytes).unwrap();
            model.rows.retain(|(_, group), rows| owned.contains(group) && !rows.is_empty());

            let mut told = Told { owned: owned.clone(), first_part, ..Told::default() };
            log.reserve(&mut told);
            for (part, expected) in std::mem::take(&mut told.expected) {
                let mine = puts.iter();
                let mine = mine.filter(|((of, group), _)| *of == part && owned.contains(group));
                let most = mine.map(|(_, puts)| puts.values().max().copied().unwrap_or(0));
                prop_assert_eq!(expected, most.sum::<usize>(), "part {}", part);
            }
            for (step, bytes) in log.steps(&told) {
                let mut rows = Vec::new();
                log.find(step, bytes, &owned, &mut rows).unwrap();
                told.read_all(&rows, &Alone).unwrap();
            }
            if let Some(first) = first_part {
                let others = told.parts.iter().skip_while(|part| **part == first);
                prop_assert!(others.copied().all(|part| part != first), "{:?}", told.parts);
            }
            prop_assert_eq!(told.rows, model.rows);
        }
    }

    #[test]
    fn bytes_that_are_no_rows_are_refused() {
        let mut log = RowLog::default();
        assert!(log.add(0, (), &[1, 2, 3]).is_err());
    }
}
