//! State that every subtask keeps alike, because each gets the records that change it.

use levada_core::{Origin, State};
use levada_core::{codec, fault};
use levada_runtime::{StateError, Subtask, Visitor};
use levada_state::{OperatorState, Redistribution};

use crate::state_check::{self, CannotBeKept};

/// A value of which every subtask has a copy.
pub(crate) struct SharedValue<S> {
    value: S,
    subtask: usize,
    parallelism: usize,
    /// Whether it has been through the codec, after the first change.
    checked: bool,
    changed: bool,
}

impl<S: State> SharedValue<S> {
    pub(crate) fn new(subtask: &Subtask) -> Self {
        Self {
            value: S::default(),
            subtask: subtask.index,
            parallelism: subtask.parallelism,
            checked: false,
            changed: false,
        }
    }

    pub(crate) fn get(&self) -> &S {
        &self.value
    }

    pub(crate) fn get_mut(&mut self) -> &mut S {
        self.changed = true;
        &mut self.value
    }

    #[inline]
    pub(crate) fn is_unchecked(&self) -> bool {
        self.changed && !self.checked
    }

    pub(crate) fn check(&mut self) -> Result<(), CannotBeKept> {
        if !self.is_unchecked() {
            return Ok(());
        }
        self.checked = true;
        state_check::check(&(), &self.value)
    }

    pub(crate) fn visit(
        &mut self,
        operator: &Origin,
        visitor: &mut dyn Visitor,
    ) -> Result<(), StateError> {
        let (subtask, parallelism) = (self.subtask, self.parallelism);
        visitor.operator(operator, subtask, parallelism, self)
    }
}

impl<S: State> OperatorState for SharedValue<S> {
    fn redistribution(&self) -> Redistribution {
        Redistribution::Copy
    }

    fn write(&self) -> Result<Vec<Vec<u8>>, StateError> {
        let mut row = Vec::new();
        codec::encode(&self.value, &mut row).map_err(StateError::of_operator)?;
        Ok(vec![row])
    }

    fn read(&mut self, rows: &[&[u8]]) -> Result<(), StateError> {
        if fault!("copy-unread") {
            return Ok(());
        }
        for row in rows {
            self.value = codec::decode(row).map_err(StateError::of_operator)?;
        }
        Ok(())
    }
}
