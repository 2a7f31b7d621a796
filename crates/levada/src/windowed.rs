//! Keyed streams in windows.

use std::marker::PhantomData;
use std::panic::Location;
use std::time::Duration;

use levada_core::event_time::millis_of;
use levada_core::{Exchange, Key, Origin, Place, Span, State};
use levada_operators::aggregate::{Count, Reduce};
use levada_operators::window::{
    Aggregated, Applied, Contents, Folded, LateOutput, Merged, NeverMerged, PanedKind, Partial,
    PreAggregateStep, SlicedKind, Trigger, Triggered, WindowKind, WindowOptions, WindowsOf,
};
use levada_operators::{Aggregate, Aggregates, SideOutput};
use levada_runtime::KeyedRecord;
use levada_runtime::wiring::NodeFactory;

use crate::keyed::Keyed;
use crate::reserved::{Input, Reserved};
use crate::stream::Stream;

/// Records of type `T`, grouped by keys of type `K` and gathered in windows of the kind `W`. Made by [`Keyed::window`].
///
/// A window fires when the watermark reaches its last millisecond: its result is emitted with that as its timestamp, and the
/// window is forgotten. A record whose windows have all been forgotten is late: it is counted
/// ([`records_late`](crate::metrics::OperatorMetrics::records_late)) and dropped, or goes to the stream that
/// [`late`](Self::late) returns. When the input ends, all windows fire, except those of the time of day, those of a count, and
/// those whose trigger does not say so.
///
/// While a watermark fires windows the operator reads no records, but lets others run in between, and a snapshot taken
/// then holds those that have not fired. The watermark is passed on after their results.
#[must_use = "windows do nothing until an operator follows them"]
pub struct Windowed<K, T, W> {
    node: Node,
    windows: W,
    options: WindowOptions<T>,
    records: PhantomData<fn(K)>,
}

/// The node of the operator.
enum Node {
    /// It will have these inputs.
    Planned(Vec<Input>, Option<(usize, &'static str)>),
    /// It is there already, because it has a side output.
    Reserved(Reserved),
}

impl Node {
    fn reserve(self, name: &str, place: Place) -> Reserved {
        match self {
            Self::Planned(inputs, parallelism_max) => {
                Reserved::new(name, place, parallelism_max, inputs)
            }
            Self::Reserved(reserved) => reserved,
        }
    }

    /// Puts a step into each input.
    fn then(self, place: Place, step: impl Fn(Input) -> Input) -> Self {
        match self {
            Self::Planned(inputs, max) => {
                Self::Planned(inputs.into_iter().map(step).collect(), max)
            }
            Self::Reserved(reserved) => {
                let reason = "late records cannot be told apart once they have been gathered: use `late` without \
                     `pre_aggregate`";
                reserved.refuse(&reason, place);
                Self::Reserved(reserved)
            }
        }
    }

    /// Notes what is wrong with the windows.
    fn note(&self, place: Place, problem: &str) {
        match self {
            Self::Planned(inputs, _) => {
                if let Some(input) = inputs.first() {
                    input.port.inner.refuse(&problem, place);
                }
            }
            Self::Reserved(reserved) => reserved.refuse(&problem, place),
        }
    }

    fn operator<O: Send + 'static>(
        self,
        name: &str,
        place: Place,
        factory: impl NodeFactory + 'static,
    ) -> Stream<O> {
        match self {
            Self::Planned(..) => self.reserve(name, place).operator(factory),
            Self::Reserved(reserved) => reserved.named(name, place, factory),
        }
    }
}

impl<K: Key, T: Exchange, W: WindowsOf<T>> Windowed<K, T, W> {
    pub(crate) fn new(keyed: Keyed<K, T>, windows: W) -> Self {
        let parallelism_max = keyed.parallelism_max();
        Self::of_inputs(vec![keyed.into_input()], parallelism_max, windows)
    }

    pub(crate) fn of_inputs(
        inputs: Vec<Input>,
        parallelism_max: Option<(usize, &'static str)>,
        windows: W,
    ) -> Self {
        Self {
            node: Node::Planned(inputs, parallelism_max),
            windows,
            options: WindowOptions::default(),
            records: PhantomData,
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
        let reserved = self.node.reserve("windows", place);
        let (side, stream, ports) = reserved.side_output::<SideOutput<T>>();
        self.options.late = Some(LateOutput::new(side, ports));
        self.node = Node::Reserved(reserved);
        (self, stream)
    }

    /// The windows fire when a trigger says so: [`every`](crate::window::every) so many records,
    /// [`continuous`](crate::window::continuous)ly before their end, or by a [`Trigger`] of one's own.
    ///
    /// A record that comes late, but not too late, is added to its window, and the trigger is asked. Whatever the trigger does,
    /// a window is forgotten when the watermark has passed its end and the allowed lateness. A global window is not.
    ///
    /// Each window of a key is kept by itself, with its trigger's state: sliding windows cost more than without a trigger.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn so_far_today(clicks: Stream<(String, i64)>) -> Stream<(String, Span, u64)> {
    ///     clicks
    ///         .timestamps(|(_, at)| *at, seconds(5))
    ///         .key_by(|(page, _)| page.clone())
    ///         .window(tumbling(days(1)))
    ///         .trigger(continuous(minutes(1)))
    ///         .count("clicks-so-far")
    /// }
    /// ```
    #[track_caller]
    pub fn trigger<R>(self, trigger: R) -> Windowed<K, T, Triggered<W, R>>
    where
        W: PanedKind,
        R: Trigger<T>,
    {
        let windows = Triggered::new(self.windows, trigger);
        if let Err(problem) = windows.check() {
            self.node.note(Location::caller(), &problem);
        }
        Windowed {
            node: self.node,
            windows,
            options: self.options,
            records: PhantomData,
        }
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

    /// Gathers the records of each key before they cross to another subtask too, so that a key with very many records
    /// costs its subtask little. Results are the same, up to the order in which records of different senders are combined, and
    /// how sums of floating-point numbers are rounded. A sender holds what it has gathered until the first watermark that
    /// completes a window of it, and gathers nothing where that does not make records fewer by half.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn total(bids: Stream<(u64, i64)>) -> Stream<((), Span, u64)> {
    ///     bids.timestamps(|(_, at)| *at, seconds(5))
    ///         .global()
    ///         .window(tumbling(seconds(10)))
    ///         .pre_aggregate()
    ///         .aggregate("total", |bids| bids.sum(|(price, _)| *price))
    /// }
    /// ```
    #[track_caller]
    pub fn pre_aggregate(self) -> PreAggregated<K, T, W>
    where
        W: SlicedKind,
    {
        PreAggregated {
            windowed: self,
            place: Location::caller(),
        }
    }

    pub(crate) fn operator<C: Contents<K, T>>(
        self,
        name: &str,
        place: Place,
        contents: C,
    ) -> Stream<C::Out> {
        if let Some(problem) = contents.version().problem() {
            self.node.note(place, problem);
        }
        let factory = self.windows.node(contents, self.options);
        self.node.operator(name, place, factory)
    }
}

/// Windows whose records are gathered in two phases. Made by [`Windowed::pre_aggregate`].
#[must_use = "windows do nothing until an operator follows them"]
pub struct PreAggregated<K, T, W> {
    windowed: Windowed<K, T, W>,
    place: Place,
}

impl<K: Key, T: Exchange + Clone, W: SlicedKind> PreAggregated<K, T, W> {
    /// How many records each key has in each window.
    #[track_caller]
    pub fn count(self, name: &str) -> Stream<(K, Span, u64)> {
        self.operator(name, Location::caller(), Count)
    }

    /// An aggregate for each key and window, as [`Windowed::aggregate`].
    #[track_caller]
    pub fn aggregate<A, F>(self, name: &str, f: F) -> Stream<(K, Span, A::Out)>
    where
        F: FnOnce(Aggregates<T>) -> A,
        A: Aggregate<T, Accumulator: Sync>,
    {
        let place = Location::caller();
        self.operator(name, place, f(Aggregates::new()))
    }

    /// One record for each key and window: the first one, into which every later one is combined.
    #[track_caller]
    pub fn reduce<F>(self, name: &str, f: F) -> Stream<(K, Span, T)>
    where
        F: Fn(&mut T, &T) + Send + Sync + 'static,
    {
        let place = Location::caller();
        let reduce: Reduce<F> = Aggregates::<T>::new().reduce(f);
        self.operator(name, place, reduce)
    }

    fn operator<A>(self, name: &str, place: Place, aggregate: A) -> Stream<(K, Span, A::Out)>
    where
        A: Aggregate<T, Accumulator: Sync>,
    {
        let Windowed {
            node,
            windows,
            options,
            ..
        } = self.windowed;
        let slicing = windows.slicing();
        let origin = Origin::new(format!("{name} (partial)"), self.place);
        let node = node.then(self.place, |input| {
            let step = PreAggregateStep::new(aggregate.clone(), slicing, origin.clone());
            input.then::<KeyedRecord<K, T>, _>("pre_aggregate", self.place, step)
        });
        let options = WindowOptions {
            lateness: options.lateness,
            late: None,
        };
        let merged = Merged::new(aggregate);
        let factory = WindowKind::node::<K, Partial<A::Accumulator>, _>(windows, merged, options);
        node.operator(name, place, factory)
    }
}
