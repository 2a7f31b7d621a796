//! The state of sliced windows.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::ops::Range;

use foldhash::fast::FixedState;
use indexmap::IndexMap;
use levada_core::{Key, KeyGroup, Timestamp};
use levada_state::{Cursor, GroupClock, KeyedTable, ValueReader};

use crate::window::contents::Emission;
use crate::window::emitting::{Emissions, Looked};
use crate::window::sliced::saving::SliceSaving;
use crate::window::sliced::weighing::Weighing;
use crate::window::slicing::Slicing;

/// Something for each of some keys, in the order in which they were added.
pub(crate) type ByKey<K, V> = IndexMap<K, V, FixedState>;

/// Accumulators by slice and key, and how far windows have fired.
///
/// A window has fired for all keys or for none, with three exceptions: the window that is firing; keys to which late
/// records were added since ([`changed`](Self::changed)); and after a restore, keys whose group was further than the
/// operator is now ([`restored`](Self::restored), [`emitted`](Self::emitted)).
pub(crate) struct SlicedState<K, A> {
    pub(crate) slicing: Slicing,
    pub(crate) clock: GroupClock,
    pub(super) owned: Range<u16>,
    seed: u64,
    /// Whether a window is one slice that nobody needs after it has fired: its keys are taken out as they are emitted.
    takes: bool,
    /// Sorted by number; a slice that has had no record is not there.
    pub(crate) slices: VecDeque<(i64, KeyedTable<K, A>)>,
    /// By window that has fired: keys to which records were added since.
    pub(crate) changed: BTreeMap<i64, ByKey<K, KeyGroup>>,
    /// What is being emitted; more than one only after a restore.
    pub(crate) emissions: Emissions<K, A>,
    pub(crate) firing: Option<Firing>,
    /// By group: the first window that had not fired for it when it was saved.
    pub(super) restored: Vec<i64>,
    /// The last window that had fired for a key when it was saved, if that is not the one before its group's first.
    pub(super) emitted: ByKey<K, (KeyGroup, i64)>,
    pub(super) saving: SliceSaving,
    pub(super) weighing: Weighing,
    reader: ValueReader<A>,
}

/// The windows that fire because of a watermark.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Firing {
    /// The watermark.
    pub(crate) until: Timestamp,
    /// The first window that it does not complete.
    end: i64,
    /// The window that is firing, or is the next to do so; all before it have fired.
    pub(super) window: i64,
    /// Where in its slices it is, once it has begun.
    pub(super) within: Option<Within>,
    /// Where in the first slice it is, once windows have fired and slices are forgotten.
    forgetting: Cursor,
}

/// A place within a window that is firing: no slice comes or goes meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Within {
    /// The window's stored slices, by their places.
    pub(super) first: usize,
    end: usize,
    /// The slice whose keys are next.
    pub(super) slice: usize,
    pub(super) cursor: Cursor,
}

impl<K: Key, A: Clone> SlicedState<K, A> {
    pub(crate) fn new(slicing: Slicing, lateness: i64, owned: Range<u16>, seed: u64) -> Self {
        Self {
            slicing,
            clock: GroupClock::new(owned.clone()),
            owned,
            seed,
            takes: slicing.has_own_slices() && lateness == 0,
            slices: VecDeque::new(),
            changed: BTreeMap::new(),
            emissions: Emissions::default(),
            firing: None,
            restored: Vec::new(),
            emitted: ByKey::default(),
            saving: SliceSaving::default(),
            weighing: Weighing::default(),
            reader: ValueReader::default(),
        }
    }

    /// Accumulators in a snapshot are read so.
    pub(crate) fn reading(mut self, reader: ValueReader<A>) -> Self {
        self.emissions.set_reader(reader.clone());
        Self { reader, ..self }
    }

    /// The place of a slice, which is added if it is not there.
    pub(crate) fn slice(&mut self, number: i64) -> usize {
        let place = self.place_of(number);
        if self
            .slices
            .get(place)
            .is_none_or(|(other, _)| *other != number)
        {
            let table = KeyedTable::new(self.owned.clone(), self.seed).numbered(number);
            let table = table.reading(self.reader.clone());
            self.slices.insert(place, (number, table));
        }
        place
    }

    /// Looks at slices that have been read: some were gone already when they were last saved.
    pub(crate) fn prepare(&mut self) {
        let kept_from = mem::take(&mut self.saving.restored_from);
        let latest = kept_from.iter().flatten().max().copied();
        let Some(latest) = latest else {
            return;
        };
        let first = self.owned.start;
        self.slices.retain_mut(|(number, table)| {
            if *number < latest {
                table.retain(|_, _, group| {
                    let kept_from = kept_from[usize::from(group.0 - first)];
                    kept_from.is_none_or(|kept_from| kept_from <= *number)
                });
            }
            !table.is_empty()
        });
    }

    /// Whether keys are taken out as they are emitted.
    pub(super) fn takes_keys(&self) -> bool {
        self.takes
    }

    /// Where a slice is, or would be.
    pub(super) fn place_of(&self, number: i64) -> usize {
        self.slices.partition_point(|(other, _)| *other < number)
    }

    /// The first window that has not fired, as far as the operator's own watermark tells.
    pub(super) fn next_window(&self) -> i64 {
        match self.firing {
            Some(firing) => firing.window,
            None => self.slicing.first_open(self.clock.watermark()),
        }
    }

    /// The first window that has not fired for a group.
    pub(super) fn next_window_of(&self, group: KeyGroup) -> i64 {
        let own = self.next_window();
        let restored = self.restored.get(usize::from(group.0 - self.owned.start));
        restored.map_or(own, |window| own.max(*window))
    }

    /// Whether a window has fired for a key.
    pub(crate) fn has_fired(&self, window: i64, group: KeyGroup, key: &K) -> bool {
        window < self.next_window_of(group)
            || (self.emitted.get(key)).is_some_and(|(_, last)| window <= *last)
    }

    /// A record was added to a window that has fired.
    pub(crate) fn change(&mut self, window: i64, group: KeyGroup, key: &K) {
        let keys = self.changed.entry(window).or_default();
        keys.insert(key.clone(), group);
    }

    /// Takes a watermark; false if it is no later one.
    pub(crate) fn raise(&mut self, watermark: Timestamp) -> bool {
        debug_assert!(self.firing.is_none(), "a signal comes when there is room");
        let window = self.next_window();
        if !self.clock.raise(watermark) {
            return false;
        }
        self.firing = Some(Firing {
            until: watermark,
            end: self.slicing.first_open(watermark),
            window,
            within: None,
            forgetting: Cursor::default(),
        });
        true
    }

    /// The next key and window that fire, and are removed from what is to fire. `spend` is asked after each key that is
    /// looked at in vain; when it says so, the search is interrupted.
    pub(crate) fn next_emission(
        &mut self,
        merge: impl Fn(&mut A, A),
        mut spend: impl FnMut() -> bool,
    ) -> Looked<(KeyGroup, Emission<K, A>)> {
        while let Some((window, key)) = self.next_change() {
            if let Some((group, value)) = self.combined(window, &key, &merge) {
                let span = self.slicing.window_span(window);
                return Looked::Found((group, Emission::new(key, span, value)));
            }
        }
        loop {
            let Some(mut firing) = self.firing else {
                return Looked::Nothing;
            };
            if firing.within.is_none() {
                let Some((window, within)) = self.next_complete(firing.window, firing.end) else {
                    firing.window = firing.end;
                    self.firing = Some(firing);
                    return Looked::Nothing;
                };
                firing.window = window;
                firing.within = Some(within);
                if self.takes {
                    // Very soon it is gone as a whole.
                    self.slices[within.first].1.forget_changes();
                }
            }
            let within = firing
                .within
                .as_mut()
                .expect("the window that fires has been looked for");
            let found = if self.takes {
                self.take_key(firing.window, within, &mut spend)
            } else {
                self.next_key(firing.window, within, &merge, &mut spend)
            };
            let span = self.slicing.window_span(firing.window);
            if let Looked::Nothing = found {
                if self.takes {
                    let slice = self.slices.remove(within.first);
                    self.saving.drop_slice(slice);
                }
                firing.window += 1;
                firing.within = None;
            }
            self.firing = Some(firing);
            match found {
                Looked::Found((group, key, value)) => {
                    return Looked::Found((group, Emission::new(key, span, value)));
                }
                Looked::Interrupted => return Looked::Interrupted,
                Looked::Nothing if spend() => return Looked::Interrupted,
                Looked::Nothing => {}
            }
        }
    }

    /// Forgets slices that no record can change any more, of which all windows have fired. False if `spend`, which is asked
    /// after each key, says that it is time to let others run.
    pub(crate) fn forget(&mut self, lateness: i64, mut spend: impl FnMut() -> bool) -> bool {
        if !self.finish_walk(&mut spend) {
            return false;
        }
        let Some(mut firing) = self.firing else {
            return true;
        };
        while let Some((number, table)) = self.slices.front_mut() {
            let (_, window) = self.slicing.windows_of(*number);
            let last = self.slicing.window_span(window).last();
            if last.0.saturating_add(lateness) > firing.until.0 {
                break;
            }
            if mem::needs_drop::<(K, A)>() || table.is_saving() {
                table.forget_changes();
                while table.take_next(&mut firing.forgetting).is_some() {
                    if spend() {
                        self.firing = Some(firing);
                        return false;
                    }
                }
            }
            firing.forgetting = Cursor::default();
            let slice = self.slices.pop_front();
            self.saving.drop_slice(slice);
        }
        self.firing = Some(firing);
        true
    }

    /// Ends the firing. Returns the watermark to pass on.
    pub(crate) fn end_firing(&mut self) -> Option<Timestamp> {
        let firing = self.firing.take()?;
        let watermark = firing.until;
        let next = firing.end;
        if self.restored.iter().all(|window| *window <= next) {
            self.restored = Vec::new();
        }
        self.emitted.retain(|_, (_, last)| *last >= next);
        Some(watermark)
    }

    fn next_change(&mut self) -> Option<(i64, K)> {
        loop {
            let mut first = self.changed.first_entry()?;
            if let Some((key, _)) = first.get_mut().pop() {
                return Some((*first.key(), key));
            }
            first.remove();
        }
    }

    /// What a window has gathered of a key; none if it is in none of its slices.
    fn combined(&self, window: i64, key: &K, merge: impl Fn(&mut A, A)) -> Option<(KeyGroup, A)> {
        let (first, last) = self.slicing.slices_of(window);
        let mut combined: Option<(KeyGroup, A)> = None;
        let slices = self.slices.range(self.place_of(first)..);
        for (_, table) in slices.take_while(|(number, _)| *number <= last) {
            let Some(place) = table.find(key) else {
                continue;
            };
            let value = table.value(place).clone();
            match &mut combined {
                Some((_, into)) => merge(into, value),
                None => combined = Some((table.group(place), value)),
            }
        }
        combined
    }

    /// The first window from `window` to `end` that has a slice.
    fn next_complete(&self, mut window: i64, end: i64) -> Option<(i64, Within)> {
        while window < end {
            let (first, last) = self.slicing.slices_of(window);
            let place = self.place_of(first);
            let (number, _) = self.slices.get(place)?;
            if *number <= last {
                let slices = self.slices.range(place..);
                let stored = slices.take_while(|(number, _)| *number <= last).count();
                let within = Within {
                    first: place,
                    end: place + stored,
                    slice: place,
                    cursor: Cursor::default(),
                };
                return Some((window, within));
            }
            window = self.slicing.windows_of(*number).0;
        }
        None
    }

    /// The next key of the only slice of a window, taken out of it.
    fn take_key(
        &mut self,
        window: i64,
        within: &mut Within,
        mut spend: impl FnMut() -> bool,
    ) -> Looked<(KeyGroup, K, A)> {
        loop {
            let table = &mut self.slices[within.slice].1;
            let Some((key, value, group)) = table.take_next(&mut within.cursor) else {
                return Looked::Nothing;
            };
            // It may have been saved while windows took late records, and have fired then.
            if self.restored.is_empty() || !self.has_fired(window, group, &key) {
                return Looked::Found((group, key, value));
            }
            if spend() {
                return Looked::Interrupted;
            }
        }
    }

    /// The next key of a window, with what all of its slices have gathered of it.
    fn next_key(
        &self,
        window: i64,
        within: &mut Within,
        merge: impl Fn(&mut A, A),
        mut spend: impl FnMut() -> bool,
    ) -> Looked<(KeyGroup, K, A)> {
        let is_restored = !self.restored.is_empty() || !self.emitted.is_empty();
        while within.slice < within.end {
            let table = &self.slices[within.slice].1;
            let Some((key, value, group)) = table.next(&mut within.cursor) else {
                within.slice += 1;
                within.cursor = Cursor::default();
                continue;
            };
            let hash = table.hash(key);
            if self.is_first(within.first, within.slice, hash, key)
                && !(is_restored && self.has_fired(window, group, key))
            {
                let mut combined = value.clone();
                for (_, later) in self.slices.range(within.slice + 1..within.end) {
                    if let Some(value) = later.get_hashed(hash, key) {
                        merge(&mut combined, value.clone());
                    }
                }
                return Looked::Found((group, key.clone(), combined));
            }
            if spend() {
                return Looked::Interrupted;
            }
        }
        Looked::Nothing
    }

    /// Whether a key of a slice is in no earlier one of the window.
    pub(super) fn is_first(&self, first: usize, slice: usize, hash: u64, key: &K) -> bool {
        let mut earlier = self.slices.range(first..slice);
        !earlier.any(|(_, table)| table.get_hashed(hash, key).is_some())
    }
}
