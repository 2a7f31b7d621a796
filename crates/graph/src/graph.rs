//! The graph as the user's program builds it.

use std::fmt;

use levada_core::{Origin, Place};
use petgraph::graph::{DiGraph, EdgeIndex, NodeIndex};
use petgraph::visit::EdgeRef;
use petgraph::{Direction, algo};
use serde::Serialize;

/// A node, by its number in the order in which the program made it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct NodeId(pub u32);

/// An edge, by its number in the order in which the program made it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct EdgeId(pub u32);

/// What a node does.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// Brings records in.
    Source,
    /// Keeps state.
    Operator,
    /// Stateless steps that the program closed with `.stream()`.
    Steps,
    /// Where streams meet after an exchange without state: `rebalance`, `broadcast`, `union`.
    Relay,
    /// Takes records out.
    Sink,
}

/// How the records of an edge find their subtask.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pattern {
    /// Within the stage: the next operator runs in the same task.
    Forward,
    /// From each subtask to the one of the same number, over a channel.
    Pointwise,
    /// To the subtask that owns the key group.
    Hash,
    /// To each subtask in turn that has room.
    Rebalance,
    /// To each in turn of the few subtasks that are a producer's share.
    Rescale,
    /// To a subtask at random that has room.
    Shuffle,
    /// To the subtask that a closure of the program names.
    Custom,
    /// To every subtask.
    Broadcast,
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Forward => "forward",
            Self::Pointwise => "pointwise",
            Self::Hash => "hash",
            Self::Rebalance => "rebalance",
            Self::Rescale => "rescale",
            Self::Shuffle => "shuffle",
            Self::Custom => "custom",
            Self::Broadcast => "broadcast",
        })
    }
}

/// A stateless step: the method that was called, and where.
#[derive(Clone, Copy, Debug)]
pub struct StepSpec {
    /// `map`, `filter`, `key_by`...
    pub method: &'static str,
    /// The line that called it.
    pub place: Place,
}

/// An output of a node: the main one, or a side output.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// The line that declared it.
    pub place: Place,
}

/// A node of the graph.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it does.
    pub kind: NodeKind,
    /// Its name and place. The names of sources, operators and sinks are the uids of their state and must differ.
    pub origin: Origin,
    /// Stateless steps that run in front of it, in the same task.
    pub steps: Vec<StepSpec>,
    /// The parallelism that the program asked for, and where.
    pub parallelism: Option<(usize, Place)>,
    /// The most subtasks it can have, with the reason.
    pub parallelism_max: Option<(usize, &'static str)>,
    /// Whether it may block its thread, so that its stage needs one of its own.
    pub blocking: bool,
    /// Its outputs; a sink has none.
    pub outputs: Vec<Output>,
}

impl Node {
    /// Whether the user named it; unnamed nodes may share a name.
    #[must_use]
    pub fn is_named(&self) -> bool {
        matches!(
            self.kind,
            NodeKind::Source | NodeKind::Operator | NodeKind::Sink
        )
    }
}

/// An edge of the graph.
#[derive(Clone, Debug)]
pub struct Edge {
    /// The output of the node it begins at.
    pub output: usize,
    /// How records find their subtask, as the program asked: [`Pattern::Pointwise`] may become
    /// [`Pattern::Rebalance`] in the plan, and an exchange between two single subtasks is elided.
    pub pattern: Pattern,
    /// Stateless steps that run at its beginning, in the task of the upstream node.
    pub steps: Vec<StepSpec>,
    /// The line that made it.
    pub place: Place,
    /// The type of the records that travel on it.
    pub record_type: &'static str,
}

/// The operator graph of a job.
#[derive(Debug, Default)]
pub struct JobGraph {
    graph: DiGraph<Node, Edge>,
}

impl JobGraph {
    /// An empty graph.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node.
    pub fn add(&mut self, node: Node) -> NodeId {
        id(self.graph.add_node(node))
    }

    /// Adds an edge.
    ///
    /// # Panics
    /// If a node or the output does not exist.
    pub fn connect(&mut self, from: NodeId, to: NodeId, edge: Edge) -> EdgeId {
        assert!(
            edge.output < self.node(from).outputs.len(),
            "an edge begins at an output"
        );
        let edge = self.graph.add_edge(index(from), index(to), edge);
        EdgeId(u32::try_from(edge.index()).expect("a graph has fewer than 2^32 edges"))
    }

    /// Adds an output to a node; returns its number.
    pub fn add_output(&mut self, node: NodeId, output: Output) -> usize {
        let outputs = &mut self.graph[index(node)].outputs;
        outputs.push(output);
        outputs.len() - 1
    }

    /// A node.
    #[must_use]
    pub fn node(&self, node: NodeId) -> &Node {
        &self.graph[index(node)]
    }

    /// Gives a node its name and place, if it could not be named when it was added.
    pub fn name(&mut self, node: NodeId, origin: Origin) {
        self.graph[index(node)].origin = origin;
    }

    /// Asks for a parallelism.
    pub fn set_parallelism(&mut self, node: NodeId, parallelism: usize, place: Place) {
        self.graph[index(node)].parallelism = Some((parallelism, place));
    }

    /// An edge.
    #[must_use]
    pub fn edge(&self, edge: EdgeId) -> &Edge {
        &self.graph[EdgeIndex::new(edge.0 as usize)]
    }

    /// The nodes at both ends of an edge.
    #[must_use]
    pub fn ends(&self, edge: EdgeId) -> (NodeId, NodeId) {
        let (from, to) = self
            .graph
            .edge_endpoints(EdgeIndex::new(edge.0 as usize))
            .expect("edges are never removed");
        (id(from), id(to))
    }

    /// All nodes, in the order in which they were made.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.graph.node_count()).map(|node| id(NodeIndex::new(node)))
    }

    /// All edges, in the order in which they were made.
    pub fn edges(&self) -> impl Iterator<Item = EdgeId> + use<> {
        (0..u32::try_from(self.graph.edge_count()).expect("edges are counted in u32")).map(EdgeId)
    }

    /// The edges into a node, in the order in which they were made.
    #[must_use]
    pub fn inputs(&self, node: NodeId) -> Vec<EdgeId> {
        self.edges_of(node, Direction::Incoming)
    }

    /// The edges out of a node, in the order in which they were made.
    #[must_use]
    pub fn outputs(&self, node: NodeId) -> Vec<EdgeId> {
        self.edges_of(node, Direction::Outgoing)
    }

    /// The nodes, each after all that lead to it.
    ///
    /// # Panics
    /// If there is a cycle: the typed interface cannot write one.
    #[must_use]
    pub fn in_order(&self) -> Vec<NodeId> {
        algo::toposort(&self.graph, None)
            .expect("a stream is made before it is used, so there is no cycle")
            .into_iter()
            .map(id)
            .collect()
    }

    fn edges_of(&self, node: NodeId, direction: Direction) -> Vec<EdgeId> {
        let mut edges: Vec<_> = self
            .graph
            .edges_directed(index(node), direction)
            .map(|edge| EdgeId(u32::try_from(edge.id().index()).expect("edges are counted in u32")))
            .collect();
        edges.sort_unstable();
        edges
    }
}

fn id(node: NodeIndex) -> NodeId {
    NodeId(u32::try_from(node.index()).expect("a graph has fewer than 2^32 nodes"))
}

fn index(node: NodeId) -> NodeIndex {
    NodeIndex::new(node.0 as usize)
}
