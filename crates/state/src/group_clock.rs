//! The watermark of an operator, which is state: what was late before a restore is late after it.

use std::ops::Range;

use levada_core::codec;
use levada_core::{KeyGroup, Timestamp, fault};

use crate::error::StateError;
use crate::saving::WholeState;

/// An operator's watermark, and those that its key groups had when they were saved.
///
/// After a restore the operator's own watermark begins anew, and its groups may come from subtasks of different
/// watermarks. The time of a key is the larger of the two.
#[derive(Clone, Debug)]
pub struct GroupClock {
    owned: Range<u16>,
    watermark: Timestamp,
    /// By group; empty once the operator's watermark has passed all of them.
    restored: Vec<Timestamp>,
    restored_max: Timestamp,
}

impl GroupClock {
    /// A clock that has seen no watermark, for these groups.
    #[must_use]
    pub fn new(owned: Range<u16>) -> Self {
        Self {
            owned,
            watermark: Timestamp::MIN,
            restored: Vec::new(),
            restored_max: Timestamp::MIN,
        }
    }

    /// The operator's own watermark.
    #[inline]
    #[must_use]
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// Takes a watermark; false if it is no later one.
    pub fn raise(&mut self, watermark: Timestamp) -> bool {
        if watermark <= self.watermark {
            return false;
        }
        self.watermark = watermark;
        if watermark >= self.restored_max {
            self.restored = Vec::new();
            self.restored_max = Timestamp::MIN;
        }
        true
    }

    /// Whether the group of a key matters for its time: some group was saved with a later watermark than the operator has now.
    #[inline]
    #[must_use]
    pub fn is_divided(&self) -> bool {
        self.restored_max > self.watermark
    }

    /// The watermark for the keys of a group.
    #[must_use]
    pub fn of(&self, group: KeyGroup) -> Timestamp {
        let restored = group
            .0
            .checked_sub(self.owned.start)
            .and_then(|place| self.restored.get(usize::from(place)));
        restored.map_or(self.watermark, |at| self.watermark.max(*at))
    }

    /// The watermark of a group as it is to be saved.
    #[must_use]
    pub fn to_be_saved(&self, group: KeyGroup) -> Timestamp {
        if fault!("watermark-unsaved") {
            return Timestamp::MIN;
        }
        self.of(group)
    }

    /// Takes the watermark that a group had when it was saved.
    ///
    /// # Panics
    /// If the group is another subtask's.
    pub fn restore(&mut self, group: KeyGroup, watermark: Timestamp) {
        self.restored.resize(self.owned.len(), Timestamp::MIN);
        self.restored[usize::from(group.0 - self.owned.start)] = watermark;
        self.restored_max = self.restored_max.max(watermark);
    }
}

/// A group is written as its watermark (i64).
impl WholeState for GroupClock {
    fn owned(&self) -> Range<u16> {
        self.owned.clone()
    }

    fn write(&self, groups: &mut [Vec<u8>]) -> Result<(), StateError> {
        for (group, bytes) in self.owned.clone().zip(groups) {
            let group = KeyGroup(group);
            codec::encode(&self.to_be_saved(group), bytes)
                .map_err(|error| StateError::new(group, error))?;
        }
        Ok(())
    }

    fn read_group(&mut self, group: KeyGroup, bytes: &[u8]) -> Result<(), StateError> {
        let watermark: Timestamp =
            codec::decode(bytes).map_err(|error| StateError::new(group, error))?;
        self.restore(group, watermark);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Snapshot;

    #[test]
    fn groups_of_different_subtasks_keep_their_watermarks_until_the_operator_has_passed_them() {
        let mut snapshot = Snapshot::new();
        for (owned, watermark) in [(0..64, 100), (64..128, -7)] {
            let mut clock = GroupClock::new(owned);
            assert!(clock.raise(Timestamp(watermark)) && !clock.raise(Timestamp(watermark)));
            snapshot.write("op", &mut clock).unwrap();
        }
        let mut clock = GroupClock::new(0..128);
        snapshot.read("op", &mut clock).unwrap();
        assert!(clock.is_divided());
        assert_eq!(clock.watermark(), Timestamp::MIN);
        assert_eq!(clock.of(KeyGroup(63)), Timestamp(100));
        assert_eq!(clock.of(KeyGroup(64)), Timestamp(-7));
        clock.raise(Timestamp(99));
        assert_eq!(clock.of(KeyGroup(63)), Timestamp(100));
        assert_eq!(clock.of(KeyGroup(64)), Timestamp(99));
        let mut again = Snapshot::new();
        again.write("op", &mut clock).unwrap();
        let mut restored = GroupClock::new(32..96);
        again.read("op", &mut restored).unwrap();
        assert_eq!(restored.of(KeyGroup(40)), Timestamp(100));
        clock.raise(Timestamp(100));
        assert!(!clock.is_divided());
        assert_eq!(clock.of(KeyGroup(64)), Timestamp(100));
    }
}
