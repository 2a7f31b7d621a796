//! One poll of a task: how long it may go on, and what the record in hand carries besides itself.

use std::sync::Arc;
use std::time::Duration;

use levada_core::{BoxError, Clock, Moment, Origin, Room, Timestamp};
use levada_network::Stamp;

use crate::error::Failure;
use crate::split_clock::SplitClock;

/// How much a task may do in one poll.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long the poll lasts, to the nearest record.
    pub slice: Duration,
    /// Batches read after which the task lets others run, so that few records are alive between source and sink.
    pub batches: u32,
    /// Batches sealed after which it does: what it has sent should be read while it is in the cache.
    pub sealed: u32,
    /// Records and outputs after which the poll ends, whatever the time. The simulator draws it; in production it is
    /// out of reach.
    pub records: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            slice: Duration::from_micros(500),
            batches: 4,
            sealed: 1,
            records: u32::MAX,
        }
    }
}

/// Records that may be taken at once.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// How many.
    pub records: u32,
    given_at: Moment,
}

/// The state of one poll, passed along with every record.
///
/// Time is not read per record: a turn measures how many records take about an eighth of the slice and looks at the clock
/// once in that many, at most every [`Turn::PACE_MAX`]. A poll that ends before it has looked is measured by when it ended.
pub struct Turn {
    /// The timestamp of the record in hand; an emission that was suspended restores its own.
    pub timestamp: Timestamp,
    /// The splits that the task reads, and which of them the record in hand is from.
    pub splits: SplitClock,
    born: Moment,
    /// Records until the next look at the clock.
    fuel: u32,
    /// What `fuel` was when it was filled, and when that was: what has been spent since then tells the pace.
    fuelled: u32,
    fuelled_at: Moment,
    /// Records between two looks at the clock.
    pace: u32,
    /// Records until the poll ends, beyond those in `fuel`.
    records_left: u32,
    /// What `records_left` was when the poll began.
    records_given: u32,
    batches_left: u32,
    sealed_left: u32,
    looked: Moment,
    deadline: Moment,
    exhausted: bool,
    /// Until when what cannot be saved goes on without room, if it does.
    clearing: Option<Moment>,
    /// Records until that is over, whatever the time.
    clearing_left: u32,
    /// Whose emission could not be cleared, of those that cannot be saved half-way.
    unfinished: Option<Origin>,
    /// Whether enough has been sent for others to read it first.
    yielding: bool,
    /// Whether what is read was in flight when the checkpoint was taken that the job goes on from.
    replaying: bool,
    wake_at: Option<Moment>,
    failure: Option<Failure>,
    clock: Arc<dyn Clock>,
}

impl Turn {
    /// The most records between two looks at the clock: their price is then a tenth of a nanosecond per record.
    pub const PACE_MAX: u32 = 512;

    /// A turn that reads this clock. The first poll starts with one record and finds its pace.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            timestamp: Timestamp::MIN,
            splits: SplitClock::one(),
            born: Moment::ZERO,
            fuel: 1,
            fuelled: 1,
            fuelled_at: Moment::ZERO,
            pace: 1,
            records_left: 0,
            records_given: 0,
            batches_left: 0,
            sealed_left: 0,
            looked: Moment::ZERO,
            deadline: Moment::ZERO,
            exhausted: false,
            clearing: None,
            clearing_left: 0,
            unfinished: None,
            yielding: false,
            replaying: false,
            wake_at: None,
            failure: None,
            clock,
        }
    }

    /// Begins a poll at `now`.
    pub fn begin(&mut self, limits: Limits, now: Moment) {
        self.looked = now;
        self.deadline = now + limits.slice;
        self.exhausted = false;
        self.yielding = false;
        self.wake_at = None;
        self.batches_left = limits.batches;
        self.sealed_left = limits.sealed;
        self.records_left = limits.records;
        self.records_given = limits.records;
        self.fill(now);
    }

    /// Ends the poll at `now`, which tells how long its last records took.
    pub fn end(&mut self, now: Moment) {
        let spent = self.fuelled - self.fuel;
        if spent > 0 {
            self.adapt(spent, now);
        }
        self.looked = now;
    }

    /// Records and outputs of this poll.
    pub(crate) fn spent(&self) -> u32 {
        (self.records_given - self.records_left).saturating_sub(self.fuel)
    }

    /// Counts a record or an output; [`Room::Full`] when the poll has gone on for long enough.
    #[inline]
    pub fn spend(&mut self) -> Room {
        if self.fuel > 1 {
            self.fuel -= 1;
            return Room::Free;
        }
        self.refuel(1)
    }

    /// What may be taken before [`Turn::spend_allowance`] is asked again; at least one record while the poll goes on.
    #[must_use]
    pub fn allowance(&self) -> Allowance {
        Allowance {
            records: self.fuel,
            given_at: self.fuelled_at,
        }
    }

    /// Counts records that were taken against an allowance. If the pace has been measured since, whatever was made of them
    /// has been counted then.
    pub fn spend_allowance(&mut self, allowance: Allowance, records: u32) -> Room {
        if self.fuelled_at != allowance.given_at {
            return self.is_over();
        }
        if self.fuel > records {
            self.fuel -= records;
            return Room::Free;
        }
        self.refuel(records)
    }

    /// Counts a batch that was read; [`Room::Full`] when it is time to let others run.
    pub fn spend_batch(&mut self) -> Room {
        self.batches_left = self.batches_left.saturating_sub(1);
        self.exhausted |= self.batches_left == 0 || self.yielding;
        self.is_over()
    }

    /// Counts a batch that was sealed; [`Room::Later`] when enough has been sent in this poll.
    #[inline(never)]
    pub fn spend_sealed(&mut self) -> Room {
        self.sealed_left = self.sealed_left.saturating_sub(1);
        self.yielding |= self.sealed_left == 0;
        if self.yielding {
            Room::Later
        } else {
            Room::Free
        }
    }

    fn is_over(&self) -> Room {
        if self.exhausted {
            Room::Full
        } else {
            Room::Free
        }
    }

    #[inline(never)]
    fn refuel(&mut self, last: u32) -> Room {
        if let Some(until) = self.clearing {
            return self.refuel_clearing(until);
        }
        if self.exhausted {
            return Room::Full;
        }
        let spent = self.fuelled - self.fuel + last;
        let now = self.look();
        self.adapt(spent, now);
        self.fuel = 0;
        self.fuelled = 0;
        if self.records_left == 0 || now >= self.deadline {
            self.exhausted = true;
            return Room::Full;
        }
        self.fill(now);
        Room::Free
    }

    fn fill(&mut self, now: Moment) {
        self.fuelled_at = now;
        self.fuel = self.pace.min(self.records_left).max(1);
        self.fuelled = self.fuel;
        self.records_left -= self.fuel.min(self.records_left);
    }

    /// Sets the pace by how long `spent` records have taken until `now`.
    fn adapt(&mut self, spent: u32, now: Moment) {
        let elapsed = now.nanos_since(self.fuelled_at).max(1);
        let target = u64::from(spent) * PACE_NANOS / elapsed;
        let most = (8 * self.pace).min(Self::PACE_MAX);
        self.pace = u32::try_from(target).unwrap_or(u32::MAX).clamp(1, most);
    }

    /// Goes on with what a snapshot cannot save half-way (the rest of a closure's emissions, an iterator), without room as long
    /// as there is overdraft, and for longer than a poll; what can be saved stays where it is. It may be without end, so
    /// that it is given up for now after some time.
    pub(crate) fn clear(&mut self, act: impl FnOnce(&mut Self) -> Room) -> Room {
        self.clearing = Some(self.look() + CLEARING_TIME);
        self.clearing_left = CLEARING_RECORDS;
        self.unfinished = None;
        let room = act(self);
        self.clearing = None;
        room
    }

    #[inline(never)]
    fn refuel_clearing(&mut self, until: Moment) -> Room {
        let now = self.look();
        self.clearing_left = self.clearing_left.saturating_sub(self.fuelled.max(1));
        self.fuelled_at = now;
        self.fuel = self.pace;
        self.fuelled = self.fuel;
        if now >= until || self.clearing_left == 0 {
            // There may be room for the rest: the next poll need not wait until somebody gives some.
            self.exhausted = true;
            Room::Full
        } else {
            Room::Free
        }
    }

    /// Says whose emission is to be cleared, and cannot be saved half-way: first by those that come first in a chain.
    #[inline]
    pub fn is_unfinished(&mut self, operator: &Origin) {
        if self.is_clearing() {
            self.unfinished = Some(operator.clone());
        }
    }

    /// Whose emission could not be cleared the last time.
    pub(crate) fn unfinished(&self) -> Option<&Origin> {
        self.unfinished.as_ref()
    }

    /// Whether only what cannot be saved is to go on.
    #[inline]
    #[must_use]
    pub fn is_clearing(&self) -> bool {
        self.clearing.is_some()
    }

    /// Whether the poll must end because its time, records or batches are used up.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// The time of the last look at the clock.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.looked
    }

    /// Looks at the clock.
    pub fn look(&mut self) -> Moment {
        self.looked = self.clock.now();
        self.looked
    }

    /// Says when the records that follow left their source.
    pub fn set_born(&mut self, born: Moment) {
        self.born = born;
    }

    /// When the record in hand left its source.
    #[must_use]
    pub fn born(&self) -> Moment {
        self.born
    }

    /// What the record in hand carries besides itself.
    #[inline]
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp {
            timestamp: self.timestamp,
            born: self.born,
        }
    }

    /// Whether what is read was in flight when the checkpoint was taken that the job goes on from.
    #[inline]
    #[must_use]
    pub fn is_replaying(&self) -> bool {
        self.replaying
    }

    pub(crate) fn set_replaying(&mut self, replaying: bool) {
        self.replaying = replaying;
    }

    /// Asks for a poll at `at`, if nothing else wakes the task before.
    pub fn wake_at(&mut self, at: Moment) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// When the task asked to be polled.
    #[must_use]
    pub fn waking(&self) -> Option<Moment> {
        self.wake_at
    }

    /// Ends the task with an error of this operator. Only the first one counts.
    #[inline(never)]
    pub fn fail(&mut self, operator: &Origin, error: impl Into<BoxError>) -> Room {
        self.fail_with(Failure::error(operator.clone(), error.into()))
    }

    /// Ends the task with this failure. Only the first one counts.
    pub fn fail_with(&mut self, failure: Failure) -> Room {
        self.failure.get_or_insert(failure);
        Room::Full
    }

    /// The error that ends the task, if there is one.
    pub fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    /// Whether the task has failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }
}

/// How long what cannot be saved may go on in one poll.
const CLEARING_TIME: Duration = Duration::from_millis(5);

/// How many records it may be.
const CLEARING_RECORDS: u32 = 1 << 20;

/// How long a task should go on between two looks at the clock.
const PACE_NANOS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A clock that moves on by a fixed step with every record.
    struct Stepping(AtomicU64);

    impl Clock for Stepping {
        fn now(&self) -> Moment {
            Moment::from_nanos(self.0.load(Ordering::Relaxed))
        }

        fn wall(&self) -> Timestamp {
            Timestamp(0)
        }
    }

    fn records_per_poll(nanos_per_record: u64, polls: usize) -> Vec<u64> {
        let clock = Arc::new(Stepping(AtomicU64::new(0)));
        let mut turn = Turn::new(Arc::clone(&clock) as Arc<dyn Clock>);
        (0..polls)
            .map(|_| {
                turn.begin(Limits::default(), clock.now());
                let mut records = 0;
                loop {
                    records += 1;
                    clock.0.fetch_add(nanos_per_record, Ordering::Relaxed);
                    if turn.spend().is_full() {
                        return records;
                    }
                }
            })
            .collect()
    }

    #[test]
    fn a_poll_lasts_about_half_a_millisecond_whatever_a_record_costs() {
        for nanos in [10, 1_000, 20_000, 400_000] {
            for records in records_per_poll(nanos, 5) {
                let lasted = records * nanos;
                assert!(
                    (400_000..=900_000).contains(&lasted),
                    "{lasted} ns at {nanos} ns each"
                );
            }
        }
    }

    /// Records in each of some polls that end when a hundred records have made a batch.
    fn records_per_sealed_poll(turn: &mut Turn, clock: &Stepping, cost: u64) -> [u32; 4] {
        [(); 4].map(|()| {
            turn.begin(Limits::default(), clock.now());
            let mut records = 0;
            loop {
                records += 1;
                clock.0.fetch_add(cost, Ordering::Relaxed);
                let sealed = match records % 100 {
                    0 => turn.spend_sealed(),
                    _ => Room::Free,
                };
                if sealed.and(turn.spend()) != Room::Free {
                    // Senders and sinks look at the clock before the poll ends.
                    turn.look();
                    turn.end(clock.now());
                    return records;
                }
            }
        })
    }

    #[test]
    fn polls_that_end_with_a_batch_find_their_pace() {
        let clock = Arc::new(Stepping(AtomicU64::new(0)));
        let mut turn = Turn::new(Arc::clone(&clock) as Arc<dyn Clock>);
        assert_eq!(records_per_sealed_poll(&mut turn, &clock, 10), [100; 4]);
        let [first, later @ ..] = records_per_sealed_poll(&mut turn, &clock, 100_000);
        assert!(first <= 100, "{first} records before anybody could know");
        for records in later {
            assert!(records <= 9, "{records} records of 0.1 ms in a poll");
        }
    }

    /// A source pushes what it is allowed to; each record costs a step of the clock and is counted once more by a
    /// `flat_map`, which looks at the clock too.
    #[test]
    fn what_is_made_of_records_is_not_counted_twice() {
        for cost in [1_000, 100_000, 400_000] {
            let clock = Arc::new(Stepping(AtomicU64::new(0)));
            let mut turn = Turn::new(Arc::clone(&clock) as Arc<dyn Clock>);
            for _ in 0..5 {
                let begin = clock.now();
                turn.begin(Limits::default(), begin);
                loop {
                    let allowance = turn.allowance();
                    let mut room = Room::Free;
                    let mut records = 0;
                    while records < allowance.records && !room.is_full() {
                        records += 1;
                        clock.0.fetch_add(cost, Ordering::Relaxed);
                        room = turn.spend();
                    }
                    if room.is_full() || turn.spend_allowance(allowance, records).is_full() {
                        break;
                    }
                }
                turn.end(clock.now());
                let lasted = clock.now().nanos_since(begin);
                assert!(lasted <= 900_000, "{lasted} ns at {cost} ns each");
            }
        }
    }

    #[test]
    fn a_slow_record_ends_the_poll() {
        assert_eq!(records_per_poll(5_000_000, 3), [1, 1, 1]);
    }

    /// Nobody else may wake the task for a long time.
    #[test]
    fn a_poll_that_could_not_clear_everything_is_followed_by_another() {
        let clock = Arc::new(Stepping(AtomicU64::new(0)));
        let mut turn = Turn::new(Arc::clone(&clock) as Arc<dyn Clock>);
        turn.begin(Limits::default(), clock.now());
        let without_end = |turn: &mut Turn| {
            while !turn.spend().is_full() {
                clock.0.fetch_add(100_000, Ordering::Relaxed);
            }
            Room::Full
        };
        assert!(turn.clear(without_end).is_full() && turn.is_exhausted());
        turn.begin(Limits::default(), clock.now());
        let without_room = |_: &mut Turn| Room::Full;
        assert!(turn.clear(without_room).is_full() && !turn.is_exhausted());
    }

    #[test]
    fn a_simulator_ends_a_poll_by_records() {
        let clock = Arc::new(Stepping(AtomicU64::new(0)));
        let mut turn = Turn::new(Arc::clone(&clock) as Arc<dyn Clock>);
        for records in [1u32, 7, 1_000] {
            let limits = Limits {
                records,
                ..Limits::default()
            };
            turn.begin(limits, clock.now());
            let mut spent = 1;
            while !turn.spend().is_full() {
                spent += 1;
            }
            assert_eq!(spent, records);
        }
    }
}
