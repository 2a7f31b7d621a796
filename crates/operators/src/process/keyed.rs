//! The state of a keyed operator of the user's.

use std::ops::Range;
use std::time::Duration;
use std::{fmt, panic};

use levada_core::key::KeyError;
use levada_core::{BoxError, Key, KeyGroup, KeyGroups, Moment, Origin, State, Timestamp};
use levada_runtime::{Room, StateError, Subtask, Turn, Visitor};
use levada_state::{
    Hands, KeyedState, KeyedTable, Measuring, Parts, Place, Row, Rows, Saving, StateVersion,
    ValueReader,
};

use crate::process::Timer;
use crate::process::dated::{Dated, DatedTable, Use};
use crate::process::times::Times;
use crate::state_check::{self, CannotBeKept};
use crate::ttl::Ttl;

/// The states of keys with what is needed to add others, and with the timers of the keys.
pub(crate) struct KeyedValues<K, S> {
    entries: Entries<K, S>,
    pub(crate) times: Times<K>,
    /// The timer in hand; none if it is a record.
    in_hand: Option<Timer>,
    /// Whether state has been read that nobody has looked at yet.
    restored: bool,
    /// Whether there is a keyed input.
    keyed: bool,
    key_groups: KeyGroups,
    /// Whether a state has been through the codec.
    checked: bool,
    /// The key whose state will be, once the user's code has filled it.
    first: Option<K>,
    /// Whether the key of a timer has been through the codec.
    timer_checked: bool,
}

/// States by key, which stay for ever or have a time-to-live.
enum Entries<K, S> {
    Kept(KeyedTable<K, S>),
    Dated(Box<DatedTable<K, S>>),
}

/// The most states that are looked at in one go because of the time of day: as many as the records of a batch, so that
/// what is gone is freed as fast as it comes.
const SWEEP_MAX: u32 = 4_096;

/// How long nothing is looked for after all that was gone has been freed.
const SWEEP_PAUSE: Duration = Duration::from_millis(100);

impl<K: Key, S: State> KeyedValues<K, S> {
    /// The values of the keys that a subtask owns.
    pub(crate) fn owned(ttl: Option<Ttl>, version: &StateVersion<S>, subtask: &Subtask) -> Self {
        let reader = version.reader(subtask.saved_version());
        Self::new(subtask.owned_groups(), true, ttl, reader, subtask)
    }

    /// Values of any keys, for an operator that has no keyed input.
    pub(crate) fn any(subtask: &Subtask) -> Self {
        let owned = 0..subtask.key_groups.count();
        Self::new(owned, false, None, ValueReader::default(), subtask)
    }

    fn new(
        owned: Range<u16>,
        keyed: bool,
        ttl: Option<Ttl>,
        reader: ValueReader<S>,
        subtask: &Subtask,
    ) -> Self {
        let times = Times::new(owned.clone(), subtask);
        let seed = subtask.table_seed;
        let entries = match ttl {
            None => Entries::Kept(KeyedTable::new(owned, seed).reading(reader)),
            Some(ttl) => {
                let table = KeyedTable::new(owned, seed).reading(Dated::reader(&reader));
                Entries::Dated(Box::new(DatedTable::new(table, ttl)))
            }
        };
        Self {
            entries,
            times,
            in_hand: None,
            restored: false,
            keyed,
            key_groups: subtask.key_groups,
            checked: false,
            first: None,
            timer_checked: false,
        }
    }

    /// Where the state of a key is, made by `Default` if there is none. The key's group is computed if it is not known and
    /// the key is new.
    ///
    /// # Errors
    /// If the key cannot be hashed, or there is no time to which the state could be kept.
    #[inline]
    pub(crate) fn find_or_insert(
        &mut self,
        key: &K,
        group: Option<KeyGroup>,
        timestamp: Timestamp,
    ) -> Result<Place, BoxError> {
        let key_groups = self.key_groups;
        let place = match &mut self.entries {
            Entries::Kept(table) => {
                let place = table.find_or_insert(key, || {
                    Ok::<_, BoxError>((group_of(key, group, key_groups)?, S::default()))
                })?;
                debug_assert!(
                    group_of(key, group, key_groups).is_ok_and(|of| of == table.group(place)),
                    "equal keys serialise equally"
                );
                place
            }
            Entries::Dated(_) => self.find_or_insert_dated(key, group, timestamp)?,
        };
        if !self.checked {
            self.first = Some(key.clone());
        }
        Ok(place)
    }

    #[inline(never)]
    fn find_or_insert_dated(
        &mut self,
        key: &K,
        group: Option<KeyGroup>,
        timestamp: Timestamp,
    ) -> Result<Place, BoxError> {
        let Entries::Dated(dated) = &self.entries else {
            unreachable!("only states with a time-to-live are dated")
        };
        let using = self.using(dated, key, group, timestamp);
        if using.at == Timestamp::MIN {
            return Err(WithoutTime.into());
        }
        let Entries::Dated(dated) = &mut self.entries else {
            unreachable!("it has just been")
        };
        dated.find_or_insert(key, using, || Ok(group_of(key, group, self.key_groups)?))
    }

    /// The state of a key, if there is one; `place` says where it is if that is known.
    pub(crate) fn existing(
        &self,
        key: &K,
        group: Option<KeyGroup>,
        timestamp: Timestamp,
        place: Option<Place>,
    ) -> Option<&S> {
        match &self.entries {
            Entries::Kept(table) => {
                let place = place.or_else(|| table.find(key))?;
                Some(table.value(place))
            }
            Entries::Dated(dated) => {
                let using = || self.using(dated, key, group, timestamp);
                let place = place.or_else(|| dated.find(key, using))?;
                Some(dated.value(place))
            }
        }
    }

    /// The state in a place.
    #[inline]
    pub(crate) fn value_mut(&mut self, place: Place) -> &mut S {
        match &mut self.entries {
            Entries::Kept(table) => table.value_mut(place),
            Entries::Dated(dated) => dated.value_mut(place),
        }
    }

    /// Forgets the state of a key.
    pub(crate) fn remove(&mut self, key: &K) {
        match &mut self.entries {
            Entries::Kept(table) => drop(table.remove(key)),
            Entries::Dated(dated) => dated.remove(key),
        }
    }

    /// The group of a key whose state or timer is here.
    pub(crate) fn group(&self, key: &K, group: Option<KeyGroup>) -> KeyGroup {
        let group = group_of(key, group, self.key_groups);
        group.expect("a key that is here has been hashed")
    }

    /// Shows every state of some key groups; it is not used by that.
    pub(crate) fn for_each(&mut self, groups: Range<u16>, mut f: impl FnMut(&K, &mut S)) {
        match &mut self.entries {
            Entries::Kept(table) => {
                let states = table.iter_mut_within(groups);
                states.for_each(|(key, state)| f(key, state));
            }
            Entries::Dated(dated) => {
                let (times, key_groups) = (&self.times, self.key_groups);
                let (ttl, wall) = (dated.ttl, dated.wall);
                let now = |key: &K| match ttl.is_event_time() {
                    true => unless_ended(times.watermark(|| key_groups.of(key))),
                    false => wall,
                };
                dated
                    .iter_mut_within(groups, now)
                    .for_each(|(key, state)| f(key, state));
            }
        }
    }

    /// How a state is used by what is in hand.
    fn using(
        &self,
        dated: &DatedTable<K, S>,
        key: &K,
        group: Option<KeyGroup>,
        timestamp: Timestamp,
    ) -> Use {
        if !dated.ttl.is_event_time() {
            return Use {
                at: dated.wall,
                now: dated.wall,
            };
        }
        let watermark = || self.watermark(key, group);
        let (at, now) = match self.in_hand {
            None => (timestamp, watermark()),
            Some(Timer::Event(at)) => (at, self.times.come_to(at, watermark)),
            Some(Timer::Processing(_)) => (watermark(), watermark()),
        };
        Use {
            at,
            now: unless_ended(now),
        }
    }

    /// Sets a timer.
    ///
    /// # Errors
    /// If the key cannot be hashed or saved, or if there are no keys.
    pub(crate) fn set_timer(
        &mut self,
        key: &K,
        group: Option<KeyGroup>,
        timer: Timer,
    ) -> Result<(), BoxError> {
        if !self.keyed {
            return Err(WithoutKeys.into());
        }
        if !self.timer_checked {
            state_check::check(key, &())?;
            self.timer_checked = true;
        }
        let key_groups = self.key_groups;
        self.times
            .set(key, timer, || group_of(key, group, key_groups))?;
        Ok(())
    }

    /// The watermark for a key.
    pub(crate) fn watermark(&self, key: &K, group: Option<KeyGroup>) -> Timestamp {
        self.times
            .watermark(|| group_of(key, group, self.key_groups))
    }

    /// Takes a watermark. Whether something has to be done before it goes on.
    pub(crate) fn raise(&mut self, watermark: Timestamp) -> bool {
        let fires = self.times.raise(watermark);
        let frees = match &self.entries {
            Entries::Kept(_) => false,
            Entries::Dated(dated) => dated.ttl.is_event_time() && dated.may_be_gone(watermark),
        };
        fires || frees
    }

    /// Whether something may be due, or has to be looked after between two batches.
    #[inline]
    pub(crate) fn may_be_due(&self, now: Moment) -> bool {
        let by_day = matches!(&self.entries, Entries::Dated(dated) if !dated.ttl.is_event_time());
        by_day || self.restored || self.times.may_be_due(now)
    }

    /// To be called between two batches.
    pub(crate) fn settle(&mut self) {
        if let Entries::Dated(dated) = &mut self.entries {
            dated.settle();
        }
    }

    /// Looks at state that has been read, and at the time of day if states end with it.
    pub(crate) fn prepare(&mut self) {
        let restored = std::mem::take(&mut self.restored);
        if restored {
            self.times.restore();
        }
        if let Entries::Dated(dated) = &mut self.entries {
            if restored {
                dated.restore();
            }
            if !dated.ttl.is_event_time() {
                dated.wall = self.times.processing_time();
            }
        }
    }

    /// The next timer that is due; it is in hand until the next call.
    pub(crate) fn take_due(&mut self, now: Moment) -> Option<(K, Timer)> {
        let taken = self.times.take_due(now);
        self.in_hand = taken.as_ref().map(|(_, timer)| *timer);
        taken
    }

    /// What is in hand is a record again.
    pub(crate) fn put_down_timer(&mut self) {
        self.in_hand = None;
    }

    /// Frees states that are gone: all of them before a watermark goes on, and some by the time of day.
    pub(crate) fn sweep(&mut self, passing: Option<Timestamp>, turn: &mut Turn) -> Room {
        let Entries::Dated(dated) = &mut self.entries else {
            return Room::Free;
        };
        if dated.ttl.is_event_time() {
            let now = unless_ended(passing.unwrap_or(Timestamp::MIN));
            while dated.sweep_next(now) {
                if turn.spend().is_full() {
                    return Room::Full;
                }
            }
            return Room::Free;
        }
        if dated.next_sweep > turn.now() {
            return Room::Free;
        }
        for _ in 0..SWEEP_MAX {
            if !dated.sweep_next(dated.wall) {
                dated.next_sweep = turn.now() + SWEEP_PAUSE;
                break;
            }
            if turn.spend().is_full() {
                return Room::Full;
            }
        }
        Room::Free
    }

    /// When the task has to be woken, if nothing else happens.
    pub(crate) fn wake_at(&mut self) -> Option<Moment> {
        let timer = self.times.wake_at();
        let sweep = match &self.entries {
            Entries::Dated(dated) if !dated.ttl.is_event_time() => dated
                .earliest()
                .map(|at| self.times.moment_of(at).max(dated.next_sweep)),
            _ => None,
        };
        timer.into_iter().chain(sweep).min()
    }

    /// Shows all of it to a visitor.
    pub(crate) fn visit(
        &mut self,
        operator: &Origin,
        visitor: &mut dyn Visitor,
    ) -> Result<(), StateError> {
        self.settle();
        let mut queue_bytes = self.times.queue_bytes();
        let states: &mut dyn KeyedState = match &mut self.entries {
            Entries::Kept(table) => table,
            Entries::Dated(dated) => {
                queue_bytes += dated.queue_bytes();
                &mut dated.table
            }
        };
        let [watermark, event, processing] = self.times.states();
        let mut parts = [states, watermark, event, processing];
        let mut whole = Whole {
            parts: Parts(&mut parts),
            restored: &mut self.restored,
            queue_bytes,
        };
        visitor.keyed(operator, &mut whole)
    }

    /// Whether there is a state to be checked: to be asked after each call of the user's code.
    #[inline]
    pub(crate) fn is_unchecked(&self) -> bool {
        self.first.is_some()
    }

    /// The first state goes through the codec.
    #[inline(never)]
    pub(crate) fn check(&mut self) -> Result<(), CannotBeKept> {
        let Some(key) = self.first.take() else {
            return Ok(());
        };
        let state = match &self.entries {
            Entries::Kept(table) => table.find(&key).map(|place| table.value(place)),
            Entries::Dated(dated) => dated.table.find(&key).map(|place| dated.value(place)),
        };
        // The user's code may have cleared it again.
        let Some(state) = state else {
            return Ok(());
        };
        self.checked = true;
        state_check::check(&key, state)
    }
}

/// The end of the input is not a time at which states are gone.
fn unless_ended(now: Timestamp) -> Timestamp {
    if now == Timestamp::MAX {
        Timestamp::MIN
    } else {
        now
    }
}

fn group_of<K: Key>(
    key: &K,
    group: Option<KeyGroup>,
    key_groups: KeyGroups,
) -> Result<KeyGroup, KeyError> {
    match group {
        Some(group) => Ok(group),
        None => key_groups.of(key),
    }
}

/// The state of a process as one; notes that it has been read.
struct Whole<'a, 'b, 'c> {
    parts: Parts<'a, 'b>,
    restored: &'c mut bool,
    /// What the queues beside the states take in memory.
    queue_bytes: u64,
}

impl KeyedState for Whole<'_, '_, '_> {
    fn owned(&self) -> Range<u16> {
        self.parts.owned()
    }

    fn begin(&mut self, saving: &Saving, rows: &mut Rows) -> Result<(), StateError> {
        self.parts.begin(saving, rows)
    }

    fn save(&mut self, rows: &mut Rows) -> Result<bool, StateError> {
        self.parts.save(rows)
    }

    fn reserve(&mut self, part: u16, rows: usize) {
        self.parts.reserve(part, rows);
    }

    fn read(&mut self, row: &Row<'_>) -> Result<(), StateError> {
        *self.restored = true;
        self.parts.read(row)
    }

    fn read_all(&mut self, rows: &[Row<'_>], hands: &dyn Hands) -> Result<(), StateError> {
        *self.restored |= !rows.is_empty();
        self.parts.read_all(rows, hands)
    }

    fn memory(&mut self, measuring: &mut Measuring) -> u64 {
        self.parts.memory(measuring) + self.queue_bytes
    }

    fn show(&self, row: &Row<'_>) -> Option<String> {
        self.parts.show(row)
    }
}

/// A timer was set where there are no keys.
#[derive(Debug)]
struct WithoutKeys;

impl fmt::Display for WithoutKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "timers belong to keys, and this operator follows a stream without any: `key_by` gives it some",
        )
    }
}

impl std::error::Error for WithoutKeys {}

/// State with a time-to-live in event time was used without any.
#[derive(Debug)]
struct WithoutTime;

impl fmt::Display for WithoutTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "state is kept for so long in event time, and this record has none: `timestamps` gives it one",
        )
    }
}

impl std::error::Error for WithoutTime {}

/// Leaves the user's code, which cannot go on: the task fails with what its turn has been told.
pub(crate) fn give_up() -> ! {
    panic::resume_unwind(Box::new("a key has no state"));
}
