//! Joining two keyed streams by windows.

use std::panic::Location;
use std::time::Duration;

use levada_core::{Exchange, Key, Place, Span};
use levada_operators::window::{Joined, Unmatched, WindowKind};
use levada_runtime::{KeyedRecord, Two};

use crate::keyed::Keyed;
use crate::stream::Stream;
use crate::windowed::Windowed;

/// Two keyed streams whose records meet in windows. Made by [`Keyed::window_join`].
///
/// When a window fires, the records of a key that came on both streams are paired, in the order in which they came: for each
/// of the first stream, all of the second. Where windows are put together of others (sliding ones of their slices, sessions that
/// have been merged), those of the earlier part come first. All of them are kept until then. The emission of pairs can be interrupted between
/// any two, and goes on at the same place after a restore.
#[must_use = "joined streams do nothing until an operator follows them"]
pub struct WindowJoin<K, A, B, W> {
    windowed: Windowed<K, Two<A, B>, W>,
}

impl<K: Key, A: Exchange + Clone> Keyed<K, A> {
    /// Brings the records of two streams together that have one key and are in one window.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn new_sellers(
    ///     people: Stream<(u64, String, i64)>,
    ///     auctions: Stream<(u64, i64)>,
    /// ) -> Stream<(u64, Span, String)> {
    ///     let people = people.timestamps(|(_, _, at)| *at, seconds(5)).key_by(|(id, ..)| *id);
    ///     let auctions = auctions.timestamps(|(_, at)| *at, seconds(5)).key_by(|(seller, _)| *seller);
    ///     people
    ///         .window_join(auctions, tumbling(seconds(10)))
    ///         .inner("new-sellers", |(_, name, _), _| name.clone())
    /// }
    /// ```
    #[track_caller]
    pub fn window_join<B, W>(self, other: Keyed<K, B>, windows: W) -> WindowJoin<K, A, B, W>
    where
        B: Exchange + Clone,
        W: WindowKind,
    {
        let place = Location::caller();
        if let Err(problem) = windows.check() {
            self.refuse(&problem, place);
        }
        let maxima = [self.parallelism_max(), other.parallelism_max()];
        let inputs = vec![
            self.wrapped("window_join", place, first::<K, A, B>),
            other.wrapped("window_join", place, second::<K, A, B>),
        ];
        let parallelism_max = maxima.into_iter().flatten().min_by_key(|(max, _)| *max);
        WindowJoin {
            windowed: Windowed::of_inputs(inputs, parallelism_max, windows),
        }
    }
}

impl<K, A, B, W> WindowJoin<K, A, B, W>
where
    K: Key,
    A: Exchange + Clone,
    B: Exchange + Clone,
    W: WindowKind,
{
    /// As [`Windowed::allowed_lateness`]: a window with late records fires again, with all of its pairs.
    pub fn allowed_lateness(self, lateness: Duration) -> Self {
        Self {
            windowed: self.windowed.allowed_lateness(lateness),
        }
    }

    /// A result for each pair.
    #[track_caller]
    pub fn inner<F, O>(self, name: &str, f: F) -> Stream<(K, Span, O)>
    where
        F: Fn(&A, &B) -> O + Send + Sync + 'static,
        O: Send + 'static,
    {
        let f = move |a: Option<&A>, b: Option<&B>| {
            let (a, b) = a.zip(b).expect("an inner join makes pairs only");
            f(a, b)
        };
        self.join(name, Location::caller(), Unmatched::Dropped, f)
    }

    /// A result for each pair, and for each record of the first stream whose window has none of the second.
    #[track_caller]
    pub fn left<F, O>(self, name: &str, f: F) -> Stream<(K, Span, O)>
    where
        F: Fn(&A, Option<&B>) -> O + Send + Sync + 'static,
        O: Send + 'static,
    {
        let f = move |a: Option<&A>, b: Option<&B>| {
            f(a.expect("a left join has a record of the first stream"), b)
        };
        self.join(name, Location::caller(), Unmatched::First, f)
    }

    /// A result for each pair, and for each record of the second stream whose window has none of the first.
    #[track_caller]
    pub fn right<F, O>(self, name: &str, f: F) -> Stream<(K, Span, O)>
    where
        F: Fn(Option<&A>, &B) -> O + Send + Sync + 'static,
        O: Send + 'static,
    {
        let f = move |a: Option<&A>, b: Option<&B>| {
            f(
                a,
                b.expect("a right join has a record of the second stream"),
            )
        };
        self.join(name, Location::caller(), Unmatched::Second, f)
    }

    /// A result for each pair, and for each record whose window has none of the other stream; one of the two is there.
    #[track_caller]
    pub fn full<F, O>(self, name: &str, f: F) -> Stream<(K, Span, O)>
    where
        F: Fn(Option<&A>, Option<&B>) -> O + Send + Sync + 'static,
        O: Send + 'static,
    {
        self.join(name, Location::caller(), Unmatched::Both, f)
    }

    fn join<F, O>(
        self,
        name: &str,
        place: Place,
        unmatched: Unmatched,
        f: F,
    ) -> Stream<(K, Span, O)>
    where
        F: Fn(Option<&A>, Option<&B>) -> O + Send + Sync + 'static,
        O: Send + 'static,
    {
        let joined = Joined::new(unmatched, f);
        self.windowed.operator(name, place, joined)
    }
}

fn first<K, A, B>(keyed: KeyedRecord<K, A>) -> KeyedRecord<K, Two<A, B>> {
    KeyedRecord {
        key: keyed.key,
        record: Two::First(keyed.record),
        group: keyed.group,
    }
}

fn second<K, A, B>(keyed: KeyedRecord<K, B>) -> KeyedRecord<K, Two<A, B>> {
    KeyedRecord {
        key: keyed.key,
        record: Two::Second(keyed.record),
        group: keyed.group,
    }
}
