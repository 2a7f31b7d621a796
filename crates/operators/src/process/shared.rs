//! State that every subtask keeps alike, because each gets the records that change it.

use std::ops::Range;

use levada_core::key::common;
use levada_core::{KeyGroup, Origin, State};
use levada_core::{codec, fault};
use levada_runtime::{StateError, Subtask, Visitor};
use levada_state::{OperatorState, Redistribution};

use crate::state_check::{self, CannotBeKept};

/// A value of which every subtask has a copy.
///
/// A job that goes on at another parallelism may have keys of several old subtasks in one, and these had not come equally far
/// in the broadcast. Then there is a copy for the key groups of each, until what was in flight has been replayed: each such
/// record changes the copies that it had not met, and is shown the keys of these. After that all copies are alike, and one
/// stays.
pub(crate) struct SharedValue<S> {
    /// Of all key groups but those of the others.
    copy: Copied<S>,
    others: Vec<Copied<S>>,
    /// Whether there are keys whose state has to fit.
    is_keyed: bool,
    owned: Range<u16>,
    subtask: usize,
    parallelism: usize,
    /// Whether it has been through the codec, after the first change.
    checked: bool,
    changed: bool,
}

/// The value that fits the state of some key groups.
struct Copied<S> {
    value: S,
    groups: Range<u16>,
}

/// For which keys a copy is changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Part {
    pub(crate) groups: Range<u16>,
    /// Whether what is emitted for no key is emitted: of several copies in a subtask one speaks.
    pub(crate) speaks: bool,
}

impl<S: State> SharedValue<S> {
    pub(crate) fn new(subtask: &Subtask, is_keyed: bool) -> Self {
        let (index, parallelism) = (subtask.index, subtask.parallelism);
        Self::owning(subtask.owned_groups(), is_keyed, index, parallelism)
    }

    fn owning(owned: Range<u16>, is_keyed: bool, subtask: usize, parallelism: usize) -> Self {
        Self {
            copy: Copied {
                value: S::default(),
                groups: owned.clone(),
            },
            others: Vec::new(),
            is_keyed,
            owned,
            subtask,
            parallelism,
            checked: false,
            changed: false,
        }
    }

    /// The copy for keys of a group.
    #[inline]
    pub(crate) fn of(&self, group: impl FnOnce() -> KeyGroup) -> &S {
        if self.others.is_empty() {
            return &self.copy.value;
        }
        let group = group().0;
        let mut others = self.others.iter();
        let other = others.find(|other| other.groups.contains(&group));
        &other.unwrap_or(&self.copy).value
    }

    /// Changes each copy of the key groups in `only`, or all.
    pub(crate) fn change(
        &mut self,
        only: Option<&Range<u16>>,
        mut change: impl FnMut(&mut S, Part),
    ) {
        self.changed = true;
        let only = only.unwrap_or(&self.owned);
        if self.others.is_empty() {
            let part = Part {
                groups: only.clone(),
                speaks: true,
            };
            return change(&mut self.copy.value, part);
        }
        let copies = std::iter::once(&mut self.copy).chain(&mut self.others);
        for (number, copy) in copies.enumerate() {
            let groups = common(&copy.groups, only);
            if !groups.is_empty() {
                let speaks = number == 0;
                change(&mut copy.value, Part { groups, speaks });
            }
        }
    }

    /// Whether there are several copies.
    #[inline]
    pub(crate) fn is_divided(&self) -> bool {
        !self.others.is_empty()
    }

    /// All that was in flight has been replayed.
    pub(crate) fn unite(&mut self) {
        self.others = Vec::new();
        self.copy.groups = self.owned.clone();
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
        state_check::check(&(), &self.copy.value)
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
        match self.is_keyed {
            true => Redistribution::ByGroup,
            false => Redistribution::Copy,
        }
    }

    /// A row is the first key group (u16), the one behind the last (u16), and the value for these.
    fn write(&self) -> Result<Vec<Vec<u8>>, StateError> {
        let copies = std::iter::once(&self.copy).chain(&self.others);
        copies
            .map(|copy| {
                let mut row = Vec::new();
                codec::encode(&copy.groups, &mut row)
                    .and_then(|()| codec::encode(&copy.value, &mut row))
                    .map_err(StateError::of_operator)?;
                Ok(row)
            })
            .collect()
    }

    fn read(&mut self, rows: &[&[u8]]) -> Result<(), StateError> {
        if fault!("copy-unread") {
            return Ok(());
        }
        let mut copies = Vec::new();
        for row in rows {
            let mut rest = *row;
            let groups = codec::decode_next(&mut rest).map_err(StateError::of_operator)?;
            let groups = match self.is_keyed {
                true => common(&groups, &self.owned),
                // Each row that is shown is the whole of an old subtask's.
                false => self.owned.clone(),
            };
            if !groups.is_empty() {
                let value = codec::decode(rest).map_err(StateError::of_operator)?;
                copies.push(Copied { value, groups });
            }
        }
        copies.sort_by_key(|copy| copy.groups.start);
        let mut copies = copies.into_iter();
        if let Some(first) = copies.next() {
            self.copy = first;
        }
        self.others = copies.collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use levada_core::KeyGroups;
    use levada_state::Snapshot;

    use super::*;

    type Copies = SharedValue<Vec<u32>>;

    fn subtask(index: usize, parallelism: usize) -> Copies {
        let owned = KeyGroups::default().owned_by(index, parallelism);
        SharedValue::owning(owned, true, index, parallelism)
    }

    fn save(subtasks: &[Copies]) -> Snapshot {
        let mut snapshot = Snapshot::new();
        for subtask in subtasks {
            let written = snapshot.write_operator("shared", subtask.subtask, subtask);
            written.unwrap();
        }
        snapshot
    }

    fn restore(snapshot: &Snapshot, parallelism: usize) -> Vec<Copies> {
        let restored = (0..parallelism).map(|index| {
            let mut copies = subtask(index, parallelism);
            let read = snapshot.read_operator("shared", index, parallelism, &mut copies);
            read.unwrap();
            copies
        });
        restored.collect()
    }

    /// A record; the groups for which it changes something, and who speaks.
    fn add(copies: &mut Copies, record: u32, only: Range<u16>) -> Vec<(Range<u16>, bool)> {
        let mut parts = Vec::new();
        copies.change(Some(&only), |value, part| {
            value.push(record);
            parts.push((part.groups, part.speaks));
        });
        parts
    }

    fn seen(copies: &Copies, group: u16) -> &[u32] {
        copies.of(|| KeyGroup(group))
    }

    /// Of two subtasks one has met the record 7 and the other has not; three go on, then two, then one.
    #[test]
    fn a_copy_is_found_for_each_group_at_any_parallelism() {
        let mut two = [subtask(0, 2), subtask(1, 2)];
        assert_eq!(add(&mut two[0], 7, 0..64), [(0..64, true)]);

        let mut three = restore(&save(&two), 3);
        for group in 0..128 {
            let owner = usize::from(group >= 43) + usize::from(group >= 86);
            let expected: &[u32] = if group < 64 { &[7] } else { &[] };
            assert_eq!(seen(&three[owner], group), expected, "group {group}");
        }
        assert!(three[1].is_divided() && !three[0].is_divided());
        // What was in flight to the second of the two. In the middle one it speaks for nobody, since the first copy does.
        assert_eq!(add(&mut three[1], 7, 64..86), [(64..86, false)]);
        assert_eq!(seen(&three[1], 50), [7]);
        assert_eq!(seen(&three[1], 70), [7]);

        // The third has not come to it. Then another one is for all: in whoever has several copies each of them meets it once.
        assert_eq!(
            add(&mut three[1], 8, 43..86),
            [(43..64, true), (64..86, false)]
        );
        let mut one = restore(&save(&three), 1).remove(0);
        let found: Vec<_> = [0, 50, 70, 100]
            .map(|group| seen(&one, group).to_vec())
            .into();
        assert_eq!(found, [vec![7], vec![7, 8], vec![7, 8], vec![]]);
        assert_eq!(add(&mut one, 7, 86..128), [(86..128, false)]);
        assert_eq!(
            add(&mut one, 8, 0..43),
            [(0..43, true)],
            "it was in flight to the first of the three"
        );
        add(&mut one, 8, 86..128);
        one.unite();
        for group in 0..128 {
            assert_eq!(seen(&one, group), [7, 8]);
        }
        assert_eq!(add(&mut one, 9, 0..128), [(0..128, true)]);
    }

    /// A subtask that has come to its end has saved nothing: its groups are empty, and whoever gets them has some copy.
    #[test]
    fn groups_of_a_subtask_that_has_ended_have_the_copy_of_another() {
        let mut two = [subtask(0, 2), subtask(1, 2)];
        add(&mut two[1], 7, 64..128);
        let restored = restore(&save(&two[1..]), 1);
        assert_eq!(seen(&restored[0], 0), [7]);
    }

    #[test]
    fn without_keys_a_copy_is_as_good_as_another() {
        let without_keys = |index, parallelism| {
            let owned = KeyGroups::default().owned_by(index, parallelism);
            Copies::owning(owned, false, index, parallelism)
        };
        let mut one = without_keys(0, 1);
        add(&mut one, 7, 0..128);
        let snapshot = save(&[one]);
        let mut second = without_keys(1, 2);
        let read = snapshot.read_operator("shared", 1, 2, &mut second);
        read.unwrap();
        assert!(!second.is_divided());
        assert_eq!(seen(&second, 0), [7]);
    }
}
