//! The aggregates everybody needs.

use std::marker::PhantomData;
use std::ops::AddAssign;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::aggregate::Aggregate;

/// Names the basic aggregates over records of type `T`: the argument of the closure of `aggregate`.
///
/// ```
/// use levada_operators::{Aggregate, Aggregates};
///
/// struct Bid { price: u64 }
///
/// let aggregate = Aggregates::new().sum(|bid: &Bid| bid.price);
/// let mut sum = aggregate.create();
/// aggregate.add(&mut sum, &Bid { price: 3 });
/// aggregate.add(&mut sum, &Bid { price: 4 });
/// assert_eq!(aggregate.finish(sum), 7);
/// ```
#[derive(Debug)]
pub struct Aggregates<T>(PhantomData<fn(&T)>);

impl<T: 'static> Aggregates<T> {
    /// The aggregates over records of type `T`.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }

    /// How many records there are.
    #[must_use]
    pub fn count(&self) -> Count {
        Count
    }

    /// The sum of a number in each record, starting from the default of its type. Integers that overflow panic in a debug
    /// build and wrap in a release build, as `+=` does.
    pub fn sum<N, F>(&self, number: F) -> Sum<F, N>
    where
        F: Fn(&T) -> N + Send + Sync + 'static,
    {
        Sum {
            number: Arc::new(number),
            result: PhantomData,
        }
    }

    /// The least of a value in each record.
    pub fn min<V, F>(&self, value: F) -> Min<F, V>
    where
        F: Fn(&T) -> V + Send + Sync + 'static,
    {
        Min {
            value: Arc::new(value),
            result: PhantomData,
        }
    }

    /// The greatest of a value in each record.
    pub fn max<V, F>(&self, value: F) -> Max<F, V>
    where
        F: Fn(&T) -> V + Send + Sync + 'static,
    {
        Max {
            value: Arc::new(value),
            result: PhantomData,
        }
    }

    /// The record with the least value; of several, the first.
    pub fn min_by<V, F>(&self, value: F) -> MinBy<F, V>
    where
        F: Fn(&T) -> V + Send + Sync + 'static,
    {
        MinBy {
            value: Arc::new(value),
            result: PhantomData,
        }
    }

    /// The record with the greatest value; of several, the first.
    pub fn max_by<V, F>(&self, value: F) -> MaxBy<F, V>
    where
        F: Fn(&T) -> V + Send + Sync + 'static,
    {
        MaxBy {
            value: Arc::new(value),
            result: PhantomData,
        }
    }

    /// The records themselves, two at a time into one. The closure must be associative.
    pub fn reduce<F>(&self, combine: F) -> Reduce<F>
    where
        F: Fn(&mut T, &T) + Send + Sync + 'static,
    {
        Reduce {
            combine: Arc::new(combine),
        }
    }
}

impl<T: 'static> Default for Aggregates<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts records.
#[derive(Clone, Copy, Debug)]
pub struct Count;

impl<T> Aggregate<T> for Count {
    type Accumulator = u64;
    type Out = u64;

    #[inline]
    fn create(&self) -> u64 {
        0
    }

    #[inline]
    fn add(&self, count: &mut u64, _: &T) {
        *count += 1;
    }

    fn merge(&self, into: &mut u64, other: u64) {
        *into += other;
    }

    #[inline]
    fn finish(&self, count: u64) -> u64 {
        count
    }
}

/// Adds numbers up.
pub struct Sum<F, N> {
    number: Arc<F>,
    result: PhantomData<fn() -> N>,
}

impl<T, N, F> Aggregate<T> for Sum<F, N>
where
    F: Fn(&T) -> N + Send + Sync + 'static,
    N: AddAssign + Clone + Default + Serialize + DeserializeOwned + Send + 'static,
{
    type Accumulator = N;
    type Out = N;

    fn create(&self) -> N {
        N::default()
    }

    fn add(&self, sum: &mut N, record: &T) {
        *sum += (self.number)(record);
    }

    fn merge(&self, into: &mut N, other: N) {
        *into += other;
    }

    fn finish(&self, sum: N) -> N {
        sum
    }
}

/// Keeps the least value.
pub struct Min<F, V> {
    value: Arc<F>,
    result: PhantomData<fn() -> V>,
}

/// Keeps the greatest value.
pub struct Max<F, V> {
    value: Arc<F>,
    result: PhantomData<fn() -> V>,
}

macro_rules! extreme {
    ($name:ident, $beats:tt) => {
        impl<T, V, F> Aggregate<T> for $name<F, V>
        where
            F: Fn(&T) -> V + Send + Sync + 'static,
            V: Ord + Clone + Serialize + DeserializeOwned + Send + 'static,
        {
            type Accumulator = Option<V>;
            type Out = V;

            fn create(&self) -> Option<V> {
                None
            }

            fn add(&self, best: &mut Option<V>, record: &T) {
                let other = Some((self.value)(record));
                Aggregate::<T>::merge(self, best, other);
            }

            fn merge(&self, best: &mut Option<V>, other: Option<V>) {
                if let Some(other) = other
                    && best.as_ref().is_none_or(|best| other $beats *best)
                {
                    *best = Some(other);
                }
            }

            fn finish(&self, best: Option<V>) -> V {
                best.expect("a record has been added before the result is asked for")
            }
        }
    };
}

extreme!(Min, <);
extreme!(Max, >);

/// Keeps the record with the least value.
pub struct MinBy<F, V> {
    value: Arc<F>,
    result: PhantomData<fn() -> V>,
}

/// Keeps the record with the greatest value.
pub struct MaxBy<F, V> {
    value: Arc<F>,
    result: PhantomData<fn() -> V>,
}

macro_rules! extreme_by {
    ($name:ident, $beats:tt) => {
        impl<T, V, F> Aggregate<T> for $name<F, V>
        where
            F: Fn(&T) -> V + Send + Sync + 'static,
            V: Ord + 'static,
            T: Clone + Serialize + DeserializeOwned + Send + 'static,
        {
            type Accumulator = Option<T>;
            type Out = T;

            fn create(&self) -> Option<T> {
                None
            }

            fn add(&self, best: &mut Option<T>, record: &T) {
                let beaten = best
                    .as_ref()
                    .is_none_or(|best| (self.value)(record) $beats (self.value)(best));
                if beaten {
                    *best = Some(record.clone());
                }
            }

            fn merge(&self, best: &mut Option<T>, other: Option<T>) {
                if let Some(other) = other {
                    self.add(best, &other);
                }
            }

            fn finish(&self, best: Option<T>) -> T {
                best.expect("a record has been added before the result is asked for")
            }
        }
    };
}

extreme_by!(MinBy, <);
extreme_by!(MaxBy, >);

/// Combines records two at a time.
pub struct Reduce<F> {
    combine: Arc<F>,
}

impl<T, F> Aggregate<T> for Reduce<F>
where
    F: Fn(&mut T, &T) + Send + Sync + 'static,
    T: Clone + Serialize + DeserializeOwned + Send + 'static,
{
    type Accumulator = Option<T>;
    type Out = T;

    fn create(&self) -> Option<T> {
        None
    }

    fn add(&self, reduced: &mut Option<T>, record: &T) {
        match reduced {
            None => *reduced = Some(record.clone()),
            Some(reduced) => (self.combine)(reduced, record),
        }
    }

    fn merge(&self, into: &mut Option<T>, other: Option<T>) {
        match (&mut *into, other) {
            (Some(into), Some(other)) => (self.combine)(into, &other),
            (None, other) => *into = other,
            (Some(_), None) => {}
        }
    }

    fn finish(&self, reduced: Option<T>) -> T {
        reduced.expect("a record has been added before the result is asked for")
    }
}

macro_rules! clone_by_arc {
    ($($name:ident<$($param:ident),+> { $closure:ident $(, $phantom:ident)? })*) => {
        $(
            impl<$($param),+> Clone for $name<$($param),+> {
                fn clone(&self) -> Self {
                    Self {
                        $closure: Arc::clone(&self.$closure),
                        $($phantom: PhantomData,)?
                    }
                }
            }
        )*
    };
}

clone_by_arc! {
    Sum<F, N> { number, result }
    Min<F, V> { value, result }
    Max<F, V> { value, result }
    MinBy<F, V> { value, result }
    MaxBy<F, V> { value, result }
    Reduce<F> { combine }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result over all records, gathered at once and in two halves that are merged.
    fn check<T, A: Aggregate<T>>(aggregate: &A, records: &[T], expect: &A::Out)
    where
        A::Out: std::fmt::Debug + PartialEq,
    {
        let gather = |records: &[T]| {
            let mut accumulator = aggregate.create();
            for record in records {
                aggregate.add(&mut accumulator, record);
            }
            accumulator
        };
        for split in 0..=records.len() {
            let mut left = gather(&records[..split]);
            aggregate.merge(&mut left, gather(&records[split..]));
            assert_eq!(&aggregate.finish(left), expect, "split at {split}");
        }
    }

    #[test]
    fn aggregates_give_one_result_however_they_are_split() {
        let words = ["to", "be", "or", "not", "to", "be"].map(str::to_owned);
        let of = Aggregates::<String>::new();
        check(&of.count(), &words, &6);
        check(&of.sum(|word: &String| word.len()), &words, &13);
        check(
            &of.min(|word: &String| word.clone()),
            &words,
            &"be".to_owned(),
        );
        check(&of.max(|word: &String| word.len()), &words, &3);
        check(
            &of.min_by(|word: &String| word.len()),
            &words,
            &"to".to_owned(),
        );
        check(
            &of.max_by(|word: &String| word.len()),
            &words,
            &"not".to_owned(),
        );
        let join = of.reduce(|joined: &mut String, word: &String| joined.push_str(word));
        check(&join, &words, &"tobeornottobe".to_owned());
        check(
            &(of.count(), of.max(|word: &String| word.clone())),
            &words,
            &(6, "to".to_owned()),
        );
    }
}
