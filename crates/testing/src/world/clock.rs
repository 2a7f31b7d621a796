//! Time that moves when it is told to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use levada_core::{Clock, Moment, Timestamp};

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct VirtualClock {
    nanos: AtomicU64,
}

impl VirtualClock {
    /// Moves on.
    pub fn advance(&self, span: Duration) {
        let nanos =
            u64::try_from(span.as_nanos()).expect("a simulation lasts for less than 584 years");
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Moves on to a moment, if it lies ahead.
    pub fn advance_to(&self, moment: Moment) {
        self.nanos.fetch_max(moment.as_nanos(), Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Moment {
        Moment::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    /// A simulation begins at the epoch.
    fn wall(&self) -> Timestamp {
        let millis = self.nanos.load(Ordering::Relaxed) / 1_000_000;
        Timestamp(i64::try_from(millis).expect("a simulation lasts for less than 584 years"))
    }
}
