//! How long a join keeps its records.

use std::time::Duration;

use levada_operators::join::rule::{Interval, ProcessingTime};

/// How long the records of a join are kept: see [`Joined::ttl`](crate::Joined::ttl).
#[derive(Debug)]
pub struct JoinTtl<R> {
    duration: Duration,
    make: fn(Duration, Duration) -> R,
}

impl JoinTtl<Interval> {
    /// In event time: a record lives from its timestamp on, for the duration, whose end is not included. Two records meet
    /// if there is a millisecond at which both live.
    ///
    /// So the result depends on the timestamps alone, not on the order in which the two sides come. As in
    /// [`interval_join`](crate::Keyed::interval_join) every record needs an event time, one at or below the watermark is
    /// late, and a record is removed when the watermark says that all it could meet has come.
    #[must_use]
    pub fn event_time(duration: Duration) -> Self {
        Self {
            duration,
            make: Interval::of_lives,
        }
    }
}

impl JoinTtl<ProcessingTime> {
    /// In processing time: a record is there from when it comes on, for the duration, by the clock of the machine, which is
    /// looked at about every 60 microseconds. A record that comes exactly at its end does not meet it.
    ///
    /// No record is late. What is gone meets nothing any more, whenever it is removed: that happens bit by bit, with each
    /// record and while there are none. While a job runs, it does not matter that somebody sets the clock.
    #[must_use]
    pub fn processing_time(duration: Duration) -> Self {
        Self {
            duration,
            make: ProcessingTime::of_lives,
        }
    }
}

impl<R> JoinTtl<R> {
    pub(crate) fn duration(&self) -> Duration {
        self.duration
    }

    pub(crate) fn rule(first: Self, second: Self) -> R {
        (first.make)(first.duration, second.duration)
    }
}

impl<R> Clone for JoinTtl<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for JoinTtl<R> {}
