//! Factories of exchanges.

use std::marker::PhantomData;
use std::sync::Arc;

use levada_core::{Exchange as Travels, Origin, Wake};
use levada_graph::{Exchange, Pattern};
use levada_network::{
    ByGroup, Gate, HasKeyGroup, OneRoute, Outbox, Port, RoundRobin, Routing, Shuffled,
};
use levada_state::TypeFields;

use crate::error::Blame;
use crate::stage::{EdgeInput, Elided, InboxStage, Input, Lend, Narrow, Replay, Sender, Stage};
use crate::step::Step;
use crate::subtask::Subtask;
use crate::wiring::{
    AnyClone, AnyGate, AnyPort, AnyPush, Built, EdgeFactory, Head, Opened, SenderParts,
};

type CloneFn<T> = fn(&T) -> T;

/// The subtask of a record, below the number of subtasks that is its second argument.
pub type Partitioner<T> = Arc<dyn Fn(&T, usize) -> usize + Send + Sync>;

/// An exchange that does not look at keys, behind stateless steps.
pub struct PlainEdge<H: Head, S: Step<H::Out>> {
    steps: S,
    clone: Option<CloneFn<S::Out>>,
    partitioner: Option<Partitioner<S::Out>>,
    operator: Origin,
    head: PhantomData<fn(H)>,
}

impl<H: Head, S: Step<H::Out>> PlainEdge<H, S> {
    /// An exchange behind these steps, made by a call at `operator`'s place.
    pub fn new(steps: S, operator: Origin) -> Self {
        Self {
            steps,
            clone: None,
            partitioner: None,
            operator,
            head: PhantomData,
        }
    }

    /// An exchange that gives every record to all consumers.
    pub fn copying(steps: S, operator: Origin) -> Self
    where
        S::Out: Clone,
    {
        Self {
            clone: Some(Clone::clone),
            ..Self::new(steps, operator)
        }
    }

    /// An exchange whose subtasks the program chooses.
    pub fn partitioned(steps: S, operator: Origin, partitioner: Partitioner<S::Out>) -> Self {
        Self {
            partitioner: Some(partitioner),
            ..Self::new(steps, operator)
        }
    }
}

impl<H, S> EdgeFactory for PlainEdge<H, S>
where
    H: Head,
    S: Step<H::Out>,
    S::Out: Travels,
{
    fn chain(&self, subtask: &Subtask, input: Option<EdgeInput>, target: Built) -> AnyPush {
        chain::<H, _>(&self.steps, &self.operator, subtask, input, target)
    }

    fn open(&self, exchange: &Exchange, consumers: &[Arc<dyn Wake>]) -> Opened {
        open::<S::Out>(exchange, consumers)
    }

    fn sender(&self, subtask: &Subtask, parts: SenderParts<'_>) -> AnyPush {
        let (steps, operator) = (&self.steps, &self.operator);
        let consumers = parts.exchange.consumers_of(subtask.index).len();
        match parts.exchange.pattern {
            Pattern::Custom => {
                let routing = Partitioned {
                    partitioner: Arc::clone(
                        self.partitioner
                            .as_ref()
                            .expect("a custom exchange was made with its partitioner"),
                    ),
                    subtasks: consumers,
                    operator: operator.clone(),
                };
                send::<H, _, _>(steps, routing, operator, subtask, parts)
            }
            Pattern::Rebalance | Pattern::Rescale if consumers > 1 => {
                let routing = RoundRobin::new(consumers, subtask.index);
                send::<H, _, _>(steps, routing, operator, subtask, parts)
            }
            Pattern::Shuffle if consumers > 1 => {
                let routing = Shuffled::new(consumers, subtask.environment.random.next());
                send::<H, _, _>(steps, routing, operator, subtask, parts)
            }
            Pattern::Rebalance
            | Pattern::Rescale
            | Pattern::Shuffle
            | Pattern::Pointwise
            | Pattern::Broadcast => send::<H, _, _>(steps, OneRoute, operator, subtask, parts),
            other => unreachable!("an exchange without keys is not {other}"),
        }
    }

    fn inbox(
        &self,
        subtask: &Subtask,
        inputs: Vec<EdgeInput>,
        gates: Vec<AnyGate>,
        target: Built,
        clone: Option<AnyClone>,
    ) -> Box<dyn Stage> {
        inbox::<S::Out>(subtask, Replay::new(inputs, None), gates, target, clone)
    }

    fn clone_record(&self) -> Option<AnyClone> {
        self.clone.map(AnyClone::new::<S::Out>)
    }

    fn record(&self) -> TypeFields {
        TypeFields::of::<S::Out>()
    }
}

/// To the subtask that the program chooses.
struct Partitioned<T> {
    partitioner: Partitioner<T>,
    subtasks: usize,
    operator: Origin,
}

impl<T> Routing<T> for Partitioned<T> {
    fn route(&mut self, record: &T) -> usize {
        let blame = Blame::on(&self.operator);
        let subtask = (self.partitioner)(record, self.subtasks);
        assert!(
            subtask < self.subtasks,
            "the partitioner chose subtask {subtask}, but there are {} (0 to {})",
            self.subtasks,
            self.subtasks - 1
        );
        blame.lift();
        subtask
    }
}

/// An exchange that brings each key group to the subtask that owns it, behind stateless steps.
pub struct HashEdge<H, S> {
    steps: S,
    operator: Origin,
    head: PhantomData<fn(H)>,
}

impl<H, S> HashEdge<H, S> {
    /// An exchange behind these steps, made by a call at `operator`'s place.
    pub fn new(steps: S, operator: Origin) -> Self {
        Self {
            steps,
            operator,
            head: PhantomData,
        }
    }
}

impl<H, S> EdgeFactory for HashEdge<H, S>
where
    H: Head,
    S: Step<H::Out>,
    S::Out: HasKeyGroup + Travels,
{
    fn chain(&self, subtask: &Subtask, input: Option<EdgeInput>, target: Built) -> AnyPush {
        chain::<H, _>(&self.steps, &self.operator, subtask, input, target)
    }

    fn open(&self, exchange: &Exchange, consumers: &[Arc<dyn Wake>]) -> Opened {
        open::<S::Out>(exchange, consumers)
    }

    fn sender(&self, subtask: &Subtask, parts: SenderParts<'_>) -> AnyPush {
        let routing = ByGroup::new(subtask.key_groups, parts.exchange.consumers);
        send::<H, _, _>(&self.steps, routing, &self.operator, subtask, parts)
    }

    fn inbox(
        &self,
        subtask: &Subtask,
        inputs: Vec<EdgeInput>,
        gates: Vec<AnyGate>,
        target: Built,
        clone: Option<AnyClone>,
    ) -> Box<dyn Stage> {
        let replay = Replay::new(inputs, Some(S::Out::narrow as Narrow<S::Out>));
        inbox::<S::Out>(subtask, replay, gates, target, clone)
    }

    fn clone_record(&self) -> Option<AnyClone> {
        None
    }

    fn record(&self) -> TypeFields {
        TypeFields::of::<S::Out>()
    }
}

/// An edge that goes on where another one would end: steps whose types that one does not know.
pub struct LongerEdge {
    first: Arc<dyn EdgeFactory>,
    second: Arc<dyn EdgeFactory>,
}

impl LongerEdge {
    /// The steps of the first edge, then the second edge, which takes what they give.
    pub fn new(first: Arc<dyn EdgeFactory>, second: impl EdgeFactory + 'static) -> Self {
        Self {
            first,
            second: Arc::new(second),
        }
    }
}

impl EdgeFactory for LongerEdge {
    fn chain(&self, subtask: &Subtask, input: Option<EdgeInput>, target: Built) -> AnyPush {
        let second = self.second.chain(subtask, input, target);
        self.first.chain(subtask, None, Built::Push(second))
    }

    fn open(&self, exchange: &Exchange, consumers: &[Arc<dyn Wake>]) -> Opened {
        self.second.open(exchange, consumers)
    }

    fn sender(&self, subtask: &Subtask, parts: SenderParts<'_>) -> AnyPush {
        let second = self.second.sender(subtask, parts);
        let subtask = Subtask {
            crosses_exchange: true,
            ..subtask.clone()
        };
        self.first.chain(&subtask, None, Built::Push(second))
    }

    fn inbox(
        &self,
        subtask: &Subtask,
        inputs: Vec<EdgeInput>,
        gates: Vec<AnyGate>,
        target: Built,
        clone: Option<AnyClone>,
    ) -> Box<dyn Stage> {
        self.second.inbox(subtask, inputs, gates, target, clone)
    }

    fn clone_record(&self) -> Option<AnyClone> {
        self.second.clone_record()
    }

    fn record(&self) -> TypeFields {
        self.second.record()
    }
}

fn chain<H, S>(
    steps: &S,
    operator: &Origin,
    subtask: &Subtask,
    input: Option<EdgeInput>,
    target: Built,
) -> AnyPush
where
    H: Head,
    S: Step<H::Out>,
    S::Out: Travels,
{
    match target {
        Built::Push(next) => {
            let next = next.typed::<S::Out>(&subtask.operator);
            H::erase(steps.attach(subtask, Elided::new(next, operator.clone(), input)))
        }
        Built::Read(next) => {
            let next = next.typed::<S::Out>(&subtask.operator);
            let lend = Lend::new(next, operator.clone(), input, Arc::clone(&subtask.counters));
            H::erase(steps.attach(subtask, lend))
        }
        Built::Head(_) => unreachable!("a source has no input"),
    }
}

fn open<T: Travels>(exchange: &Exchange, consumers: &[Arc<dyn Wake>]) -> Opened {
    let mut ports: Vec<Vec<AnyPort>> = (0..exchange.producers).map(|_| Vec::new()).collect();
    let gates = consumers
        .iter()
        .enumerate()
        .map(|(consumer, waker)| {
            let producers = exchange.producers_of(consumer);
            let (gate, gate_ports) = Gate::<T>::new(
                producers.len(),
                exchange.bound.exclusive,
                exchange.bound.floating,
                Arc::clone(waker),
            );
            for (producer, port) in producers.zip(gate_ports) {
                ports[producer].push(AnyPort(Box::new(port)));
            }
            AnyGate(Box::new(gate))
        })
        .collect();
    Opened { gates, ports }
}

fn send<H, S, R>(
    steps: &S,
    routing: R,
    operator: &Origin,
    subtask: &Subtask,
    parts: SenderParts<'_>,
) -> AnyPush
where
    H: Head,
    S: Step<H::Out>,
    S::Out: Travels,
    R: Routing<S::Out> + 'static,
{
    let routes = parts
        .routes
        .into_iter()
        .map(|ports| {
            let ports = ports.into_iter().map(|port| {
                let port = port.0.downcast::<Port<S::Out>>();
                *port.expect("an edge's sender gets the ports that the edge opened")
            });
            ports.collect()
        })
        .collect();
    let outbox = Outbox::new(
        routing,
        routes,
        parts.options,
        &parts.gauges,
        parts.edges,
        Arc::clone(&subtask.budget),
        Arc::clone(&subtask.waker),
    );
    let sender = Sender::new(outbox, parts.channels, operator.clone());
    let subtask = Subtask {
        crosses_exchange: true,
        ..subtask.clone()
    };
    H::erase(steps.attach(&subtask, sender))
}

fn inbox<T: Travels>(
    subtask: &Subtask,
    replay: Replay<T>,
    gates: Vec<AnyGate>,
    target: Built,
    clone: Option<AnyClone>,
) -> Box<dyn Stage> {
    let gates = gates
        .into_iter()
        .map(|gate| {
            let gate = gate.0.downcast::<Gate<T>>();
            *gate.expect("an edge's inbox gets the gates that the edge opened")
        })
        .collect();
    let input = match target {
        Built::Push(next) => Input::Push(
            next.typed::<T>(&subtask.operator),
            clone.map(|clone| clone.typed::<T>(&subtask.operator)),
        ),
        Built::Read(next) => Input::Read(next.typed::<T>(&subtask.operator)),
        Built::Head(_) => unreachable!("a source has no input"),
    };
    Box::new(InboxStage::new(
        gates,
        replay,
        input,
        subtask.operator.clone(),
        Arc::clone(&subtask.counters),
    ))
}
