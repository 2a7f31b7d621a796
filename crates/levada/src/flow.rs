//! What can be done with a stream.
//!
//! `map`, `filter`, `flat_map`, `expand` and `inspect` keep no state. They return an open [`Pipe`], whose type knows every
//! closure in it, like the iterators of the standard library; so a run of them becomes one loop. What follows closes the
//! pipe: an exchange, a sink, or [`Flow::stream`], which gives back a plain `Stream<T>`.

use std::any::type_name;
use std::panic::Location;
use std::sync::Arc;

use levada_core::{BoxError, EventTime, Exchange, Key, OnError, Origin};
use levada_graph::{Node, NodeKind, Pattern};
use levada_operators::aggregate::Top;
use levada_operators::step::{
    Emitter, ExpandStep, FilterMapStep, FilterStep, FlatMapStep, InspectStep, KeyStep, KeyedStep,
    MapStep,
};
use levada_operators::time::{Generates, IntoWatermarks, TimestampsStep};
use levada_operators::{Asynchronous, CallError, Calls};
use levada_runtime::wiring::{
    Discard, HashEdge, Head, PlainEdge, SinkNode, SplitResultsNode, StepsNode,
};
use levada_runtime::{Sink, Step};

use crate::connected::{Broadcast, Connected};
use crate::keyed::Keyed;
use crate::pipe::{Pipe, calling, relay};
use crate::stream::{SinkHandle, Stream};

/// A stream, or one with stateless steps behind it.
///
/// Functions over streams take and return `Stream<T>`, or `impl Flow<Item = T>` to keep the steps fused:
///
/// ```
/// use levada::prelude::*;
///
/// fn long_words(words: impl Flow<Item = String>) -> impl Flow<Item = String> {
///     words.filter(|word| word.len() > 6)
/// }
/// ```
///
/// The closures of steps are shared by all subtasks. A captured variable cannot be changed (such state would be in no
/// snapshot), so this does not compile:
///
/// ```compile_fail
/// # use levada::prelude::*;
/// fn numbered(words: Stream<String>) -> Stream<(u64, String)> {
///     let mut n = 0;
///     words.map(move |word| { n += 1; (n, word) }).stream()
/// }
/// ```
///
/// Locks and atomics do compile; what they hold is not saved either.
pub trait Flow: Sized {
    /// The records.
    type Item: Send + 'static;
    /// The operator before the steps, as far as its type is known.
    type Head: Head;
    /// The steps.
    type Steps: Step<<Self::Head as Head>::Out, Out = Self::Item>;

    /// Opens the stream to steps.
    fn open(self) -> Pipe<Self::Head, Self::Steps>;

    /// Turns each record into another one.
    #[track_caller]
    fn map<B, F>(self, f: F) -> Pipe<Self::Head, MapStep<Self::Steps, F>>
    where
        F: Fn(Self::Item) -> B + Send + Sync + 'static,
        B: Send + 'static,
    {
        let place = Location::caller();
        self.open()
            .then("map", place, |steps, origin| MapStep::new(steps, f, origin))
    }

    /// Lets pass the records for which `f` is true.
    #[track_caller]
    fn filter<F>(self, f: F) -> Pipe<Self::Head, FilterStep<Self::Steps, F>>
    where
        F: Fn(&Self::Item) -> bool + Send + Sync + 'static,
    {
        let place = Location::caller();
        self.open().then("filter", place, |steps, origin| {
            FilterStep::new(steps, f, origin)
        })
    }

    /// Turns each record into another one, or into none.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn numbers(texts: Stream<String>) -> impl Flow<Item = u64> {
    ///     texts.filter_map(|text| text.parse().ok())
    /// }
    /// ```
    #[track_caller]
    fn filter_map<B, F>(self, f: F) -> Pipe<Self::Head, FilterMapStep<Self::Steps, F>>
    where
        F: Fn(Self::Item) -> Option<B> + Send + Sync + 'static,
        B: Send + 'static,
    {
        let place = Location::caller();
        self.open().then("filter_map", place, |steps, origin| {
            FilterMapStep::new(steps, f, origin)
        })
    }

    /// Turns each record into the records of an iterator, however many: it is suspended while there is no room.
    ///
    /// The iterator must own what it iterates over; for a closure that borrows from its record there is
    /// [`expand`](Flow::expand).
    #[track_caller]
    fn flat_map<B, F>(self, f: F) -> Pipe<Self::Head, FlatMapStep<Self::Steps, F>>
    where
        F: Fn(Self::Item) -> B + Send + Sync + 'static,
        B: IntoIterator + 'static,
        B::IntoIter: Send + 'static,
        B::Item: Send + 'static,
    {
        let place = Location::caller();
        self.open().then("flat_map", place, |steps, origin| {
            FlatMapStep::new(steps, f, origin)
        })
    }

    /// Turns each record into the records that `f` emits. What it emits without room waits as overdraft, so one call
    /// should emit no more than fits into memory.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn words(lines: Stream<String>) -> impl Flow<Item = String> {
    ///     lines.expand(|line, out| {
    ///         for word in line.split_whitespace() {
    ///             out.emit(word.to_lowercase());
    ///         }
    ///     })
    /// }
    /// ```
    #[track_caller]
    fn expand<B, F>(self, f: F) -> Pipe<Self::Head, ExpandStep<Self::Steps, F, B>>
    where
        F: Fn(Self::Item, &mut Emitter<'_, B>) + Send + Sync + 'static,
        B: Send + 'static,
    {
        let place = Location::caller();
        self.open().then("expand", place, |steps, origin| {
            ExpandStep::new(steps, f, origin)
        })
    }

    /// Shows each record to `f`.
    #[track_caller]
    fn inspect<F>(self, f: F) -> Pipe<Self::Head, InspectStep<Self::Steps, F>>
    where
        F: Fn(&Self::Item) + Send + Sync + 'static,
    {
        let place = Location::caller();
        self.open().then("inspect", place, |steps, origin| {
            InspectStep::new(steps, f, origin)
        })
    }

    /// Gives each record the event time that `f` returns, and makes watermarks: a watermark says that no record with its
    /// timestamp or an earlier one follows.
    ///
    /// `watermarks` is a duration (records come at most so much out of order) or [`Watermarks`](crate::Watermarks). The
    /// first millisecond that is late is `bound` and one before the latest event time.
    ///
    /// Close to a source, each split has a watermark of its own, and the least of them counts; so splits are read one
    /// after the other without that the later ones are late. Behind an exchange, a call or an operator with state there is
    /// one for all records of a subtask, and one that has no records holds back the others unless it is idle.
    /// Watermarks from before this step are replaced, except that of the end.
    ///
    /// An event time is a number of milliseconds since the epoch (`i64`, `u64`), a [`Timestamp`](crate::Timestamp) or a
    /// `SystemTime`, strictly between `i64::MIN` and `i64::MAX` milliseconds; another one fails the job.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn timed(readings: Stream<(String, i64)>) -> impl Flow<Item = (String, i64)> {
    ///     readings.timestamps(|(_, at)| *at, seconds(5))
    /// }
    /// ```
    #[track_caller]
    fn timestamps<E, F, W>(
        self,
        f: F,
        watermarks: W,
    ) -> Pipe<Self::Head, TimestampsStep<Self::Steps, F, W::Make>>
    where
        F: Fn(&Self::Item) -> E + Send + Sync + 'static,
        E: EventTime,
        W: IntoWatermarks<Make: Generates<Self::Item>>,
    {
        let place = Location::caller();
        self.open().then("timestamps", place, |steps, origin| {
            TimestampsStep::new(steps, f, watermarks.into_watermarks(), origin)
        })
    }

    /// Closes the steps: a plain stream, to be named in a signature or used twice.
    #[track_caller]
    fn stream(self) -> Stream<Self::Item> {
        let place = Location::caller();
        let pipe = self.open();
        let name = pipe.specs.last().map_or("stream", |step| step.method);
        let (inner, node) = pipe.close(name, place, StepsNode::<Self::Head, _>::new);
        inner.add_output(node, place)
    }

    /// Groups the records by a key. Records of one key go to one subtask, in the order in which each sender sent them.
    ///
    /// The key travels with the record. Where the record is larger than what is needed of it, `map` first: the cheapest
    /// record is the one that does not travel.
    #[track_caller]
    fn key_by<K, F>(self, f: F) -> Keyed<K, Self::Item>
    where
        F: Fn(&Self::Item) -> K + Send + Sync + 'static,
        K: Key,
        Self::Item: Exchange,
    {
        let place = Location::caller();
        let pipe = self.open().then("key_by", place, |steps, origin| {
            KeyStep::new(steps, f, origin)
        });
        let factory = |steps, origin| HashEdge::<Self::Head, _>::new(steps, origin);
        Keyed::new(pipe, "key_by", place, factory)
    }

    /// Groups pairs by their first half, which becomes the key without being cloned.
    #[track_caller]
    fn keyed<K, T>(self) -> Keyed<K, T>
    where
        Self: Flow<Item = (K, T)>,
        K: Key,
        T: Exchange,
    {
        let place = Location::caller();
        let pipe = self.open().then("keyed", place, |steps, origin| {
            KeyedStep::new(steps, origin)
        });
        let factory = |steps, origin| HashEdge::<<Self as Flow>::Head, _>::new(steps, origin);
        Keyed::new(pipe, "keyed", place, factory)
    }

    /// Brings all records to one subtask, under the key `()`.
    #[track_caller]
    fn global(self) -> Keyed<(), Self::Item>
    where
        Self::Item: Exchange,
    {
        let place = Location::caller();
        let pipe = self.open().then("global", place, |steps, origin| {
            KeyStep::new(steps, |_: &Self::Item| (), origin)
        });
        let factory = |steps, origin| HashEdge::<Self::Head, _>::new(steps, origin);
        Keyed::new(pipe, "global", place, factory).in_one_subtask()
    }

    /// Divides the records evenly: each sender sends to the subtasks in turn, and passes over those that have no room.
    #[track_caller]
    fn rebalance(self) -> Stream<Self::Item>
    where
        Self::Item: Exchange,
    {
        self.open()
            .divided("rebalance", Location::caller(), Pattern::Rebalance)
    }

    /// Divides the records among the few subtasks that are each sender's share: of two subtasks that send to six, each sends
    /// to three in turn; of six that send to two, three send to each. There are fewer channels than with
    /// [`rebalance`](Flow::rebalance), and no sender evens out what another one has too much of.
    #[track_caller]
    fn rescale(self) -> Stream<Self::Item>
    where
        Self::Item: Exchange,
    {
        self.open()
            .divided("rescale", Location::caller(), Pattern::Rescale)
    }

    /// Divides the records at random: each goes to any of the subtasks that have room.
    #[track_caller]
    fn shuffle(self) -> Stream<Self::Item>
    where
        Self::Item: Exchange,
    {
        self.open()
            .divided("shuffle", Location::caller(), Pattern::Shuffle)
    }

    /// Sends each record to the subtask that `f` names: it is given the record and the number of subtasks, and returns a
    /// number below it. A larger number fails the job.
    ///
    /// State per key belongs behind [`key_by`](Flow::key_by), which keeps it with its key at every parallelism; this is for
    /// what comes without state.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn by_region(orders: Stream<(u8, u64)>) -> Stream<(u8, u64)> {
    ///     orders.partition(|(region, _), subtasks| usize::from(*region) % subtasks)
    /// }
    /// ```
    #[track_caller]
    fn partition<F>(self, f: F) -> Stream<Self::Item>
    where
        F: Fn(&Self::Item, usize) -> usize + Send + Sync + 'static,
        Self::Item: Exchange,
    {
        let place = Location::caller();
        relay(
            "partition",
            place,
            Pattern::Custom,
            [self.open().half("partition", place, |steps, origin| {
                Arc::new(PlainEdge::<Self::Head, _>::partitioned(
                    steps,
                    origin,
                    Arc::new(f),
                ))
            })],
        )
    }

    /// Gives every record to every subtask.
    #[track_caller]
    fn broadcast(self) -> Stream<Self::Item>
    where
        Self::Item: Exchange + Clone,
    {
        let place = Location::caller();
        relay(
            "broadcast",
            place,
            Pattern::Broadcast,
            [self.open().half("broadcast", place, |steps, origin| {
                Arc::new(PlainEdge::<Self::Head, _>::copying(steps, origin))
            })],
        )
    }

    /// The records of this stream and another one. There is no order between the two.
    ///
    /// Subtask i of the union reads subtask i of both streams; one of another parallelism than the larger is divided
    /// evenly.
    #[track_caller]
    fn union<O>(self, other: O) -> Stream<Self::Item>
    where
        O: Flow<Item = Self::Item>,
        Self::Item: Exchange,
    {
        let place = Location::caller();
        let one = self.open().plain("union", place);
        let two = other.open().plain("union", place);
        relay("union", place, Pattern::Pointwise, [one, two])
    }

    /// This stream beside another one of any type, to be made one by two closures.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn lines(orders: Stream<(u64, u64)>, notes: Stream<String>) -> Stream<String> {
    ///     orders.connect(notes).map(|(id, amount)| format!("{id}: {amount}"), |note| note)
    /// }
    /// ```
    fn connect<O: Flow>(self, other: O) -> Connected<Self, O> {
        Connected {
            first: self,
            second: other,
        }
    }

    /// Brings the records of another stream to every subtask of an operator behind this one: rules against data. See
    /// [`BroadcastProcess`](crate::BroadcastProcess), and [`Keyed::connect_broadcast`] for state by key beside it.
    #[track_caller]
    fn connect_broadcast<O>(self, other: O) -> Broadcast<Self::Item, O::Item>
    where
        O: Flow<Item: Exchange>,
        Self::Item: Exchange,
    {
        Broadcast::new(self, other)
    }

    /// The records of this stream and any number of others.
    #[track_caller]
    fn union_all(self, others: impl IntoIterator<Item = Stream<Self::Item>>) -> Stream<Self::Item>
    where
        Self::Item: Exchange,
    {
        let place = Location::caller();
        let mut halves = vec![self.open().plain("union", place)];
        for other in others {
            halves.push(other.open().plain("union", place));
        }
        relay("union", place, Pattern::Pointwise, halves)
    }

    /// When the input is complete, the `count` records with the largest ranks, largest first. For one result whatever the
    /// parallelism, the rank must tell all records apart.
    ///
    /// ```
    /// use levada::prelude::*;
    /// use std::cmp::Reverse;
    ///
    /// fn most_frequent(counts: Stream<(String, u64)>) -> Stream<(String, u64)> {
    ///     counts.top("most-frequent", 10, |(word, count)| (*count, Reverse(word.clone())))
    /// }
    /// ```
    #[track_caller]
    fn top<O, F>(self, name: &str, count: usize, rank: F) -> Stream<Self::Item>
    where
        F: Fn(&Self::Item) -> O + Send + Sync + 'static,
        O: Ord + 'static,
        Self::Item: Exchange + Clone,
    {
        self.global()
            .aggregate(name, |_| Top::new(count, rank))
            .at_end()
            .flat_map(|((), records)| records)
            .stream()
    }

    /// Divides results into two streams: what is `Ok`, and what is `Err`.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn numbers(job: &Job) {
    ///     let (numbers, errors) = job
    ///         .source("texts", iterator(["1", "2", "three"]))
    ///         .map(|text| text.parse::<u64>().map_err(|error| format!("{text}: {error}")))
    ///         .split_results();
    ///     numbers.sink("numbers", for_each(|n| assert!(n <= 2)));
    ///     errors.sink("errors", for_each(|error: String| assert!(error.starts_with("three: invalid digit"))));
    /// }
    /// let report = levada::Runner::new().run(numbers)?;
    /// assert_eq!(report.metrics.records_written(), 3);
    /// # Ok::<(), levada::Error>(())
    /// ```
    #[track_caller]
    fn split_results<T, E>(self) -> (Stream<T>, Stream<E>)
    where
        Self: Flow<Item = Result<T, E>>,
        T: Send + 'static,
        E: Send + 'static,
    {
        let place = Location::caller();
        let make = SplitResultsNode::<<Self as Flow>::Head, _, T, E>::new;
        let (inner, node) = self.open().close("split_results", place, make);
        (inner.add_output(node, place), inner.add_output(node, place))
    }

    /// Makes an asynchronous call for each record: many at a time, on a thread for futures, with retries and time limits. The
    /// results are a stream; a call that has failed fails the job.
    ///
    /// When as many calls run as [`Calls`] allows, the stream before waits. The records of calls whose results have not been
    /// emitted are part of a snapshot: after a restore these calls are made again, before all others (at least once).
    /// Restored at another parallelism, they may be made in another subtask than the later records of their key.
    ///
    /// The future runs on one thread with all others of the job, in a tokio runtime: it must not block. It may wait with
    /// [`levada::sleep`](crate::sleep), whose time a simulation can own. A panic fails the job.
    ///
    /// ```
    /// use levada::prelude::*;
    /// use std::time::Duration;
    ///
    /// async fn country_of(address: String) -> Result<(String, &'static str), levada::BoxError> {
    ///     levada::sleep(Duration::from_millis(1)).await;
    ///     Ok((address, "PT"))
    /// }
    ///
    /// fn countries(job: &Job) {
    ///     job.source("addresses", iterator(vec!["10.0.0.1".to_owned()]))
    ///         .call("countries", Calls::ordered(10).timeout(Duration::from_secs(5)), country_of)
    ///         .sink("out", for_each(|(address, country)| println!("{address} {country}")));
    /// }
    /// # levada::Runner::new().run(countries)?;
    /// # Ok::<(), levada::Error>(())
    /// ```
    #[track_caller]
    fn call<B, F, R, E>(self, name: &str, calls: Calls, f: F) -> Stream<B>
    where
        F: Fn(Self::Item) -> R + Send + Sync + 'static,
        R: Future<Output = Result<B, E>> + Send + 'static,
        E: Into<BoxError>,
        B: Send + 'static,
        Self::Item: Exchange + Clone,
    {
        let place = Location::caller();
        let asynchronous = Asynchronous::new(calls, OnError::Fail, f);
        calling(self.open(), name, place, asynchronous)
    }

    /// As [`call`](Flow::call), but a record whose call has failed is left out and counted.
    #[track_caller]
    fn call_or_skip<B, F, R, E>(self, name: &str, calls: Calls, f: F) -> Stream<B>
    where
        F: Fn(Self::Item) -> R + Send + Sync + 'static,
        R: Future<Output = Result<B, E>> + Send + 'static,
        E: Into<BoxError>,
        B: Send + 'static,
        Self::Item: Exchange + Clone,
    {
        let place = Location::caller();
        let asynchronous = Asynchronous::new(calls, OnError::Skip, f);
        calling(self.open(), name, place, asynchronous)
    }

    /// As [`call`](Flow::call), but what has failed is emitted too, with its record: for
    /// [`split_results`](Flow::split_results).
    #[track_caller]
    fn call_results<B, F, R, E>(
        self,
        name: &str,
        calls: Calls,
        f: F,
    ) -> Stream<Result<B, CallError<Self::Item>>>
    where
        F: Fn(Self::Item) -> R + Send + Sync + 'static,
        R: Future<Output = Result<B, E>> + Send + 'static,
        E: Into<BoxError>,
        B: Send + 'static,
        Self::Item: Exchange + Clone,
    {
        let place = Location::caller();
        calling(self.open(), name, place, Asynchronous::results(calls, f))
    }

    /// Ends the stream in a sink.
    #[track_caller]
    fn sink<K>(self, name: &str, sink: K) -> SinkHandle
    where
        K: Sink<Self::Item>,
        K::Writer: 'static,
    {
        let place = Location::caller();
        let Pipe {
            port, steps, specs, ..
        } = self.open();
        let inner = &port.inner;
        let node = inner.add_node(
            Node {
                kind: NodeKind::Sink,
                origin: Origin::new(name, place),
                steps: specs,
                parallelism: None,
                parallelism_max: None,
                blocking: sink.is_blocking(),
                outputs: Vec::new(),
            },
            SinkNode::<Self::Head, _, _>::new(steps, sink),
        );
        inner.forward(&port, node, place, type_name::<<Self::Head as Head>::Out>());
        SinkHandle {
            inner: std::rc::Rc::clone(inner),
            node,
        }
    }

    /// Ends the stream where it is; its records are dropped.
    #[track_caller]
    fn discard(self) {
        let place = Location::caller();
        let stream = self.stream();
        let port = &stream.port;
        let node = port.inner.add_node(
            Node {
                kind: NodeKind::Relay,
                origin: Origin::new("discard", place),
                steps: Vec::new(),
                parallelism: None,
                parallelism_max: None,
                blocking: false,
                outputs: Vec::new(),
            },
            Discard::<Self::Item>::new(),
        );
        port.inner
            .forward(port, node, place, type_name::<Self::Item>());
    }
}
