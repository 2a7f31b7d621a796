//! An entry of a table, with what saving it needs.

use levada_core::KeyGroup;

use crate::marks::Marked;

/// A key with what is kept of it.
pub(crate) struct Entry<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
    pub(crate) group: KeyGroup,
    pub(crate) mark: Mark,
}

impl<K, V> Marked for Entry<K, V> {
    fn set_written(&mut self, is_written: bool) {
        self.mark.set_written(is_written);
    }
}

/// When an entry has changed, and whether it is written.
///
/// ```text
/// bit 31 .. 2   the epoch of its last change
/// bit 1         whether it was there when a snapshot was begun, as far as is known: a change in a later epoch finds out
/// bit 0         whether the running snapshot has come to it; it counts if the marks of its shard say so
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mark(u32);

impl Mark {
    /// The last epoch that fits.
    pub(crate) const EPOCH_MAX: u32 = u32::MAX >> 2;

    /// The mark of an entry that is new in its shard.
    pub(crate) fn new(epoch: u32, is_known: bool) -> Self {
        Self(epoch << 2 | u32::from(is_known) << 1)
    }

    #[inline]
    pub(crate) fn epoch(self) -> u32 {
        self.0 >> 2
    }

    pub(crate) fn is_known(self) -> bool {
        self.0 & 2 != 0
    }

    pub(crate) fn is_written(self) -> bool {
        self.0 & 1 != 0
    }

    /// The entry changes. If it has not done so since the last snapshot was begun, it was there then.
    pub(crate) fn change(&mut self, epoch: u32) {
        self.0 = epoch << 2 | 2 | (self.0 & 1);
    }

    pub(crate) fn set_written(&mut self, is_written: bool) {
        self.0 = self.0 & !1 | u32::from(is_written);
    }

    /// Epochs begin anew.
    pub(crate) fn restart(&mut self) {
        self.0 &= 3;
    }
}
