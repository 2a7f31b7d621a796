//! Keyed streams whose operators forget.

use std::panic::Location;

use levada_core::{Exchange, Key};
use levada_operators::process::Single;
use levada_operators::{Deduplicate, Process, Ttl};
use levada_state::StateVersion;

use crate::keyed::Keyed;
use crate::reserved::Reserved;
use crate::side::SideOutputs;
use crate::stream::Stream;

/// Records of type `T` grouped by keys of type `K`, before an operator whose state has a time-to-live. Made by
/// [`Keyed::ttl`].
#[must_use = "a keyed stream does nothing until an operator follows it"]
pub struct Expiring<K, T> {
    keyed: Keyed<K, T>,
    /// None if nothing is forgotten.
    ttl: Option<Ttl>,
}

impl<K: Key, T: Exchange> Keyed<K, T> {
    /// The operator that follows forgets the state of a key that is not used for so long: [`Ttl`] says when exactly.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// /// Numbers the records of each session; a user who comes back after half an hour begins another one.
    /// #[derive(Clone)]
    /// struct Numbered;
    ///
    /// impl Process for Numbered {
    ///     type Key = String;
    ///     type In = (String, i64);
    ///     type State = u64;
    ///     type Out = (String, u64);
    ///
    ///     fn element(&self, (user, _): &(String, i64), context: &mut Context<'_, Self>) {
    ///         *context.state() += 1;
    ///         let number = *context.state();
    ///         context.emit((user.clone(), number));
    ///     }
    /// }
    ///
    /// fn numbered(clicks: Stream<(String, i64)>) -> Stream<(String, u64)> {
    ///     clicks
    ///         .timestamps(|(_, at)| *at, seconds(5))
    ///         .key_by(|(user, _)| user.clone())
    ///         .ttl(Ttl::event_time(minutes(30)))
    ///         .process("numbered", Numbered)
    /// }
    /// ```
    pub fn ttl(self, ttl: Ttl) -> Expiring<K, T> {
        Expiring {
            keyed: self,
            ttl: Some(ttl),
        }
    }

    /// The operator that follows forgets nothing.
    pub(crate) fn lasting(self) -> Expiring<K, T> {
        Expiring {
            keyed: self,
            ttl: None,
        }
    }
}

impl<K: Key, T: Exchange> Expiring<K, T> {
    /// The first record of each key, and again the first one after the key has been forgotten: so long after its last
    /// record that was passed on, or with [`Ttl::refreshed_on_read`] after its last record.
    #[track_caller]
    pub fn deduplicate(self, name: &str) -> Stream<T>
    where
        T: Clone,
    {
        self.reserve(name, Location::caller())
            .process(Single(Deduplicate::<K, T>::new()), StateVersion::default())
    }

    /// The user's own operator, as [`Keyed::process`].
    #[track_caller]
    pub fn process<P>(self, name: &str, process: P) -> Stream<P::Out>
    where
        P: Process<Key = K, In = T>,
    {
        self.reserve(name, Location::caller())
            .process(Single(process), StateVersion::default())
    }

    /// The user's own operator with side outputs, as [`Keyed::process_with_side`].
    #[track_caller]
    pub fn process_with_side<P, S, F>(self, name: &str, f: F) -> (Stream<P::Out>, S::Streams)
    where
        P: Process<Key = K, In = T>,
        S: SideOutputs,
        F: FnOnce(S) -> P,
    {
        self.reserve(name, Location::caller())
            .process_with_side(|sides| Single(f(sides)), StateVersion::default())
    }

    pub(crate) fn reserve(self, name: &str, place: levada_core::Place) -> Reserved {
        self.keyed.reserve(name, place).ttl(self.ttl)
    }
}
