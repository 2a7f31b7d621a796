//! `JOB checkpoint export` and `JOB checkpoint diff`: the state in checkpoints as text, by the program that knows its types.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use levada_runtime::checkpoint::Exported;
use serde_json::{Map, Value, json};

use crate::error::{JobResult, Result};
use crate::job::Job;
use crate::runner::{Prepared, Runner};

/// What a job program does with checkpoints instead of running.
#[derive(Parser)]
#[command(name = "checkpoint")]
struct Flags {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Writes the keyed state in a checkpoint, a JSON object on each line
    Export {
        /// A directory, of which the latest checkpoint counts, or a manifest
        path: PathBuf,
        /// Of this operator only
        #[arg(long, value_name = "NAME")]
        operator: Option<String>,
        /// The job's own flags, behind `--`
        #[arg(last = true)]
        job: Vec<OsString>,
    },
    /// Compares the keyed state in two checkpoints by value, a JSON object for each difference; ends with 1 if there are any
    Diff {
        /// The one before
        before: PathBuf,
        /// The one after
        after: PathBuf,
        /// Of this operator only
        #[arg(long, value_name = "NAME")]
        operator: Option<String>,
        /// The job's own flags, behind `--`
        #[arg(last = true)]
        job: Vec<OsString>,
    },
}

/// Does what the command line asks for, if it begins with `checkpoint`; none if it does not. True if two checkpoints differ.
pub(crate) fn run<R: JobResult>(
    program: &str,
    args: &[OsString],
    job: &impl Fn(&Job) -> R,
) -> Option<Result<bool>> {
    if args.first().is_none_or(|first| first != "checkpoint") {
        return None;
    }
    let named = std::iter::once(OsString::from(format!("{program} checkpoint")));
    let flags = Flags::try_parse_from(named.chain(args[1..].iter().cloned()));
    Some(match flags {
        Ok(flags) => act(program, flags.action, job),
        Err(error) => Err(error.into()),
    })
}

fn act<R: JobResult>(program: &str, action: Action, job: &impl Fn(&Job) -> R) -> Result<bool> {
    let prepare = |args: Vec<OsString>| Runner::new().program(program).args(args).prepare(job);
    let mut out = BufWriter::new(io::stdout().lock());
    match action {
        Action::Export {
            path,
            operator,
            job,
        } => {
            let prepared = prepare(job)?;
            let mut written = Ok(());
            read(&prepared, &path, operator.as_deref(), &mut |row| {
                if written.is_ok() {
                    written = writeln!(out, "{}", line(&row));
                }
            })?;
            written?;
            out.flush()?;
            Ok(false)
        }
        Action::Diff {
            before,
            after,
            operator,
            job,
        } => {
            let prepared = prepare(job)?;
            let before = by_key(&prepared, &before, operator.as_deref())?;
            let after = by_key(&prepared, &after, operator.as_deref())?;
            let differences = differences(&before, &after);
            for difference in &differences {
                writeln!(out, "{difference}")?;
            }
            out.flush()?;
            Ok(!differences.is_empty())
        }
    }
}

fn read(
    prepared: &Prepared,
    path: &Path,
    operator: Option<&str>,
    take: &mut dyn FnMut(Exported),
) -> Result {
    let wanted = |row: &Exported| operator.is_none_or(|operator| operator == row.operator);
    prepared.export(path, &mut |row| {
        if wanted(&row) {
            take(row);
        }
    })
}

/// A row as it is printed.
fn line(row: &Exported) -> Value {
    let mut object = Map::new();
    object.insert("operator".into(), json!(row.operator));
    object.insert("group".into(), json!(row.group));
    if row.part > 0 {
        object.insert("part".into(), json!(row.part));
    }
    match value_of(row) {
        Some(Value::Object(entry)) => object.extend(entry),
        _ => {
            object.insert("bytes".into(), json!(row.bytes));
        }
    }
    Value::Object(object)
}

fn value_of(row: &Exported) -> Option<Value> {
    serde_json::from_str(row.json.as_deref()?).ok()
}

/// An operator, a part of its state, and a key as JSON.
type Key = (String, u16, String);

/// What is kept by key.
fn by_key(
    prepared: &Prepared,
    path: &Path,
    operator: Option<&str>,
) -> Result<BTreeMap<Key, Value>> {
    let mut state = BTreeMap::new();
    read(prepared, path, operator, &mut |row| {
        if let Some(Value::Object(mut entry)) = value_of(&row) {
            let key = entry.get("key").map(Value::to_string).unwrap_or_default();
            let value = entry.remove("value").unwrap_or_default();
            state.insert((row.operator, row.part, key), value);
        }
    })?;
    Ok(state)
}

fn differences(before: &BTreeMap<Key, Value>, after: &BTreeMap<Key, Value>) -> Vec<Value> {
    let mut found = Vec::new();
    let mut tell = |(operator, part, key): &Key, before: Option<&Value>, after: Option<&Value>| {
        let change = match (before, after) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        };
        let key: Value = serde_json::from_str(key).unwrap_or_default();
        let mut object = Map::new();
        object.insert("change".into(), json!(change));
        object.insert("operator".into(), json!(operator));
        if *part > 0 {
            object.insert("part".into(), json!(part));
        }
        object.insert("key".into(), key);
        for (name, value) in [("before", before), ("after", after)] {
            if let Some(value) = value {
                object.insert(name.into(), value.clone());
            }
        }
        found.push(Value::Object(object));
    };
    for (key, value) in before {
        match after.get(key) {
            Some(other) if other == value => {}
            other => tell(key, Some(value), other),
        }
    }
    for (key, value) in after {
        if !before.contains_key(key) {
            tell(key, None, Some(value));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_by_value() {
        let state = |entries: &[(&str, u64)]| {
            let entries = entries.iter();
            let entries =
                entries.map(|(key, n)| (("op".to_owned(), 0, format!("{key:?}")), json!(n)));
            entries.collect::<BTreeMap<_, _>>()
        };
        let before = state(&[("a", 1), ("b", 2), ("c", 3)]);
        let after = state(&[("a", 1), ("b", 4), ("d", 5)]);
        assert_eq!(
            differences(&before, &after),
            [
                json!({"change": "changed", "operator": "op", "key": "b", "before": 2, "after": 4}),
                json!({"change": "removed", "operator": "op", "key": "c", "before": 3}),
                json!({"change": "added", "operator": "op", "key": "d", "after": 5}),
            ]
        );
        assert!(differences(&before, &before).is_empty());
    }
}
