//! Aggregates: what is kept of the records of one key.

mod basic;
mod fold;
mod top;
mod tuple;

use levada_core::State;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use basic::{Aggregates, Count, Max, MaxBy, Min, MinBy, Reduce, Sum};
pub use fold::Fold;
pub use top::Top;

/// Gathers records into an accumulator, and an accumulator into a result.
///
/// ```
/// use levada_operators::Aggregate;
///
/// /// The mean of some numbers.
/// #[derive(Clone)]
/// struct Mean;
///
/// impl Aggregate<f64> for Mean {
///     type Accumulator = (f64, u64);
///     type Out = f64;
///
///     fn create(&self) -> (f64, u64) {
///         (0.0, 0)
///     }
///
///     fn add(&self, (sum, count): &mut (f64, u64), number: &f64) {
///         *sum += number;
///         *count += 1;
///     }
///
///     fn merge(&self, into: &mut (f64, u64), other: (f64, u64)) {
///         into.0 += other.0;
///         into.1 += other.1;
///     }
///
///     fn finish(&self, (sum, count): (f64, u64)) -> f64 {
///         sum / count as f64
///     }
/// }
/// ```
pub trait Aggregate<T>: Clone + Send + Sync + 'static {
    /// What is kept between two records.
    type Accumulator: Clone + Serialize + DeserializeOwned + Send + 'static;
    /// The result.
    type Out: Send + 'static;

    /// An accumulator of no record.
    fn create(&self) -> Self::Accumulator;

    /// Adds a record.
    fn add(&self, accumulator: &mut Self::Accumulator, record: &T);

    /// Adds what another accumulator has gathered. The result must be that of adding all records to one, in whatever
    /// order the operator promises.
    fn merge(&self, into: &mut Self::Accumulator, other: Self::Accumulator);

    /// The result of what has been gathered; at least one record has been added.
    fn finish(&self, accumulator: Self::Accumulator) -> Self::Out;
}

/// What the running operator asks of an accumulation: an aggregate without merging.
pub trait Accumulate<T>: Clone + Send + Sync + 'static {
    /// What is kept between two records.
    type Accumulator: Clone + Serialize + DeserializeOwned + Send + 'static;
    /// The result.
    type Out: Send + 'static;

    /// An accumulator of no record.
    fn create(&self) -> Self::Accumulator;

    /// Adds a record.
    fn add(&self, accumulator: &mut Self::Accumulator, record: &T);

    /// The result of what has been gathered.
    fn finish(&self, accumulator: Self::Accumulator) -> Self::Out;
}

/// An aggregate, used without its `merge`.
#[derive(Clone, Debug)]
pub struct Gather<A>(pub A);

impl<T, A: Aggregate<T>> Accumulate<T> for Gather<A> {
    type Accumulator = A::Accumulator;
    type Out = A::Out;

    #[inline]
    fn create(&self) -> A::Accumulator {
        self.0.create()
    }

    #[inline]
    fn add(&self, accumulator: &mut A::Accumulator, record: &T) {
        self.0.add(accumulator, record);
    }

    #[inline]
    fn finish(&self, accumulator: A::Accumulator) -> A::Out {
        self.0.finish(accumulator)
    }
}

/// A value that a fold can keep and emit.
pub trait FoldState: State + Clone {}

impl<V: State + Clone> FoldState for V {}
