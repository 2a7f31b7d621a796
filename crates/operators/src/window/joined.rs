//! Records of two streams that are in one window.

use std::marker::PhantomData;
use std::sync::Arc;

use levada_core::{Exchange, Key, Span};
use levada_runtime::Two;

use crate::window::contents::{Contents, Emission};

/// Which records have results.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unmatched {
    /// Those that have a counterpart in the window.
    Dropped,
    /// Those of the first stream too that have none.
    First,
    /// Those of the second stream too.
    Second,
    /// All.
    Both,
}

impl Unmatched {
    fn keeps_first(self) -> bool {
        matches!(self, Self::First | Self::Both)
    }

    fn keeps_second(self) -> bool {
        matches!(self, Self::Second | Self::Both)
    }
}

/// Pairs of the records of two streams in a window, in the order in which the records came: for each of the first stream, all
/// of the second.
pub struct Joined<A, B, F, O> {
    join: Arc<F>,
    unmatched: Unmatched,
    records: PhantomData<fn(A, B) -> O>,
}

impl<A, B, F, O> Joined<A, B, F, O> {
    /// What this closure makes of pairs.
    pub fn new(unmatched: Unmatched, join: F) -> Self {
        Self {
            join: Arc::new(join),
            unmatched,
            records: PhantomData,
        }
    }
}

impl<A, B, F, O> Clone for Joined<A, B, F, O> {
    fn clone(&self) -> Self {
        Self {
            join: Arc::clone(&self.join),
            unmatched: self.unmatched,
            records: PhantomData,
        }
    }
}

impl<K, A, B, F, O> Contents<K, Two<A, B>> for Joined<A, B, F, O>
where
    K: Key,
    A: Exchange + Clone,
    B: Exchange + Clone,
    F: Fn(Option<&A>, Option<&B>) -> O + Send + Sync + 'static,
    O: Send + 'static,
{
    type Accumulator = (Vec<A>, Vec<B>);
    type Out = (K, Span, O);

    fn create(&self) -> Self::Accumulator {
        (Vec::new(), Vec::new())
    }

    fn add(&self, (first, second): &mut Self::Accumulator, record: &Two<A, B>) {
        match record {
            Two::First(record) => first.push(record.clone()),
            Two::Second(record) => second.push(record.clone()),
        }
    }

    fn merge(&self, into: &mut Self::Accumulator, other: Self::Accumulator) {
        into.0.extend(other.0);
        into.1.extend(other.1);
    }

    fn next(&self, emission: &mut Emission<K, Self::Accumulator>) -> Option<Self::Out> {
        let (first, second) = emission.accumulator.as_ref()?;
        let place = usize::try_from(emission.position).ok()?;
        let (a, b) = match (first.is_empty(), second.is_empty()) {
            (false, false) => (
                first.get(place / second.len()),
                second.get(place % second.len()),
            ),
            (false, true) if self.unmatched.keeps_first() => (first.get(place), None),
            (true, false) if self.unmatched.keeps_second() => (None, second.get(place)),
            _ => (None, None),
        };
        // With records on both sides the first one's says when all pairs have been made.
        if a.is_none() && (b.is_none() || !first.is_empty()) {
            return None;
        }
        let result = (self.join)(a, b);
        emission.position += 1;
        Some((emission.key.clone(), emission.span, result))
    }
}
