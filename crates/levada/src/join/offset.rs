//! How far one event time lies from another.

use std::time::Duration;

use levada_core::event_time::millis_of;

/// A time before or after that of a record, in whole milliseconds. A [`Duration`] is a time after it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Offset(i64);

/// So long before.
#[must_use]
pub fn before(duration: Duration) -> Offset {
    Offset(-millis_of(duration))
}

/// So long after.
#[must_use]
pub fn after(duration: Duration) -> Offset {
    Offset(millis_of(duration))
}

impl Offset {
    pub(crate) fn millis(self) -> i64 {
        self.0
    }
}

impl From<Duration> for Offset {
    fn from(duration: Duration) -> Self {
        after(duration)
    }
}
