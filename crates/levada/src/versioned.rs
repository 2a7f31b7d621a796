//! Keyed streams before an operator whose state has a version.

use std::panic::Location;

use levada_core::{Exchange, Key, Span, State};
use levada_operators::aggregate::{Fold, Gather, Reduce};
use levada_operators::process::{Connected as Both, Informed, Single};
use levada_operators::window::{
    Aggregated, Folded, NeverMerged, Versioned as VersionedContents, WindowsOf,
};
use levada_operators::{Aggregate, Aggregates, BroadcastProcess, CoProcess, Process, Ttl};
use levada_state::StateVersion;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::connected::{KeyedBroadcast, KeyedConnected};
use crate::expiring::Expiring;
use crate::keyed::{Keyed, Updates};
use crate::side::SideOutputs;
use crate::stream::Stream;
use crate::windowed::Windowed;

/// A keyed stream, of whatever kind, before an operator whose state is an `S` of a certain version. Made by
/// [`Keyed::state`] and the like.
///
/// It has the operators whose state is of a type of the program: `process`, `fold`, `aggregate` and `reduce`.
#[must_use = "a keyed stream does nothing until an operator follows it"]
pub struct Versioned<I, S> {
    input: I,
    version: StateVersion<S>,
}

impl<K: Key, T: Exchange> Keyed<K, T> {
    /// The state of the operator that follows has this version, and values of older versions become such of this one
    /// when a checkpoint with them is restored: see [`version`](crate::version).
    ///
    /// ```
    /// use levada::prelude::*;
    /// use serde::{Deserialize, Serialize};
    ///
    /// /// What is kept of a user now..
    /// #[derive(Clone, Default, Serialize, Deserialize)]
    /// struct Attempts {
    ///     failed: u64,
    ///     last: Option<i64>,
    /// }
    ///
    /// /// ..and what the job kept before it was changed.
    /// #[derive(Serialize, Deserialize)]
    /// struct AttemptsV1 {
    ///     failed: u32,
    /// }
    ///
    /// fn attempts(logins: Stream<(String, i64)>) -> Stream<(String, Attempts)> {
    ///     logins
    ///         .key_by(|(user, _)| user.clone())
    ///         .state(version(2).from(1, |old: AttemptsV1| Attempts {
    ///             failed: old.failed.into(),
    ///             last: None,
    ///         }))
    ///         .fold("attempts", |attempts, (_, at)| {
    ///             attempts.failed += 1;
    ///             attempts.last = Some(*at);
    ///         })
    ///         .stream()
    /// }
    /// ```
    pub fn state<S>(self, version: StateVersion<S>) -> Versioned<Self, S> {
        Versioned {
            input: self,
            version,
        }
    }
}

impl<K: Key, T: Exchange> Expiring<K, T> {
    /// The state of the operator that follows has this version, as [`Keyed::state`]. States of older versions were last
    /// used when they were.
    pub fn state<S>(self, version: StateVersion<S>) -> Versioned<Self, S> {
        Versioned {
            input: self,
            version,
        }
    }
}

impl<K: Key, A: Exchange, B: Exchange> KeyedConnected<K, A, B> {
    /// The state of the operator that follows has this version, as [`Keyed::state`].
    pub fn state<S>(self, version: StateVersion<S>) -> Versioned<Self, S> {
        Versioned {
            input: self,
            version,
        }
    }
}

impl<K: Key, T: Exchange, R: Exchange> KeyedBroadcast<K, T, R> {
    /// The state that the operator that follows keeps for each key has this version, as [`Keyed::state`]. What all
    /// subtasks share has none: there is no way from another type of it.
    pub fn state<S>(self, version: StateVersion<S>) -> Versioned<Self, S> {
        Versioned {
            input: self,
            version,
        }
    }
}

impl<K: Key, T: Exchange, W: WindowsOf<T>> Windowed<K, T, W> {
    /// What the operator that follows gathers in each window has this version, as [`Keyed::state`].
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn revenue(bids: Stream<(u64, u64, i64)>) -> Stream<(u64, Span, u64)> {
    ///     bids.timestamps(|(_, _, at)| *at, seconds(5))
    ///         .key_by(|(auction, _, _)| *auction)
    ///         .window(tumbling(days(1)))
    ///         .state(version(2).from(1, |cents: u32| u64::from(cents)))
    ///         .aggregate("revenue", |bids| bids.sum(|(_, price, _)| *price))
    /// }
    /// ```
    pub fn state<S>(self, version: StateVersion<S>) -> Versioned<Self, S> {
        Versioned {
            input: self,
            version,
        }
    }
}

impl<K: Key, T: Exchange, S> Versioned<Keyed<K, T>, S> {
    /// The operator that follows forgets the state of a key that is not used for so long, as [`Keyed::ttl`].
    pub fn ttl(self, ttl: Ttl) -> Versioned<Expiring<K, T>, S> {
        Versioned {
            input: self.input.ttl(ttl),
            version: self.version,
        }
    }

    /// A value for each key, as [`Keyed::fold`].
    #[track_caller]
    pub fn fold<F>(self, name: &str, f: F) -> Updates<(K, S)>
    where
        F: Fn(&mut S, &T) + Send + Sync + 'static,
        S: State + Clone,
    {
        let place = Location::caller();
        self.input.running(name, place, Fold::new(f), self.version)
    }

    /// An aggregate for each key, as [`Keyed::aggregate`]: the state is its accumulator.
    #[track_caller]
    pub fn aggregate<A, F>(self, name: &str, f: F) -> Updates<(K, A::Out)>
    where
        F: FnOnce(Aggregates<T>) -> A,
        A: Aggregate<T, Accumulator = S>,
    {
        let place = Location::caller();
        let aggregate = Gather(f(Aggregates::new()));
        self.input.running(name, place, aggregate, self.version)
    }

    /// The user's own operator, as [`Keyed::process`].
    #[track_caller]
    pub fn process<P>(self, name: &str, process: P) -> Stream<P::Out>
    where
        P: Process<Key = K, In = T, State = S>,
    {
        self.lasting().process(name, process)
    }

    /// The user's own operator with side outputs, as [`Keyed::process_with_side`].
    #[track_caller]
    pub fn process_with_side<P, O, F>(self, name: &str, f: F) -> (Stream<P::Out>, O::Streams)
    where
        P: Process<Key = K, In = T, State = S>,
        O: SideOutputs,
        F: FnOnce(O) -> P,
    {
        self.lasting().process_with_side(name, f)
    }

    fn lasting(self) -> Versioned<Expiring<K, T>, S> {
        Versioned {
            input: self.input.lasting(),
            version: self.version,
        }
    }
}

impl<K: Key, T: Exchange + Clone> Versioned<Keyed<K, T>, T> {
    /// One record for each key, as [`Keyed::reduce`]: the state is a record.
    #[track_caller]
    pub fn reduce<F>(self, name: &str, f: F) -> Updates<(K, T)>
    where
        F: Fn(&mut T, &T) + Send + Sync + 'static,
    {
        let place = Location::caller();
        let reduce: Reduce<F> = Aggregates::<T>::new().reduce(f);
        let version = self.version.optional();
        self.input.running(name, place, Gather(reduce), version)
    }
}

impl<K: Key, T: Exchange, S> Versioned<Expiring<K, T>, S> {
    /// The user's own operator, as [`Keyed::process`].
    #[track_caller]
    pub fn process<P>(self, name: &str, process: P) -> Stream<P::Out>
    where
        P: Process<Key = K, In = T, State = S>,
    {
        let reserved = self.input.reserve(name, Location::caller());
        reserved.process(Single(process), self.version)
    }

    /// The user's own operator with side outputs, as [`Keyed::process_with_side`].
    #[track_caller]
    pub fn process_with_side<P, O, F>(self, name: &str, f: F) -> (Stream<P::Out>, O::Streams)
    where
        P: Process<Key = K, In = T, State = S>,
        O: SideOutputs,
        F: FnOnce(O) -> P,
    {
        let reserved = self.input.reserve(name, Location::caller());
        reserved.process_with_side(|sides| Single(f(sides)), self.version)
    }
}

impl<K: Key, A: Exchange, B: Exchange, S> Versioned<KeyedConnected<K, A, B>, S> {
    /// The operator forgets the state of a key that is not used for so long, as [`KeyedConnected::ttl`].
    pub fn ttl(self, ttl: Ttl) -> Self {
        Self {
            input: self.input.ttl(ttl),
            ..self
        }
    }

    /// The user's own operator, as [`KeyedConnected::process`].
    #[track_caller]
    pub fn process<P>(self, name: &str, process: P) -> Stream<P::Out>
    where
        P: CoProcess<Key = K, First = A, Second = B, State = S>,
    {
        let reserved = self.input.reserve(name, Location::caller());
        reserved.process(Both(process), self.version)
    }

    /// The user's own operator with side outputs, as [`KeyedConnected::process_with_side`].
    #[track_caller]
    pub fn process_with_side<P, O, F>(self, name: &str, f: F) -> (Stream<P::Out>, O::Streams)
    where
        P: CoProcess<Key = K, First = A, Second = B, State = S>,
        O: SideOutputs,
        F: FnOnce(O) -> P,
    {
        let reserved = self.input.reserve(name, Location::caller());
        reserved.process_with_side(|sides| Both(f(sides)), self.version)
    }
}

impl<K: Key, T: Exchange, R: Exchange, S> Versioned<KeyedBroadcast<K, T, R>, S> {
    /// The operator forgets the state of a key that is not used for so long, as [`KeyedBroadcast::ttl`].
    pub fn ttl(self, ttl: Ttl) -> Self {
        Self {
            input: self.input.ttl(ttl),
            ..self
        }
    }

    /// The user's own operator, as [`KeyedBroadcast::process`].
    #[track_caller]
    pub fn process<P>(self, name: &str, process: P) -> Stream<P::Out>
    where
        P: BroadcastProcess<Key = K, In = T, Broadcast = R, State = S>,
    {
        let reserved = self.input.reserve(name, Location::caller());
        reserved.process(Informed(process), self.version)
    }

    /// The user's own operator with side outputs, as [`KeyedBroadcast::process_with_side`].
    #[track_caller]
    pub fn process_with_side<P, O, F>(self, name: &str, f: F) -> (Stream<P::Out>, O::Streams)
    where
        P: BroadcastProcess<Key = K, In = T, Broadcast = R, State = S>,
        O: SideOutputs,
        F: FnOnce(O) -> P,
    {
        let reserved = self.input.reserve(name, Location::caller());
        reserved.process_with_side(|sides| Informed(f(sides)), self.version)
    }
}

impl<K: Key, T: Exchange, W: WindowsOf<T>, S> Versioned<Windowed<K, T, W>, S> {
    /// A value for each key and window, as [`Windowed::fold`].
    #[track_caller]
    pub fn fold<F>(self, name: &str, f: F) -> Stream<(K, Span, S)>
    where
        W: NeverMerged,
        F: Fn(&mut S, &T) + Send + Sync + 'static,
        S: State + Clone,
    {
        let place = Location::caller();
        let contents = VersionedContents::new(Folded::new(f), self.version);
        self.input.operator(name, place, contents)
    }

    /// An aggregate for each key and window, as [`Windowed::aggregate`]: the state is its accumulator.
    #[track_caller]
    pub fn aggregate<A, F>(self, name: &str, f: F) -> Stream<(K, Span, A::Out)>
    where
        F: FnOnce(Aggregates<T>) -> A,
        A: Aggregate<T, Accumulator = S>,
        S: Clone + Serialize + DeserializeOwned + Send + 'static,
    {
        let place = Location::caller();
        let aggregated = Aggregated(f(Aggregates::new()));
        let contents = VersionedContents::new(aggregated, self.version);
        self.input.operator(name, place, contents)
    }
}

impl<K: Key, T: Exchange + Clone, W: WindowsOf<T>> Versioned<Windowed<K, T, W>, T> {
    /// One record for each key and window, as [`Windowed::reduce`]: the state is a record.
    #[track_caller]
    pub fn reduce<F>(self, name: &str, f: F) -> Stream<(K, Span, T)>
    where
        F: Fn(&mut T, &T) + Send + Sync + 'static,
    {
        let place = Location::caller();
        let reduce: Reduce<F> = Aggregates::<T>::new().reduce(f);
        let contents = VersionedContents::new(Aggregated(reduce), self.version.optional());
        self.input.operator(name, place, contents)
    }
}
