//! Room: the answer to every push, and so the one word by which backpressure travels inside a task.

/// What the receiver of a record says about the next one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[must_use = "pushing on without room breaks the bound of a queue"]
pub enum Room {
    /// The record was taken, and another one may follow.
    Free,
    /// The record was taken, and another one may follow; but enough has been sent for others to read it first. Advice to the
    /// head of the task, which may stop here.
    Later,
    /// The record was taken, and no other one may follow before the receiver says [`Room::Free`] again.
    Full,
}

impl Room {
    /// Whether nothing may follow for now.
    #[inline]
    #[must_use]
    pub fn is_full(self) -> bool {
        self == Self::Full
    }

    /// Room for all, only if each has some.
    #[inline]
    pub fn and(self, other: Self) -> Self {
        self.max(other)
    }
}
