//! The open sessions of a key.

use std::{mem, slice};

use levada_core::{Span, Timestamp, codec};
use levada_state::{ValueReader, read_list};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A session that may get records.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct OpenSession<A> {
    /// From the first record to a gap after the last one.
    pub(crate) span: Span,
    /// Whether it has fired, and has had no record since.
    pub(crate) fired: bool,
    pub(crate) accumulator: A,
}

/// The sessions of one key in the order of time: seldom more than one, which takes no memory of its own.
#[derive(Clone, Debug)]
pub(crate) struct KeySessions<A> {
    /// The time of the entry in the queue that counts, if there is one; others of the key are older.
    pub(crate) due: Option<Timestamp>,
    open: Open<A>,
}

#[derive(Clone, Debug)]
enum Open<A> {
    One(OpenSession<A>),
    Several(Vec<OpenSession<A>>),
}

impl<A> KeySessions<A> {
    /// The only session of a key, which is not in the queue yet.
    pub(crate) fn of(session: OpenSession<A>) -> Self {
        Self {
            due: None,
            open: Open::One(session),
        }
    }

    /// The sessions of a key, which is not in the queue yet.
    fn of_all(mut sessions: Vec<OpenSession<A>>) -> Self {
        let open = match sessions.pop() {
            Some(only) if sessions.is_empty() => Open::One(only),
            last => {
                sessions.extend(last);
                Open::Several(sessions)
            }
        };
        Self { due: None, open }
    }

    /// The only session.
    #[inline]
    pub(crate) fn only(&mut self) -> Option<&mut OpenSession<A>> {
        match &mut self.open {
            Open::One(session) => Some(session),
            Open::Several(_) => None,
        }
    }

    pub(crate) fn all(&self) -> &[OpenSession<A>] {
        match &self.open {
            Open::One(session) => slice::from_ref(session),
            Open::Several(sessions) => sessions,
        }
    }

    pub(crate) fn all_mut(&mut self) -> &mut [OpenSession<A>] {
        match &mut self.open {
            Open::One(session) => slice::from_mut(session),
            Open::Several(sessions) => sessions,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// Adds a session, which overlaps no other.
    pub(crate) fn insert(&mut self, session: OpenSession<A>) {
        let place = self
            .all()
            .partition_point(|other| other.span.start < session.span.start);
        let mut sessions = self.take_all();
        sessions.insert(place, session);
        self.open = Open::Several(sessions);
    }

    pub(crate) fn remove(&mut self, place: usize) -> OpenSession<A> {
        match mem::replace(&mut self.open, Open::Several(Vec::new())) {
            Open::One(session) => {
                assert!(place == 0, "there is one session");
                session
            }
            Open::Several(mut sessions) => {
                let removed = sessions.remove(place);
                self.open = match sessions.pop() {
                    Some(only) if sessions.is_empty() => Open::One(only),
                    last => {
                        sessions.extend(last);
                        Open::Several(sessions)
                    }
                };
                removed
            }
        }
    }

    fn take_all(&mut self) -> Vec<OpenSession<A>> {
        match mem::replace(&mut self.open, Open::Several(Vec::new())) {
            Open::One(session) => vec![session],
            Open::Several(sessions) => sessions,
        }
    }
}

impl<A: DeserializeOwned + 'static> KeySessions<A> {
    /// Reads accumulators so, and the rest as the codec writes it.
    pub(crate) fn reader(accumulators: &ValueReader<A>) -> ValueReader<Self> {
        accumulators.within(|accumulators, bytes| {
            let sessions = read_list(bytes, |bytes| {
                Ok(OpenSession {
                    span: codec::decode_next(bytes)?,
                    fired: codec::decode_next(bytes)?,
                    accumulator: accumulators.read(bytes)?,
                })
            })?;
            Ok(Self::of_all(sessions))
        })
    }
}

/// Written as a sequence of sessions.
impl<A: Serialize> Serialize for KeySessions<A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.all().serialize(serializer)
    }
}

impl<'de, A: Deserialize<'de>> Deserialize<'de> for KeySessions<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of_all(Vec::deserialize(deserializer)?))
    }
}
