//! The operating system's clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use levada_core::{Clock, Moment, Timestamp};

pub(super) struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock's module")]
    pub(super) fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        // A u64 of nanoseconds lasts for 584 years.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "no process runs for 584 years"
        )]
        Moment::from_nanos(self.origin.elapsed().as_nanos() as u64)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock's module")]
    fn wall(&self) -> Timestamp {
        let millis =
            |span: std::time::Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => Timestamp(millis(since)),
            Err(before) => Timestamp(-millis(before.duration())),
        }
    }
}
