//! The operator of a join.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use levada_core::{Exchange, Key, KeyGroups, Timestamp};
use levada_runtime::{
    Blame, Downstream, Ending, Failure, KeyedRecord, Push, Read, Room, Signal, StateError, Subtask,
    Turn, Two, Visitor,
};
use levada_state::{GroupClock, Parts};

use crate::join::hand::{Hand, Hands};
use crate::join::kept::Kept;
use crate::join::output::Output;
use crate::join::rows::Position;
use crate::join::rule::{Reckoning, Rule, Side, Stamp};
use crate::join::sides::{First, Second, Way};
use crate::state_check;

/// Joins in one subtask.
pub(crate) struct Join<K, A, B, R: Rule, F, P> {
    kept: Kept<K, A, B, R>,
    clock: GroupClock,
    hands: Hands<K, A, B, R::Stamp>,
    /// The watermark that goes on once everything is removed that it leaves behind.
    passing: Option<Timestamp>,
    /// By side, whether a record has been through the codec.
    checked: [bool; 2],
    key_groups: KeyGroups,
    output: Output<F, P>,
}

/// Chunks that are looked through with each record, at most, by a rule that goes by the time of day. A record adds one at
/// the most, so what is due does not pile up.
const DUE_PER_RECORD: usize = 2;

/// Chunks that are looked through between two polls, by such a rule.
const DUE_PER_POLL: usize = 64;

/// Where nothing else happens, how long it takes at the least until more is looked through.
const REMOVAL_PAUSE: Duration = Duration::from_millis(1);

impl<K, A, B, R, F, O, P> Join<K, A, B, R, F, P>
where
    K: Key,
    A: Exchange + Clone,
    B: Exchange + Clone,
    R: Rule,
    F: Fn(&A, &B) -> O + Send + Sync,
    P: Push<O>,
{
    /// An operator that has seen nothing.
    pub(crate) fn new(mut rule: R, closure: Arc<F>, subtask: &Subtask, next: P) -> Self {
        rule.open(&*subtask.environment.clock);
        let owned = subtask.owned_groups();
        Self {
            kept: Kept::new(owned.clone(), subtask.table_seed, rule),
            clock: GroupClock::new(owned.clone()),
            hands: Hands::new(owned),
            passing: None,
            checked: [false; 2],
            key_groups: subtask.key_groups,
            output: Output {
                closure,
                counters: Arc::clone(&subtask.counters),
                operator: subtask.operator.clone(),
                next,
            },
        }
    }

    /// Takes a record of one side.
    #[inline]
    fn take<W: Way<A, B>>(&mut self, keyed: &KeyedRecord<K, W::Own>, turn: &mut Turn) -> Room {
        debug_assert!(
            self.hands.waiting.is_empty() && !self.hands.restored && self.passing.is_none(),
            "what is unfinished is finished before a record follows"
        );
        let now = match R::RECKONING {
            Reckoning::Forever => Timestamp::MIN,
            Reckoning::EventTime => match self.timely(keyed, turn) {
                Ok(Some(watermark)) => watermark,
                Ok(None) => return Room::Free,
                Err(room) => return room,
            },
            Reckoning::ProcessingTime => {
                let now = self.kept.rule.now(turn);
                self.remove_some(now, DUE_PER_RECORD);
                now
            }
        };
        if !self.checked[W::SIDE as usize] && self.check::<W>(keyed, turn).is_full() {
            return Room::Full;
        }
        let stamp = self.kept.rule.stamp(turn);
        let times = self.kept.rule.meets(W::SIDE, stamp.time());
        let gone_at = self.kept.rule.gone_at(W::SIDE, stamp.time());
        let blame = Blame::on(&self.output.operator);
        let sides = (self.kept).keep::<W>(keyed, stamp, gone_at, now, self.key_groups);
        blame.lift();
        let other = match sides {
            Ok(Some(sides)) => W::other(sides),
            Ok(None) => return Room::Free,
            Err(error) => return turn.fail(&self.output.operator, error),
        };
        let (record, mut position) = (&keyed.record, Position::default());
        let output = &mut self.output;
        let room = output.meet::<W, _, _, _, _>(record, stamp, other, &mut position, times, turn);
        if room.is_full() && !other.is_end(position) {
            self.hold::<W>(keyed, stamp, position);
        }
        room
    }

    /// The watermark that a record is held against. None if it is late: it is counted and dropped.
    fn timely<T>(
        &self,
        keyed: &KeyedRecord<K, T>,
        turn: &mut Turn,
    ) -> Result<Option<Timestamp>, Room> {
        if turn.timestamp == Timestamp::MIN {
            return Err(turn.fail(&self.output.operator, WithoutEventTime));
        }
        let watermark = if self.clock.is_divided() {
            let group = keyed.group_in(self.key_groups);
            let group = group.map_err(|error| turn.fail(&self.output.operator, error))?;
            self.clock.of(group)
        } else {
            self.clock.watermark()
        };
        if turn.timestamp <= watermark {
            self.output.counters.records_late.add(1);
            return Ok(None);
        }
        Ok(Some(watermark))
    }

    /// Takes the first record of a side through the codec.
    #[inline(never)]
    fn check<W: Way<A, B>>(&mut self, keyed: &KeyedRecord<K, W::Own>, turn: &mut Turn) -> Room {
        self.checked[W::SIDE as usize] = true;
        match state_check::check(&keyed.key, &keyed.record) {
            Ok(()) => Room::Free,
            Err(error) => turn.fail(&self.output.operator, error),
        }
    }

    /// Keeps the record in hand while there is no room for what else it meets.
    #[inline(never)]
    fn hold<W: Way<A, B>>(
        &mut self,
        keyed: &KeyedRecord<K, W::Own>,
        stamp: R::Stamp,
        position: Position,
    ) {
        let blame = Blame::on(&self.output.operator);
        let group = self.kept.group(&keyed.key);
        self.hands.waiting.push_back(Hand {
            key: keyed.key.clone(),
            record: W::wrap(keyed.record.clone()),
            stamp,
            passed: position.passed,
            group: group.expect("the key of a record that meets rows is there"),
        });
        blame.lift();
    }

    /// Goes on with records in hand.
    fn finish(&mut self, turn: &mut Turn) -> Room {
        while let Some(hand) = self.hands.waiting.front_mut() {
            let (rule, output) = (&self.kept.rule, &mut self.output);
            let (stamp, time) = (hand.stamp, hand.stamp.time());
            let blame = Blame::on(&output.operator);
            let sides = self.kept.find(&hand.key);
            blame.lift();
            // None: the snapshot was damaged in a way that nobody could see.
            let (room, done) = sides.map_or((Room::Free, true), |sides| match &hand.record {
                Two::First(record) => {
                    let (rows, times) = (&sides.second, rule.meets(Side::First, time));
                    let mut at = rows.seek(hand.passed);
                    let room =
                        output.meet::<First, _, _, _, _>(record, stamp, rows, &mut at, times, turn);
                    hand.passed = at.passed;
                    (room, rows.is_end(at))
                }
                Two::Second(record) => {
                    let (rows, times) = (&sides.first, rule.meets(Side::Second, time));
                    let mut at = rows.seek(hand.passed);
                    let room = output
                        .meet::<Second, _, _, _, _>(record, stamp, rows, &mut at, times, turn);
                    hand.passed = at.passed;
                    (room, rows.is_end(at))
                }
            });
            if done {
                self.hands.waiting.pop_front();
            }
            if room.is_full() {
                return Room::Full;
            }
        }
        Room::Free
    }

    /// Removes what the watermark leaves behind, then passes it on.
    fn pass(&mut self, turn: &mut Turn) -> Room {
        let Some(watermark) = self.passing else {
            return Room::Free;
        };
        // At the end nothing is removed: all of it goes with the operator.
        if R::RECKONING == Reckoning::EventTime && watermark < Timestamp::MAX {
            while self.kept.remove_next(watermark) {
                if turn.spend().is_full() {
                    return Room::Full;
                }
            }
        }
        self.passing = None;
        self.output.next.signal(Signal::Watermark(watermark), turn)
    }

    /// Removes what is gone by the time of day, a little of it.
    fn remove_some(&mut self, now: Timestamp, most: usize) {
        let mut left = most;
        while left > 0 && self.kept.remove_next(now) {
            left -= 1;
        }
    }
}

impl<K, A, B, R, F, O, P> Downstream for Join<K, A, B, R, F, P>
where
    K: Key,
    A: Exchange + Clone,
    B: Exchange + Clone,
    R: Rule,
    F: Fn(&A, &B) -> O + Send + Sync,
    P: Push<O>,
{
    fn resume(&mut self, turn: &mut Turn) -> Room {
        if self.output.next.resume(turn).is_full() {
            return Room::Full;
        }
        if turn.is_clearing() {
            return Room::Free;
        }
        if self.hands.restored {
            self.hands.restored = false;
            self.kept.look_through();
        }
        let timestamp = turn.timestamp;
        let room = self.finish(turn);
        turn.timestamp = timestamp;
        if room.is_full() {
            return Room::Full;
        }
        self.pass(turn)
    }

    fn mark(&mut self, turn: &mut Turn) {
        self.output.next.mark(turn);
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        match signal {
            Signal::Watermark(watermark) => {
                self.clock.raise(watermark);
                self.passing = Some(watermark);
                self.pass(turn)
            }
            Signal::Idle | Signal::End => self.output.next.signal(signal, turn),
        }
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        if R::RECKONING == Reckoning::ProcessingTime && self.hands.waiting.is_empty() {
            let now = self.kept.rule.now(turn);
            self.remove_some(now, DUE_PER_POLL);
            if let Some(at) = self.kept.next_due() {
                let at = self.kept.rule.moment(at);
                turn.wake_at(at.max(turn.now() + REMOVAL_PAUSE));
            }
        }
        self.output.next.tend(turn)
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        self.hands.queue_bytes = self.kept.queue_bytes();
        let table = &mut self.kept.table;
        let mut parts = Parts(&mut [&mut self.clock, table, &mut self.hands]);
        visitor.keyed(&self.output.operator, &mut parts)?;
        self.output.next.visit(visitor)
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        self.output.next.close(ending)
    }
}

impl<K, A, B, R, F, O, P> Read<Two<KeyedRecord<K, A>, KeyedRecord<K, B>>> for Join<K, A, B, R, F, P>
where
    K: Key,
    A: Exchange + Clone,
    B: Exchange + Clone,
    R: Rule,
    F: Fn(&A, &B) -> O + Send + Sync,
    P: Push<O>,
{
    #[inline]
    fn read(
        &mut self,
        record: &Two<KeyedRecord<K, A>, KeyedRecord<K, B>>,
        turn: &mut Turn,
    ) -> Room {
        match record {
            Two::First(keyed) => self.take::<First>(keyed, turn),
            Two::Second(keyed) => self.take::<Second>(keyed, turn),
        }
    }
}

/// A record came without event time.
#[derive(Debug)]
struct WithoutEventTime;

impl fmt::Display for WithoutEventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a record without event time cannot be joined in event time: call `.timestamps(..)` on both streams",
        )
    }
}

impl std::error::Error for WithoutEventTime {}
