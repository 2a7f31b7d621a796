//! Time: event time in milliseconds, engine time in nanoseconds, and the one trait that reads them.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event_time::millis_of;

/// Event time: milliseconds since the Unix epoch, negative before it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Before every record; also the timestamp of a record that was given none.
    pub const MIN: Self = Self(i64::MIN);
    /// After every record: the watermark of a stream that has ended.
    pub const MAX: Self = Self(i64::MAX);
}

/// Stays within the range: beyond its ends there is no time.
impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis_of(span)))
    }
}

/// Stays within the range: beyond its ends there is no time.
impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis_of(span)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// Engine time: nanoseconds on a clock that never goes back, counted from an origin that only one process knows.
///
/// It measures how long things take and is never stored.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Moment(u64);

impl Moment {
    /// The origin of the clock.
    pub const ZERO: Self = Self(0);
    /// A moment that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `nanos` nanoseconds after the origin of the clock.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin of the clock.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Nanoseconds from `earlier` to this moment, zero if it lies in the future.
    #[must_use]
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }
}

/// The only way in which the engine reads the time (invariant 8).
pub trait Clock: Send + Sync {
    /// Engine time: monotonic, for budgets, timers and metrics.
    fn now(&self) -> Moment;

    /// Time of day, for what people read and for processing time.
    fn wall(&self) -> Timestamp;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_saturate_at_both_ends() {
        assert_eq!(Moment::NEVER + Duration::from_secs(1), Moment::NEVER);
        assert_eq!(Moment::ZERO - Moment::from_nanos(5), Duration::ZERO);
        assert_eq!(
            Moment::from_nanos(7) - Moment::from_nanos(5),
            Duration::from_nanos(2)
        );
    }
}
