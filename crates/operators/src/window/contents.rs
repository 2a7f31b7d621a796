//! What a window keeps of its records, and what it makes of them.

use std::marker::PhantomData;
use std::sync::Arc;

use levada_core::{Exchange, Key, Span, State};
use levada_state::StateVersion;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::aggregate::Aggregate;

/// What is kept of the records of a key and window, and the results that are made of it.
///
/// Results come one by one, so that a window with very many of them (a join) can be interrupted between any two.
pub trait Contents<K, T>: Clone + Send + Sync + 'static {
    /// What is kept between two records.
    type Accumulator: Clone + Serialize + DeserializeOwned + Send + 'static;
    /// A result.
    type Out: Send + 'static;

    /// An accumulator of no record.
    fn create(&self) -> Self::Accumulator;

    /// Adds a record.
    fn add(&self, accumulator: &mut Self::Accumulator, record: &T);

    /// How many records of the program's one record stands for.
    fn records(&self, record: &T) -> u64 {
        let _ = record;
        1
    }

    /// Adds what another accumulator has gathered of later records.
    fn merge(&self, into: &mut Self::Accumulator, other: Self::Accumulator);

    /// The next result of a window, and moves on; none if there is no other.
    fn next(&self, emission: &mut Emission<K, Self::Accumulator>) -> Option<Self::Out>;

    /// The version of the accumulators.
    fn version(&self) -> StateVersion<Self::Accumulator> {
        StateVersion::default()
    }
}

/// A key's window that fires.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Emission<K, A> {
    /// The key.
    pub key: K,
    /// The window.
    pub span: Span,
    /// What it has gathered; none once there is no other result.
    pub accumulator: Option<A>,
    /// How many results have been made.
    pub position: u64,
}

impl<K, A> Emission<K, A> {
    /// An emission that has not begun.
    pub fn new(key: K, span: Span, accumulator: A) -> Self {
        Self {
            key,
            span,
            accumulator: Some(accumulator),
            position: 0,
        }
    }

    /// Whether it has no other result.
    pub fn is_over(&self) -> bool {
        self.accumulator.is_none()
    }
}

impl<K: Clone, A> Emission<K, A> {
    /// The only result of a window, the first time that it is asked for.
    fn once<V>(&mut self, finish: impl FnOnce(&K, Span, A) -> V) -> Option<(K, Span, V)> {
        let accumulator = self.accumulator.take()?;
        let result = finish(&self.key, self.span, accumulator);
        self.position += 1;
        Some((self.key.clone(), self.span, result))
    }
}

/// The result of an aggregate.
#[derive(Clone, Debug)]
pub struct Aggregated<A>(pub A);

impl<K: Key, T, A: Aggregate<T>> Contents<K, T> for Aggregated<A> {
    type Accumulator = A::Accumulator;
    type Out = (K, Span, A::Out);

    #[inline]
    fn create(&self) -> A::Accumulator {
        self.0.create()
    }

    #[inline]
    fn add(&self, accumulator: &mut A::Accumulator, record: &T) {
        self.0.add(accumulator, record);
    }

    fn merge(&self, into: &mut A::Accumulator, other: A::Accumulator) {
        self.0.merge(into, other);
    }

    #[inline]
    fn next(&self, emission: &mut Emission<K, A::Accumulator>) -> Option<Self::Out> {
        emission.once(|_, _, accumulator| self.0.finish(accumulator))
    }
}

/// Contents whose accumulators have a version.
#[derive(Clone, Debug)]
pub struct Versioned<C, A> {
    contents: C,
    version: StateVersion<A>,
}

impl<C, A> Versioned<C, A> {
    /// These contents with accumulators of this version.
    pub fn new(contents: C, version: StateVersion<A>) -> Self {
        Self { contents, version }
    }
}

impl<K, T, C, A> Contents<K, T> for Versioned<C, A>
where
    C: Contents<K, T, Accumulator = A>,
    A: Clone + Serialize + DeserializeOwned + Send + 'static,
{
    type Accumulator = A;
    type Out = C::Out;

    #[inline]
    fn create(&self) -> A {
        self.contents.create()
    }

    #[inline]
    fn add(&self, accumulator: &mut A, record: &T) {
        self.contents.add(accumulator, record);
    }

    fn records(&self, record: &T) -> u64 {
        self.contents.records(record)
    }

    fn merge(&self, into: &mut A, other: A) {
        self.contents.merge(into, other);
    }

    #[inline]
    fn next(&self, emission: &mut Emission<K, A>) -> Option<C::Out> {
        self.contents.next(emission)
    }

    fn version(&self) -> StateVersion<A> {
        self.version.clone()
    }
}

/// A value to which every record is added; two of them cannot be merged.
pub struct Folded<F, V> {
    fold: Arc<F>,
    value: PhantomData<fn() -> V>,
}

impl<F, V> Folded<F, V> {
    /// Values that this closure adds to.
    pub fn new(fold: F) -> Self {
        Self {
            fold: Arc::new(fold),
            value: PhantomData,
        }
    }
}

impl<F, V> Clone for Folded<F, V> {
    fn clone(&self) -> Self {
        Self {
            fold: Arc::clone(&self.fold),
            value: PhantomData,
        }
    }
}

impl<K, T, V, F> Contents<K, T> for Folded<F, V>
where
    K: Key,
    F: Fn(&mut V, &T) + Send + Sync + 'static,
    V: State + Clone,
{
    type Accumulator = V;
    type Out = (K, Span, V);

    #[inline]
    fn create(&self) -> V {
        V::default()
    }

    #[inline]
    fn add(&self, value: &mut V, record: &T) {
        (self.fold)(value, record);
    }

    fn merge(&self, _: &mut V, _: V) {
        unreachable!("a fold is only for windows that are never merged");
    }

    #[inline]
    fn next(&self, emission: &mut Emission<K, V>) -> Option<Self::Out> {
        emission.once(|_, _, value| value)
    }
}

/// All records, and what a closure makes of them.
pub struct Applied<F, V> {
    apply: Arc<F>,
    value: PhantomData<fn() -> V>,
}

impl<F, V> Applied<F, V> {
    /// What this closure makes of the records of a key and window.
    pub fn new(apply: F) -> Self {
        Self {
            apply: Arc::new(apply),
            value: PhantomData,
        }
    }
}

impl<F, V> Clone for Applied<F, V> {
    fn clone(&self) -> Self {
        Self {
            apply: Arc::clone(&self.apply),
            value: PhantomData,
        }
    }
}

impl<K, T, V, F> Contents<K, T> for Applied<F, V>
where
    K: Key,
    T: Exchange + Clone,
    F: Fn(&K, Span, Vec<T>) -> V + Send + Sync + 'static,
    V: Send + 'static,
{
    type Accumulator = Vec<T>;
    type Out = (K, Span, V);

    fn create(&self) -> Vec<T> {
        Vec::new()
    }

    fn add(&self, records: &mut Vec<T>, record: &T) {
        records.push(record.clone());
    }

    fn merge(&self, into: &mut Vec<T>, other: Vec<T>) {
        into.extend(other);
    }

    fn next(&self, emission: &mut Emission<K, Vec<T>>) -> Option<Self::Out> {
        emission.once(|key, span, records| (self.apply)(key, span, records))
    }
}
