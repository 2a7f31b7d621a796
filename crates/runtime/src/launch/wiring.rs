//! Builds the stages of a plan, each from its sinks and exchanges back to its head.

use std::collections::HashMap;
use std::sync::Arc;

use levada_core::{Origin, Wake};
use levada_graph::{EdgeId, NodeId, NodeKind, Pattern, Plan, Stage as PlannedStage};
use levada_network::{Budget, OutboxOptions};

use super::construction::{Construction, abandon};
use super::{RunOptions, first_task};
use crate::checkpoint::{ChannelName, Restored, number};
use crate::environment::Environment;
use crate::error::{Failure, guarded};
use crate::metrics::Registry;
use crate::stage::{EdgeInput, Stage};
use crate::state_memory::{StateMemory, Weigher};
use crate::subtask::Subtask;
use crate::task::{Duties, TaskCell, TaskWaker};
use crate::throttle::Throttle;
use crate::wiring::{
    AnyGate, AnyPort, AnyPush, Built, OutputFactory, Program, SenderParts, Shared,
};

/// What stages are built from, and what of it is still to be given to one.
pub(super) struct Wiring<'a> {
    pub(super) program: &'a Program,
    pub(super) plan: &'a Plan,
    pub(super) tasks: &'a [Arc<TaskCell>],
    pub(super) registry: &'a Registry,
    pub(super) environment: &'a Environment,
    pub(super) options: &'a RunOptions,
    pub(super) throttle: Option<Arc<Throttle>>,
    pub(super) budget: Arc<Budget>,
    pub(super) run: Arc<str>,
    pub(super) table_seed: u64,
    pub(super) shared: HashMap<NodeId, Shared>,
    /// By edge and consumer.
    pub(super) gates: HashMap<(EdgeId, usize), AnyGate>,
    /// By edge and producer, in the order of the consumers.
    pub(super) ports: HashMap<(EdgeId, usize), Vec<AnyPort>>,
    pub(super) restored: Option<Arc<Restored>>,
    pub(super) state_memory: Arc<StateMemory>,
}

impl Wiring<'_> {
    /// The stages in the order of the tasks.
    pub(super) fn build(&mut self) -> Result<Vec<Construction>, Failure> {
        for node in self.plan.graph().nodes() {
            let subtask = self.subtask(node, 0);
            let factory = &self.program.nodes[node.0 as usize];
            let shared = guarded(&subtask.operator, || {
                let shared = factory.start(&subtask)?;
                if let Some(restored) = &self.restored {
                    factory.recover(&subtask, &restored.prepared(subtask.operator.name()))?;
                }
                Ok(shared)
            })?;
            self.shared.insert(node, shared);
        }
        self.open_channels();
        let mut built = Vec::new();
        for stage in self.plan.stages() {
            let mut nodes = stage.nodes.iter();
            let duties = Duties {
                sink: nodes.any(|node| self.plan.graph().node(*node).outputs.is_empty()),
                source: self.program.nodes[stage.head.0 as usize].commits(),
            };
            for index in 0..stage.parallelism {
                let head = &self.plan.graph().node(stage.head).origin;
                let weigher = self.weigher(stage, index);
                match guarded(head, || self.build_stage(stage, index)) {
                    Ok(stage) => built.push(Construction {
                        stage,
                        duties,
                        weigher,
                    }),
                    Err(failure) => {
                        abandon(built, head);
                        return Err(failure);
                    }
                }
            }
        }
        Ok(built)
    }

    /// What looks at the state of a task.
    fn weigher(&self, stage: &PlannedStage, index: usize) -> Weigher {
        let operators = stage.nodes.iter().map(|node| {
            let operator = self.plan.graph().node(*node).origin.clone();
            (operator, self.registry.operator(*node, index))
        });
        Weigher::new(Arc::clone(&self.state_memory), operators)
    }

    fn open_channels(&mut self) {
        for exchange in self.plan.exchanges() {
            let (_, to) = self.plan.graph().ends(exchange.edge);
            let wakers: Vec<Arc<dyn Wake>> = (0..exchange.consumers)
                .map(|consumer| self.waker(to, consumer))
                .collect();
            let opened = self.program.edges[&exchange.edge].open(exchange, &wakers);
            for (consumer, gate) in opened.gates.into_iter().enumerate() {
                self.gates.insert((exchange.edge, consumer), gate);
            }
            for (producer, ports) in opened.ports.into_iter().enumerate() {
                self.ports.insert((exchange.edge, producer), ports);
            }
        }
    }

    fn build_stage(
        &mut self,
        stage: &PlannedStage,
        index: usize,
    ) -> Result<Box<dyn Stage>, Failure> {
        let target = match self.build_node(stage.head, index)? {
            Built::Head(stage) => return Ok(stage),
            target => target,
        };
        let inputs = self.plan.graph().inputs(stage.head);
        let gates = inputs
            .iter()
            .map(|edge| {
                self.gates
                    .remove(&(*edge, index))
                    .expect("every exchange has a gate for each consumer")
            })
            .collect();
        // Batches are shared on an edge that copies, or by edges that begin at the same output.
        let clone = inputs.iter().find_map(|edge| {
            let copies = self.program.edges[edge].clone_record();
            copies.or_else(|| match self.plan.sharing(*edge).len() {
                0 | 1 => None,
                _ => self.output_of(*edge).clone_record(),
            })
        });
        let subtask = self.subtask(stage.head, index);
        let edges = inputs.iter().map(|edge| {
            let exchange = self.plan.exchange(*edge);
            let exchange = exchange.expect("the head of a stage is behind exchanges");
            EdgeInput {
                first_producer: exchange.producers_of(index).start,
                ..self.edge_input(*edge, exchange.pattern, &subtask)
            }
        });
        let edges = edges.collect();
        Ok(self.program.edges[&inputs[0]].inbox(&subtask, edges, gates, target, clone))
    }

    fn build_node(&mut self, node: NodeId, index: usize) -> Result<Built, Failure> {
        let graph = self.plan.graph();
        let mut outputs = Vec::new();
        for output in 0..graph.node(node).outputs.len() {
            let mut branches = Vec::new();
            for edge in graph.outputs(node) {
                if graph.edge(edge).output == output
                    && let Some(branch) = self.build_branch(edge, node, index)?
                {
                    branches.push(branch);
                }
            }
            let joint = &self.program.outputs[&(node, output)];
            outputs.push(joint.join(&graph.node(node).origin, branches));
        }
        let subtask = self.subtask(node, index);
        self.program.nodes[node.0 as usize].build(&subtask, &self.shared[&node], outputs)
    }

    /// The beginning of an edge; none if another edge sends its batches along.
    fn build_branch(
        &mut self,
        edge: EdgeId,
        from: NodeId,
        index: usize,
    ) -> Result<Option<AnyPush>, Failure> {
        let graph = self.plan.graph();
        let Some(exchange) = self.plan.exchange(edge) else {
            let (_, to) = graph.ends(edge);
            let target = self.build_node(to, index)?;
            if graph.edge(edge).pattern == Pattern::Forward {
                let Built::Push(push) = target else {
                    unreachable!("only exchanges lend records")
                };
                return Ok(Some(push));
            }
            let subtask = self.subtask(to, index);
            let input = self.edge_input(edge, graph.edge(edge).pattern, &subtask);
            return Ok(Some(self.program.edges[&edge].chain(
                &subtask,
                Some(input),
                target,
            )));
        };
        let sharing = self.plan.sharing(edge);
        if sharing.first() != Some(&edge) {
            return Ok(None);
        }
        let bound = exchange.bound;
        let mut routes: Vec<Vec<AnyPort>> = Vec::new();
        let mut gauges: Vec<Vec<_>> = Vec::new();
        let mut channels: Vec<Vec<_>> = Vec::new();
        for edge in &sharing {
            let ports = self
                .ports
                .remove(&(*edge, index))
                .expect("every exchange has ports for each producer");
            for (i, port) in ports.into_iter().enumerate() {
                let route = match exchange.pattern {
                    Pattern::Broadcast | Pattern::Pointwise => 0,
                    _ => i,
                };
                if routes.len() <= route {
                    routes.push(Vec::new());
                    gauges.push(Vec::new());
                    channels.push(Vec::new());
                }
                routes[route].push(port);
                gauges[route].push(self.registry.channel(*edge, index, i));
                channels[route].push(ChannelName {
                    edge: self.plan.edge_name(*edge).into(),
                    from: number(index),
                    to: number(exchange.consumers_of(index).start + i),
                    consumers: number(exchange.consumers),
                });
            }
        }
        let parts = SenderParts {
            exchange,
            routes,
            gauges: gauges.into_iter().flatten().collect(),
            channels: channels.into_iter().flatten().collect(),
            edges: sharing
                .iter()
                .map(|edge| self.registry.edge(*edge))
                .collect(),
            options: OutboxOptions {
                batch_bytes: bound.batch_bytes,
                batch_records_max: bound.batch_records_max,
                queue_max: bound.queue_max,
                spare_max: bound.spare_max,
                buffer_timeout: self.options.buffer_timeout,
            },
        };
        let subtask = Subtask {
            knows_splits: self.gives_splits(from),
            ..self.subtask(from, index)
        };
        Ok(Some(self.program.edges[&edge].sender(&subtask, parts)))
    }

    /// What an edge into a subtask is called in checkpoints.
    fn edge_input(&self, edge: EdgeId, pattern: Pattern, to: &Subtask) -> EdgeInput {
        EdgeInput {
            name: self.plan.edge_name(edge).into(),
            pattern,
            index: to.index,
            consumers: to.parallelism,
            first_producer: to.index,
            owned: to.owned_groups(),
        }
    }

    fn output_of(&self, edge: EdgeId) -> &Arc<dyn OutputFactory> {
        let (from, _) = self.plan.graph().ends(edge);
        &self.program.outputs[&(from, self.plan.graph().edge(edge).output)]
    }

    fn waker(&self, node: NodeId, index: usize) -> Arc<dyn Wake> {
        let stage = self.plan.node(node).stage;
        let first = first_task(self.plan, stage);
        Arc::new(TaskWaker(Arc::clone(&self.tasks[first + index])))
    }

    /// Whether records come to a node split by split.
    fn takes_splits(&self, node: NodeId) -> bool {
        let graph = self.plan.graph();
        graph.inputs(node).iter().all(|edge| {
            self.plan.exchange(*edge).is_none() && self.gives_splits(graph.ends(*edge).0)
        })
    }

    /// Whether records leave a node split by split.
    fn gives_splits(&self, node: NodeId) -> bool {
        match self.plan.graph().node(node).kind {
            NodeKind::Source => true,
            NodeKind::Steps | NodeKind::Relay => self.takes_splits(node),
            NodeKind::Operator | NodeKind::Sink => false,
        }
    }

    fn subtask(&self, node: NodeId, index: usize) -> Subtask {
        let operator: Origin = self.plan.graph().node(node).origin.clone();
        Subtask {
            operator,
            index,
            parallelism: self.plan.node(node).parallelism,
            key_groups: self.plan.options().key_groups,
            environment: self.environment.clone(),
            counters: self.registry.operator(node, index),
            waker: self.waker(node, index),
            table_seed: self.table_seed,
            crosses_exchange: false,
            knows_splits: self.takes_splits(node),
            run: Arc::clone(&self.run),
            restored: self.restored.clone(),
            user: self.program.user.clone(),
            budget: Arc::clone(&self.budget),
            overdraft_bytes_max: self.options.overdraft_bytes_max,
            throttle: self.throttle.clone(),
        }
    }
}
