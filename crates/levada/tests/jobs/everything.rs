//! A job with every kind of edge, and a plain loop that says what must come out of it.

use std::collections::BTreeMap;

use levada::prelude::*;
use levada_testing::{Collected, Collecting, collect};

/// Even sums go on, odd ones to the side.
#[derive(Clone)]
struct Parity {
    odd: SideOutput<(u64, u64)>,
}

impl Process for Parity {
    type Key = u64;
    type In = (u64, u64);
    type State = ();
    type Out = (u64, u64);

    fn element(&self, row: &(u64, u64), context: &mut Context<'_, Self>) {
        if row.1.is_multiple_of(2) {
            context.emit(*row);
        } else {
            context.emit_to(&self.odd, *row);
        }
    }
}

/// What a job leaves behind.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Results {
    pub(crate) even: Vec<(u64, u64)>,
    pub(crate) odd: Vec<(u64, u64)>,
    pub(crate) left: Vec<u64>,
    pub(crate) largest: Vec<u64>,
    pub(crate) last: Vec<(u64, u64)>,
}

type Out<T> = (Collecting<T>, Collected<T>);

/// The sinks of the job, and what they collect.
pub(crate) struct Everything {
    records: u64,
    even: Out<(u64, u64)>,
    odd: Out<(u64, u64)>,
    left: Out<u64>,
    largest: Out<u64>,
    last: Out<(u64, u64)>,
}

impl Everything {
    pub(crate) fn new(records: u64) -> Self {
        Self {
            records,
            even: collect(),
            odd: collect(),
            left: collect(),
            largest: collect(),
            last: collect(),
        }
    }

    /// Two sources, a union, a stream that is used three times, keyed operators one behind the other, a side output, an
    /// update per record, a top-N.
    pub(crate) fn build(&self, job: &Job) {
        let n = self.records;
        let left = job.source("left", iterator(0..n)).map(|n| n * 3).stream();
        let right = job
            .source("right", iterator(n..2 * n))
            .flat_map(|n| [(n % 7, n), (n % 11, n)])
            .filter(|(_, n)| n % 5 != 0);
        let (even, odd) = left
            .clone()
            .map(|n| (n % 13, n))
            .union(right)
            .keyed()
            .fold("sums", |sum: &mut u64, n| *sum += n)
            .at_end()
            .key_by(|(key, _)| key % 5)
            .process_with_side("parity", |odd| Parity { odd });
        even.sink("even", self.even.0.clone());
        odd.rebalance().sink("odd", self.odd.0.clone());
        left.clone()
            .rebalance()
            .sink("left-out", self.left.0.clone());
        left.clone()
            .top("largest", 5, |n| *n)
            .sink("largest-out", self.largest.0.clone());
        // The last update of a key has seen all of its records.
        left.key_by(|n| n % 3)
            .count("running")
            .key_by(|(key, _)| *key)
            .aggregate("last", |rows| rows.max(|(_, count)| *count))
            .at_end()
            .sink("last-out", self.last.0.clone());
    }

    /// What the sinks have collected.
    pub(crate) fn results(&self) -> Results {
        Results {
            even: self.even.1.sorted(),
            odd: self.odd.1.sorted(),
            left: self.left.1.sorted(),
            largest: self.largest.1.take(),
            last: self.last.1.sorted(),
        }
    }

    /// What a loop without an engine finds.
    pub(crate) fn expected(&self) -> Results {
        let n = self.records;
        let left: Vec<u64> = (0..n).map(|n| n * 3).collect();
        let mut sums = BTreeMap::<u64, u64>::new();
        let mut last = BTreeMap::<u64, u64>::new();
        for n in &left {
            *sums.entry(n % 13).or_default() += n;
            *last.entry(n % 3).or_default() += 1;
        }
        for n in (n..2 * n).filter(|n| n % 5 != 0) {
            *sums.entry(n % 7).or_default() += n;
            *sums.entry(n % 11).or_default() += n;
        }
        let (even, odd) = sums.into_iter().partition(|(_, sum)| sum % 2 == 0);
        Results {
            even,
            odd,
            largest: left.iter().rev().take(5).copied().collect(),
            left,
            last: last.into_iter().collect(),
        }
    }
}
