//! What session windows look like in a snapshot.

use std::ops::Range;

use levada_core::codec::{self, CodecError};
use levada_core::{Key, KeyGroup, Timestamp};
use levada_state::{GroupClock, KeyedState, Parts, StateError, WholeState};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::window::emitting::Emissions;
use crate::window::sessions::state::{Firing, SessionState};

impl<K, A> SessionState<K, A>
where
    K: Key,
    A: Clone + Serialize + DeserializeOwned + Send,
{
    /// All of it, as it is saved: the sessions by key, each of them its span, whether it has fired, and its accumulator; and
    /// the times.
    pub(crate) fn visit<R>(&mut self, visit: impl FnOnce(&mut dyn KeyedState) -> R) -> R {
        let mut times = Times {
            owned: &self.owned,
            clock: &mut self.clock,
            emissions: &mut self.emissions,
            firing: &mut self.firing,
            is_restored: &mut self.is_restored,
            interrupted: &mut self.interrupted,
            queue_bytes: self.due.memory(self.table.key_heap()),
        };
        visit(&mut Parts(&mut [&mut self.table, &mut times]))
    }
}

/// How far sessions have fired.
struct Times<'a, K, A> {
    owned: &'a Range<u16>,
    clock: &'a mut GroupClock,
    emissions: &'a mut Emissions<K, A>,
    firing: &'a mut Option<Firing>,
    is_restored: &'a mut bool,
    interrupted: &'a mut Vec<bool>,
    queue_bytes: u64,
}

/// A group is written as
///
/// | what | as |
/// |---|---|
/// | its watermark | i64 |
/// | whether sessions are firing because of it | bool |
/// | results that are being emitted | u64, then an emission each |
impl<K, A> WholeState for Times<'_, K, A>
where
    K: Key,
    A: Clone + Serialize + DeserializeOwned + Send,
{
    fn owned(&self) -> Range<u16> {
        self.owned.clone()
    }

    fn write(&self, groups: &mut [Vec<u8>]) -> Result<(), StateError> {
        for (place, (group, bytes)) in self.owned.clone().zip(&mut *groups).enumerate() {
            let group = KeyGroup(group);
            let is_firing = Firing::includes(*self.firing, self.interrupted, place);
            let times = (self.clock.to_be_saved(group), is_firing);
            codec::encode(&times, bytes).map_err(|error| StateError::new(group, error))?;
        }
        self.emissions.write(self.owned, groups)
    }

    fn memory(&self) -> u64 {
        self.queue_bytes
    }

    fn read_group(&mut self, group: KeyGroup, mut bytes: &[u8]) -> Result<(), StateError> {
        let mut read = || -> Result<(), CodecError> {
            let (watermark, is_firing): (Timestamp, bool) = codec::decode_next(&mut bytes)?;
            self.clock.restore(group, watermark);
            *self.is_restored = true;
            *self.firing = Some(Firing::Restored);
            self.interrupted.resize(self.owned.len(), false);
            self.interrupted[usize::from(group.0 - self.owned.start)] = is_firing;
            self.emissions.read(group, &mut bytes)?;
            codec::expect_end(bytes)
        };
        read().map_err(|error| StateError::new(group, error))
    }
}
