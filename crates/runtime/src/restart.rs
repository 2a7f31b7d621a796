//! What becomes of a run after a failure.

use std::time::Duration;

use levada_core::Moment;
use levada_core::random::Random;

/// When a job that has failed is started again, within its process. It goes on from its latest checkpoint.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Restart {
    /// Never: the failure is the end of the run.
    #[default]
    None,
    /// After the same time each time.
    Fixed {
        /// How long to wait.
        delay: Duration,
        /// How often, over the whole run.
        restarts_max: u32,
    },
    /// After a time that doubles with each failure, give or take a tenth, and begins anew when the job has run for long enough.
    Exponential {
        /// The first wait.
        first: Duration,
        /// The longest wait.
        cap: Duration,
        /// How long the job must run without a failure for the waits to begin anew.
        reset_after: Duration,
        /// How often, without such a reset; any number if none.
        restarts_max: Option<u32>,
    },
}

impl Restart {
    /// Waits of 1 s to 1 min, which begin anew after 10 min without a failure; without end.
    #[must_use]
    pub fn exponential() -> Self {
        Self::Exponential {
            first: Duration::from_secs(1),
            cap: Duration::from_mins(1),
            reset_after: Duration::from_mins(10),
            restarts_max: None,
        }
    }
}

/// How often a run has been started again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restarts {
    restart: Restart,
    /// Since the last reset.
    failures: u32,
    started: Moment,
}

impl Restarts {
    pub(crate) fn new(restart: Restart, now: Moment) -> Self {
        Self {
            restart,
            failures: 0,
            started: now,
        }
    }

    /// The job is running again.
    pub(crate) fn started(&mut self, now: Moment) {
        self.started = now;
    }

    /// The job has failed. Returns how long to wait before it is started again; none if it is not.
    pub(crate) fn failed(&mut self, now: Moment, random: &dyn Random) -> Option<Duration> {
        match self.restart {
            Restart::None => None,
            Restart::Fixed {
                delay,
                restarts_max,
            } => {
                self.failures += 1;
                (self.failures <= restarts_max).then_some(delay)
            }
            Restart::Exponential {
                first,
                cap,
                reset_after,
                restarts_max,
            } => {
                if now - self.started >= reset_after {
                    self.failures = 0;
                }
                self.failures += 1;
                if restarts_max.is_some_and(|max| self.failures > max) {
                    return None;
                }
                let doubled = 2u32.saturating_pow(self.failures - 1);
                let wait = first.saturating_mul(doubled).min(cap);
                // From 0.9 to 1.1 of it.
                let share = (random.next() >> 11) as f64 / (1u64 << 53) as f64;
                Some(wait.mul_f64(0.9 + share / 5.0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Middle;

    impl Random for Middle {
        fn next(&self) -> u64 {
            1 << 63
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment::ZERO + Duration::from_secs(seconds)
    }

    fn seconds(wait: Option<Duration>) -> Option<u64> {
        wait.map(|wait| wait.as_secs_f64().round() as u64)
    }

    #[test]
    fn waits_double_up_to_the_cap_and_begin_anew_after_a_good_time() {
        let restart = Restart::Exponential {
            first: Duration::from_secs(1),
            cap: Duration::from_secs(5),
            reset_after: Duration::from_mins(1),
            restarts_max: Some(5),
        };
        let mut restarts = Restarts::new(restart, at(0));
        let mut fail = |now| {
            let wait = restarts.failed(at(now), &Middle);
            restarts.started(at(now));
            seconds(wait)
        };
        assert_eq!([fail(1), fail(2), fail(3), fail(4)], [1, 2, 4, 5].map(Some));
        assert_eq!(fail(70), Some(1));
        assert_eq!([fail(71), fail(72), fail(73)], [2, 4, 5].map(Some));
        assert_eq!([fail(74), fail(75)], [Some(5), None]);
    }

    #[test]
    fn a_fixed_number_of_restarts() {
        let restart = Restart::Fixed {
            delay: Duration::from_secs(3),
            restarts_max: 2,
        };
        let mut restarts = Restarts::new(restart, at(0));
        let waits = [0; 3].map(|_| seconds(restarts.failed(at(9), &Middle)));
        assert_eq!(waits, [Some(3), Some(3), None]);
        assert_eq!(
            Restarts::new(Restart::None, at(0)).failed(at(1), &Middle),
            None
        );
    }
}
