//! The state of session windows.

use std::convert::Infallible;
use std::ops::Range;

use levada_core::{Key, KeyGroup, Span, Timestamp};
use levada_runtime::KeyedRecord;
use levada_state::{DueQueue, GroupClock, KeyedTable, ValueReader};
use serde::de::DeserializeOwned;

use crate::window::contents::{Contents, Emission};
use crate::window::emitting::{Emissions, Looked};
use crate::window::sessions::open::{KeySessions, OpenSession};

/// Open sessions by key, and when the next of a key fires or is forgotten.
///
/// The queue has an entry for each key, at the time of its next session or before: a record that extends a session leaves
/// the queue alone, and an entry that comes too early is put back. Entries that have been overtaken by earlier ones stay until
/// their time.
pub(crate) struct SessionState<K, A> {
    gap: i64,
    lateness: i64,
    pub(crate) clock: GroupClock,
    pub(super) owned: Range<u16>,
    pub(crate) table: KeyedTable<K, KeySessions<A>>,
    pub(super) due: DueQueue<K>,
    /// What is being emitted; more than one only after a restore.
    pub(crate) emissions: Emissions<K, A>,
    pub(super) firing: Option<Firing>,
    /// Whether the queue must be built from the sessions, which have been read.
    pub(super) is_restored: bool,
    /// By group: whether sessions were firing when it was saved. Empty once they have.
    pub(super) interrupted: Vec<bool>,
}

/// Why sessions fire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Firing {
    /// They were to fire when they were saved: before any record, and without a watermark to pass on.
    Restored,
    /// The operator's watermark has reached this time.
    Until(Timestamp),
}

impl Firing {
    /// Whether sessions of the group in a place are firing.
    pub(super) fn includes(firing: Option<Self>, interrupted: &[bool], place: usize) -> bool {
        match firing {
            None => false,
            Some(Self::Until(_)) => true,
            Some(Self::Restored) => interrupted.get(place).copied().unwrap_or(false),
        }
    }
}

/// What came of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Added {
    InSession,
    Late,
}

/// Entries that are taken before the watermark is known.
const AT_ONCE: Timestamp = Timestamp::MIN;

impl<K: Key, A: Clone> SessionState<K, A> {
    pub(crate) fn new(gap: i64, lateness: i64, owned: Range<u16>, seed: u64) -> Self {
        Self {
            gap,
            lateness,
            clock: GroupClock::new(owned.clone()),
            table: KeyedTable::new(owned.clone(), seed),
            owned,
            due: DueQueue::new(),
            emissions: Emissions::default(),
            firing: None,
            is_restored: false,
            interrupted: Vec::new(),
        }
    }

    /// Accumulators in a snapshot are read so.
    pub(crate) fn reading(mut self, reader: ValueReader<A>) -> Self
    where
        A: DeserializeOwned + 'static,
    {
        self.table = self.table.reading(KeySessions::reader(&reader));
        self.emissions.set_reader(reader);
        self
    }

    /// The accumulator for a record of a key with one session, which has not fired and gets the record: nothing else is to
    /// be done then.
    #[inline]
    pub(crate) fn extend(&mut self, key: &K, time: Timestamp) -> Option<&mut A> {
        let session = self.table.get_mut(key)?.only()?;
        let end = Timestamp(time.0.saturating_add(self.gap));
        let Span { start, end: before } = session.span;
        if session.fired || time >= before {
            return None;
        }
        if time < start && (time == Timestamp::MIN || end <= start) {
            return None;
        }
        session.span = Span {
            start: start.min(time),
            end: before.max(end),
        };
        Some(&mut session.accumulator)
    }

    /// Adds a record to the sessions of its key, whatever they are.
    pub(crate) fn add<T>(
        &mut self,
        keyed: &KeyedRecord<K, T>,
        time: Timestamp,
        group: KeyGroup,
        contents: &impl Contents<K, T, Accumulator = A>,
    ) -> Added {
        let KeyedRecord { key, record, .. } = keyed;
        let span = Span {
            start: time,
            end: Timestamp(time.0.saturating_add(self.gap)),
        };
        let now = self.clock.of(group);
        let is_late = span.last().0.saturating_add(self.lateness) <= now.0;
        let begin = || {
            let mut accumulator = contents.create();
            contents.add(&mut accumulator, record);
            OpenSession {
                span,
                fired: false,
                accumulator,
            }
        };
        let due = match self.table.get_mut(key) {
            None if is_late => return Added::Late,
            None => {
                let make = || Ok::<_, Infallible>((group, KeySessions::of(begin())));
                let Ok(_) = self.table.get_or_insert(key, make);
                self.due_of(span, false, group)
            }
            Some(sessions) => {
                let all = sessions.all();
                let first = all.partition_point(|other| other.span.end <= span.start);
                let end = all.partition_point(|other| other.span.start < span.end);
                if first < end {
                    let span = merge(sessions, first..end, span, record, contents);
                    self.due_of(span, false, group)
                } else if is_late {
                    return Added::Late;
                } else {
                    sessions.insert(begin());
                    self.due_of(span, false, group)
                }
            }
        };
        self.schedule(key, due);
        Added::InSession
    }

    /// Takes a watermark; false if it is no later one.
    pub(crate) fn raise(&mut self, watermark: Timestamp) -> bool {
        debug_assert!(self.firing.is_none(), "a signal comes when there is room");
        if !self.clock.raise(watermark) {
            return false;
        }
        self.firing = Some(Firing::Until(watermark));
        true
    }

    /// Looks at state that has been read.
    pub(crate) fn prepare(&mut self) {
        if !std::mem::take(&mut self.is_restored) {
            return;
        }
        self.due.clear();
        let mut keys = Vec::with_capacity(self.table.len());
        for (key, sessions, group) in self.table.iter() {
            keys.push((key.clone(), self.next_due(sessions, group)));
        }
        for (key, due) in keys {
            self.schedule(&key, due);
        }
    }

    /// Whether nothing fires.
    #[inline]
    pub(crate) fn is_at_rest(&self) -> bool {
        self.firing.is_none() && self.emissions.is_empty()
    }

    /// Whether sessions of a group are firing.
    fn is_firing(&self, group: KeyGroup) -> bool {
        let place = usize::from(group.0 - self.owned.start);
        Firing::includes(self.firing, &self.interrupted, place)
    }

    /// The next session that fires. `spend` is asked after each key that is looked at in vain; when it says so, the search
    /// is interrupted.
    pub(crate) fn next_emission(
        &mut self,
        mut spend: impl FnMut() -> bool,
    ) -> Looked<(KeyGroup, Emission<K, A>)> {
        let until = match self.firing {
            None => return Looked::Nothing,
            Some(Firing::Restored) => AT_ONCE,
            Some(Firing::Until(watermark)) => watermark,
        };
        while let Some((at, key)) = self.due.take(until) {
            let found = self.look_at(&key, at);
            if let Some((group, span, accumulator)) = found {
                return Looked::Found((group, Emission::new(key, span, accumulator)));
            }
            if spend() {
                return Looked::Interrupted;
            }
        }
        Looked::Nothing
    }

    /// Ends the firing. Returns the watermark to pass on.
    pub(crate) fn end_firing(&mut self) -> Option<Timestamp> {
        self.interrupted = Vec::new();
        match self.firing.take() {
            Some(Firing::Until(watermark)) => Some(watermark),
            Some(Firing::Restored) | None => None,
        }
    }

    /// A key's entry is due: fires one of its sessions, or forgets those whose time has passed, and makes its next entry.
    fn look_at(&mut self, key: &K, at: Timestamp) -> Option<(KeyGroup, Span, A)> {
        let place = self.table.find(key)?;
        let group = self.table.group(place);
        let now = self.clock.of(group);
        let lateness = self.lateness;
        let sessions = self.table.value_mut(place);
        if sessions.due != Some(at) {
            return None;
        }
        let mut found = None;
        let mut index = 0;
        while index < sessions.all().len() {
            let session = &mut sessions.all_mut()[index];
            let span = session.span;
            let fires = !session.fired && span.last() <= now;
            if fires && found.is_some() {
                // One at a time: the others are what a snapshot has to hold.
                break;
            }
            let is_over =
                (fires || session.fired) && span.last().0.saturating_add(lateness) <= now.0;
            if is_over {
                let session = sessions.remove(index);
                found = found.or(fires.then_some((group, span, session.accumulator)));
                continue;
            }
            if fires {
                session.fired = true;
                found = Some((group, span, session.accumulator.clone()));
            }
            index += 1;
        }
        sessions.due = None;
        if sessions.is_empty() {
            self.table.remove(key);
        } else {
            let due = self.next_due(self.table.value(place), group);
            self.schedule(key, due);
        }
        found
    }

    /// When the first session of a key fires or is forgotten.
    fn next_due(&self, sessions: &KeySessions<A>, group: KeyGroup) -> Timestamp {
        let all = sessions.all().iter();
        all.map(|session| self.due_of(session.span, session.fired, group))
            .min()
            .expect("a key that is kept has a session")
    }

    /// When a session fires, or is forgotten if it has fired. What has been due already is due with the next watermark, or
    /// at once if it is firing.
    fn due_of(&self, span: Span, fired: bool, group: KeyGroup) -> Timestamp {
        let at = if fired {
            Timestamp(span.last().0.saturating_add(self.lateness))
        } else {
            span.last()
        };
        if at > self.clock.of(group) {
            return at;
        }
        match self.firing {
            Some(Firing::Restored) if self.is_firing(group) => AT_ONCE,
            _ => self.clock.watermark().max(Timestamp(AT_ONCE.0 + 1)),
        }
    }

    /// Makes an entry for a key that is kept, unless it has an earlier one.
    fn schedule(&mut self, key: &K, due: Timestamp) {
        let place = self.table.find(key).expect("the key is kept");
        let sessions = self.table.value_mut(place);
        if sessions.due.is_none_or(|before| due < before) {
            sessions.due = Some(due);
            self.due.add(due, key.clone());
        }
    }
}

/// Adds a record to sessions that it overlaps, which become one. Returns its span.
fn merge<K, T, C: Contents<K, T>>(
    sessions: &mut KeySessions<C::Accumulator>,
    overlapped: Range<usize>,
    span: Span,
    record: &T,
    contents: &C,
) -> Span {
    let first = overlapped.start;
    contents.add(&mut sessions.all_mut()[first].accumulator, record);
    let mut whole = span;
    for place in overlapped.clone() {
        let other = sessions.all()[place].span;
        whole = Span {
            start: whole.start.min(other.start),
            end: whole.end.max(other.end),
        };
    }
    for _ in overlapped.skip(1) {
        let later = sessions.remove(first + 1);
        let into = &mut sessions.all_mut()[first].accumulator;
        contents.merge(into, later.accumulator);
    }
    let session = &mut sessions.all_mut()[first];
    session.span = whole;
    session.fired = false;
    whole
}
