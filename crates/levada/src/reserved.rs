//! A node whose code is made after its place in the graph: a process with side outputs needs to know its number first.

use std::rc::Rc;
use std::sync::Arc;

use levada_core::{Exchange, Origin, Place};
use levada_graph::{Edge, Node, NodeId, NodeKind, StepSpec};
use levada_operators::process::Logic;
use levada_operators::{ProcessNode, SidePorts, Ttl};
use levada_runtime::wiring::{EdgeFactory, HashEdge, LongerEdge, NodeFactory, Records};
use levada_runtime::{HasKeyGroup, Step};
use levada_state::StateVersion;

use crate::job::{Building, Port};
use crate::side::{SideBuilder, SideOutputs};
use crate::stream::Stream;

/// One edge into an operator that is about to be made.
pub(crate) struct Input {
    pub(crate) port: Port,
    pub(crate) edge: Edge,
    pub(crate) factory: Arc<dyn EdgeFactory>,
}

impl Input {
    /// The edge with another step behind those that gave each record its key.
    pub(crate) fn then<A, S>(self, method: &'static str, place: Place, step: S) -> Self
    where
        A: Send + 'static,
        S: Step<A, Out: HasKeyGroup + Exchange>,
    {
        let second = HashEdge::<Records<A>, _>::new(step, Origin::new(method, place));
        let mut edge = self.edge;
        edge.steps.push(StepSpec { method, place });
        Self {
            port: self.port,
            edge,
            factory: Arc::new(LongerEdge::new(self.factory, second)),
        }
    }
}

/// An operator with its inputs, without its code.
pub(crate) struct Reserved {
    inner: Rc<Building>,
    node: NodeId,
    place: Place,
    /// Of the state of a process.
    ttl: Option<Ttl>,
}

impl Reserved {
    /// Adds the operator's node and its edges.
    pub(crate) fn new(
        name: &str,
        place: Place,
        parallelism_max: Option<(usize, &'static str)>,
        inputs: Vec<Input>,
    ) -> Self {
        let inner = inputs
            .first()
            .map(|input| Rc::clone(&input.port.inner))
            .expect("an operator has an input");
        let node = inner.reserve_node(Node {
            kind: NodeKind::Operator,
            origin: Origin::new(name, place),
            steps: Vec::new(),
            parallelism: None,
            parallelism_max,
            blocking: false,
            outputs: Vec::new(),
        });
        for input in inputs {
            inner.exchange(&input.port, node, input.edge, input.factory);
        }
        Self {
            inner,
            node,
            place,
            ttl: None,
        }
    }

    /// A process forgets what is not used for so long.
    pub(crate) fn ttl(self, ttl: Option<Ttl>) -> Self {
        Self { ttl, ..self }
    }

    /// The job is not built, for this reason.
    pub(crate) fn refuse(&self, reason: &dyn std::fmt::Display, place: Place) {
        self.inner.refuse(reason, place);
    }

    /// The job is not built if the version of the state makes no sense.
    pub(crate) fn check<S>(&self, version: &StateVersion<S>) {
        if let Some(problem) = version.problem() {
            self.refuse(&problem, self.place);
        }
    }

    /// An operator with one output.
    pub(crate) fn operator<O: Send + 'static>(
        self,
        factory: impl NodeFactory + 'static,
    ) -> Stream<O> {
        self.inner.set_factory(self.node, factory);
        self.inner.add_output(self.node, self.place)
    }

    /// An operator whose main output was reserved before its side outputs were declared.
    pub(crate) fn named<O: Send + 'static>(
        self,
        name: &str,
        place: Place,
        factory: impl NodeFactory + 'static,
    ) -> Stream<O> {
        self.inner.name(self.node, Origin::new(name, place));
        self.inner.set_factory(self.node, factory);
        self.inner.output_stream(self.node, 0)
    }

    /// A side output, before it is known what the main output has. The operator is to be [`named`](Self::named).
    pub(crate) fn side_output<S: SideOutputs>(&self) -> (S, S::Streams, SidePorts) {
        self.inner.reserve_output(self.node, self.place);
        let mut builder = SideBuilder::new(Rc::clone(&self.inner), self.node, self.place);
        let (handles, streams) = S::declare(&mut builder);
        (handles, streams, builder.into_ports())
    }

    /// A process, whose state has this version.
    pub(crate) fn process<L: Logic>(
        self,
        logic: L,
        version: StateVersion<L::State>,
    ) -> Stream<L::Out> {
        self.check(&version);
        let node = ProcessNode::new(logic, self.node.0, self.ttl, SidePorts::default());
        self.operator(node.versioned(version))
    }

    /// A process with side outputs.
    pub(crate) fn process_with_side<L, S>(
        self,
        logic: impl FnOnce(S) -> L,
        version: StateVersion<L::State>,
    ) -> (Stream<L::Out>, S::Streams)
    where
        L: Logic,
        S: SideOutputs,
    {
        self.check(&version);
        let main = self.inner.add_output(self.node, self.place);
        let mut builder = SideBuilder::new(Rc::clone(&self.inner), self.node, self.place);
        let (handles, streams) = S::declare(&mut builder);
        let ports = builder.into_ports();
        let factory = ProcessNode::new(logic(handles), self.node.0, self.ttl, ports);
        let factory = factory.versioned(version);
        self.inner.set_factory(self.node, factory);
        (main, streams)
    }
}
