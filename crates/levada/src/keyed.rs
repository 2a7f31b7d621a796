//! Keyed streams, and the operators that keep state per key.

use std::any::type_name;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use levada_core::{Exchange, Key, Origin, Place, State};
use levada_graph::{Edge, Pattern};
use levada_operators::aggregate::{Accumulate, Count, Fold, Gather, MaxBy, MinBy, Reduce, Top};
use levada_operators::step::MapStep;
use levada_operators::window::WindowKind;
use levada_operators::{Aggregate, Aggregates, Process, RunningNode};
use levada_runtime::wiring::{EdgeFactory, Records};
use levada_runtime::{HasKeyGroup, Identity, KeyedRecord};
use levada_state::StateVersion;

use crate::flow::Flow;
use crate::pipe::Pipe;
use crate::reserved::{Input, Reserved};
use crate::side::SideOutputs;
use crate::stream::Stream;
use crate::windowed::Windowed;

/// Records of type `T` grouped by keys of type `K`.
#[must_use = "a keyed stream does nothing until an operator follows it"]
pub struct Keyed<K, T> {
    input: Input,
    parallelism_max: Option<(usize, &'static str)>,
    records: PhantomData<fn() -> (K, T)>,
}

impl<K: Key, T: Exchange> Keyed<K, T> {
    pub(crate) fn new<H, S, E>(
        pipe: Pipe<H, S>,
        method: &'static str,
        place: Place,
        factory: impl FnOnce(S, Origin) -> E,
    ) -> Self
    where
        E: EdgeFactory + 'static,
    {
        Self {
            input: Input {
                edge: Edge {
                    output: pipe.port.output,
                    pattern: Pattern::Hash,
                    steps: pipe.specs,
                    place,
                    record_type: type_name::<(K, T)>(),
                },
                factory: Arc::new(factory(pipe.steps, Origin::new(method, place))),
                port: pipe.port,
            },
            parallelism_max: None,
            records: PhantomData,
        }
    }

    pub(crate) fn in_one_subtask(self) -> Self {
        Self {
            parallelism_max: Some((1, "it has one key, which one subtask owns")),
            ..self
        }
    }

    /// How many records each key has had: an update per record, or with [`Updates::at_end`] one row per key.
    #[track_caller]
    pub fn count(self, name: &str) -> Updates<(K, u64)> {
        self.unversioned(name, Location::caller(), Gather(Count))
    }

    /// A value for each key, which starts as its type's default and to which every record is added.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn revenue(bids: Stream<(u64, u64)>) -> Stream<(u64, u64)> {
    ///     bids.keyed().fold("revenue", |sum: &mut u64, price| *sum += price).stream()
    /// }
    /// ```
    #[track_caller]
    pub fn fold<V, F>(self, name: &str, f: F) -> Updates<(K, V)>
    where
        F: Fn(&mut V, &T) + Send + Sync + 'static,
        V: State + Clone,
    {
        self.unversioned(name, Location::caller(), Fold::new(f))
    }

    /// One record for each key: the first one, into which every later one is combined.
    #[track_caller]
    pub fn reduce<F>(self, name: &str, f: F) -> Updates<(K, T)>
    where
        F: Fn(&mut T, &T) + Send + Sync + 'static,
        T: Clone,
    {
        let place = Location::caller();
        let reduce: Reduce<F> = Aggregates::<T>::new().reduce(f);
        self.unversioned(name, place, Gather(reduce))
    }

    /// An aggregate for each key: one of those that the closure's argument names, several as a tuple, or one's own.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn bids(bids: Stream<(u64, u64)>) -> Stream<(u64, (u64, u64))> {
    ///     bids.keyed()
    ///         .aggregate("bids", |prices| (prices.count(), prices.max(|price| *price)))
    ///         .stream()
    /// }
    /// ```
    #[track_caller]
    pub fn aggregate<A, F>(self, name: &str, f: F) -> Updates<(K, A::Out)>
    where
        F: FnOnce(Aggregates<T>) -> A,
        A: Aggregate<T>,
    {
        let place = Location::caller();
        self.unversioned(name, place, Gather(f(Aggregates::new())))
    }

    /// The record of each key with the least value; of several, the first.
    #[track_caller]
    pub fn min_by<V, F>(self, name: &str, value: F) -> Updates<(K, T)>
    where
        F: Fn(&T) -> V + Send + Sync + 'static,
        V: Ord + 'static,
        T: Clone,
    {
        let place = Location::caller();
        let least: MinBy<F, V> = Aggregates::<T>::new().min_by(value);
        self.unversioned(name, place, Gather(least))
    }

    /// The record of each key with the greatest value; of several, the first.
    #[track_caller]
    pub fn max_by<V, F>(self, name: &str, value: F) -> Updates<(K, T)>
    where
        F: Fn(&T) -> V + Send + Sync + 'static,
        V: Ord + 'static,
        T: Clone,
    {
        let place = Location::caller();
        let greatest: MaxBy<F, V> = Aggregates::<T>::new().max_by(value);
        self.unversioned(name, place, Gather(greatest))
    }

    /// The `count` records of each key with the largest ranks, largest first; of equal ranks the earlier record.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn best(bids: Stream<(u64, u64)>) -> Stream<(u64, Vec<u64>)> {
    ///     bids.keyed().top("best", 3, |price| *price).at_end()
    /// }
    /// ```
    #[track_caller]
    pub fn top<O, F>(self, name: &str, count: usize, rank: F) -> Updates<(K, Vec<T>)>
    where
        F: Fn(&T) -> O + Send + Sync + 'static,
        O: Ord + 'static,
        T: Clone,
    {
        self.unversioned(name, Location::caller(), Gather(Top::new(count, rank)))
    }

    /// The first record of each key. A key that has been seen is remembered for ever, so this is for keys that are few, or
    /// for input that is bounded; else there is [`ttl`](Self::ttl).
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn once(events: Stream<(u64, String)>) -> Stream<(u64, String)> {
    ///     events.key_by(|(id, _)| *id).deduplicate("once")
    /// }
    /// ```
    #[track_caller]
    pub fn deduplicate(self, name: &str) -> Stream<T>
    where
        T: Clone,
    {
        self.lasting().deduplicate(name)
    }

    /// The user's own operator, with state for each key.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// /// Passes on a reading that differs from the one before.
    /// #[derive(Clone)]
    /// struct Changes;
    ///
    /// impl Process for Changes {
    ///     type Key = String;
    ///     type In = (String, u64);
    ///     type State = Option<u64>;
    ///     type Out = (String, u64);
    ///
    ///     fn element(&self, (sensor, value): &(String, u64), context: &mut Context<'_, Self>) {
    ///         if context.state().replace(*value) != Some(*value) {
    ///             context.emit((sensor.clone(), *value));
    ///         }
    ///     }
    /// }
    ///
    /// fn changes(readings: Stream<(String, u64)>) -> Stream<(String, u64)> {
    ///     readings.key_by(|(sensor, _)| sensor.clone()).process("changes", Changes)
    /// }
    /// ```
    #[track_caller]
    pub fn process<P>(self, name: &str, process: P) -> Stream<P::Out>
    where
        P: Process<Key = K, In = T>,
    {
        self.lasting().process(name, process)
    }

    /// The user's own operator with side outputs: the closure gets one handle, or a tuple of several, for the process to
    /// keep. Returns the main stream and the side streams.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// /// Passes on even numbers; the others go to the side.
    /// #[derive(Clone)]
    /// struct Even { odd: SideOutput<u64> }
    ///
    /// impl Process for Even {
    ///     type Key = u64;
    ///     type In = u64;
    ///     type State = ();
    ///     type Out = u64;
    ///
    ///     fn element(&self, number: &u64, context: &mut Context<'_, Self>) {
    ///         if number % 2 == 0 {
    ///             context.emit(*number);
    ///         } else {
    ///             context.emit_to(&self.odd, *number);
    ///         }
    ///     }
    /// }
    ///
    /// fn split(numbers: Stream<u64>) -> (Stream<u64>, Stream<u64>) {
    ///     numbers.key_by(|n| n % 10).process_with_side("split", |odd| Even { odd })
    /// }
    /// ```
    #[track_caller]
    pub fn process_with_side<P, S, F>(self, name: &str, f: F) -> (Stream<P::Out>, S::Streams)
    where
        P: Process<Key = K, In = T>,
        S: SideOutputs,
        F: FnOnce(S) -> P,
    {
        self.lasting().process_with_side(name, f)
    }

    /// Gathers the records of each key in windows: [`tumbling`](crate::tumbling), [`sliding`](crate::sliding),
    /// [`session`](crate::session) and others. Records need an event time: see [`Flow::timestamps`].
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn per_minute(clicks: Stream<(String, i64)>) -> Stream<(String, Span, u64)> {
    ///     clicks
    ///         .timestamps(|(_, at)| *at, seconds(5))
    ///         .key_by(|(page, _)| page.clone())
    ///         .window(tumbling(minutes(1)))
    ///         .count("per-minute")
    /// }
    /// ```
    #[track_caller]
    pub fn window<W: WindowKind>(self, windows: W) -> Windowed<K, T, W> {
        let place = Location::caller();
        if let Err(problem) = windows.check() {
            self.refuse(&problem, place);
        }
        Windowed::new(self, windows)
    }

    fn unversioned<A>(self, name: &str, place: Place, accumulate: A) -> Updates<(K, A::Out)>
    where
        A: Accumulate<T>,
    {
        self.running(name, place, accumulate, StateVersion::default())
    }

    pub(crate) fn running<A>(
        self,
        name: &str,
        place: Place,
        accumulate: A,
        version: StateVersion<A::Accumulator>,
    ) -> Updates<(K, A::Out)>
    where
        A: Accumulate<T>,
    {
        let at_end = Arc::new(AtomicBool::new(false));
        let reserved = self.reserve(name, place);
        reserved.check(&version);
        let factory = RunningNode::<K, T, A>::new(accumulate, Arc::clone(&at_end), version);
        let stream = reserved.operator(factory);
        Updates { stream, at_end }
    }

    /// Adds the operator's node, without its code.
    pub(crate) fn reserve(self, name: &str, place: Place) -> Reserved {
        Reserved::new(name, place, self.parallelism_max, vec![self.input])
    }

    /// The edge of an operator with several inputs: each record is wrapped, behind the steps that gave it its key.
    pub(crate) fn wrapped<W>(
        self,
        method: &'static str,
        place: Place,
        wrap: fn(KeyedRecord<K, T>) -> W,
    ) -> Input
    where
        W: HasKeyGroup + Exchange,
    {
        let step = MapStep::new(Identity, wrap, Origin::new(method, place));
        self.input.then::<KeyedRecord<K, T>, _>(method, place, step)
    }

    /// The job is not built, for this reason.
    pub(crate) fn refuse(&self, reason: &dyn std::fmt::Display, place: Place) {
        self.input.port.inner.refuse(reason, place);
    }

    /// The input of an operator, as it is.
    pub(crate) fn into_input(self) -> Input {
        self.input
    }

    /// The most subtasks that this stream and another one can have together.
    pub(crate) fn parallelism_max(&self) -> Option<(usize, &'static str)> {
        self.parallelism_max
    }
}

/// The stream of a running operator: an update for each record, unless [`at_end`](Updates::at_end) is called.
pub struct Updates<O> {
    stream: Stream<O>,
    at_end: Arc<AtomicBool>,
}

impl<O: Send + 'static> Updates<O> {
    /// One row per key when the input is complete, instead of an update per record.
    #[must_use]
    pub fn at_end(self) -> Stream<O> {
        self.at_end.store(true, Ordering::Relaxed);
        self.stream
    }

    /// Runs the operator in `parallelism` subtasks.
    #[track_caller]
    #[must_use]
    pub fn parallelism(self, parallelism: usize) -> Self {
        Self {
            stream: self.stream.parallelism(parallelism),
            at_end: self.at_end,
        }
    }
}

impl<O: Send + 'static> Flow for Updates<O> {
    type Item = O;
    type Head = Records<O>;
    type Steps = Identity;

    fn open(self) -> Pipe<Records<O>, Identity> {
        self.stream.open()
    }

    fn stream(self) -> Stream<O> {
        self.stream
    }
}
