//! The records with the largest ranks.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::aggregate::Aggregate;

/// Keeps the `count` records with the largest ranks, largest first.
pub struct Top<F, O> {
    count: usize,
    rank: Arc<F>,
    order: PhantomData<fn() -> O>,
}

impl<F, O> Top<F, O> {
    /// Keeps `count` records by the rank that this closure gives them. Of records with equal ranks the earlier one is
    /// kept and comes first; which one is earlier depends on the run unless the rank tells all records apart.
    pub fn new(count: usize, rank: F) -> Self {
        Self {
            count,
            rank: Arc::new(rank),
            order: PhantomData,
        }
    }
}

impl<F, O> Clone for Top<F, O> {
    fn clone(&self) -> Self {
        Self {
            count: self.count,
            rank: Arc::clone(&self.rank),
            order: PhantomData,
        }
    }
}

impl<F, O: Ord> Top<F, O> {
    /// Where a record belongs, if it belongs there at all.
    fn position<T>(&self, kept: &[T], record: &T) -> Option<usize>
    where
        F: Fn(&T) -> O,
    {
        let rank = (self.rank)(record);
        let full = kept.len() >= self.count;
        match kept.last() {
            // Most records of a long stream rank below the last one kept.
            Some(last) if full && (self.rank)(last) >= rank => None,
            None if full => None,
            _ => Some(kept.partition_point(|other| (self.rank)(other) >= rank)),
        }
    }
}

impl<T, O, F> Aggregate<T> for Top<F, O>
where
    F: Fn(&T) -> O + Send + Sync + 'static,
    O: Ord + 'static,
    T: Clone + Serialize + DeserializeOwned + Send + 'static,
{
    type Accumulator = Vec<T>;
    type Out = Vec<T>;

    fn create(&self) -> Vec<T> {
        Vec::new()
    }

    fn add(&self, kept: &mut Vec<T>, record: &T) {
        if let Some(position) = self.position(kept, record) {
            kept.insert(position, record.clone());
            kept.truncate(self.count);
        }
    }

    fn merge(&self, into: &mut Vec<T>, other: Vec<T>) {
        for record in &other {
            self.add(into, record);
        }
    }

    fn finish(&self, kept: Vec<T>) -> Vec<T> {
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(count: usize, records: &[u64], expect: &[u64]) {
        let top = Top::new(count, |record: &u64| *record);
        let mut kept = top.create();
        for record in records {
            top.add(&mut kept, record);
        }
        assert_eq!(kept, expect);
    }

    #[test]
    fn the_largest_are_kept_in_order() {
        check(3, &[5, 1, 9, 7, 3, 8], &[9, 8, 7]);
        check(3, &[2, 1], &[2, 1]);
        check(2, &[4, 4, 4], &[4, 4]);
        check(0, &[1, 2], &[]);
        check(3, &[], &[]);
    }

    #[test]
    fn of_equal_ranks_the_earlier_comes_first() {
        let top = Top::new(2, |(rank, _): &(u64, char)| *rank);
        let mut kept = top.create();
        for record in [(1, 'a'), (2, 'b'), (1, 'c'), (2, 'd'), (2, 'e')] {
            top.add(&mut kept, &record);
        }
        assert_eq!(kept, [(2, 'b'), (2, 'd')]);
    }
}
