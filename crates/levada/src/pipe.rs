//! A stream with steps behind it, and what closes it.

use std::any::type_name;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use levada_core::{Exchange, Origin, Place};
use levada_graph::{Edge, Node, NodeId, NodeKind, Pattern, StepSpec};
use levada_operators::{Asynchronous, CallNode};
use levada_runtime::Step;
use levada_runtime::wiring::{EdgeFactory, Head, NodeFactory, PlainEdge, Relay};

use crate::flow::Flow;
use crate::job::{Building, Port};
use crate::stream::Stream;

/// A stream with stateless steps behind it, still open to more of them.
///
/// It is used once: to use what comes out of it twice, close it with [`Flow::stream`] and clone that.
#[must_use = "a pipe does nothing until something follows it"]
pub struct Pipe<H, S> {
    pub(crate) port: Port,
    pub(crate) steps: S,
    pub(crate) specs: Vec<StepSpec>,
    head: PhantomData<fn(H)>,
}

impl<H, S> Pipe<H, S> {
    pub(crate) fn new(port: Port, steps: S, specs: Vec<StepSpec>) -> Self {
        Self {
            port,
            steps,
            specs,
            head: PhantomData,
        }
    }

    /// The pipe with one more step. Hidden: for `levada-testing`, whose steps are no operators of a program.
    #[doc(hidden)]
    pub fn then<N>(
        self,
        method: &'static str,
        place: Place,
        step: impl FnOnce(S, Origin) -> N,
    ) -> Pipe<H, N> {
        let mut specs = self.specs;
        specs.push(StepSpec { method, place });
        Pipe::new(
            self.port,
            step(self.steps, Origin::new(method, place)),
            specs,
        )
    }

    /// The beginning of an exchange, for an operator that reads from several.
    pub(crate) fn half(
        self,
        method: &'static str,
        place: Place,
        factory: impl FnOnce(S, Origin) -> Arc<dyn EdgeFactory>,
    ) -> Half {
        Half {
            factory: factory(self.steps, Origin::new(method, place)),
            port: self.port,
            specs: self.specs,
        }
    }
}

impl<H: Head, S> Pipe<H, S> {
    /// Adds a node that runs the steps; its outputs are still to be added.
    pub(crate) fn close<N: NodeFactory + 'static>(
        self,
        name: &str,
        place: Place,
        make: impl FnOnce(S) -> N,
    ) -> (Rc<Building>, NodeId) {
        let inner = Rc::clone(&self.port.inner);
        let node = inner.add_node(
            Node {
                kind: NodeKind::Steps,
                origin: Origin::new(name, place),
                steps: self.specs,
                parallelism: None,
                parallelism_max: None,
                blocking: false,
                outputs: Vec::new(),
            },
            make(self.steps),
        );
        inner.forward(&self.port, node, place, type_name::<H::Out>());
        (inner, node)
    }
}

impl<H, S> Pipe<H, S>
where
    H: Head,
    S: Step<H::Out>,
    S::Out: Exchange,
{
    /// The beginning of an exchange that looks at no key.
    pub(crate) fn plain(self, method: &'static str, place: Place) -> Half {
        self.half(method, place, |steps, origin| {
            Arc::new(PlainEdge::<H, _>::new(steps, origin))
        })
    }

    /// The records on the other side of such an exchange.
    pub(crate) fn divided(
        self,
        method: &'static str,
        place: Place,
        pattern: Pattern,
    ) -> Stream<S::Out> {
        relay(method, place, pattern, [self.plain(method, place)])
    }
}

impl<H: Head, S: Step<H::Out>> Flow for Pipe<H, S> {
    type Item = S::Out;
    type Head = H;
    type Steps = S;

    fn open(self) -> Self {
        self
    }
}

/// Adds a node that makes calls.
pub(crate) fn calling<H, S, B, O>(
    pipe: Pipe<H, S>,
    name: &str,
    place: Place,
    asynchronous: Asynchronous<S::Out, B, O>,
) -> Stream<O>
where
    H: Head,
    S: Step<H::Out>,
    S::Out: Exchange + Clone,
    B: Send + 'static,
    O: Send + 'static,
{
    let Pipe {
        port, steps, specs, ..
    } = pipe;
    let inner = &port.inner;
    let node = inner.add_node(
        Node {
            kind: NodeKind::Operator,
            origin: Origin::new(name, place),
            steps: specs,
            parallelism: None,
            parallelism_max: None,
            blocking: false,
            outputs: Vec::new(),
        },
        CallNode::<H, _, _, _, _>::new(steps, asynchronous),
    );
    inner.forward(&port, node, place, type_name::<H::Out>());
    inner.add_output(node, place)
}

/// One edge into an operator that is about to be made.
pub(crate) struct Half {
    port: Port,
    specs: Vec<StepSpec>,
    factory: Arc<dyn EdgeFactory>,
}

/// Adds a node where streams meet.
pub(crate) fn relay<T: Send + 'static>(
    method: &'static str,
    place: Place,
    pattern: Pattern,
    halves: impl IntoIterator<Item = Half>,
) -> Stream<T> {
    let mut halves = halves.into_iter().peekable();
    let inner = halves
        .peek()
        .map(|half| Rc::clone(&half.port.inner))
        .expect("at least one stream is united");
    let node = inner.add_node(
        Node {
            kind: NodeKind::Relay,
            origin: Origin::new(method, place),
            steps: Vec::new(),
            parallelism: None,
            parallelism_max: None,
            blocking: false,
            outputs: Vec::new(),
        },
        Relay,
    );
    for half in halves {
        let edge = Edge {
            output: half.port.output,
            pattern,
            steps: half.specs,
            place,
            record_type: type_name::<T>(),
        };
        inner.exchange(&half.port, node, edge, half.factory);
    }
    inner.add_output(node, place)
}
