//! What state looks like outside of its operator.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use levada_core::KeyGroup;

use crate::error::StateError;
use crate::saving::{KeyedState, Row, RowKind, Rows, Saving, rows_in};

/// State of an operator that is not kept by key.
pub trait OperatorState {
    /// How it is divided among another number of subtasks.
    fn redistribution(&self) -> Redistribution;

    /// The state of this subtask, row by row.
    ///
    /// # Errors
    /// If a row cannot be encoded.
    fn write(&self) -> Result<Vec<Vec<u8>>, StateError>;

    /// Takes the rows that have become this subtask's.
    ///
    /// # Errors
    /// If the bytes are not such rows.
    fn read(&mut self, rows: &[&[u8]]) -> Result<(), StateError>;
}

/// How state that is not kept by key is divided among the subtasks of a restored operator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Redistribution {
    /// Every subtask has the same: each new one takes the whole of an old one.
    Copy,
    /// All rows in their order are dealt out to the subtasks in turn; to as many subtasks as before, each gets its own.
    Split,
}

/// The rows of a key group, by the part of the operator's state.
type Parts = BTreeMap<u16, Vec<(RowKind, Vec<u8>)>>;

/// The state of a job: by operator and key group, and by operator and subtask.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Snapshot {
    keyed: BTreeMap<String, BTreeMap<u16, Parts>>,
    /// The rows of each subtask.
    operators: BTreeMap<String, BTreeMap<usize, Vec<Vec<u8>>>>,
}

impl Snapshot {
    /// A snapshot with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes all groups that an operator keeps here.
    ///
    /// # Errors
    /// If a key or value cannot be encoded.
    ///
    /// # Panics
    /// If a group of this operator has been written before: it has one owner.
    pub fn write(&mut self, operator: &str, state: &mut dyn KeyedState) -> Result<(), StateError> {
        let mut rows = Rows::with_room(usize::MAX);
        state.begin(&Saving::default(), &mut rows)?;
        while !state.save(&mut rows)? {}
        let groups = self.keyed.entry(operator.to_owned()).or_default();
        for group in state.owned() {
            let before = groups.insert(group, Parts::default());
            assert!(before.is_none(), "key group {group} has one owner");
        }
        self.add(operator, rows.bytes())
    }

    /// Adds rows of an operator, behind those that it has.
    ///
    /// # Errors
    /// If the bytes are no rows.
    pub fn add(&mut self, operator: &str, rows: &[u8]) -> Result<(), StateError> {
        let groups = self.keyed.entry(operator.to_owned()).or_default();
        for row in rows_in(rows) {
            let row = row?;
            let parts = groups.entry(row.group.0).or_default();
            let part = parts.entry(row.part).or_default();
            if row.kind == RowKind::Whole {
                part.clear();
            }
            part.push((row.kind, row.bytes.to_vec()));
        }
        Ok(())
    }

    /// Forgets groups of an operator.
    pub fn forget(&mut self, operator: &str, groups: Range<u16>) {
        if let Some(kept) = self.keyed.get_mut(operator) {
            kept.retain(|group, _| !groups.contains(group));
        }
    }

    /// Reads the groups that an operator is to keep here; a group that is not in the snapshot stays empty.
    ///
    /// # Errors
    /// If a row is none of this operator's state.
    pub fn read(&self, operator: &str, state: &mut dyn KeyedState) -> Result<(), StateError> {
        let Some(groups) = self.keyed.get(operator) else {
            return Ok(());
        };
        for (group, parts) in groups.range(state.owned()) {
            for (part, rows) in parts {
                for (kind, bytes) in rows {
                    state.read(&Row {
                        group: KeyGroup(*group),
                        part: *part,
                        kind: *kind,
                        bytes,
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Writes the state that an operator keeps in a subtask.
    ///
    /// # Errors
    /// If a row cannot be encoded.
    pub fn write_operator(
        &mut self,
        operator: &str,
        subtask: usize,
        state: &dyn OperatorState,
    ) -> Result<(), StateError> {
        let rows = state.write()?;
        let subtasks = self.operators.entry(operator.to_owned()).or_default();
        subtasks.insert(subtask, rows);
        Ok(())
    }

    /// Adds the rows that an operator kept in a subtask.
    pub fn add_operator(&mut self, operator: &str, subtask: usize, rows: Vec<Vec<u8>>) {
        let subtasks = self.operators.entry(operator.to_owned()).or_default();
        subtasks.insert(subtask, rows);
    }

    /// Reads what an operator is to keep in subtask `subtask` of `parallelism`.
    ///
    /// # Errors
    /// If the rows are not the state of this operator.
    pub fn read_operator(
        &self,
        operator: &str,
        subtask: usize,
        parallelism: usize,
        state: &mut dyn OperatorState,
    ) -> Result<(), StateError> {
        let Some(subtasks) = self.operators.get(operator) else {
            return Ok(());
        };
        let before = subtasks.len();
        let rows: Vec<&[u8]> = match state.redistribution() {
            // Some may be missing: those that had come to their end.
            Redistribution::Copy => subtasks.values().nth(subtask % before).map(Vec::as_slice),
            Redistribution::Split if subtasks.keys().copied().eq(0..parallelism) => {
                subtasks.get(&subtask).map(Vec::as_slice)
            }
            Redistribution::Split => {
                let rows = subtasks.values().flatten().map(Vec::as_slice);
                let mine: Vec<_> = rows.skip(subtask).step_by(parallelism).collect();
                return state.read(&mine);
            }
        }
        .into_iter()
        .flatten()
        .map(Vec::as_slice)
        .collect();
        state.read(&rows)
    }

    /// Adds the state of another snapshot, which has other groups, subtasks or operators.
    pub fn merge(&mut self, other: Self) {
        for (operator, groups) in other.keyed {
            self.keyed.entry(operator).or_default().extend(groups);
        }
        for (operator, subtasks) in other.operators {
            self.operators.entry(operator).or_default().extend(subtasks);
        }
    }

    /// The names of the operators in it.
    pub fn operators(&self) -> impl Iterator<Item = &str> {
        let names: BTreeSet<_> = self.keyed.keys().chain(self.operators.keys()).collect();
        names.into_iter().map(String::as_str)
    }

    /// The groups of an operator with the sizes of their states in bytes.
    pub fn groups(&self, operator: &str) -> impl Iterator<Item = (KeyGroup, usize)> {
        let groups = self.keyed.get(operator).into_iter().flatten();
        groups.map(|(group, parts)| {
            let rows = parts.values().flatten();
            (KeyGroup(*group), rows.map(|(_, bytes)| bytes.len()).sum())
        })
    }
}
