//! Factories of exchanges.

use std::marker::PhantomData;
use std::sync::Arc;

use levada_core::{Exchange as Travels, Key, Origin, Wake};
use levada_graph::{Exchange, Pattern};
use levada_network::{ByGroup, Gate, OneRoute, Outbox, Port, RoundRobin, Routing};

use crate::stage::{InboxStage, Input, KeyedRecord, Lend, Sender, Stage};
use crate::step::Step;
use crate::subtask::Subtask;
use crate::wiring::{
    AnyClone, AnyGate, AnyPort, AnyPush, Built, EdgeFactory, Head, Opened, SenderParts,
};

type CloneFn<T> = fn(&T) -> T;

/// An exchange that does not look at keys, behind stateless steps.
pub struct PlainEdge<H: Head, S: Step<H::Out>> {
    steps: S,
    clone: Option<CloneFn<S::Out>>,
    operator: Origin,
    head: PhantomData<fn(H)>,
}

impl<H: Head, S: Step<H::Out>> PlainEdge<H, S> {
    /// An exchange behind these steps, made by a call at `operator`'s place.
    pub fn new(steps: S, operator: Origin) -> Self {
        Self {
            steps,
            clone: None,
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
}

impl<H, S> EdgeFactory for PlainEdge<H, S>
where
    H: Head,
    S: Step<H::Out>,
    S::Out: Travels,
{
    fn chain(&self, subtask: &Subtask, target: Built) -> AnyPush {
        chain::<H, _>(&self.steps, subtask, target)
    }

    fn open(&self, exchange: &Exchange, consumers: &[Arc<dyn Wake>]) -> Opened {
        open::<S::Out>(exchange, consumers)
    }

    fn sender(&self, subtask: &Subtask, parts: SenderParts<'_>) -> AnyPush {
        let consumers = parts.exchange.consumers;
        match parts.exchange.pattern {
            Pattern::Rebalance if consumers > 1 => {
                let routing = RoundRobin::new(consumers, subtask.index);
                send::<H, _, _>(&self.steps, routing, &self.operator, subtask, parts)
            }
            Pattern::Rebalance | Pattern::Pointwise | Pattern::Broadcast => {
                send::<H, _, _>(&self.steps, OneRoute, &self.operator, subtask, parts)
            }
            other => unreachable!("an exchange without keys is not {other}"),
        }
    }

    fn inbox(
        &self,
        subtask: &Subtask,
        gates: Vec<AnyGate>,
        target: Built,
        clone: Option<AnyClone>,
    ) -> Box<dyn Stage> {
        inbox::<S::Out>(subtask, gates, target, clone)
    }

    fn clone_record(&self) -> Option<AnyClone> {
        self.clone.map(AnyClone::new::<S::Out>)
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

impl<H, S, K, T> EdgeFactory for HashEdge<H, S>
where
    H: Head,
    S: Step<H::Out, Out = KeyedRecord<K, T>>,
    K: Key,
    T: Travels,
{
    fn chain(&self, subtask: &Subtask, target: Built) -> AnyPush {
        chain::<H, _>(&self.steps, subtask, target)
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
        gates: Vec<AnyGate>,
        target: Built,
        clone: Option<AnyClone>,
    ) -> Box<dyn Stage> {
        inbox::<S::Out>(subtask, gates, target, clone)
    }

    fn clone_record(&self) -> Option<AnyClone> {
        None
    }
}

fn chain<H: Head, S: Step<H::Out>>(steps: &S, subtask: &Subtask, target: Built) -> AnyPush {
    match target {
        Built::Push(next) => {
            let next = next.typed::<S::Out>(&subtask.operator);
            H::erase(steps.attach(subtask, next))
        }
        Built::Read(next) => {
            let next = next.typed::<S::Out>(&subtask.operator);
            H::erase(steps.attach(subtask, Lend::new(next, Arc::clone(&subtask.counters))))
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
    let sender = Sender::new(outbox, operator.clone());
    let subtask = Subtask {
        crosses_exchange: true,
        ..subtask.clone()
    };
    H::erase(steps.attach(&subtask, sender))
}

fn inbox<T: Travels>(
    subtask: &Subtask,
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
        input,
        subtask.operator.clone(),
        Arc::clone(&subtask.counters),
    ))
}
