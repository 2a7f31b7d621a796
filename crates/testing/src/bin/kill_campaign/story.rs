//! What a job of the campaign does, decided by a seed: known to the job and to the judge.

use serde::{Deserialize, Serialize};

/// How much later than its successor an event may be, in milliseconds: every record is within the bound of the watermarks.
pub(crate) const JITTER: u64 = 300;

/// The rules of [`Kind::Broadcast`].
pub(crate) const RULES: u64 = 32;

/// Widths of windows and of the interval join, in milliseconds.
pub(crate) const WINDOW: u64 = 2_000;
pub(crate) const SLIDE: u64 = 500;
pub(crate) const GAP: u64 = 400;
pub(crate) const BEFORE: u64 = 700;
pub(crate) const AFTER: u64 = 300;

/// What a job does.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    Counts,
    Tumbling,
    Sliding,
    Sessions,
    IntervalJoin,
    WindowJoin,
    Join,
    Timers,
    Calls,
    Connect,
    Broadcast,
}

const KINDS: [Kind; 11] = [
    Kind::Counts,
    Kind::IntervalJoin,
    Kind::Tumbling,
    Kind::Timers,
    Kind::Join,
    Kind::Calls,
    Kind::Connect,
    Kind::Sessions,
    Kind::Broadcast,
    Kind::WindowJoin,
    Kind::Sliding,
];

/// A job and its input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Story {
    pub(crate) seed: u64,
    pub(crate) kind: Kind,
    /// Records of each input.
    pub(crate) count: u64,
    /// Splits of each input.
    pub(crate) splits: u64,
    /// Keys in each split: all records of a key come from one split of an input, in order.
    pub(crate) keys: u64,
    /// Whether rows go to any subtask of the sink, so that they come in no order.
    pub(crate) is_spread: bool,
}

/// A record: all of it is computed from its number.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) key: u64,
    pub(crate) at: u64,
    pub(crate) value: u64,
}

/// The inputs of a job.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    Left,
    Right,
}

impl Story {
    /// The story of a number in the campaign of a seed.
    pub(crate) fn new(campaign: u64, number: u64) -> Self {
        let seed = mix(mix(campaign) ^ number);
        let kind = KINDS[(number % KINDS.len() as u64) as usize];
        let splits = 2 + seed % 5;
        let count = match kind {
            Kind::IntervalJoin | Kind::WindowJoin | Kind::Join => 12_000,
            Kind::Connect => 25_000,
            _ => 50_000,
        };
        let keys = match kind {
            // Some four records of a key on each side.
            Kind::Join => count / splits / 4,
            _ => 64 / splits,
        };
        Self {
            seed,
            kind,
            count,
            splits,
            keys,
            is_spread: (seed >> 8).is_multiple_of(2),
        }
    }

    pub(crate) fn record(&self, side: Side, id: u64) -> Record {
        let salt = match side {
            Side::Left => self.seed,
            Side::Right => !self.seed,
        };
        let random = mix(salt ^ mix(id));
        Record {
            id,
            key: id % self.splits + self.splits * (random % self.keys),
            at: 1_000_000 + 4 * id + (random >> 20) % JITTER,
            value: random >> 40,
        }
    }

    /// What a rule multiplies by.
    pub(crate) fn factor(&self, rule: u64) -> u64 {
        1 + mix(self.seed ^ mix(rule)) % 1_000
    }

    /// Whether rows of a lane have to come in the order of their numbers.
    pub(crate) fn is_ordered(&self) -> bool {
        let keeps_order = matches!(
            self.kind,
            Kind::Counts
                | Kind::Tumbling
                | Kind::Sliding
                | Kind::Sessions
                | Kind::Timers
                | Kind::Connect
        );
        keeps_order && !self.is_spread
    }
}

/// A good mixture of the bits: the end of `SplitMix64`.
pub(crate) fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Random numbers of the campaign.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % limit
    }

    pub(crate) fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize]
    }
}
