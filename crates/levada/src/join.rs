//! Joins that are not windows.

mod offset;
mod ttl;

use std::marker::PhantomData;
use std::panic::Location;

use levada_core::{Exchange, Key, Place};
use levada_operators::JoinNode;
use levada_operators::join::rule::{Forever, Interval, Rule};
use levada_runtime::{KeyedRecord, Two};

pub use offset::{Offset, after, before};
pub use ttl::JoinTtl;

use crate::keyed::Keyed;
use crate::reserved::{Input, Reserved};
use crate::stream::Stream;

impl<K: Key, A: Exchange> Keyed<K, A> {
    /// Joins two streams: each record meets all records of its key on the other side, those that have come and those that
    /// will.
    ///
    /// Every record is kept, for ever unless [`Joined::ttl`] is called: without it this is for input that is bounded, or for
    /// few records of each key. Without it, event time and watermarks do not matter either, and no record is late.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn offers(
    ///     sellers: Stream<(u64, String)>,
    ///     auctions: Stream<(u64, u64)>,
    /// ) -> Stream<(String, u64)> {
    ///     sellers
    ///         .key_by(|(id, _)| *id)
    ///         .join(auctions.key_by(|(_, seller)| *seller))
    ///         .inner("offers", |(_, name), (auction, _)| (name.clone(), *auction))
    /// }
    /// ```
    #[track_caller]
    pub fn join<B: Exchange>(self, other: Keyed<K, B>) -> Joined<K, A, B> {
        Joined::new("join", self, other, Forever)
    }

    /// Joins two streams by their event times: a record meets those records of its key on the other side whose times lie
    /// between `lower` and `upper` from its own, both included. Bounds are durations ([`after`] this record), or [`before`]
    /// it:
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn clicked(shown: Stream<(u64, String)>, clicks: Stream<u64>) -> Stream<String> {
    ///     shown
    ///         .key_by(|(user, _)| *user)
    ///         .interval_join(clicks.key_by(|user| *user), seconds(0), seconds(10))
    ///         .inner("clicked", |(_, advert), _| advert.clone())
    /// }
    ///
    /// fn nearby(left: Stream<u64>, right: Stream<u64>) -> Stream<(u64, u64)> {
    ///     left.key_by(|_| 0)
    ///         .interval_join(right.key_by(|_| 0), before(millis(500)), after(millis(500)))
    ///         .lower_exclusive()
    ///         .inner("nearby", |left, right| (*left, *right))
    /// }
    /// ```
    ///
    /// The job is not built if no time lies between the bounds. Every record needs an event time (see
    /// [`Flow::timestamps`](crate::Flow::timestamps)); one without fails the job. A record at or below the watermark is
    /// late: it is dropped, and counted as `records_late`. Records are kept until the watermark says that nothing they
    /// could meet will come. The result does not depend on which of two records comes first.
    #[track_caller]
    pub fn interval_join<B: Exchange>(
        self,
        other: Keyed<K, B>,
        lower: impl Into<Offset>,
        upper: impl Into<Offset>,
    ) -> IntervalJoined<K, A, B> {
        let (lower, upper) = (lower.into().millis(), upper.into().millis());
        IntervalJoined {
            joined: Joined::new("interval_join", self, other, Interval { lower, upper }),
            place: Location::caller(),
        }
    }
}

/// Two streams that are about to be joined. Made by [`Keyed::join`].
#[must_use = "a join does nothing until it is said what becomes of a pair"]
pub struct Joined<K, A, B, R = Forever> {
    inputs: Vec<Input>,
    parallelism_max: Option<(usize, &'static str)>,
    rule: R,
    /// Why there cannot be such a join.
    problem: Option<(String, Place)>,
    records: PhantomData<(K, A, B)>,
}

impl<K: Key, A: Exchange, B: Exchange, R: Rule> Joined<K, A, B, R> {
    #[track_caller]
    fn new(method: &'static str, first: Keyed<K, A>, second: Keyed<K, B>, rule: R) -> Self {
        let place = Location::caller();
        let maxima = [first.parallelism_max(), second.parallelism_max()];
        Self {
            parallelism_max: maxima.into_iter().flatten().min_by_key(|(max, _)| *max),
            inputs: vec![
                first.wrapped::<Two<_, KeyedRecord<K, B>>>(method, place, Two::First),
                second.wrapped::<Two<KeyedRecord<K, A>, _>>(method, place, Two::Second),
            ],
            rule,
            problem: None,
            records: PhantomData,
        }
    }

    /// One record for each pair that meets, made by `f`; its timestamp is the later one of the two. A record meets the
    /// records of the other side in the order in which they came.
    ///
    /// Records are kept as clones: a `map` before the `key_by` that leaves only what `f` needs saves memory and time.
    #[track_caller]
    pub fn inner<O, F>(self, name: &str, f: F) -> Stream<O>
    where
        F: Fn(&A, &B) -> O + Send + Sync + 'static,
        A: Clone,
        B: Clone,
        O: Send + 'static,
    {
        let place = Location::caller();
        if let (Some((problem, place)), Some(input)) = (self.problem, self.inputs.first()) {
            input.port.inner.refuse(&problem, place);
        }
        Reserved::new(name, place, self.parallelism_max, self.inputs).operator(JoinNode::<
            K,
            A,
            B,
            R,
            F,
            O,
        >::new(
            self.rule, f
        ))
    }
}

impl<K: Key, A: Exchange, B: Exchange> Joined<K, A, B> {
    /// Keeps the records of both sides for so long.
    ///
    /// ```
    /// use levada::JoinTtl;
    /// use levada::prelude::*;
    ///
    /// fn paid(orders: Stream<(u64, u64)>, payments: Stream<(u64, u64)>) -> Stream<(u64, u64)> {
    ///     orders
    ///         .keyed()
    ///         .join(payments.keyed())
    ///         .ttl(JoinTtl::event_time(hours(1)))
    ///         .inner("paid", |order, payment| (*order, *payment))
    /// }
    /// ```
    #[track_caller]
    pub fn ttl<R: Rule>(self, ttl: JoinTtl<R>) -> Joined<K, A, B, R> {
        self.ttls(ttl, ttl)
    }

    /// Keeps the records of the first side and those of the second for a time of their own.
    #[track_caller]
    pub fn ttls<R: Rule>(self, first: JoinTtl<R>, second: JoinTtl<R>) -> Joined<K, A, B, R> {
        let least = first.duration().min(second.duration());
        let problem = (least.as_millis() == 0).then(|| {
            let what = format!("a join keeps records for {least:?}: a millisecond is the least");
            (what, Location::caller())
        });
        Joined {
            inputs: self.inputs,
            parallelism_max: self.parallelism_max,
            rule: JoinTtl::rule(first, second),
            problem,
            records: PhantomData,
        }
    }
}

/// Two streams that are about to be joined by their event times. Made by [`Keyed::interval_join`].
#[must_use = "a join does nothing until it is said what becomes of a pair"]
pub struct IntervalJoined<K, A, B> {
    joined: Joined<K, A, B, Interval>,
    place: Place,
}

impl<K: Key, A: Exchange, B: Exchange> IntervalJoined<K, A, B> {
    /// Without the lower bound itself.
    pub fn lower_exclusive(mut self) -> Self {
        let lower = &mut self.joined.rule.lower;
        *lower = lower.saturating_add(1);
        self
    }

    /// Without the upper bound itself.
    pub fn upper_exclusive(mut self) -> Self {
        let upper = &mut self.joined.rule.upper;
        *upper = upper.saturating_sub(1);
        self
    }

    /// One record for each pair that meets, made by `f`: see [`Joined::inner`].
    #[track_caller]
    pub fn inner<O, F>(mut self, name: &str, f: F) -> Stream<O>
    where
        F: Fn(&A, &B) -> O + Send + Sync + 'static,
        A: Clone,
        B: Clone,
        O: Send + 'static,
    {
        let Interval { lower, upper } = self.joined.rule;
        if lower > upper {
            let what = format!(
                "no time lies between the bounds of an interval join: the first one it allows is {lower} ms from a \
                 record, and the last one {upper} ms"
            );
            self.joined.problem = Some((what, self.place));
        }
        self.joined.inner(name, f)
    }
}
