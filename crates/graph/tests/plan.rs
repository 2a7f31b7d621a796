//! Graphs and the plans or errors they give.

use std::panic::Location;

use levada_core::{KeyGroups, Origin};
use levada_graph::{
    BufferOptions, Edge, JobGraph, Node, NodeId, NodeKind, Output, Pattern, Plan, PlanOptions,
};

#[track_caller]
fn node(kind: NodeKind, name: &str, outputs: usize) -> Node {
    let place = Location::caller();
    Node {
        kind,
        origin: Origin::new(name, place),
        steps: Vec::new(),
        parallelism: None,
        parallelism_max: None,
        blocking: false,
        outputs: vec![Output { place }; outputs],
    }
}

#[track_caller]
fn edge(pattern: Pattern) -> Edge {
    Edge {
        output: 0,
        pattern,
        steps: Vec::new(),
        place: Location::caller(),
        record_type: "u64",
    }
}

/// `source -> hash -> operator -> sink`.
fn keyed() -> (JobGraph, [NodeId; 3]) {
    let mut graph = JobGraph::new();
    let source = graph.add(node(NodeKind::Source, "lines", 1));
    let operator = graph.add(node(NodeKind::Operator, "counts", 1));
    let sink = graph.add(node(NodeKind::Sink, "out", 0));
    graph.connect(source, operator, edge(Pattern::Hash));
    graph.connect(operator, sink, edge(Pattern::Forward));
    (graph, [source, operator, sink])
}

fn options(parallelism: usize) -> PlanOptions {
    PlanOptions {
        parallelism,
        key_groups: KeyGroups::default(),
        force_exchange: false,
        buffers: BufferOptions::default(),
    }
}

fn stages(plan: &Plan) -> Vec<(Vec<u32>, usize)> {
    plan.stages()
        .iter()
        .map(|stage| {
            (
                stage.nodes.iter().map(|node| node.0).collect(),
                stage.parallelism,
            )
        })
        .collect()
}

#[track_caller]
fn refused(graph: JobGraph, options: PlanOptions, expected: &str) {
    let errors = graph.plan(options).expect_err("the graph is wrong");
    let said = errors.to_string();
    assert!(said.contains(expected), "{said}");
    assert!(said.contains("tests/plan.rs:"), "names no line: {said}");
}

#[test]
fn stages_are_cut_at_exchanges() {
    let plan = keyed().0.plan(options(2)).unwrap();
    assert_eq!(stages(&plan), [(vec![0], 2), (vec![1, 2], 2)]);
    assert_eq!(plan.exchanges().len(), 1);
    let exchange = &plan.exchanges()[0];
    assert_eq!(exchange.consumers_of(1), 0..2);
    assert_eq!(plan.bytes(), exchange.bound.bytes);
}

#[test]
fn an_exchange_between_single_subtasks_is_elided_and_keeps_its_name() {
    let (graph, _) = keyed();
    let edge = graph.edges().next().unwrap();
    let plan = graph.plan(options(1)).unwrap();
    assert_eq!(stages(&plan), [(vec![0, 1, 2], 1)]);
    assert!(plan.exchanges().is_empty());
    assert_eq!(plan.edge_name(edge), "lines -> counts #0");
    let forced = PlanOptions {
        force_exchange: true,
        ..options(1)
    };
    assert_eq!(keyed().0.plan(forced).unwrap().exchanges().len(), 1);
}

#[test]
fn a_union_of_equal_parallelism_is_pointwise() {
    let mut graph = JobGraph::new();
    let a = graph.add(node(NodeKind::Source, "a", 1));
    let b = graph.add(node(NodeKind::Source, "b", 1));
    let union = graph.add(node(NodeKind::Relay, "union", 1));
    let sink = graph.add(node(NodeKind::Sink, "out", 0));
    graph.connect(a, union, edge(Pattern::Pointwise));
    graph.connect(b, union, edge(Pattern::Pointwise));
    graph.connect(union, sink, edge(Pattern::Forward));
    graph.set_parallelism(a, 3, Location::caller());
    let plan = graph.plan(options(2)).unwrap();
    let patterns: Vec<_> = plan.exchanges().iter().map(|e| e.pattern).collect();
    assert_eq!(patterns, [Pattern::Pointwise, Pattern::Rebalance]);
    assert_eq!(stages(&plan)[2], (vec![2, 3], 3), "the larger one is kept");
}

#[test]
fn a_diamond_has_one_stage_for_each_side() {
    let mut graph = JobGraph::new();
    let source = graph.add(node(NodeKind::Source, "s", 1));
    let union = graph.add(node(NodeKind::Relay, "union", 1));
    let sink = graph.add(node(NodeKind::Sink, "out", 0));
    graph.connect(source, union, edge(Pattern::Pointwise));
    graph.connect(source, union, edge(Pattern::Pointwise));
    graph.connect(union, sink, edge(Pattern::Forward));
    let plan = graph.plan(options(1)).unwrap();
    assert_eq!(stages(&plan), [(vec![0], 1), (vec![1, 2], 1)]);
    let names: Vec<_> = plan
        .exchanges()
        .iter()
        .map(|e| plan.edge_name(e.edge))
        .collect();
    assert_eq!(names, ["s -> out #0", "s -> out #1"]);
}

#[test]
fn a_blocking_operator_gives_its_stage_threads_of_its_own() {
    let mut graph = JobGraph::new();
    let source = graph.add(Node {
        blocking: true,
        ..node(NodeKind::Source, "files", 1)
    });
    let operator = graph.add(node(NodeKind::Operator, "counts", 1));
    let sink = graph.add(node(NodeKind::Sink, "out", 0));
    graph.connect(source, operator, edge(Pattern::Hash));
    graph.connect(operator, sink, edge(Pattern::Forward));
    let plan = graph.plan(options(2)).unwrap();
    let own: Vec<_> = plan.stages().iter().map(|stage| stage.own_thread).collect();
    assert_eq!(own, [true, false]);
}

#[test]
fn equal_names_are_refused_with_both_lines() {
    let mut graph = JobGraph::new();
    let source = graph.add(node(NodeKind::Source, "x", 1));
    let sink = graph.add(node(NodeKind::Sink, "x", 0));
    graph.connect(source, sink, edge(Pattern::Forward));
    let said = graph.plan(options(1)).unwrap_err().to_string();
    assert!(said.contains("`x` is given twice"), "{said}");
    assert_eq!(said.matches("tests/plan.rs:").count(), 2, "{said}");
}

#[test]
fn all_errors_are_found_at_once() {
    let mut graph = JobGraph::new();
    let source = graph.add(node(NodeKind::Source, "", 1));
    graph.add(node(NodeKind::Source, "lost", 1));
    let sink = graph.add(node(NodeKind::Sink, "out", 0));
    graph.connect(source, sink, edge(Pattern::Forward));
    graph.set_parallelism(source, 0, Location::caller());
    let errors = graph.plan(options(1)).unwrap_err();
    assert_eq!(errors.all().len(), 3, "{errors}");
}

#[test]
fn what_cannot_run_is_refused() {
    let mut graph = JobGraph::new();
    graph.add(node(NodeKind::Source, "lost", 1));
    refused(graph, options(1), "ends nowhere");

    let (mut graph, [_, operator, _]) = keyed();
    graph.set_parallelism(operator, 0, Location::caller());
    refused(graph, options(1), "parallelism 0");

    let (mut graph, [_, operator, _]) = keyed();
    graph.set_parallelism(operator, 129, Location::caller());
    refused(graph, options(1), "128 key groups");

    let (mut graph, [_, _, sink]) = keyed();
    graph.set_parallelism(sink, 3, Location::caller());
    refused(graph, options(2), "call `.rebalance()`");

    let mut graph = JobGraph::new();
    let source = graph.add(Node {
        parallelism_max: Some((1, "an iterator is one split")),
        ..node(NodeKind::Source, "numbers", 1)
    });
    let sink = graph.add(node(NodeKind::Sink, "out", 0));
    graph.connect(source, sink, edge(Pattern::Forward));
    graph.set_parallelism(source, 2, Location::caller());
    refused(graph, options(8), "an iterator is one split");

    let said = JobGraph::new().plan(options(1)).unwrap_err().to_string();
    assert!(said.contains("no source"), "{said}");
}

#[test]
fn a_job_that_does_not_fit_into_its_memory_is_refused_with_an_account() {
    let mut small = options(64);
    small.buffers.memory = 1 << 20;
    let said = keyed().0.plan(small).unwrap_err().to_string();
    assert!(
        said.contains("lines -> counts: 64 x 64 subtasks (hash), 4096 channels"),
        "{said}"
    );
}

#[test]
fn the_fingerprint_follows_names_and_edges() {
    let fingerprint = |graph: JobGraph| graph.plan(options(2)).unwrap().fingerprint();
    assert_eq!(fingerprint(keyed().0), fingerprint(keyed().0));
    let mut graph = JobGraph::new();
    let source = graph.add(node(NodeKind::Source, "lines", 1));
    let operator = graph.add(node(NodeKind::Operator, "totals", 1));
    let sink = graph.add(node(NodeKind::Sink, "out", 0));
    graph.connect(source, operator, edge(Pattern::Hash));
    graph.connect(operator, sink, edge(Pattern::Forward));
    assert_ne!(fingerprint(graph), fingerprint(keyed().0));
}

#[test]
fn a_plan_can_be_read_in_three_ways() {
    let plan = keyed().0.plan(options(2)).unwrap();
    let text = plan.to_text();
    assert!(text.contains("stage 1 x 2, on worker threads"), "{text}");
    assert!(
        text.contains("<- lines -> counts #0 (hash, 2 x 2): at most"),
        "{text}"
    );
    let dot = plan.to_dot();
    assert!(
        dot.starts_with("digraph job {") && dot.contains("n0 -> n1"),
        "{dot}"
    );
    let json = plan.to_json();
    assert_eq!(json["edges"][0]["exchange"]["bound"]["bytes"], plan.bytes());
}
