//! The types of state and of records in flight: what a program has, and whether a checkpoint has the same.
//!
//! They are compared before a row is read, since what is not of the expected type need not be noticed when it is: two
//! numbers of the same width are read as each other.

use std::fmt;

use levada_checkpoint::{EdgeEntry, Manifest, OperatorEntry, StateEntry, TypeEntry};
use levada_core::Origin;
use levada_graph::{EdgeId, NodeId, Plan};
use levada_state::{Fields, KEY, StateFields, TypeFields, VALUE};

use crate::checkpoint::restored::Restored;
use crate::wiring::Program;

/// The version of state whose checkpoint does not say which.
const UNSAID: u32 = 1;

/// What the state of a node looks like, for the manifest.
pub(crate) fn state_entry(program: &Program, node: NodeId) -> Option<StateEntry> {
    let state = program.nodes[node.0 as usize].state()?;
    let types = state.types.into_iter();
    Some(StateEntry {
        version: state.version.number,
        types: types
            .map(|(role, of)| (role.to_owned(), type_entry(of)))
            .collect(),
    })
}

/// What the records of an edge look like, for the manifest.
pub(crate) fn record_entry(program: &Program, edge: EdgeId) -> Option<TypeEntry> {
    Some(type_entry(program.edges.get(&edge)?.record()))
}

fn type_entry(of: TypeFields) -> TypeEntry {
    TypeEntry {
        name: of.name,
        fields: of.fields.to_string(),
    }
}

/// The version of an operator's state in a checkpoint; none if the operator was not there.
pub(crate) fn saved_version(manifest: &Manifest, operator: &str) -> Option<u32> {
    let entry = entry(manifest, operator)?;
    Some(entry.state.as_ref().map_or(UNSAID, |state| state.version))
}

fn entry<'a>(manifest: &'a Manifest, operator: &str) -> Option<&'a OperatorEntry> {
    let mut operators = manifest.operators.iter();
    operators.find(|entry| entry.name == operator)
}

/// Whether a program can read what is in a checkpoint.
///
/// # Errors
/// All that it cannot.
pub(crate) fn compare(
    restored: &Restored,
    program: &Program,
    plan: &Plan,
) -> Result<(), Vec<Mismatch>> {
    let manifest = restored.manifest();
    let graph = plan.graph();
    let mut mismatches = Vec::new();
    for node in graph.nodes().filter(|node| graph.node(*node).is_named()) {
        let operator = &graph.node(node).origin;
        if let Some(saved) = entry(manifest, operator.name())
            && let Some(now) = program.nodes[node.0 as usize].state()
            && (now.types.contains_key(KEY) || restored.has_operator_rows(operator.name()))
            && let Some(problem) = compare_state(saved.state.as_ref(), &now)
        {
            mismatches.push(Mismatch {
                origin: operator.clone(),
                problem,
            });
        }
    }
    let with_records = restored.names();
    for edge in graph.edges() {
        let name = plan.edge_name(edge);
        if !with_records.iter().any(|with_records| with_records == name) {
            continue;
        }
        let saved = manifest.edges.iter().find(|entry| entry.name == name);
        if let Some(factory) = program.edges.get(&edge)
            && let Some(saved) = saved
            && let Some(problem) = compare_records(saved, &factory.record())
        {
            let (_, to) = graph.ends(edge);
            mismatches.push(Mismatch {
                origin: graph.node(to).origin.clone(),
                problem,
            });
        }
    }
    match mismatches.is_empty() {
        true => Ok(()),
        false => Err(mismatches),
    }
}

fn compare_state(saved: Option<&StateEntry>, now: &StateFields) -> Option<Problem> {
    let version = saved.map_or(UNSAID, |saved| saved.version);
    let present = now.version.number;
    if version > present {
        return Some(Problem::Newer {
            saved: version,
            now: present,
        });
    }
    let migration = now.version.migrations.get(&version);
    if version < present && migration.is_none() {
        return Some(Problem::NoWay {
            saved: version,
            now: present,
            ways: now.version.migrations.keys().copied().collect(),
        });
    }
    let saved = saved?;
    let mut differences = Vec::new();
    for (role, was) in &saved.types {
        let was = Fields::parse(&was.fields);
        let is = match migration.filter(|_| role == VALUE) {
            Some(migration) => Some(migration),
            None => now.types.get(role.as_str()),
        };
        let Some(is) = is else {
            differences.push(format!("there is no {role} any more"));
            continue;
        };
        let of_role = was.differences(&is.fields);
        if role == KEY && !of_role.is_empty() {
            return Some(Problem::Key(of_role.join(", ")));
        }
        if !of_role.is_empty() {
            differences.push(format!("{role}: {}", of_role.join(", ")));
        }
    }
    let new = now.types.keys();
    let new = new.filter(|role| !saved.types.contains_key(**role));
    differences.extend(new.map(|role| format!("there was no {role} then")));
    if differences.is_empty() {
        return None;
    }
    let differences = differences.join("; ");
    Some(match migration {
        Some(_) => Problem::OtherThen {
            version,
            differences,
        },
        None => Problem::Fields {
            version,
            differences,
        },
    })
}

fn compare_records(saved: &EdgeEntry, now: &TypeFields) -> Option<Problem> {
    let was = Fields::parse(&saved.record.as_ref()?.fields);
    let differences = was.differences(&now.fields);
    (!differences.is_empty()).then(|| Problem::Records {
        edge: saved.name.clone(),
        differences: differences.join(", "),
    })
}

/// State, or records in flight, that a program cannot read.
#[derive(Clone, Debug)]
pub struct Mismatch {
    origin: Origin,
    problem: Problem,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Problem {
    /// The version is the same, and the types are not.
    Fields { version: u32, differences: String },
    /// The keys are others.
    Key(String),
    /// The program is older than the checkpoint.
    Newer { saved: u32, now: u32 },
    /// The checkpoint is older, and no closure takes its values.
    NoWay {
        saved: u32,
        now: u32,
        /// The versions whose values are taken.
        ways: Vec<u32>,
    },
    /// The checkpoint is older, and what the closure takes is not what it has.
    OtherThen { version: u32, differences: String },
    /// Records in flight are of another type.
    Records { edge: String, differences: String },
}

impl Mismatch {
    /// The operator whose state it is, or that the records are for.
    #[must_use]
    pub fn operator(&self) -> &Origin {
        &self.origin
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = &self.origin;
        match &self.problem {
            Problem::Fields {
                version,
                differences,
            } => write!(
                f,
                "the state of {origin} looks different than in the checkpoint, and both have version {version}. \
                 {differences}. Say `.state(version({next}).from({version}, |old: ..| ..))` in front of the operator, with \
                 a closure from the type of then to that of now; or give the operator another name, so that it begins \
                 afresh (`--allow-dropped` alone does not help: what it lets go is the state of names that are gone)",
                next = version.saturating_add(1),
            ),
            Problem::Key(differences) => write!(
                f,
                "the keys of {origin} look different than in the checkpoint: {differences}. A key says which subtask has \
                 its state, so keys cannot be migrated: give the operator another name, so that it begins afresh, and \
                 let the old state go by `--allow-dropped`"
            ),
            Problem::Newer { saved, now } => write!(
                f,
                "the state of {origin} has version {saved} in the checkpoint and version {now} in the program: the program \
                 is older than the one that wrote the checkpoint, or its version was lowered"
            ),
            Problem::NoWay { saved, now, ways } => {
                write!(
                    f,
                    "the state of {origin} has version {saved} in the checkpoint and version {now} in the program, which \
                     has no way from {saved}: add `.from({saved}, |old: ..| ..)` to `version({now})`"
                )?;
                match ways.as_slice() {
                    [] => Ok(()),
                    ways => {
                        let ways: Vec<_> = ways.iter().map(u32::to_string).collect();
                        write!(f, " (it has one from {})", ways.join(" and "))
                    }
                }
            }
            Problem::OtherThen {
                version,
                differences,
            } => write!(
                f,
                "the state of {origin} has version {version} in the checkpoint, and looks different there than what \
                 `.from({version}, |old: ..| ..)` takes. {differences}"
            ),
            Problem::Records { edge, differences } => write!(
                f,
                "records for {origin} were in flight on `{edge}` that look different than those of the program: \
                 {differences}. Go on from a savepoint by which the job was stopped, or from an aligned checkpoint: there \
                 nothing is in flight"
            ),
        }
    }
}
