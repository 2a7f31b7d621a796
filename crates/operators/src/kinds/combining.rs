//! State that combines what is added to it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::aggregate::Aggregate;

/// How two values become one: the type argument of a [`ReducingState`].
pub trait Reducer {
    /// The values.
    type Value: Serialize + DeserializeOwned;

    /// Combines a value into another one.
    fn reduce(into: &mut Self::Value, value: Self::Value);
}

/// One value, into which every further one is combined.
///
/// ```
/// use levada_operators::{Reducer, ReducingState};
///
/// struct Largest;
///
/// impl Reducer for Largest {
///     type Value = u64;
///
///     fn reduce(into: &mut u64, value: u64) {
///         *into = (*into).max(value);
///     }
/// }
///
/// let mut largest = ReducingState::<Largest>::default();
/// largest.add(3);
/// largest.add(2);
/// assert_eq!(largest.get(), Some(&3));
/// ```
#[derive(Deserialize, Serialize)]
#[serde(bound = "R::Value: Serialize + DeserializeOwned")]
pub struct ReducingState<R: Reducer>(Option<R::Value>);

impl<R: Reducer> ReducingState<R> {
    /// Combines a value into what is there.
    pub fn add(&mut self, value: R::Value) {
        match &mut self.0 {
            Some(into) => R::reduce(into, value),
            None => self.0 = Some(value),
        }
    }

    /// What has been combined, if anything.
    #[must_use]
    pub fn get(&self) -> Option<&R::Value> {
        self.0.as_ref()
    }

    /// Takes out what has been combined.
    pub fn clear(&mut self) -> Option<R::Value> {
        self.0.take()
    }
}

impl<R: Reducer> Default for ReducingState<R> {
    fn default() -> Self {
        Self(None)
    }
}

impl<R: Reducer<Value: fmt::Debug>> fmt::Debug for ReducingState<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReducingState").field(&self.0).finish()
    }
}

/// The accumulator of an aggregate over records of type `T`.
///
/// ```
/// use levada_operators::{Aggregate, AggregatingState};
///
/// #[derive(Clone, Default)]
/// struct Mean;
///
/// impl Aggregate<u64> for Mean {
///     type Accumulator = (u64, u64);
///     type Out = u64;
///
///     fn create(&self) -> (u64, u64) {
///         (0, 0)
///     }
///
///     fn add(&self, (sum, count): &mut (u64, u64), n: &u64) {
///         *sum += n;
///         *count += 1;
///     }
///
///     fn merge(&self, into: &mut (u64, u64), other: (u64, u64)) {
///         into.0 += other.0;
///         into.1 += other.1;
///     }
///
///     fn finish(&self, (sum, count): (u64, u64)) -> u64 {
///         sum / count
///     }
/// }
///
/// let mut mean = AggregatingState::<u64, Mean>::default();
/// assert_eq!(mean.get(), None);
/// mean.add(&3);
/// mean.add(&5);
/// assert_eq!(mean.get(), Some(4));
/// ```
#[derive(Deserialize, Serialize)]
#[serde(bound = "A: Aggregate<T>")]
pub struct AggregatingState<T, A: Aggregate<T>> {
    accumulator: Option<A::Accumulator>,
    #[serde(skip)]
    records: PhantomData<fn(T, A)>,
}

impl<T, A: Aggregate<T> + Default> AggregatingState<T, A> {
    /// Adds a record.
    pub fn add(&mut self, record: &T) {
        let aggregate = A::default();
        let accumulator = self.accumulator.get_or_insert_with(|| aggregate.create());
        aggregate.add(accumulator, record);
    }

    /// The result of what has been added, if anything has.
    #[must_use]
    pub fn get(&self) -> Option<A::Out> {
        let accumulator = self.accumulator.clone()?;
        Some(A::default().finish(accumulator))
    }

    /// Forgets what has been added.
    pub fn clear(&mut self) {
        self.accumulator = None;
    }
}

impl<T, A: Aggregate<T>> Default for AggregatingState<T, A> {
    fn default() -> Self {
        Self {
            accumulator: None,
            records: PhantomData,
        }
    }
}
