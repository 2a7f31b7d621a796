//! Cutting a graph into stages: what is joined by forward edges runs in one task.

use petgraph::unionfind::UnionFind;

use crate::graph::{JobGraph, NodeId, Pattern};
use crate::plan::{Stage, StageId};

/// The stages in topological order, and the stage of each node.
pub(crate) fn cut(
    graph: &JobGraph,
    patterns: &[Pattern],
    parallelism: &[usize],
) -> (Vec<Stage>, Vec<StageId>) {
    let mut joined = UnionFind::<usize>::new(parallelism.len());
    for edge in graph.edges() {
        if patterns[edge.0 as usize] == Pattern::Forward {
            let (from, to) = graph.ends(edge);
            joined.union(from.0 as usize, to.0 as usize);
        }
    }
    let mut stages: Vec<Stage> = Vec::new();
    let mut stage_of_root: Vec<Option<StageId>> = vec![None; parallelism.len()];
    let mut stage_of = vec![StageId(0); parallelism.len()];
    for node in graph.in_order() {
        let root = joined.find(node.0 as usize);
        let id = *stage_of_root[root].get_or_insert_with(|| {
            let id = StageId(u32::try_from(stages.len()).expect("stages are fewer than nodes"));
            stages.push(Stage {
                id,
                head: node,
                nodes: Vec::new(),
                parallelism: parallelism[node.0 as usize],
                own_thread: false,
            });
            id
        });
        let stage = &mut stages[id.0 as usize];
        stage.nodes.push(node);
        stage.own_thread |= graph.node(node).blocking;
        stage_of[node.0 as usize] = id;
        debug_assert!(has_one_head(graph, patterns, stage.head, node));
    }
    (stages, stage_of)
}

/// A forward edge is the only input of its node, so a stage is a tree that grows from its head.
fn has_one_head(graph: &JobGraph, patterns: &[Pattern], head: NodeId, node: NodeId) -> bool {
    let inputs = graph.inputs(node);
    let forward = |edge: &crate::EdgeId| patterns[edge.0 as usize] == Pattern::Forward;
    node == head || (inputs.len() == 1 && inputs.iter().all(forward))
}
