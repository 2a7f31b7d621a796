//! Aggregates in two phases: partial ones before the exchange, merged behind it.

mod element;
mod gathered;

use levada_core::{Key, Span};
use serde::{Deserialize, Serialize};

use crate::aggregate::Aggregate;
use crate::window::contents::{Contents, Emission};

pub use element::PreAggregateStep;

/// What a sender has gathered of a key and slice. Its timestamp is the slice's beginning.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Partial<A> {
    accumulator: A,
    /// How many records are in it.
    records: u64,
}

/// Merges partial aggregates.
#[derive(Clone, Debug)]
pub struct Merged<A, T> {
    aggregate: A,
    records: std::marker::PhantomData<fn(T)>,
}

impl<A, T> Merged<A, T> {
    /// The second phase of this aggregate.
    pub fn new(aggregate: A) -> Self {
        Self {
            aggregate,
            records: std::marker::PhantomData,
        }
    }
}

impl<K, T, A> Contents<K, Partial<A::Accumulator>> for Merged<A, T>
where
    K: Key,
    T: Clone + 'static,
    A: Aggregate<T>,
{
    type Accumulator = A::Accumulator;
    type Out = (K, Span, A::Out);

    fn create(&self) -> A::Accumulator {
        self.aggregate.create()
    }

    fn add(&self, into: &mut A::Accumulator, partial: &Partial<A::Accumulator>) {
        self.aggregate.merge(into, partial.accumulator.clone());
    }

    fn records(&self, partial: &Partial<A::Accumulator>) -> u64 {
        partial.records
    }

    fn merge(&self, into: &mut A::Accumulator, other: A::Accumulator) {
        self.aggregate.merge(into, other);
    }

    fn next(&self, emission: &mut Emission<K, A::Accumulator>) -> Option<Self::Out> {
        let accumulator = emission.accumulator.take()?;
        emission.position += 1;
        let result = self.aggregate.finish(accumulator);
        Some((emission.key.clone(), emission.span, result))
    }
}
