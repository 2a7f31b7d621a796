//! Two streams that meet in one operator.

use std::any::type_name;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;

use levada_core::{Exchange, Key, Origin};
use levada_graph::{Edge, Pattern};
use levada_operators::process::{Connected as Both, Informed, InformedWithoutKeys};
use levada_operators::step::MapStep;
use levada_operators::{BroadcastProcess, CoProcess, Ttl};
use levada_runtime::wiring::PlainEdge;
use levada_runtime::{KeyedRecord, ToAll, Two};
use levada_state::StateVersion;

use crate::flow::Flow;
use crate::keyed::Keyed;
use crate::pipe::Pipe;
use crate::reserved::{Input, Reserved};
use crate::side::SideOutputs;
use crate::stream::Stream;

/// Two streams, of any types, that are about to become one. Made by [`Flow::connect`].
#[must_use = "connected streams do nothing until an operator follows them"]
pub struct Connected<F, G> {
    pub(crate) first: F,
    pub(crate) second: G,
}

impl<F: Flow, G: Flow> Connected<F, G> {
    /// Turns the records of both into one type, each by a closure of its own. There is no order between the two.
    #[track_caller]
    pub fn map<B, M, N>(self, first: M, second: N) -> Stream<B>
    where
        M: Fn(F::Item) -> B + Send + Sync + 'static,
        N: Fn(G::Item) -> B + Send + Sync + 'static,
        B: Exchange,
    {
        self.first.map(first).union(self.second.map(second))
    }

    /// Turns each record into any number of records of one type.
    #[track_caller]
    pub fn flat_map<B, M, N, I, J>(self, first: M, second: N) -> Stream<B>
    where
        M: Fn(F::Item) -> I + Send + Sync + 'static,
        N: Fn(G::Item) -> J + Send + Sync + 'static,
        I: IntoIterator<Item = B, IntoIter: Send + 'static> + 'static,
        J: IntoIterator<Item = B, IntoIter: Send + 'static> + 'static,
        B: Exchange,
    {
        self.first
            .flat_map(first)
            .union(self.second.flat_map(second))
    }
}

/// Two streams of the same keys, whose records meet in one operator. Made by [`Keyed::connect`].
#[must_use = "connected streams do nothing until an operator follows them"]
pub struct KeyedConnected<K, A, B> {
    inputs: Vec<Input>,
    parallelism_max: Option<(usize, &'static str)>,
    ttl: Option<Ttl>,
    records: PhantomData<(K, A, B)>,
}

impl<K: Key, A: Exchange> Keyed<K, A> {
    /// Brings two streams of the same keys into one operator.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// /// Joins an order with its payment, whichever comes first.
    /// #[derive(Clone)]
    /// struct Paid;
    ///
    /// impl CoProcess for Paid {
    ///     type Key = u64;
    ///     type First = (u64, String);
    ///     type Second = (u64, u64);
    ///     type State = (Option<String>, Option<u64>);
    ///     type Out = (String, u64);
    ///
    ///     fn first(&self, (_, order): &(u64, String), context: &mut CoContext<'_, Self>) {
    ///         match context.state().1.take() {
    ///             Some(amount) => {
    ///                 context.clear();
    ///                 context.emit((order.clone(), amount));
    ///             }
    ///             None => context.state().0 = Some(order.clone()),
    ///         }
    ///     }
    ///
    ///     fn second(&self, (_, amount): &(u64, u64), context: &mut CoContext<'_, Self>) {
    ///         match context.state().0.take() {
    ///             Some(order) => {
    ///                 context.clear();
    ///                 context.emit((order, *amount));
    ///             }
    ///             None => context.state().1 = Some(*amount),
    ///         }
    ///     }
    /// }
    ///
    /// fn paid(orders: Stream<(u64, String)>, payments: Stream<(u64, u64)>) -> Stream<(String, u64)> {
    ///     orders
    ///         .key_by(|(id, _)| *id)
    ///         .connect(payments.key_by(|(id, _)| *id))
    ///         .process("paid", Paid)
    /// }
    /// ```
    #[track_caller]
    pub fn connect<B: Exchange>(self, other: Keyed<K, B>) -> KeyedConnected<K, A, B> {
        let place = Location::caller();
        let maxima = [self.parallelism_max(), other.parallelism_max()];
        KeyedConnected {
            parallelism_max: maxima.into_iter().flatten().min_by_key(|(max, _)| *max),
            inputs: vec![
                self.wrapped::<Two<_, KeyedRecord<K, B>>>("connect", place, Two::First),
                other.wrapped::<Two<KeyedRecord<K, A>, _>>("connect", place, Two::Second),
            ],
            ttl: None,
            records: PhantomData,
        }
    }

    /// Brings the records of another stream to every subtask of an operator behind this one.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// /// Passes on payments above the limit of their user; limits change while the job runs.
    /// #[derive(Clone)]
    /// struct Limits;
    ///
    /// impl BroadcastProcess for Limits {
    ///     type Key = String;
    ///     type In = (String, u64);
    ///     type Broadcast = u64;
    ///     type State = u64;
    ///     type Shared = u64;
    ///     type Out = (String, u64);
    ///
    ///     fn element(
    ///         &self,
    ///         (user, amount): &(String, u64),
    ///         limit: &u64,
    ///         context: &mut BroadcastContext<'_, Self>,
    ///     ) {
    ///         *context.state() += amount;
    ///         let sum = *context.state();
    ///         if sum > *limit {
    ///             context.emit((user.clone(), sum));
    ///         }
    ///     }
    ///
    ///     fn broadcast(&self, new: &u64, limit: &mut u64, _: &mut SharedContext<'_, Self>) {
    ///         *limit = (*limit).max(*new);
    ///     }
    /// }
    ///
    /// fn above(payments: Stream<(String, u64)>, limits: Stream<u64>) -> Stream<(String, u64)> {
    ///     payments
    ///         .key_by(|(user, _)| user.clone())
    ///         .connect_broadcast(limits)
    ///         .process("above", Limits)
    /// }
    /// ```
    #[track_caller]
    pub fn connect_broadcast<R>(self, other: R) -> KeyedBroadcast<K, A, R::Item>
    where
        R: Flow<Item: Exchange>,
    {
        let place = Location::caller();
        KeyedBroadcast {
            parallelism_max: self.parallelism_max(),
            inputs: vec![
                self.wrapped::<Two<_, ToAll<R::Item>>>("connect_broadcast", place, Two::First),
                wrapped(
                    other.open(),
                    Pattern::Broadcast,
                    "connect_broadcast",
                    place,
                    |record| Two::<KeyedRecord<K, A>, _>::Second(ToAll::new(record)),
                ),
            ],
            ttl: None,
            records: PhantomData,
        }
    }
}

impl<K: Key, A: Exchange, B: Exchange> KeyedConnected<K, A, B> {
    /// The operator forgets the state of a key that is not used for so long: [`Ttl`] says when exactly.
    pub fn ttl(self, ttl: Ttl) -> Self {
        Self {
            ttl: Some(ttl),
            ..self
        }
    }

    /// The user's own operator with two inputs and state for each key.
    #[track_caller]
    pub fn process<P>(self, name: &str, process: P) -> Stream<P::Out>
    where
        P: CoProcess<Key = K, First = A, Second = B>,
    {
        self.reserve(name, Location::caller())
            .process(Both(process), StateVersion::default())
    }

    /// The same with side outputs: the closure gets one handle, or a tuple of several, for the process to keep.
    #[track_caller]
    pub fn process_with_side<P, S, F>(self, name: &str, f: F) -> (Stream<P::Out>, S::Streams)
    where
        P: CoProcess<Key = K, First = A, Second = B>,
        S: SideOutputs,
        F: FnOnce(S) -> P,
    {
        self.reserve(name, Location::caller())
            .process_with_side(|sides| Both(f(sides)), StateVersion::default())
    }

    pub(crate) fn reserve(self, name: &str, place: levada_core::Place) -> Reserved {
        Reserved::new(name, place, self.parallelism_max, self.inputs).ttl(self.ttl)
    }
}

/// A keyed stream and one that every subtask gets. Made by [`Keyed::connect_broadcast`].
#[must_use = "connected streams do nothing until an operator follows them"]
pub struct KeyedBroadcast<K, T, R> {
    inputs: Vec<Input>,
    parallelism_max: Option<(usize, &'static str)>,
    ttl: Option<Ttl>,
    records: PhantomData<(K, T, R)>,
}

impl<K: Key, T: Exchange, R: Exchange> KeyedBroadcast<K, T, R> {
    /// The operator forgets the state of a key that is not used for so long: [`Ttl`] says when exactly.
    pub fn ttl(self, ttl: Ttl) -> Self {
        Self {
            ttl: Some(ttl),
            ..self
        }
    }

    /// The user's own operator, with state for each key and a state that all subtasks share.
    #[track_caller]
    pub fn process<P>(self, name: &str, process: P) -> Stream<P::Out>
    where
        P: BroadcastProcess<Key = K, In = T, Broadcast = R>,
    {
        self.reserve(name, Location::caller())
            .process(Informed(process), StateVersion::default())
    }

    /// The same with side outputs: the closure gets one handle, or a tuple of several, for the process to keep.
    #[track_caller]
    pub fn process_with_side<P, S, F>(self, name: &str, f: F) -> (Stream<P::Out>, S::Streams)
    where
        P: BroadcastProcess<Key = K, In = T, Broadcast = R>,
        S: SideOutputs,
        F: FnOnce(S) -> P,
    {
        self.reserve(name, Location::caller())
            .process_with_side(|sides| Informed(f(sides)), StateVersion::default())
    }

    pub(crate) fn reserve(self, name: &str, place: levada_core::Place) -> Reserved {
        Reserved::new(name, place, self.parallelism_max, self.inputs).ttl(self.ttl)
    }
}

/// A stream without keys and one that every subtask gets. Made by [`Flow::connect_broadcast`].
#[must_use = "connected streams do nothing until an operator follows them"]
pub struct Broadcast<T, R> {
    inputs: Vec<Input>,
    records: PhantomData<(T, R)>,
}

impl<T: Exchange, R: Exchange> Broadcast<T, R> {
    #[track_caller]
    pub(crate) fn new<F, G>(first: F, second: G) -> Self
    where
        F: Flow<Item = T>,
        G: Flow<Item = R>,
    {
        let place = Location::caller();
        Self {
            inputs: vec![
                wrapped(
                    first.open(),
                    Pattern::Pointwise,
                    "connect_broadcast",
                    place,
                    Two::<T, R>::First,
                ),
                wrapped(
                    second.open(),
                    Pattern::Broadcast,
                    "connect_broadcast",
                    place,
                    Two::<T, R>::Second,
                ),
            ],
            records: PhantomData,
        }
    }

    /// The user's own operator, with a state that all subtasks share. It has as many subtasks as the stream it follows.
    #[track_caller]
    pub fn process<P>(self, name: &str, process: P) -> Stream<P::Out>
    where
        P: BroadcastProcess<Key = (), State = (), In = T, Broadcast = R>,
    {
        Reserved::new(name, Location::caller(), None, self.inputs)
            .process(InformedWithoutKeys(process), StateVersion::default())
    }

    /// The same with side outputs: the closure gets one handle, or a tuple of several, for the process to keep.
    #[track_caller]
    pub fn process_with_side<P, S, F>(self, name: &str, f: F) -> (Stream<P::Out>, S::Streams)
    where
        P: BroadcastProcess<Key = (), State = (), In = T, Broadcast = R>,
        S: SideOutputs,
        F: FnOnce(S) -> P,
    {
        Reserved::new(name, Location::caller(), None, self.inputs).process_with_side(
            |sides| InformedWithoutKeys(f(sides)),
            StateVersion::default(),
        )
    }
}

/// The edge of an operator with several inputs: each record is wrapped, behind the steps of the pipe.
fn wrapped<H, S, W>(
    pipe: Pipe<H, S>,
    pattern: Pattern,
    method: &'static str,
    place: levada_core::Place,
    wrap: fn(S::Out) -> W,
) -> Input
where
    H: levada_runtime::wiring::Head,
    S: levada_runtime::Step<H::Out>,
    W: Exchange,
{
    let pipe = pipe.then(method, place, |steps, origin| {
        MapStep::new(steps, wrap, origin)
    });
    Input {
        edge: Edge {
            output: pipe.port.output,
            pattern,
            steps: pipe.specs,
            place,
            record_type: type_name::<S::Out>(),
        },
        factory: Arc::new(PlainEdge::<H, _>::new(
            pipe.steps,
            Origin::new(method, place),
        )),
        port: pipe.port,
    }
}
