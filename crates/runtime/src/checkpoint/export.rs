//! The state in a checkpoint as text, by a program that knows its types. Nothing runs: only operators are built.

use std::sync::Arc;

use levada_checkpoint::Archive;
use levada_core::{Origin, Wake};
use levada_graph::{NodeId, NodeKind, Plan};
use levada_network::Budget;
use levada_state::{Alone, KeyedState, Row, RowKind, Rows, Saving, StateError, rows_in};

use crate::checkpoint::restored::Restored;
use crate::checkpoint::setup::CheckpointFailure;
use crate::checkpoint::types;
use crate::environment::Environment;
use crate::error::{Blame, Error, Failure, guarded};
use crate::metrics::OperatorCounters;
use crate::push::Visitor;
use crate::subtask::Subtask;
use crate::wiring::{AnyPush, Built, Program};

/// A piece of state.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Exported {
    /// The operator.
    pub operator: String,
    /// The part of its state; 0 unless it has several.
    pub part: u16,
    /// The key group.
    pub group: u16,
    /// Key and value as JSON; none for what is not kept by key, of which only the size is known.
    pub json: Option<String>,
    /// Bytes in the checkpoint.
    pub bytes: usize,
}

/// Shows the keyed state in a checkpoint, operator by operator and group by group.
///
/// # Errors
/// If there is no checkpoint at the path, it is damaged, or its state is not that of the program.
pub fn export(
    program: &Program,
    plan: &Plan,
    environment: &Environment,
    path: &std::path::Path,
    take: &mut dyn FnMut(Exported),
) -> Result<(), Error> {
    let (archive, number) =
        Archive::locate(Arc::clone(&environment.disk), path).map_err(CheckpointFailure::from)?;
    let manifest = match number {
        Some(number) => archive.manifest(number),
        None => match archive.latest_complete().map(|latest| latest.manifest) {
            Ok(Some(manifest)) => Ok(manifest),
            Ok(None) => {
                let dir = archive.dir().display().to_string();
                return Err(CheckpointFailure::Nothing { dir }.into());
            }
            Err(error) => Err(error),
        },
    };
    let manifest = manifest.map_err(CheckpointFailure::from)?;
    let restored = Restored::load(&archive, &manifest).map_err(CheckpointFailure::from)?;
    types::compare(&restored, program, plan).map_err(CheckpointFailure::Types)?;
    for node in plan.graph().nodes() {
        if plan.graph().node(node).kind == NodeKind::Operator {
            export_node(program, plan, environment, node, &restored, take)?;
        }
    }
    Ok(())
}

fn export_node(
    program: &Program,
    plan: &Plan,
    environment: &Environment,
    node: NodeId,
    restored: &Arc<Restored>,
    take: &mut dyn FnMut(Exported),
) -> Result<(), Error> {
    let spec = plan.graph().node(node);
    let subtask = alone(program, plan, environment, restored, &spec.origin);
    let factory = &program.nodes[node.0 as usize];
    let outputs: Vec<AnyPush> = (0..spec.outputs.len())
        .map(|output| program.outputs[&(node, output)].discard())
        .collect();
    let built = guarded(&spec.origin, || {
        let shared = factory.start(&subtask)?;
        factory.build(&subtask, &shared, outputs)
    })?;
    let mut export = Export { restored, take };
    let visited = guarded(&spec.origin, || {
        let visited = match built {
            Built::Head(_) => Ok(()),
            Built::Push(mut chain) => chain.visit(&mut export),
            Built::Read(mut chain) => chain.visit(&mut export),
        };
        visited.map_err(|error| Failure::error(spec.origin.clone(), error.into()))
    });
    Ok(visited?)
}

/// The one subtask of an operator, which owns all key groups.
fn alone(
    program: &Program,
    plan: &Plan,
    environment: &Environment,
    restored: &Arc<Restored>,
    operator: &Origin,
) -> Subtask {
    Subtask {
        operator: operator.clone(),
        index: 0,
        parallelism: 1,
        key_groups: plan.options().key_groups,
        environment: environment.clone(),
        counters: OperatorCounters::new(),
        waker: Arc::new(Nobody),
        table_seed: 0,
        crosses_exchange: false,
        knows_splits: false,
        run: Arc::from("0000000000000000"),
        restored: Some(Arc::clone(restored)),
        user: program.user.clone(),
        budget: Arc::new(Budget::new(0)),
        overdraft_bytes_max: 0,
        throttle: None,
    }
}

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

/// Reads the state of an operator, and shows it row by row: what several checkpoints say of it is one row by then.
struct Export<'a> {
    restored: &'a Restored,
    take: &'a mut dyn FnMut(Exported),
}

impl Visitor for Export<'_> {
    fn keyed(&mut self, operator: &Origin, state: &mut dyn KeyedState) -> Result<(), StateError> {
        let blame = Blame::on(operator);
        let read = (self.restored).read_keyed(operator.name(), state, &Alone, &mut |_| Ok(()));
        blame.lift();
        read?;
        let mut rows = Rows::with_room(usize::MAX);
        let saving = Saving {
            checkpoint: 1,
            ..Saving::default()
        };
        state.begin(&saving, &mut rows)?;
        while !state.save(&mut rows)? {}
        let mut found = Vec::new();
        for row in rows_in(rows.bytes()) {
            let row: Row<'_> = row?;
            let json = state.show(&row);
            let is_empty = row.kind == RowKind::Whole && row.bytes.is_empty();
            if row.kind != RowKind::Delete && !is_empty {
                found.push(Exported {
                    operator: operator.name().to_owned(),
                    part: row.part,
                    group: row.group.0,
                    json,
                    bytes: row.bytes.len(),
                });
            }
        }
        found.sort_unstable();
        found.into_iter().for_each(&mut self.take);
        Ok(())
    }
}
