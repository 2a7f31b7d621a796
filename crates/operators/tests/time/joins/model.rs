//! What comes in, and what a nested loop makes of it.

use std::time::Duration;

use levada::prelude::*;
use levada_core::random::SplitMix64;
use serde::{Deserialize, Serialize};

/// What comes next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Row(Side),
    /// A step of the script ends with one at the most.
    Watermark(i64),
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) enum Side {
    Left(Row),
    Right(Row),
}

impl Side {
    /// With its event time.
    pub(crate) fn timed(self) -> (Self, i64) {
        let (Self::Left(row) | Self::Right(row)) = self;
        (self, row.at)
    }
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Row {
    pub(crate) key: u64,
    pub(crate) at: i64,
    pub(crate) id: u32,
}

/// The numbers of two rows, and the timestamp of what is made of them.
pub(crate) type Out = ((u32, u32), Timestamp);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    Forever,
    Lives(Duration, Duration),
    Interval {
        lower: i64,
        upper: i64,
        exclusive: (bool, bool),
    },
}

impl Rule {
    pub(crate) fn new(random: &mut SplitMix64) -> Self {
        match random.below(6) {
            0 => Self::Forever,
            1 | 2 => {
                let mut life = || Duration::from_millis(1 + random.below(25));
                Self::Lives(life(), life())
            }
            _ => {
                let lower = random.below(50) as i64 - 30;
                Self::Interval {
                    lower,
                    upper: lower + 2 + random.below(30) as i64,
                    exclusive: (random.below(2) == 0, random.below(2) == 0),
                }
            }
        }
    }

    /// In wide numbers, and by other words than the operator's.
    fn meet(self, left: i64, right: i64) -> bool {
        let apart = i128::from(right) - i128::from(left);
        match self {
            Self::Forever => true,
            // Two half-open stretches overlap.
            Self::Lives(first, second) => {
                apart < first.as_millis() as i128 && -apart < second.as_millis() as i128
            }
            Self::Interval {
                lower,
                upper,
                exclusive,
            } => {
                let (lower, upper) = (i128::from(lower), i128::from(upper));
                let above = if exclusive.0 {
                    lower < apart
                } else {
                    lower <= apart
                };
                let below = if exclusive.1 {
                    apart < upper
                } else {
                    apart <= upper
                };
                above && below
            }
        }
    }
}

/// Events in steps; each has arrived everywhere before the next one comes.
pub(crate) struct Script {
    pub(crate) steps: Vec<Vec<Event>>,
}

impl Script {
    /// Times rise by steps, out of order by more than the watermark allows; they lie around the epoch, below it, or at the
    /// ends of the range.
    pub(crate) fn new(random: &mut SplitMix64) -> Self {
        let steps = 10 + random.below(15) as i64;
        let base = match random.below(4) {
            0 => 0,
            1 => -1_000,
            2 => i64::MIN + 2,
            _ => i64::MAX - 20 - 4 * steps,
        };
        let keys = 1 + random.below(4);
        let mut id = 0;
        let steps = (0..steps).map(|step| {
            let now = i128::from(base) + 4 * i128::from(step);
            let mut time = |early: u64, late: u64| {
                let at = now - i128::from(random.below(late)) + i128::from(random.below(early));
                let at = at.clamp(i128::from(i64::MIN + 1), i128::from(i64::MAX - 1));
                (at as i64, random.next())
            };
            let mut events: Vec<_> = (0..time(1, 1).1 % 9)
                .map(|_| {
                    let (at, drawn) = time(20, 20);
                    id += 1;
                    let row = Row {
                        key: drawn / 2 % keys,
                        at,
                        id,
                    };
                    match drawn % 2 {
                        0 => Event::Row(Side::Left(row)),
                        _ => Event::Row(Side::Right(row)),
                    }
                })
                .collect();
            let (at, drawn) = time(1, 20);
            if drawn % 2 == 0 {
                events.push(Event::Watermark(at));
            }
            events
        });
        Self {
            steps: steps.collect(),
        }
    }

    /// All pairs, sorted.
    pub(crate) fn pairs(&self, rule: Rule) -> Vec<Out> {
        let kept = self.kept(rule).0;
        let mut pairs = Vec::new();
        for event in &kept {
            let Side::Left(left) = event else { continue };
            for event in &kept {
                let Side::Right(right) = event else { continue };
                if left.key == right.key && rule.meet(left.at, right.at) {
                    pairs.push(((left.id, right.id), Timestamp(left.at.max(right.at))));
                }
            }
        }
        pairs.sort_unstable();
        pairs
    }

    /// How many records are late.
    pub(crate) fn late(&self, rule: Rule) -> usize {
        self.kept(rule).1
    }

    fn kept(&self, rule: Rule) -> (Vec<Side>, usize) {
        let mut watermark = i64::MIN;
        let mut late = 0;
        let mut kept = Vec::new();
        for event in self.steps.iter().flatten() {
            match event {
                Event::Watermark(at) => watermark = watermark.max(*at),
                Event::Row(side) => {
                    if side.timed().1 <= watermark && !matches!(rule, Rule::Forever) {
                        late += 1;
                    } else {
                        kept.push(*side);
                    }
                }
            }
        }
        (kept, late)
    }
}
