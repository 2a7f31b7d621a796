//! From a graph to a plan: names checked, parallelism resolved, exchanges elided or bounded, stages cut.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use levada_core::{KeyGroups, Place};
use serde::Serialize;

use crate::bounds::{self, Bound, BufferOptions, Shape};
use crate::error::{Error, Errors};
use crate::graph::{EdgeId, JobGraph, NodeId, NodeKind, Pattern};
use crate::stages;

/// What a plan depends on besides the graph.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// The parallelism of operators that asked for none.
    pub parallelism: usize,
    /// The key groups of the job.
    pub key_groups: KeyGroups,
    /// Whether exchanges between two single subtasks are kept.
    pub force_exchange: bool,
    /// Sizes of buffers.
    pub buffers: BufferOptions,
}

/// A stage, by its number in topological order.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct StageId(pub u32);

/// What is decided for a node.
#[derive(Clone, Debug)]
pub struct PlannedNode {
    /// How many subtasks it has.
    pub parallelism: usize,
    /// The stage it runs in.
    pub stage: StageId,
}

/// Operators that run in one task, from an exchange or a source to the next exchanges and sinks.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its number.
    pub id: StageId,
    /// The operator at its head: a source, or the one that reads from exchanges.
    pub head: NodeId,
    /// All of its operators, each after those that lead to it.
    pub nodes: Vec<NodeId>,
    /// How many tasks it has.
    pub parallelism: usize,
    /// Whether its tasks run on threads of their own, because an operator may block.
    pub own_thread: bool,
}

/// An edge whose records cross from task to task.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The edge.
    pub edge: EdgeId,
    /// How records find their subtask.
    pub pattern: Pattern,
    /// Subtasks that send.
    pub producers: usize,
    /// Subtasks that receive.
    pub consumers: usize,
    /// What it may hold.
    pub bound: Bound,
}

impl Exchange {
    /// The subtasks that a producing subtask sends to.
    #[must_use]
    pub fn consumers_of(&self, producer: usize) -> Range<usize> {
        match self.pattern {
            Pattern::Pointwise => producer..producer + 1,
            Pattern::Rescale => share(producer, self.producers, self.consumers),
            _ => 0..self.consumers,
        }
    }

    /// The subtasks that a consuming subtask reads from.
    #[must_use]
    pub fn producers_of(&self, consumer: usize) -> Range<usize> {
        match self.pattern {
            Pattern::Pointwise => consumer..consumer + 1,
            Pattern::Rescale => share(consumer, self.consumers, self.producers),
            _ => 0..self.producers,
        }
    }
}

/// The subtasks on the other side of a rescale that belong to one of `count` on this side: an even share of the larger
/// side, or the one of the smaller side whose share this subtask is in.
fn share(index: usize, count: usize, others: usize) -> Range<usize> {
    if others >= count {
        index * others / count..(index + 1) * others / count
    } else {
        // The share of subtask j of the smaller side ends where (j + 1) * count / others says.
        let other = ((index + 1) * others).div_ceil(count) - 1;
        other..other + 1
    }
}

/// A checked graph with everything that is decided before it runs.
#[derive(Debug)]
pub struct Plan {
    pub(crate) graph: JobGraph,
    pub(crate) options: PlanOptions,
    pub(crate) nodes: Vec<PlannedNode>,
    pub(crate) stages: Vec<Stage>,
    pub(crate) exchanges: Vec<Exchange>,
    /// By edge: its number among the exchanges, or none if it stays within a stage.
    pub(crate) exchange_of: Vec<Option<usize>>,
    pub(crate) edge_names: Vec<String>,
}

impl JobGraph {
    /// Checks the whole graph and plans it.
    ///
    /// # Errors
    /// Everything that is wrong with it, not only the first thing.
    pub fn plan(self, options: PlanOptions) -> Result<Plan, Errors> {
        let mut errors = Vec::new();
        self.check_names(&mut errors);
        self.check_ends(&mut errors);
        let parallelism = self.resolve_parallelism(&options, &mut errors);
        if !errors.is_empty() {
            errors.sort_by_key(Error::line);
            return Err(Errors(errors));
        }
        let mut patterns = Vec::new();
        for edge in self.edges() {
            patterns.push(self.resolve_pattern(edge, &parallelism, options.force_exchange));
        }
        let mut exchanges = Vec::new();
        let mut shapes = Vec::new();
        let mut exchange_of = vec![None; patterns.len()];
        for edge in self.edges() {
            let pattern = patterns[edge.0 as usize];
            if pattern == Pattern::Forward {
                continue;
            }
            let (from, to) = self.ends(edge);
            let shape = Shape {
                from: self.node(from).origin.clone(),
                to: self.node(to).origin.clone(),
                pattern,
                producers: parallelism[from.0 as usize],
                consumers: parallelism[to.0 as usize],
            };
            exchange_of[edge.0 as usize] = Some(exchanges.len());
            exchanges.push((edge, shape.clone()));
            shapes.push(shape);
        }
        let bounds = bounds::fit(&shapes, &options.buffers)
            .map_err(|shortage| Errors(vec![Error::BufferMemory(shortage)]))?;
        let exchanges = exchanges
            .into_iter()
            .zip(bounds)
            .map(|((edge, shape), bound)| Exchange {
                edge,
                pattern: shape.pattern,
                producers: shape.producers,
                consumers: shape.consumers,
                bound,
            })
            .collect();
        let (stages, stage_of) = stages::cut(&self, &patterns, &parallelism);
        let nodes = parallelism
            .into_iter()
            .zip(stage_of)
            .map(|(parallelism, stage)| PlannedNode { parallelism, stage })
            .collect();
        let edge_names = self.edge_names();
        Ok(Plan {
            graph: self,
            options,
            nodes,
            stages,
            exchanges,
            exchange_of,
            edge_names,
        })
    }

    fn check_names(&self, errors: &mut Vec<Error>) {
        let mut first: HashMap<&str, NodeId> = HashMap::new();
        if self.nodes().next().is_none() {
            errors.push(Error::Empty);
        }
        for id in self.nodes() {
            let node = self.node(id);
            if !node.is_named() {
                continue;
            }
            let name = node.origin.name();
            if name.trim().is_empty() || name.contains(['\n', '\r']) {
                errors.push(Error::BadName {
                    operator: node.origin.clone(),
                });
                continue;
            }
            match first.entry(name) {
                Entry::Vacant(entry) => {
                    entry.insert(id);
                }
                Entry::Occupied(entry) => errors.push(Error::DuplicateName {
                    first: self.node(*entry.get()).origin.clone(),
                    second: node.origin.place(),
                }),
            }
        }
    }

    fn check_ends(&self, errors: &mut Vec<Error>) {
        for id in self.nodes() {
            let node = self.node(id);
            let consumed: Vec<_> = self
                .outputs(id)
                .iter()
                .map(|edge| self.edge(*edge).output)
                .collect();
            for (output, made) in node.outputs.iter().enumerate() {
                if !consumed.contains(&output) {
                    errors.push(Error::EndsNowhere {
                        operator: node.origin.clone(),
                        place: made.place,
                    });
                }
            }
        }
    }

    /// The parallelism of each node: what it asked for; else what flows into it without an exchange, or the largest
    /// of what it unites; else the default, as far as the node can follow it.
    fn resolve_parallelism(&self, options: &PlanOptions, errors: &mut Vec<Error>) -> Vec<usize> {
        let mut resolved = vec![0; self.nodes().count()];
        for id in self.in_order() {
            let node = self.node(id);
            let inputs = self.inputs(id);
            let pattern_of = |edge: &EdgeId| self.edge(*edge).pattern;
            let upstream = |edge: &EdgeId| self.ends(*edge).0;
            let forwarded = inputs
                .iter()
                .find(|edge| pattern_of(edge) == Pattern::Forward)
                .map(upstream);
            let united = inputs
                .iter()
                .filter(|edge| pattern_of(edge) == Pattern::Pointwise)
                .map(|edge| resolved[upstream(edge).0 as usize])
                .max();
            let own_maximum = node.parallelism_max.map_or(usize::MAX, |(max, _)| max);
            let parallelism = match (node.parallelism, forwarded) {
                (Some((0, place)), _) => {
                    errors.push(Error::ZeroParallelism {
                        operator: node.origin.clone(),
                        place,
                    });
                    1
                }
                (Some((parallelism, _)), None) => parallelism,
                (asked, Some(from)) => {
                    let inherited = resolved[from.0 as usize];
                    if let Some((parallelism, _)) = asked
                        && parallelism != inherited
                    {
                        errors.push(Error::ParallelismChanges {
                            from: self.node(from).origin.clone(),
                            from_parallelism: inherited,
                            to: node.origin.clone(),
                            to_parallelism: parallelism,
                        });
                    }
                    inherited
                }
                (None, None) => united.unwrap_or(options.parallelism).min(own_maximum),
            };
            if let Some((maximum, reason)) = node.parallelism_max
                && parallelism > maximum
            {
                errors.push(Error::AboveMaximum {
                    operator: node.origin.clone(),
                    parallelism,
                    maximum,
                    reason,
                });
            }
            let keyed = inputs.iter().any(|edge| pattern_of(edge) == Pattern::Hash);
            if keyed && parallelism > usize::from(options.key_groups.count()) {
                errors.push(Error::AboveKeyGroups {
                    operator: node.origin.clone(),
                    parallelism,
                    key_groups: options.key_groups.count(),
                });
            }
            resolved[id.0 as usize] = parallelism;
        }
        resolved
    }

    fn resolve_pattern(&self, edge: EdgeId, parallelism: &[usize], force: bool) -> Pattern {
        let (from, to) = self.ends(edge);
        let (producers, consumers) = (parallelism[from.0 as usize], parallelism[to.0 as usize]);
        let single = producers == 1 && consumers == 1 && self.inputs(to).len() == 1;
        match self.edge(edge).pattern {
            Pattern::Forward => Pattern::Forward,
            _ if single && !force => Pattern::Forward,
            Pattern::Pointwise if producers != consumers => Pattern::Rebalance,
            Pattern::Rescale if producers == consumers => Pattern::Pointwise,
            other => other,
        }
    }

    /// Names under which the state of channels is kept: `<nearest named operator upstream> -> <nearest named one
    /// downstream> #n`, where n counts the edges of one such pair. Elided edges have theirs too.
    fn edge_names(&self) -> Vec<String> {
        let mut seen: HashMap<String, usize> = HashMap::new();
        self.edges()
            .map(|edge| {
                let (from, to) = self.ends(edge);
                let pair = format!(
                    "{} -> {}",
                    self.nearest_named(from, |node| {
                        self.inputs(node).first().map(|edge| self.ends(*edge).0)
                    }),
                    self.nearest_named(to, |node| {
                        self.outputs(node).first().map(|edge| self.ends(*edge).1)
                    })
                );
                let n = seen.entry(pair.clone()).or_insert(0);
                let name = format!("{pair} #{n}");
                *n += 1;
                name
            })
            .collect()
    }

    /// The name of the first named node on the way; a stream that is discarded ends without one.
    fn nearest_named(&self, from: NodeId, step: impl Fn(NodeId) -> Option<NodeId>) -> &str {
        let mut at = from;
        while !self.node(at).is_named()
            && let Some(next) = step(at)
        {
            at = next;
        }
        self.node(at).origin.name()
    }
}

impl Error {
    fn line(&self) -> (&'static str, u32) {
        let at = |place: Place| (place.file(), place.line());
        match self {
            Self::Empty | Self::BufferMemory(_) => ("", 0),
            Self::DuplicateName { second, .. } => at(second),
            Self::EndsNowhere { place, .. } | Self::ZeroParallelism { place, .. } => at(place),
            Self::BadName { operator }
            | Self::AboveKeyGroups { operator, .. }
            | Self::AboveMaximum { operator, .. }
            | Self::ParallelismChanges { to: operator, .. } => at(operator.place()),
        }
    }
}

impl Plan {
    /// The graph that was planned.
    #[must_use]
    pub fn graph(&self) -> &JobGraph {
        &self.graph
    }

    /// What the plan was made with.
    #[must_use]
    pub fn options(&self) -> &PlanOptions {
        &self.options
    }

    /// What is decided for a node.
    #[must_use]
    pub fn node(&self, node: NodeId) -> &PlannedNode {
        &self.nodes[node.0 as usize]
    }

    /// The stages, each after those that send to it.
    #[must_use]
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The exchanges, in the order of their edges.
    #[must_use]
    pub fn exchanges(&self) -> &[Exchange] {
        &self.exchanges
    }

    /// The exchange on an edge, unless its records stay within a task.
    #[must_use]
    pub fn exchange(&self, edge: EdgeId) -> Option<&Exchange> {
        self.exchange_of[edge.0 as usize].map(|exchange| &self.exchanges[exchange])
    }

    /// The exchanges that carry the same batches as this one, itself included: those that begin at the same output,
    /// without a step or a partitioner of their own, and go to as many subtasks in the same pattern. The first one sends
    /// for all.
    #[must_use]
    pub fn sharing(&self, edge: EdgeId) -> Vec<EdgeId> {
        let Some(exchange) = self.exchange(edge) else {
            return Vec::new();
        };
        let (from, _) = self.graph.ends(edge);
        let this = self.graph.edge(edge);
        // Where a record goes is the edge's own affair.
        let chosen = matches!(exchange.pattern, Pattern::Hash | Pattern::Custom);
        if !this.steps.is_empty() || chosen {
            return vec![edge];
        }
        let same = |other: &EdgeId| {
            let spec = self.graph.edge(*other);
            spec.output == this.output
                && spec.steps.is_empty()
                && self.exchange(*other).is_some_and(|other| {
                    other.pattern == exchange.pattern && other.consumers == exchange.consumers
                })
        };
        self.graph.outputs(from).into_iter().filter(same).collect()
    }

    /// The name of an edge.
    #[must_use]
    pub fn edge_name(&self, edge: EdgeId) -> &str {
        &self.edge_names[edge.0 as usize]
    }

    /// The bytes that all exchanges together may hold, overdraft apart.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.exchanges
            .iter()
            .map(|exchange| exchange.bound.bytes)
            .sum()
    }

    /// The number of tasks.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.stages.iter().map(|stage| stage.parallelism).sum()
    }

    /// A number that changes when a name, a kind, a record type or an edge changes: equal programs have equal ones, in
    /// every process. FNV-1a over the graph's description, 64 bits.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Fnv::default();
        for id in self.graph.nodes() {
            let node = self.graph.node(id);
            let kind = match node.kind {
                NodeKind::Source => "source",
                NodeKind::Operator => "operator",
                NodeKind::Steps => "steps",
                NodeKind::Relay => "relay",
                NodeKind::Sink => "sink",
            };
            hash.text(kind);
            hash.text(node.origin.name());
        }
        for edge in self.graph.edges() {
            let (from, to) = self.graph.ends(edge);
            let edge = self.graph.edge(edge);
            hash.text(&format!("{} {} {}", from.0, edge.output, to.0));
            hash.text(&edge.pattern.to_string());
            hash.text(edge.record_type);
        }
        hash.0
    }
}

struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn text(&mut self, text: &str) {
        for byte in text.bytes().chain([0]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_of_a_rescale_agree_on_their_shares() {
        for producers in 1..20 {
            for consumers in 1..20 {
                for producer in 0..producers {
                    let share_of_producer = share(producer, producers, consumers);
                    assert!(!share_of_producer.is_empty());
                    for consumer in 0..consumers {
                        assert_eq!(
                            share_of_producer.contains(&consumer),
                            share(consumer, consumers, producers).contains(&producer),
                            "{producer} of {producers} to {consumer} of {consumers}"
                        );
                    }
                }
            }
        }
    }
}
