//! How far the saving of sliced windows has come.

use std::mem;

use levada_core::{Key, KeyGroup, codec};
use levada_state::{Cursor, KeyedTable, RowKind, Rows, Saving, StateError};

use crate::window::sliced::state::SlicedState;

/// The parts of a snapshot.
pub(super) const SLICES: u16 = 0;
pub(super) const TIMES: u16 = 1;
pub(super) const EMITTED: u16 = 2;

/// What the slices do not know of themselves.
#[derive(Debug, Default)]
pub(super) struct SliceSaving {
    /// The checkpoints whose changes since are known.
    begun: Vec<u64>,
    /// Slices before this one are gone; none is if there is none.
    pub(super) kept_from: Option<i64>,
    /// The same by group, as it was read. Empty once the slices have been looked at.
    pub(super) restored_from: Vec<Option<i64>>,
    /// Slices before this one have been written.
    pub(super) next: i64,
    /// What slices that are gone have written because they were about to change.
    pub(super) left: Rows,
    /// Why some of it, or what the walk has found, could not be written.
    pub(super) failed: Option<StateError>,
    pub(super) walk: Option<Walk>,
    /// What the walk has found while nobody took it.
    pub(super) found: Rows,
}

/// The most checkpoints that are remembered while none is confirmed.
const BEGUN_MAX: usize = 256;

/// Goes through the keys for which the window that was firing when a snapshot was begun had fired. Until it has come to its
/// end, the slices only lose what is taken out of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    /// How many of the restored keys it has come by.
    restored: usize,
    /// None if no window was firing, or if the keys of one are taken out of its slice.
    fired: Option<Fired>,
}

/// A part of a window, up to a place.
#[derive(Clone, Copy, Debug)]
struct Fired {
    window: i64,
    /// The window's first slice.
    first: usize,
    /// Where the walk is.
    at: (usize, Cursor),
    /// Where it ends.
    end: (usize, Cursor),
}

/// What a step of the walk comes to.
enum Step<'a, K> {
    /// A window has fired for a key.
    Fired(i64, &'a K, KeyGroup),
    /// Nothing.
    Passed,
    End,
}

impl SliceSaving {
    /// The checkpoint since which changes are to be written, if they are known. Notes the one that begins.
    pub(super) fn begin(&mut self, saving: &Saving) -> Option<u64> {
        let base = saving.base.filter(|base| self.begun.contains(base));
        let oldest = saving.base.into_iter().chain(saving.confirmed).min();
        self.begun
            .retain(|checkpoint| oldest.is_none_or(|oldest| *checkpoint >= oldest));
        if self.begun.len() == BEGUN_MAX {
            self.begun.remove(0);
        }
        self.begun.push(saving.checkpoint);
        self.next = i64::MIN;
        self.left = Rows::default();
        self.found = Rows::default();
        self.failed = None;
        base
    }

    /// A slice is gone, and with it all before it.
    pub(super) fn drop_slice<K: Key, A>(&mut self, slice: Option<(i64, KeyedTable<K, A>)>) {
        let Some((number, mut table)) = slice else {
            return;
        };
        self.kept_from = self.kept_from.max(Some(number.saturating_add(1)));
        if let Err(error) = table.take_written(&mut self.left) {
            self.failed.get_or_insert(error);
        }
    }
}

impl<K: Key, A: Clone> SlicedState<K, A> {
    pub(super) fn begin_walk(&mut self) {
        let firing = self.firing.filter(|_| !self.takes_keys());
        let fired = firing.and_then(|firing| {
            let within = firing.within?;
            Some(Fired {
                window: firing.window,
                first: within.first,
                at: (within.first, Cursor::default()),
                end: (within.slice, within.cursor),
            })
        });
        self.saving.walk = Some(Walk { restored: 0, fired });
    }

    /// Goes on with the walk; false if `is_over`, which is asked after each key, has said so.
    pub(super) fn walk(
        &mut self,
        rows: &mut Rows,
        mut is_over: impl FnMut(&Rows) -> bool,
    ) -> Result<bool, StateError> {
        let Some(mut walk) = self.saving.walk else {
            return Ok(true);
        };
        loop {
            match self.step(&mut walk) {
                Step::Fired(window, key, group) => rows.add(group, RowKind::Put, |bytes| {
                    codec::encode(&(window, key), bytes)
                })?,
                Step::Passed => {}
                Step::End => {
                    self.saving.walk = None;
                    return Ok(true);
                }
            }
            if is_over(rows) {
                self.saving.walk = Some(walk);
                return Ok(false);
            }
        }
    }

    /// Brings the walk to its end before slices change; false if `spend` says that it is time to let others run.
    pub(super) fn finish_walk(&mut self, mut spend: impl FnMut() -> bool) -> bool {
        if self.saving.walk.is_none() {
            return true;
        }
        let mut found = mem::take(&mut self.saving.found);
        found.set_part(EMITTED);
        let walked = self.walk(&mut found, |_| spend());
        self.saving.found = found;
        walked.unwrap_or_else(|error| {
            self.saving.walk = None;
            self.saving.failed.get_or_insert(error);
            true
        })
    }

    fn step(&self, walk: &mut Walk) -> Step<'_, K> {
        if let Some((key, (group, window))) = self.emitted.get_index(walk.restored) {
            walk.restored += 1;
            return Step::Fired(*window, key, *group);
        }
        let Some(fired) = &mut walk.fired else {
            return Step::End;
        };
        if fired.at == fired.end {
            return Step::End;
        }
        let (slice, cursor) = &mut fired.at;
        let Some((_, table)) = self.slices.get(*slice) else {
            return Step::End;
        };
        let Some((key, _, group)) = table.next(cursor) else {
            if *slice == fired.end.0 {
                return Step::End;
            }
            fired.at = (*slice + 1, Cursor::default());
            return Step::Passed;
        };
        // A key that has been passed over has fired for this window before it was restored.
        let is_further = (self.emitted.get(key)).is_some_and(|(_, last)| *last >= fired.window);
        if !is_further && self.is_first(fired.first, *slice, table.hash(key), key) {
            return Step::Fired(fired.window, key, group);
        }
        Step::Passed
    }
}
