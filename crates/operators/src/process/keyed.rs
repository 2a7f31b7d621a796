//! The state of a keyed operator of the user's.

use std::ops::Range;
use std::panic;

use levada_core::key::KeyError;
use levada_core::{Key, KeyGroup, KeyGroups, Moment, Origin, State, Timestamp};
use levada_runtime::{StateError, Subtask, Visitor};
use levada_state::{KeyedState, KeyedTable, Parts, Place};

use crate::process::Timer;
use crate::process::times::Times;
use crate::state_check::{self, CannotBeKept};

/// A table with what is needed to add keys to it, and with the timers of the keys.
pub(crate) struct KeyedValues<K, S> {
    pub(crate) table: KeyedTable<K, S>,
    pub(crate) times: Times<K>,
    /// Whether state has been read that nobody has looked at yet.
    restored: bool,
    /// Whether there is a keyed input.
    keyed: bool,
    key_groups: KeyGroups,
    /// Whether a state has been through the codec.
    checked: bool,
    /// The key whose state will be, once the user's code has filled it.
    first: Option<K>,
    /// Whether the key of a timer has been through the codec.
    timer_checked: bool,
}

impl<K: Key, S: State> KeyedValues<K, S> {
    /// The values of the keys that a subtask owns.
    pub(crate) fn owned(subtask: &Subtask) -> Self {
        Self::new(subtask.owned_groups(), true, subtask)
    }

    /// Values of any keys, for an operator that has no keyed input.
    pub(crate) fn any(subtask: &Subtask) -> Self {
        Self::new(0..subtask.key_groups.count(), false, subtask)
    }

    fn new(owned: Range<u16>, keyed: bool, subtask: &Subtask) -> Self {
        Self {
            table: KeyedTable::new(owned.clone(), subtask.table_seed),
            times: Times::new(owned, subtask),
            restored: false,
            keyed,
            key_groups: subtask.key_groups,
            checked: false,
            first: None,
            timer_checked: false,
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
        let group_of = || group_of(key, group, key_groups);
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

    /// Sets a timer.
    ///
    /// # Errors
    /// If the key cannot be hashed or saved.
    pub(crate) fn set_timer(
        &mut self,
        key: &K,
        group: Option<KeyGroup>,
        timer: Timer,
    ) -> Result<(), NoTimer> {
        if !self.keyed {
            return Err(NoTimer::NoKeys);
        }
        if !self.timer_checked {
            state_check::check(key, &()).map_err(NoTimer::Unkept)?;
            self.timer_checked = true;
        }
        let key_groups = self.key_groups;
        self.times
            .set(key, timer, || group_of(key, group, key_groups))
            .map_err(NoTimer::Unhashed)
    }

    /// The watermark for a key.
    pub(crate) fn watermark(&self, key: &K, group: Option<KeyGroup>) -> Timestamp {
        self.times
            .watermark(|| group_of(key, group, self.key_groups))
    }

    /// Whether something is due, or has to be looked after.
    #[inline]
    pub(crate) fn may_be_due(&self, now: Moment) -> bool {
        self.restored || self.times.may_be_due(now)
    }

    /// Looks at state that has been read.
    pub(crate) fn prepare(&mut self) {
        if std::mem::take(&mut self.restored) {
            self.times.restore();
        }
    }

    /// Shows all of it to a visitor.
    pub(crate) fn visit(
        &mut self,
        operator: &Origin,
        visitor: &mut dyn Visitor,
    ) -> Result<(), StateError> {
        let [watermark, event, processing] = self.times.states();
        let mut parts = [
            &mut self.table as &mut dyn KeyedState,
            watermark,
            event,
            processing,
        ];
        let mut whole = Whole {
            parts: Parts(&mut parts),
            restored: &mut self.restored,
        };
        visitor.keyed(operator, &mut whole)
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

fn group_of<K: Key>(
    key: &K,
    group: Option<KeyGroup>,
    key_groups: KeyGroups,
) -> Result<KeyGroup, KeyError> {
    match group {
        Some(group) => Ok(group),
        None => key_groups.of(key),
    }
}

/// Why a timer could not be set.
pub(crate) enum NoTimer {
    /// The key cannot be hashed.
    Unhashed(KeyError),
    /// The key cannot be saved.
    Unkept(CannotBeKept),
    /// The operator has no keyed input.
    NoKeys,
}

/// The state of a process as one; notes that it has been read.
struct Whole<'a, 'b, 'c> {
    parts: Parts<'a, 'b>,
    restored: &'c mut bool,
}

impl KeyedState for Whole<'_, '_, '_> {
    fn owned(&self) -> Range<u16> {
        self.parts.owned()
    }

    fn write(&self, groups: &mut [Vec<u8>]) -> Result<(), StateError> {
        self.parts.write(groups)
    }

    fn read_group(&mut self, group: KeyGroup, bytes: &[u8]) -> Result<(), StateError> {
        *self.restored = true;
        self.parts.read_group(group, bytes)
    }
}

/// Leaves the user's code, which cannot go on: the task fails with what its turn has been told.
pub(crate) fn give_up() -> ! {
    panic::resume_unwind(Box::new("a key cannot be hashed"));
}
