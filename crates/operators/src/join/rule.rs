//! Which rows of the other side a record meets, and when a row is gone.

use std::time::Duration;

use levada_core::event_time::millis_of;
use levada_core::{Clock, Moment, Timestamp};
use levada_runtime::Turn;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One of the two inputs of a join.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The stream that the join was called on.
    First,
    /// The stream that it was given.
    Second,
}

/// Times, both ends included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Within {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

impl Within {
    const ALL: Self = Self {
        from: Timestamp::MIN,
        to: Timestamp::MAX,
    };

    #[inline]
    pub(crate) fn contains(&self, time: Timestamp) -> bool {
        self.from <= time && time <= self.to
    }

    #[inline]
    pub(crate) fn overlaps(&self, other: Self) -> bool {
        self.from <= other.to && other.from <= self.to
    }
}

/// What is kept of the times of a row.
pub trait Stamp: Copy + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Its event time.
    fn timestamp(self) -> Timestamp;
    /// The time that says when it is gone.
    fn time(self) -> Timestamp;
}

impl Stamp for Timestamp {
    #[inline]
    fn timestamp(self) -> Timestamp {
        self
    }

    #[inline]
    fn time(self) -> Timestamp {
        self
    }
}

/// Event time, and the time of day at which the record came.
impl Stamp for (Timestamp, Timestamp) {
    #[inline]
    fn timestamp(self) -> Timestamp {
        self.0
    }

    #[inline]
    fn time(self) -> Timestamp {
        self.1
    }
}

/// Which clock a rule goes by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reckoning {
    /// None: nothing is ever gone.
    Forever,
    /// Watermarks. Every record has an event time, and late ones are dropped.
    EventTime,
    /// The time of day.
    ProcessingTime,
}

/// The rule of a join.
pub trait Rule: Clone + Send + Sync + 'static {
    /// What a row has to know of its times.
    type Stamp: Stamp;

    /// The clock.
    const RECKONING: Reckoning;

    /// Called once in each subtask.
    fn open(&mut self, clock: &dyn Clock);

    /// The stamp of the record in hand.
    fn stamp(&self, turn: &Turn) -> Self::Stamp;

    /// The times of the rows on the other side that a record meets.
    fn meets(&self, side: Side, time: Timestamp) -> Within;

    /// The time, on the clock of the rule, at which a row meets nothing more that may come; none if that is never.
    fn gone_at(&self, side: Side, time: Timestamp) -> Option<Timestamp>;

    /// About how long a row is kept, in milliseconds.
    fn life(&self) -> i64;

    /// The time of day, if the rule goes by it.
    fn now(&self, turn: &Turn) -> Timestamp;

    /// When it will be this time of day.
    fn moment(&self, at: Timestamp) -> Moment;
}

/// Rows are kept for ever, and all of a key meet.
#[derive(Clone, Copy, Debug)]
pub struct Forever;

impl Rule for Forever {
    type Stamp = Timestamp;

    const RECKONING: Reckoning = Reckoning::Forever;

    fn open(&mut self, _: &dyn Clock) {}

    #[inline]
    fn stamp(&self, turn: &Turn) -> Timestamp {
        turn.timestamp
    }

    #[inline]
    fn meets(&self, _: Side, _: Timestamp) -> Within {
        Within::ALL
    }

    #[inline]
    fn gone_at(&self, _: Side, _: Timestamp) -> Option<Timestamp> {
        None
    }

    fn life(&self) -> i64 {
        0
    }

    fn now(&self, _: &Turn) -> Timestamp {
        Timestamp::MIN
    }

    fn moment(&self, _: Timestamp) -> Moment {
        Moment::NEVER
    }
}

/// A row of the first side at `t` and one of the second side from `t + lower` to `t + upper` meet, in event time.
///
/// Whether two rows meet depends on their event times alone, so neither the order in which the two sides come nor the
/// moment at which rows are removed can change the result: what is removed could only have met records that are late.
/// Sums beyond the range of event times stop at its ends, where no record can be.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    /// Milliseconds.
    pub lower: i64,
    /// Milliseconds.
    pub upper: i64,
}

impl Interval {
    /// Rows live from their event time on, for `first` or for `second`, and meet if there is a millisecond at which both
    /// live.
    #[must_use]
    pub fn of_lives(first: Duration, second: Duration) -> Self {
        Self {
            lower: 1 - millis_of(second),
            upper: millis_of(first) - 1,
        }
    }
}

impl Rule for Interval {
    type Stamp = Timestamp;

    const RECKONING: Reckoning = Reckoning::EventTime;

    fn open(&mut self, _: &dyn Clock) {}

    #[inline]
    fn stamp(&self, turn: &Turn) -> Timestamp {
        turn.timestamp
    }

    #[inline]
    fn meets(&self, side: Side, time: Timestamp) -> Within {
        let Timestamp(time) = time;
        let (from, to) = match side {
            Side::First => (
                time.saturating_add(self.lower),
                time.saturating_add(self.upper),
            ),
            Side::Second => (
                time.saturating_sub(self.upper),
                time.saturating_sub(self.lower),
            ),
        };
        Within {
            from: Timestamp(from),
            to: Timestamp(to),
        }
    }

    #[inline]
    fn gone_at(&self, side: Side, time: Timestamp) -> Option<Timestamp> {
        Some(self.meets(side, time).to)
    }

    fn life(&self) -> i64 {
        self.upper.saturating_sub(self.lower)
    }

    fn now(&self, _: &Turn) -> Timestamp {
        Timestamp::MIN
    }

    fn moment(&self, _: Timestamp) -> Moment {
        Moment::NEVER
    }
}

/// A row is there for so long after it came, on the clock of the machine.
///
/// While a subtask lives its clock does not go back: the time of day is read once, and the time since then is added.
#[derive(Clone, Copy, Debug)]
pub struct ProcessingTime {
    first: Duration,
    second: Duration,
    opened: Moment,
    opened_at: Timestamp,
}

impl ProcessingTime {
    /// Rows of the two sides live for so long.
    #[must_use]
    pub fn of_lives(first: Duration, second: Duration) -> Self {
        Self {
            first,
            second,
            opened: Moment::ZERO,
            opened_at: Timestamp::MIN,
        }
    }

    fn life_of(&self, side: Side) -> Duration {
        match side {
            Side::First => self.first,
            Side::Second => self.second,
        }
    }
}

impl Rule for ProcessingTime {
    type Stamp = (Timestamp, Timestamp);

    const RECKONING: Reckoning = Reckoning::ProcessingTime;

    fn open(&mut self, clock: &dyn Clock) {
        self.opened = clock.now();
        self.opened_at = clock.wall();
    }

    #[inline]
    fn stamp(&self, turn: &Turn) -> Self::Stamp {
        (turn.timestamp, self.now(turn))
    }

    #[inline]
    fn meets(&self, side: Side, time: Timestamp) -> Within {
        let other = match side {
            Side::First => self.second,
            Side::Second => self.first,
        };
        let Timestamp(dead) = time - other;
        Within {
            from: Timestamp(dead.saturating_add(1)),
            to: Timestamp::MAX,
        }
    }

    #[inline]
    fn gone_at(&self, side: Side, time: Timestamp) -> Option<Timestamp> {
        Some(time + self.life_of(side))
    }

    fn life(&self) -> i64 {
        millis_of(self.first.min(self.second))
    }

    #[inline]
    fn now(&self, turn: &Turn) -> Timestamp {
        self.opened_at + (turn.now() - self.opened)
    }

    fn moment(&self, at: Timestamp) -> Moment {
        let millis = at.0.saturating_sub(self.opened_at.0).max(0);
        self.opened + Duration::from_millis(millis.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two sides agree about who meets whom, and with whole numbers that have room for all sums.
    #[test]
    fn both_sides_of_an_interval_agree_at_the_ends_of_the_range() {
        let times = [
            i64::MIN + 1,
            i64::MIN + 2,
            -1,
            0,
            1,
            i64::MAX - 2,
            i64::MAX - 1,
        ];
        let bounds = [i64::MIN, i64::MIN + 1, -2, -1, 0, 1, 2, i64::MAX];
        for (lower, upper) in bounds.iter().flat_map(|l| bounds.map(|u| (*l, u))) {
            let rule = Interval { lower, upper };
            for (first, second) in times.iter().flat_map(|a| times.map(|b| (*a, b))) {
                let apart = i128::from(second) - i128::from(first);
                let expected = i128::from(lower) <= apart && apart <= i128::from(upper);
                let (first, second) = (Timestamp(first), Timestamp(second));
                let found = rule.meets(Side::First, first).contains(second);
                assert_eq!(found, expected, "{rule:?}: {first}, {second}");
                let found = rule.meets(Side::Second, second).contains(first);
                assert_eq!(found, expected, "{rule:?}: {second}, {first}");
                // What is gone meets nothing that may come.
                if rule
                    .gone_at(Side::First, first)
                    .is_some_and(|at| at < second)
                {
                    assert!(!expected);
                }
                if rule
                    .gone_at(Side::Second, second)
                    .is_some_and(|at| at < first)
                {
                    assert!(!expected);
                }
            }
        }
    }

    #[test]
    fn rows_of_two_lives_meet_if_the_lives_overlap() {
        let (first, second) = (Duration::from_millis(3), Duration::from_millis(5));
        let rule = Interval::of_lives(first, second);
        for apart in -10..10i64 {
            let lives_overlap = (0..3).any(|at| (apart..apart + 5).contains(&at));
            let met = rule.meets(Side::First, Timestamp(0));
            assert_eq!(met.contains(Timestamp(apart)), lives_overlap, "{apart}");
        }
    }

    #[test]
    fn what_has_gone_by_the_clock_is_not_met() {
        let (first, second) = (Duration::from_millis(3), Duration::MAX);
        let rule = ProcessingTime::of_lives(first, second);
        let gone = rule.gone_at(Side::First, Timestamp(10)).unwrap();
        assert_eq!(gone, Timestamp(13));
        assert!(!rule.meets(Side::Second, gone).contains(Timestamp(10)));
        assert!(
            rule.meets(Side::Second, Timestamp(12))
                .contains(Timestamp(10))
        );
        assert_eq!(
            rule.gone_at(Side::Second, Timestamp(10)),
            Some(Timestamp::MAX)
        );
        assert!(
            rule.meets(Side::First, Timestamp(1_000))
                .contains(Timestamp(0))
        );
    }
}
