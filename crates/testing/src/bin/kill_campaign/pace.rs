//! How slow a job is made, so that all of its queues are full.

use std::hint;
use std::sync::Arc;
use std::time::Duration;

use levada_core::Clock;

/// Makes whoever calls it slow.
#[derive(Clone)]
pub(crate) struct Pace {
    clock: Arc<dyn Clock>,
    spin: Duration,
}

impl Pace {
    pub(crate) fn new(clock: Arc<dyn Clock>, spin: Duration) -> Self {
        Self { clock, spin }
    }

    pub(crate) fn is_slow(&self) -> bool {
        !self.spin.is_zero()
    }

    /// Works for some time.
    pub(crate) fn work(&self) {
        if self.is_slow() {
            let end = self.clock.now() + self.spin;
            while self.clock.now() < end {
                hint::spin_loop();
            }
        }
    }
}
