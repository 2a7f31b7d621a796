//! An entry of a table, with what saving it needs.

use levada_core::KeyGroup;

use crate::shards::Marks;

/// A key with what is kept of it.
pub(crate) struct Entry<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
    pub(crate) group: KeyGroup,
    pub(crate) mark: Mark,
}

/// When an entry has changed, and whether it is written.
///
/// ```text
/// bit 31 .. 2   the epoch of its last change
/// bit 1         whether it was there when a snapshot was begun, as far as is known: a change in a later epoch finds out
/// bit 0         the parity: unlike that of its shard, the running snapshot has come to it
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mark(u32);

impl Mark {
    /// The last epoch that fits.
    pub(crate) const EPOCH_MAX: u32 = u32::MAX >> 2;

    /// The mark of an entry that is new in its shard.
    pub(crate) fn new(epoch: u32, is_known: bool, shard: &Marks) -> Self {
        // The running snapshot has no need of it.
        let parity = shard.parity ^ shard.is_mixed;
        Self(epoch << 2 | u32::from(is_known) << 1 | u32::from(parity))
    }

    #[inline]
    pub(crate) fn epoch(self) -> u32 {
        self.0 >> 2
    }

    pub(crate) fn is_known(self) -> bool {
        self.0 & 2 != 0
    }

    pub(crate) fn parity(self) -> bool {
        self.0 & 1 != 0
    }

    /// The entry changes. If it has not done so since the last snapshot was begun, it was there then.
    pub(crate) fn change(&mut self, epoch: u32) {
        self.0 = epoch << 2 | 2 | (self.0 & 1);
    }

    pub(crate) fn set_parity(&mut self, parity: bool) {
        self.0 = self.0 & !1 | u32::from(parity);
    }

    /// Epochs begin anew.
    pub(crate) fn restart(&mut self) {
        self.0 &= 3;
    }
}
