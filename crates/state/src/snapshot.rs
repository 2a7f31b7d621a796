//! What state looks like outside of its operator.

use std::collections::BTreeMap;
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

/// The keyed state of a job, by operator and key group.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Snapshot {
    operators: BTreeMap<String, BTreeMap<u16, Vec<u8>>>,
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
        let groups = self.operators.entry(operator.to_owned()).or_default();
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
        if let Some(groups) = self.operators.get(operator) {
            for (group, bytes) in groups.range(state.owned()) {
                state.read_group(KeyGroup(*group), bytes)?;
            }
        }
        Ok(())
    }

    /// Adds the groups of another snapshot, which has other groups or operators.
    pub fn merge(&mut self, other: Self) {
        for (operator, groups) in other.operators {
            self.operators.entry(operator).or_default().extend(groups);
        }
    }

    /// The names of the operators in it.
    pub fn operators(&self) -> impl Iterator<Item = &str> {
        self.operators.keys().map(String::as_str)
    }

    /// The groups of an operator with the sizes of their states in bytes.
    pub fn groups(&self, operator: &str) -> impl Iterator<Item = (KeyGroup, usize)> {
        let groups = self.operators.get(operator).into_iter().flatten();
        groups.map(|(group, bytes)| (KeyGroup(*group), bytes.len()))
    }
}
