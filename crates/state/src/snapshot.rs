//! What state looks like outside of its operator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use levada_core::KeyGroup;

use crate::error::StateError;
use crate::hands::Alone;
use crate::row_log::RowLog;
use crate::saving::{KeyedState, Rows, Saving};

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
    /// Every subtask has a copy that fits the state of its keys: it is shown all rows, and takes those that name key groups of its own.
    ByGroup,
    /// All rows in their order are dealt out to the subtasks in turn; to as many subtasks as before, each gets its own.
    Split,
}

/// The state of a job: by operator and key group, and by operator and subtask.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    keyed: BTreeMap<String, RowLog<Arc<[u8]>>>,
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
        for (group, _) in self.groups(operator) {
            let is_owned = state.owned().contains(&group.0);
            assert!(!is_owned, "key group {} has one owner", group.0);
        }
        self.add(operator, rows.take())
    }

    /// Adds rows of an operator, behind those that it has.
    ///
    /// # Errors
    /// If the bytes are no rows.
    pub fn add(&mut self, operator: &str, rows: Vec<u8>) -> Result<(), StateError> {
        let rows: Arc<[u8]> = rows.into();
        let log = self.keyed.entry(operator.to_owned()).or_default();
        log.add(0, Arc::clone(&rows), &rows)
    }

    /// Reads the groups that an operator is to keep here; a group that is not in the snapshot stays empty.
    ///
    /// # Errors
    /// If a row is none of this operator's state.
    pub fn read(&self, operator: &str, state: &mut dyn KeyedState) -> Result<(), StateError> {
        let Some(log) = self.keyed.get(operator) else {
            return Ok(());
        };
        log.reserve(state);
        for (step, rows) in log.steps(state) {
            let mut found = Vec::new();
            log.find(step, rows, &state.owned(), &mut found)?;
            state.read_all(&found, &Alone)?;
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
            Redistribution::ByGroup => {
                let rows: Vec<_> = subtasks.values().flatten().map(Vec::as_slice).collect();
                return state.read(&rows);
            }
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

    /// The names of the operators in it.
    pub fn operators(&self) -> impl Iterator<Item = &str> {
        let names: BTreeSet<_> = self.keyed.keys().chain(self.operators.keys()).collect();
        names.into_iter().map(String::as_str)
    }

    /// Whether an operator has rows that are not kept by key.
    #[must_use]
    pub fn has_operator_rows(&self, operator: &str) -> bool {
        let subtasks = self.operators.get(operator).into_iter().flatten();
        subtasks.into_iter().any(|(_, rows)| !rows.is_empty())
    }

    /// The groups of an operator with the sizes of their states in bytes.
    pub fn groups(&self, operator: &str) -> impl Iterator<Item = (KeyGroup, usize)> {
        let mut sizes = BTreeMap::new();
        if let Some(log) = self.keyed.get(operator) {
            for (number, rows) in log.chunks(&(0..u16::MAX)) {
                let counted = log.each(number, rows, |row| {
                    *sizes.entry(row.group).or_default() += row.bytes.len();
                    Ok(())
                });
                counted.expect("rows are looked at when they are added");
            }
        }
        sizes.into_iter()
    }
}
