//! What checkpoints are of, before there is one.

use levada_checkpoint::{
    CheckpointKind, EdgeEntry, JobEntry, Manifest, OperatorEntry, OperatorKind,
};
use levada_graph::{NodeKind, Plan};

use crate::checkpoint::types::{record_entry, state_entry};
use crate::checkpoint::visitors::number;
use crate::launch::RunOptions;
use crate::wiring::Program;

/// What checkpoints are of: a manifest without number and files.
pub(crate) fn manifest_of(
    program: &Program,
    plan: &Plan,
    options: &RunOptions,
    run: &str,
    attempt: u32,
    table_seed: u64,
) -> Manifest {
    let graph = plan.graph();
    let named = graph.nodes().filter(|node| graph.node(*node).is_named());
    let operators = named.map(|id| {
        let node = graph.node(id);
        OperatorEntry {
            name: node.origin.name().to_owned(),
            kind: match node.kind {
                NodeKind::Source => OperatorKind::Source,
                NodeKind::Sink => OperatorKind::Sink,
                NodeKind::Operator | NodeKind::Steps | NodeKind::Relay => OperatorKind::Operator,
            },
            parallelism: number(plan.node(id).parallelism),
            state: state_entry(program, id),
            finished: Vec::new(),
            watermark: None,
            keyed_rows: 0,
            keyed_bytes: 0,
        }
    });
    let edges = plan.exchanges().iter().map(|exchange| EdgeEntry {
        name: plan.edge_name(exchange.edge).to_owned(),
        producers: number(exchange.producers),
        consumers: number(exchange.consumers),
        records: 0,
        bytes: 0,
        record: record_entry(program, exchange.edge),
    });
    let job = JobEntry {
        name: options.job_name.clone(),
        fingerprint: format!("{:016x}", plan.fingerprint()),
    };
    Manifest {
        number: 0,
        kind: CheckpointKind::Checkpoint,
        run: run.to_owned(),
        attempt,
        created: 0,
        job,
        key_groups: plan.options().key_groups.count(),
        table_seed: Some(format!("{table_seed:016x}")),
        operators: operators.collect(),
        edges: edges.collect(),
        files: Vec::new(),
    }
}
