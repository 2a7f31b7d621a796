//! The state of a keyed operator of the user's.

use std::panic;

use levada_core::key::KeyError;
use levada_core::{Key, KeyGroup, KeyGroups, State};
use levada_runtime::Subtask;
use levada_state::{KeyedTable, Place};

use crate::state_check::{self, CannotBeKept};

/// A table with what is needed to add keys to it.
pub(crate) struct KeyedValues<K, S> {
    pub(crate) table: KeyedTable<K, S>,
    key_groups: KeyGroups,
    /// Whether a state has been through the codec.
    checked: bool,
    /// The key whose state will be, once the user's code has filled it.
    first: Option<K>,
}

impl<K: Key, S: State> KeyedValues<K, S> {
    /// The values of the keys that a subtask owns.
    pub(crate) fn owned(subtask: &Subtask) -> Self {
        Self::new(
            KeyedTable::new(subtask.owned_groups(), subtask.table_seed),
            subtask.key_groups,
        )
    }

    /// Values of any keys, for an operator that has no keyed input.
    pub(crate) fn any(subtask: &Subtask) -> Self {
        let all = 0..subtask.key_groups.count();
        Self::new(KeyedTable::new(all, subtask.table_seed), subtask.key_groups)
    }

    fn new(table: KeyedTable<K, S>, key_groups: KeyGroups) -> Self {
        Self {
            table,
            key_groups,
            checked: false,
            first: None,
        }
    }

    /// Where the state of a key is, made by `Default` if there is none. The key's group is computed if it is not known and
    /// the key is new.
    ///
    /// # Errors
    /// If the key cannot be hashed.
    #[inline]
    pub(crate) fn find_or_insert(
        &mut self,
        key: &K,
        group: Option<KeyGroup>,
    ) -> Result<Place, KeyError> {
        let key_groups = self.key_groups;
        let group_of = || match group {
            Some(group) => Ok(group),
            None => key_groups.of(key),
        };
        let place = self
            .table
            .find_or_insert(key, || Ok((group_of()?, S::default())))?;
        debug_assert!(
            group_of().is_ok_and(|group| group == self.table.group(place)),
            "equal keys serialise equally"
        );
        if !self.checked {
            self.first = Some(key.clone());
        }
        Ok(place)
    }

    /// Whether there is a state to be checked: to be asked after each call of the user's code.
    #[inline]
    pub(crate) fn is_unchecked(&self) -> bool {
        self.first.is_some()
    }

    /// The first state goes through the codec.
    #[inline(never)]
    pub(crate) fn check(&mut self) -> Result<(), CannotBeKept> {
        let Some(key) = self.first.take() else {
            return Ok(());
        };
        match self.table.find(&key) {
            Some(place) => {
                self.checked = true;
                state_check::check(&key, self.table.value(place))
            }
            // The user's code has cleared it again.
            None => Ok(()),
        }
    }
}

/// Leaves the user's code, which cannot go on: the task fails with what its turn has been told.
pub(crate) fn give_up() -> ! {
    panic::resume_unwind(Box::new("a key cannot be hashed"));
}
