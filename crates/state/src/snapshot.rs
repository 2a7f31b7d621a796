//! What state looks like outside of its operator.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use levada_core::KeyGroup;

use crate::error::StateError;

/// State that is kept per key group and can be written and read group by group.
pub trait KeyedState {
    /// The key groups that are kept here.
    fn owned(&self) -> Range<u16>;

    /// Appends the state of each owned group to its bytes, which come in the order of the groups.
    ///
    /// # Errors
    /// If a key or value cannot be encoded.
    fn write(&self, groups: &mut [Vec<u8>]) -> Result<(), StateError>;

    /// Adds the state of a group, as [`KeyedState::write`] wrote it.
    ///
    /// # Errors
    /// If the bytes are not such a state.
    fn read_group(&mut self, group: KeyGroup, bytes: &[u8]) -> Result<(), StateError>;
}

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

/// The state of a job: by operator and key group, and by operator and subtask.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Snapshot {
    keyed: BTreeMap<String, BTreeMap<u16, Vec<u8>>>,
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
    pub fn write(&mut self, operator: &str, state: &dyn KeyedState) -> Result<(), StateError> {
        let groups = self.keyed.entry(operator.to_owned()).or_default();
        let mut written = vec![Vec::new(); state.owned().len()];
        state.write(&mut written)?;
        for (group, bytes) in state.owned().zip(written) {
            let before = groups.insert(group, bytes);
            assert!(before.is_none(), "key group {group} has one owner");
        }
        Ok(())
    }

    /// Reads the groups that an operator is to keep here; a group that is not in the snapshot stays empty.
    ///
    /// # Errors
    /// If a group's bytes are not the state of this operator.
    pub fn read(&self, operator: &str, state: &mut dyn KeyedState) -> Result<(), StateError> {
        if let Some(groups) = self.keyed.get(operator) {
            for (group, bytes) in groups.range(state.owned()) {
                state.read_group(KeyGroup(*group), bytes)?;
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
            Redistribution::Copy => subtasks.get(&(subtask % before)).map(Vec::as_slice),
            Redistribution::Split if before == parallelism => {
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
        groups.map(|(group, bytes)| (KeyGroup(*group), bytes.len()))
    }
}
