//! When to try again what has failed.
//!
//! The wait before a new attempt is drawn uniformly from zero to a bound that doubles with each failure, up to a cap: full
//! jitter, as in "Exponential Backoff and Jitter" (Marc Brooker, AWS Architecture Blog, 2015). Of the ways to spread
//! clients that failed at one moment it needs the fewest calls.
//!
//! Nothing here reads a clock or waits: who tries knows how long it has been at it, and waits in its own way.

use std::time::Duration;

use crate::random::Random;

/// When to try again, and when to give up.
///
/// ```
/// use std::time::Duration;
///
/// use levada_core::random::Random;
/// use levada_core::retry::Retry;
///
/// /// Draws the largest number each time.
/// struct Largest;
///
/// impl Random for Largest {
///     fn next(&self) -> u64 {
///         u64::MAX
///     }
/// }
///
/// let seconds = Duration::from_secs;
/// let retry = Retry::exponential(seconds(1), seconds(5)).attempts(5);
/// let waits: Vec<_> = (1..).map_while(|attempt| retry.delay(attempt, &Largest)).collect();
/// assert_eq!(waits, [seconds(1), seconds(2), seconds(4), seconds(5)]);
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Retry {
    first: Duration,
    cap: Duration,
    /// No limit if none.
    attempts_max: Option<u32>,
    /// No limit if none.
    elapsed_max: Option<Duration>,
}

impl Retry {
    /// One attempt, and no second one.
    #[must_use]
    pub fn never() -> Self {
        Self::exponential(Duration::ZERO, Duration::ZERO).attempts(1)
    }

    /// Waits at most `first` after the first failure, then twice as long each time, but never more than `cap`. It tries for
    /// ever, unless [`attempts`](Self::attempts) or [`elapsed_max`](Self::elapsed_max) is set.
    ///
    /// # Panics
    /// If the cap is less than the first wait.
    #[must_use]
    pub fn exponential(first: Duration, cap: Duration) -> Self {
        assert!(
            first <= cap,
            "the cap of the waits ({cap:?}) is not less than the first one ({first:?})"
        );
        Self {
            first,
            cap,
            attempts_max: None,
            elapsed_max: None,
        }
    }

    /// Gives up after so many attempts, the first one included.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn attempts(self, attempts_max: u32) -> Self {
        assert!(attempts_max > 0, "there is at least one attempt");
        Self {
            attempts_max: Some(attempts_max),
            ..self
        }
    }

    /// Gives up when the next attempt would begin later than this after the first one began.
    #[must_use]
    pub fn elapsed_max(self, elapsed_max: Duration) -> Self {
        Self {
            elapsed_max: Some(elapsed_max),
            ..self
        }
    }

    /// How long to wait after the attempt with this number (from 1) has failed; none if it was the last. It knows nothing
    /// of the time that has passed: [`delay_after`](Self::delay_after) does.
    #[must_use]
    pub fn delay(&self, attempt: u32, random: &dyn Random) -> Option<Duration> {
        if self.attempts_max.is_some_and(|most| attempt >= most) {
            return None;
        }
        Some(between_zero_and(self.bound(attempt), random))
    }

    /// As [`delay`](Self::delay), when the attempts have taken `elapsed` so far and the other side has asked for a wait of
    /// `at_least` (zero if it has not). None if the next attempt would begin too late.
    #[must_use]
    pub fn delay_after(
        &self,
        attempt: u32,
        elapsed: Duration,
        at_least: Duration,
        random: &dyn Random,
    ) -> Option<Duration> {
        let delay = self.delay(attempt, random)?.max(at_least);
        let begins = elapsed.saturating_add(delay);
        match self.elapsed_max {
            Some(most) if begins > most => None,
            _ => Some(delay),
        }
    }

    /// The longest wait after this attempt.
    fn bound(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1);
        let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.cap)
    }
}

/// A span from zero to `bound`, both included, each as likely as any other.
fn between_zero_and(bound: Duration, random: &dyn Random) -> Duration {
    let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
    // The upper half of the product: a number from 0 to `nanos`, without the bias and the cost of a remainder.
    let drawn = (u128::from(random.next()) * (u128::from(nanos) + 1)) >> 64;
    Duration::from_nanos(u64::try_from(drawn).expect("it is at most `nanos`"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::SplitMix64;
    use crate::sync::Mutex;

    struct Always(u64);

    impl Random for Always {
        fn next(&self) -> u64 {
            self.0
        }
    }

    struct Seeded(Mutex<SplitMix64>);

    impl Random for Seeded {
        fn next(&self) -> u64 {
            self.0.lock().next()
        }
    }

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn the_bound_doubles_up_to_the_cap() {
        let check = |retry: Retry, attempt, expect| {
            assert_eq!(
                retry.delay(attempt, &Always(u64::MAX)),
                Some(expect),
                "{retry:?} after attempt {attempt}"
            );
            let least = retry.delay(attempt, &Always(0));
            assert_eq!(least, Some(Duration::ZERO), "{retry:?}");
        };
        let retry = Retry::exponential(100 * MILLI, 1_000 * MILLI);
        check(retry, 1, 100 * MILLI);
        check(retry, 2, 200 * MILLI);
        check(retry, 3, 400 * MILLI);
        check(retry, 4, 800 * MILLI);
        check(retry, 5, 1_000 * MILLI);
        check(retry, 33, 1_000 * MILLI);
        check(retry, u32::MAX, 1_000 * MILLI);
        // An attempt is counted from one; zero is taken for the first.
        check(retry, 0, 100 * MILLI);
        let forever = Retry::exponential(MILLI, Duration::MAX);
        check(forever, 32, MILLI * (1 << 31));
        check(forever, 40, MILLI * u32::MAX);
        check(
            Retry::exponential(Duration::ZERO, Duration::ZERO),
            7,
            Duration::ZERO,
        );
    }

    #[test]
    fn it_gives_up_after_so_many_attempts() {
        let retry = Retry::exponential(MILLI, MILLI).attempts(3);
        assert!(retry.delay(2, &Always(7)).is_some());
        assert_eq!(retry.delay(3, &Always(7)), None);
        assert_eq!(retry.delay(4, &Always(7)), None);
        assert_eq!(Retry::never().delay(1, &Always(7)), None);
    }

    #[test]
    fn it_gives_up_when_the_next_attempt_would_begin_too_late() {
        let retry = Retry::exponential(10 * MILLI, 10 * MILLI).elapsed_max(100 * MILLI);
        let check = |elapsed: u32, at_least: u32, expect: Option<u32>| {
            assert_eq!(
                retry.delay_after(1, elapsed * MILLI, at_least * MILLI, &Always(u64::MAX)),
                expect.map(|millis| millis * MILLI),
                "{elapsed} ms elapsed, at least {at_least} ms"
            );
        };
        check(0, 0, Some(10));
        check(90, 0, Some(10));
        check(91, 0, None);
        check(0, 100, Some(100));
        check(0, 101, None);
        // What the other side asks for is a lower bound, not a command.
        check(0, 5, Some(10));
        let endless = Retry::exponential(MILLI, MILLI);
        let years = Duration::from_secs(1 << 40);
        assert!(endless.delay_after(1, years, years, &Always(0)).is_some());
    }

    #[test]
    fn waits_fill_the_whole_range() {
        let random = Seeded(Mutex::new(SplitMix64::new(7)));
        let retry = Retry::exponential(1_000 * MILLI, 1_000 * MILLI);
        let mut tenths = [0u32; 10];
        for _ in 0..10_000 {
            let wait = retry.delay(1, &random).unwrap().as_millis();
            tenths[(wait as usize / 100).min(9)] += 1;
        }
        // 1,000 are expected in each; six standard deviations are 180.
        assert!(
            tenths.iter().all(|count| count.abs_diff(1_000) < 180),
            "{tenths:?}"
        );
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_its_bound(
            first in 0u64..10_000, more in 0u64..100_000, attempt: u32, drawn: u64
        ) {
            let cap = Duration::from_nanos(first + more);
            let retry = Retry::exponential(Duration::from_nanos(first), cap);
            let wait = retry.delay(attempt, &Always(drawn)).unwrap();
            prop_assert!(wait <= cap);
            prop_assert!(wait <= retry.bound(attempt));
        }
    }
}
