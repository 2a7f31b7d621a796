//! What session windows look like in a snapshot.

use std::ops::Range;

use levada_core::codec::{self, CodecError};
use levada_core::{Key, KeyGroup, Timestamp};
use levada_state::{StateError, WholeState, write_rows};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::window::sessions::open::{KeySessions, OpenSession};
use crate::window::sessions::state::{Firing, SessionState};

/// A group is written as
///
/// | what | as |
/// |---|---|
/// | its watermark | i64 |
/// | whether sessions are firing because of it | bool |
/// | keys | u64, then key and sessions of each |
/// | results that are being emitted | u64, then an emission each |
///
/// Sessions are their number (u64), and of each its span, whether it has fired, and its accumulator.
impl<K, A> WholeState for SessionState<K, A>
where
    K: Key,
    A: Clone + Serialize + DeserializeOwned,
{
    fn owned(&self) -> Range<u16> {
        self.owned.clone()
    }

    fn write(&self, groups: &mut [Vec<u8>]) -> Result<(), StateError> {
        for (group, bytes) in self.owned.clone().zip(&mut *groups) {
            let group = KeyGroup(group);
            let clock = (self.clock.of(group), self.is_firing(group));
            codec::encode(&clock, bytes).map_err(|error| StateError::new(group, error))?;
        }
        write_rows(&self.owned, groups, |add| {
            for (key, sessions, group) in self.table.iter() {
                add(group, &|bytes| {
                    codec::encode(key, bytes)?;
                    codec::encode(sessions.all(), bytes)
                })?;
            }
            Ok(())
        })?;
        self.emissions.write(&self.owned, groups)
    }

    fn read_group(&mut self, group: KeyGroup, bytes: &[u8]) -> Result<(), StateError> {
        self.read(group, bytes)
            .map_err(|error| StateError::new(group, error))
    }
}

impl<K, A> SessionState<K, A>
where
    K: Key,
    A: Clone + Serialize + DeserializeOwned,
{
    fn read(&mut self, group: KeyGroup, mut bytes: &[u8]) -> Result<(), CodecError> {
        let bytes = &mut bytes;
        let (watermark, is_firing): (Timestamp, bool) = codec::decode_next(bytes)?;
        self.clock.restore(group, watermark);
        self.is_restored = true;
        self.firing = Some(Firing::Restored);
        self.interrupted.resize(self.owned.len(), false);
        self.interrupted[usize::from(group.0 - self.owned.start)] = is_firing;
        for _ in 0..codec::decode_next::<u64>(bytes)? {
            let key: K = codec::decode_next(bytes)?;
            let sessions: Vec<OpenSession<A>> = codec::decode_next(bytes)?;
            let sessions = KeySessions::of_several(sessions);
            self.table
                .get_or_insert(&key, || Ok::<_, CodecError>((group, sessions)))?;
        }
        self.emissions.read(group, bytes)?;
        codec::expect_end(bytes)
    }
}
