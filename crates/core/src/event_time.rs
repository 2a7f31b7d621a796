//! What can be the event time of a record, and stretches of event time.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// A value that says when a record happened.
///
/// Event times lie strictly between [`Timestamp::MIN`], which means "none", and [`Timestamp::MAX`], the watermark of a stream
/// that has ended. The range of milliseconds that is left reaches 292 million years in both directions.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use levada_core::{EventTime, Timestamp};
///
/// assert_eq!(1_500u64.timestamp(), Ok(Timestamp(1_500)));
/// let before = UNIX_EPOCH - Duration::from_micros(1_500);
/// assert_eq!(before.timestamp(), Ok(Timestamp(-2)));
/// assert!(u64::MAX.timestamp().is_err());
/// assert!(i64::MIN.timestamp().is_err());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no event time",
    label = "the closure returns when the record happened",
    note = "an event time is a number of milliseconds since the epoch (`i64`, `u64`), a `Timestamp`, or a `SystemTime`"
)]
pub trait EventTime {
    /// The time in milliseconds since the epoch, rounded down.
    ///
    /// # Errors
    /// If it cannot be the time of a record.
    fn timestamp(self) -> Result<Timestamp, NoEventTime>;
}

impl EventTime for Timestamp {
    #[inline]
    fn timestamp(self) -> Result<Timestamp, NoEventTime> {
        if self == Self::MIN || self == Self::MAX {
            return Err(NoEventTime(i128::from(self.0)));
        }
        Ok(self)
    }
}

impl EventTime for i64 {
    #[inline]
    fn timestamp(self) -> Result<Timestamp, NoEventTime> {
        Timestamp(self).timestamp()
    }
}

impl EventTime for u64 {
    #[inline]
    fn timestamp(self) -> Result<Timestamp, NoEventTime> {
        let millis = i64::try_from(self).map_err(|_| NoEventTime(i128::from(self)))?;
        Timestamp(millis).timestamp()
    }
}

impl EventTime for SystemTime {
    fn timestamp(self) -> Result<Timestamp, NoEventTime> {
        let millis = match self.duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_millis() as i128,
            Err(before) => -(before.duration().as_nanos().div_ceil(1_000_000) as i128),
        };
        let in_range = i64::try_from(millis).map_err(|_| NoEventTime(millis))?;
        Timestamp(in_range).timestamp()
    }
}

/// A number of milliseconds that cannot be an event time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoEventTime(i128);

impl fmt::Display for NoEventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ms is no event time: it must lie between {} and {}",
            self.0,
            i64::MIN + 1,
            i64::MAX - 1
        )
    }
}

impl std::error::Error for NoEventTime {}

/// A stretch of event time: from `start`, up to but without `end`.
///
/// Windows are spans. One that would reach beyond the range of [`Timestamp`] ends, or begins, there.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Span {
    /// The first millisecond in it.
    pub start: Timestamp,
    /// The first millisecond after it.
    pub end: Timestamp,
}

impl Span {
    /// All event time.
    pub const ALL: Self = Self {
        start: Timestamp::MIN,
        end: Timestamp::MAX,
    };

    /// The last millisecond in it: the watermark at which it is complete, and the timestamp of what is made of it.
    #[must_use]
    pub const fn last(self) -> Timestamp {
        Timestamp(self.end.0.saturating_sub(1))
    }

    /// Whether a time lies in it.
    #[must_use]
    pub fn contains(self, time: Timestamp) -> bool {
        self.start <= time && time < self.end
    }

    /// How long it is.
    #[must_use]
    pub const fn length(self) -> Duration {
        Duration::from_millis(self.end.0.saturating_sub(self.start.0).unsigned_abs())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{} ms", self.start.0, self.end.0)
    }
}

/// So many milliseconds.
#[must_use]
pub const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// So many seconds.
#[must_use]
pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// So many minutes.
#[must_use]
pub const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

/// So many hours.
#[must_use]
pub const fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3_600)
}

/// So many days of 24 hours.
#[must_use]
pub const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

/// A duration in whole milliseconds, in which event time is counted; the greatest number if it is longer.
#[must_use]
pub fn millis_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_times_lie_between_the_ends_of_the_range() {
        for (time, millis) in [
            (i64::MIN + 1, Some(i64::MIN + 1)),
            (-1, Some(-1)),
            (i64::MAX - 1, Some(i64::MAX - 1)),
            (i64::MAX, None),
            (i64::MIN, None),
        ] {
            assert_eq!(time.timestamp().ok().map(|at| at.0), millis, "{time}");
            assert_eq!(Timestamp(time).timestamp(), time.timestamp());
        }
        assert_eq!(
            (i64::MAX as u64 - 1).timestamp().map(|at| at.0),
            Ok(i64::MAX - 1)
        );
        assert!((i64::MAX as u64).timestamp().is_err());
        let error = u64::MAX.timestamp().unwrap_err().to_string();
        assert!(
            error.starts_with("18446744073709551615 ms is no event time"),
            "{error}"
        );
    }

    #[test]
    fn system_times_are_rounded_down_on_both_sides_of_the_epoch() {
        for (nanos, before) in [
            (0, 0),
            (1, -1),
            (999_999, -1),
            (1_000_000, -1),
            (1_000_001, -2),
        ] {
            let time = UNIX_EPOCH - Duration::from_nanos(nanos);
            assert_eq!(time.timestamp(), Ok(Timestamp(before)));
            let after = (UNIX_EPOCH + Duration::from_nanos(nanos)).timestamp();
            assert_eq!(after, Ok(Timestamp(nanos as i64 / 1_000_000)));
        }
    }

    #[test]
    fn a_span_knows_its_last_millisecond_and_its_length() {
        let span = Span {
            start: Timestamp(-10),
            end: Timestamp(10),
        };
        assert_eq!((span.last(), span.length()), (Timestamp(9), millis(20)));
        assert!(span.contains(Timestamp(-10)) && !span.contains(Timestamp(10)));
        assert_eq!(Span::ALL.last(), Timestamp(i64::MAX - 1));
        assert_eq!(Span::ALL.length(), Duration::from_millis(i64::MAX as u64));
        assert_eq!(span.to_string(), "-10..10 ms");
    }
}
