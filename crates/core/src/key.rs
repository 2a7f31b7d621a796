//! From a key to its group to its subtask: the one place where this is computed (invariant 6).
//!
//! ```text
//! key --serde--> key_hash: i32 --murmur--> modulo groups: KeyGroup --x parallelism / groups--> subtask
//! ```
//!
//! The first arrow is Levada's own pinned hash ([`key_hash`]); the others are Apache Flink's
//! (`KeyGroupRangeAssignment`), so that a job and its state can move onto a Flink cluster. All of it is a file format:
//! golden vectors in the tests pin it.

mod hasher;

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use hasher::KeyError;

/// One of the groups into which the keys of a job are divided; state is kept, saved and moved group by group.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct KeyGroup(pub u16);

/// The number of key groups of a job: fixed for the life of its state, and the most subtasks a keyed operator can have.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KeyGroups(u16);

impl KeyGroups {
    /// The most key groups a job can have.
    pub const MAX: u16 = 32_768;

    /// `count` key groups, if that is between 1 and [`KeyGroups::MAX`].
    #[must_use]
    pub const fn new(count: u16) -> Option<Self> {
        if count == 0 || count > Self::MAX {
            return None;
        }
        Some(Self(count))
    }

    /// How many groups there are.
    #[must_use]
    pub const fn count(self) -> u16 {
        self.0
    }

    /// The group of a key with that [`key_hash`].
    #[must_use]
    pub fn of_hash(self, hash: i32) -> KeyGroup {
        let spread = murmur_hash(hash).unsigned_abs();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the remainder is below a u16"
        )]
        KeyGroup((spread % u32::from(self.0)) as u16)
    }

    /// The group of a key.
    ///
    /// # Errors
    /// If the key's `Serialize` fails.
    #[inline]
    pub fn of<K: Serialize + ?Sized>(self, key: &K) -> Result<KeyGroup, KeyError> {
        key_hash(key).map(|hash| self.of_hash(hash))
    }

    /// The subtask that owns a group.
    #[must_use]
    pub fn subtask(self, group: KeyGroup, parallelism: usize) -> usize {
        debug_assert!(group.0 < self.0, "the group belongs to this job");
        usize::from(group.0) * parallelism / usize::from(self.0)
    }

    /// The groups that a subtask owns: those for which [`KeyGroups::subtask`] names it.
    ///
    /// ```
    /// use levada_core::KeyGroups;
    ///
    /// let groups = KeyGroups::default();
    /// assert_eq!(groups.owned_by(0, 3), 0..43);
    /// assert_eq!(groups.owned_by(2, 3), 86..128);
    /// ```
    #[must_use]
    pub fn owned_by(self, subtask: usize, parallelism: usize) -> Range<u16> {
        let first = |subtask: usize| {
            let groups = (subtask * usize::from(self.0)).div_ceil(parallelism);
            u16::try_from(groups).expect("a subtask's first group is at most the number of groups")
        };
        first(subtask)..first(subtask + 1)
    }
}

/// The key groups that are in both ranges.
#[must_use]
pub fn common(one: &Range<u16>, other: &Range<u16>) -> Range<u16> {
    one.start.max(other.start)..one.end.min(other.end)
}

impl Default for KeyGroups {
    /// 128, as in Flink.
    fn default() -> Self {
        Self(128)
    }
}

impl fmt::Display for KeyGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The pinned hash of a key: equal keys give equal hashes in every process, build and version.
///
/// The key's serde form is fed word by word into a folded multiplication (the mixing step of wyhash and foldhash), with
/// no buffer in between; widths do not matter (`1u8` and `1u64` hash alike). It is not made to resist an attacker: the
/// tables inside a task use another hash with a seed of their own.
///
/// # Errors
/// If the key's `Serialize` fails.
#[inline]
pub fn key_hash<K: Serialize + ?Sized>(key: &K) -> Result<i32, KeyError> {
    let mut hasher = hasher::KeyHasher::new();
    key.serialize(&mut hasher)?;
    Ok(hasher.finish())
}

/// Flink's `MathUtils.murmurHash`: mixes the bits of a 32-bit hash and returns it without its sign.
fn murmur_hash(code: i32) -> i32 {
    #[expect(clippy::cast_sign_loss, reason = "the bits are mixed, not the number")]
    let mut code = code as u32;
    code = code.wrapping_mul(0xcc9e_2d51);
    code = code.rotate_left(15);
    code = code.wrapping_mul(0x1b87_3593);
    code = code.rotate_left(13);
    code = code.wrapping_mul(5).wrapping_add(0xe654_6b64);
    code ^= 4;
    code ^= code >> 16;
    code = code.wrapping_mul(0x85eb_ca6b);
    code ^= code >> 13;
    code = code.wrapping_mul(0xc2b2_ae35);
    code ^= code >> 16;
    // `MIN` has no absolute value and becomes 0, which is also what clearing its sign bit gives.
    #[expect(
        clippy::cast_possible_wrap,
        reason = "the bits are mixed, not the number"
    )]
    let code = code as i32;
    code.wrapping_abs() & i32::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_those_of_flink() {
        let groups = KeyGroups::default();
        let check = |hash, group| assert_eq!(groups.of_hash(hash), KeyGroup(group), "hash {hash}");
        check(0, 94);
        check(1, 86);
        check(42, 29);
        check(-1, 80);
        check(123_456_789, 81);
    }

    #[test]
    fn every_group_has_one_owner() {
        for count in [1, 2, 7, 128, 1_000, KeyGroups::MAX] {
            let groups = KeyGroups::new(count).unwrap();
            for parallelism in [1, 2, 3, 7, 128, 1_000] {
                let mut next = 0;
                for subtask in 0..parallelism {
                    let owned = groups.owned_by(subtask, parallelism);
                    assert_eq!(owned.start, next, "{count} groups, {parallelism} subtasks");
                    next = owned.end;
                    for group in owned {
                        assert_eq!(groups.subtask(KeyGroup(group), parallelism), subtask);
                    }
                }
                assert_eq!(next, count);
            }
        }
    }

    #[test]
    fn a_job_has_at_least_one_group() {
        assert_eq!(KeyGroups::new(0), None);
        assert_eq!(KeyGroups::new(KeyGroups::MAX + 1), None);
    }
}
