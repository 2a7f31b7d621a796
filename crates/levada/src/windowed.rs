//! Keyed streams in windows.

use std::panic::Location;
use std::time::Duration;

use levada_core::event_time::millis_of;
use levada_core::{Exchange, Key, Place, Span, State};
use levada_operators::aggregate::{Count, Reduce};
use levada_operators::window::{
    Aggregated, Applied, Contents, Folded, LateOutput, NeverMerged, WindowKind, WindowOptions,
};
use levada_operators::{Aggregate, Aggregates, SideOutput};

use crate::keyed::Keyed;
use crate::reserved::Reserved;
use crate::stream::Stream;

/// Records of type `T`, grouped by keys of type `K` and gathered in windows of the kind `W`. Made by [`Keyed::window`].
///
/// A window fires when the watermark reaches its last millisecond: its result is emitted with that as its timestamp, and the
/// window is forgotten. A record whose windows have all been forgotten is late: it is counted
/// ([`records_late`](crate::metrics::OperatorMetrics::records_late)) and dropped, or goes to the stream that
/// [`late`](Self::late) returns. When the input ends, all windows fire.
///
/// While a watermark fires windows the operator reads no records, but lets others run in between, and a snapshot taken
/// then holds those that have not fired. The watermark is passed on after their results.
#[must_use = "windows do nothing until an operator follows them"]
pub struct Windowed<K, T, W> {
    input: Input<K, T>,
    windows: W,
    options: WindowOptions<T>,
}

/// What the operator will read.
enum Input<K, T> {
    Keyed(Keyed<K, T>),
    /// Its node is there already, because it has a side output.
    Reserved(Reserved),
}

impl<K: Key, T: Exchange, W: WindowKind> Windowed<K, T, W> {
    pub(crate) fn new(keyed: Keyed<K, T>, windows: W) -> Self {
        Self {
            input: Input::Keyed(keyed),
            windows,
            options: WindowOptions::default(),
        }
    }

    /// Windows take records for so long after their end. One that has fired fires again, with all of its records, if some
    /// have been added: once with the next watermark, not for each of them. A window is forgotten when the watermark
    /// reaches its last millisecond and `lateness` more.
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.options.lateness = millis_of(lateness);
        self
    }

    /// The windows, and the records that come too late for all of theirs, as a stream.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn job(job: &Job) {
    ///     let (windows, late) = job
    ///         .source("clicks", iterator([("a", 1_000i64), ("a", 9_000), ("a", 1_500)]))
    ///         .timestamps(|(_, at)| *at, seconds(2))
    ///         .map(|(page, at)| (page.to_owned(), at))
    ///         .key_by(|(page, _)| page.clone())
    ///         .window(tumbling(seconds(2)))
    ///         .late();
    ///     windows.count("clicks-per-page").sink("counts", for_each(|_| {}));
    ///     late.sink("late", for_each(|(page, _)| assert_eq!(page, "a")));
    /// }
    /// levada::Runner::new().parallelism(1).run(job)?;
    /// # Ok::<(), levada::Error>(())
    /// ```
    #[track_caller]
    pub fn late(mut self) -> (Self, Stream<T>)
    where
        T: Clone,
    {
        let place = Location::caller();
        let reserved = match self.input {
            Input::Keyed(keyed) => keyed.reserve("windows", place),
            Input::Reserved(reserved) => reserved,
        };
        let (side, stream, ports) = reserved.side_output::<SideOutput<T>>();
        self.options.late = Some(LateOutput::new(side, ports));
        self.input = Input::Reserved(reserved);
        (self, stream)
    }

    /// How many records each key has in each window.
    #[track_caller]
    pub fn count(self, name: &str) -> Stream<(K, Span, u64)> {
        self.operator(name, Location::caller(), Aggregated(Count))
    }

    /// An aggregate for each key and window: one of those that the closure's argument names, several as a tuple, or one's
    /// own. It must be mergeable, so that windows can share what they have in common.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn prices(bids: Stream<(u64, u64, i64)>) -> Stream<(u64, Span, (u64, u64))> {
    ///     bids.timestamps(|(_, _, at)| *at, seconds(5))
    ///         .key_by(|(auction, _, _)| *auction)
    ///         .window(sliding(minutes(1), seconds(10)))
    ///         .aggregate("prices", |bids| (bids.count(), bids.max(|(_, price, _)| *price)))
    /// }
    /// ```
    #[track_caller]
    pub fn aggregate<A, F>(self, name: &str, f: F) -> Stream<(K, Span, A::Out)>
    where
        F: FnOnce(Aggregates<T>) -> A,
        A: Aggregate<T>,
    {
        let place = Location::caller();
        self.operator(name, place, Aggregated(f(Aggregates::new())))
    }

    /// One record for each key and window: the first one, into which every later one is combined.
    #[track_caller]
    pub fn reduce<F>(self, name: &str, f: F) -> Stream<(K, Span, T)>
    where
        F: Fn(&mut T, &T) + Send + Sync + 'static,
        T: Clone,
    {
        let place = Location::caller();
        let reduce: Reduce<F> = Aggregates::<T>::new().reduce(f);
        self.operator(name, place, Aggregated(reduce))
    }

    /// A value for each key and window, which starts as its type's default and to which every record is added. Only for
    /// windows that are never merged: elsewhere use [`aggregate`](Self::aggregate).
    #[track_caller]
    pub fn fold<V, F>(self, name: &str, f: F) -> Stream<(K, Span, V)>
    where
        W: NeverMerged,
        F: Fn(&mut V, &T) + Send + Sync + 'static,
        V: State + Clone,
    {
        self.operator(name, Location::caller(), Folded::new(f))
    }

    /// What a closure makes of all records of a key and window, which are kept until then: in the order in which they
    /// came, or slice by slice where windows share slices. Prefer [`aggregate`](Self::aggregate), which keeps an
    /// accumulator only.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn medians(readings: Stream<(String, u64, i64)>) -> Stream<(String, Span, u64)> {
    ///     readings
    ///         .timestamps(|(_, _, at)| *at, seconds(5))
    ///         .key_by(|(sensor, _, _)| sensor.clone())
    ///         .window(tumbling(minutes(1)))
    ///         .apply("medians", |_, _, mut readings| {
    ///             readings.sort_by_key(|(_, value, _)| *value);
    ///             readings[readings.len() / 2].1
    ///         })
    /// }
    /// ```
    #[track_caller]
    pub fn apply<V, F>(self, name: &str, f: F) -> Stream<(K, Span, V)>
    where
        F: Fn(&K, Span, Vec<T>) -> V + Send + Sync + 'static,
        V: Send + 'static,
        T: Clone,
    {
        self.operator(name, Location::caller(), Applied::new(f))
    }

    fn operator<C: Contents<K, T>>(self, name: &str, place: Place, contents: C) -> Stream<C::Out> {
        let factory = self.windows.node(contents, self.options);
        match self.input {
            Input::Keyed(keyed) => keyed.reserve(name, place).operator(factory),
            Input::Reserved(reserved) => reserved.named(name, place, factory),
        }
    }
}
