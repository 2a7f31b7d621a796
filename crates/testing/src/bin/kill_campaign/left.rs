//! What jobs leave in their directories, read without the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;

/// A checkpoint, as far as the campaign looks into it.
#[derive(Debug, Deserialize)]
struct Manifest {
    number: u64,
    files: Vec<File>,
}

#[derive(Debug, Deserialize)]
struct File {
    name: String,
    bytes: u64,
}

/// The checkpoints in a directory, which may not be there yet.
fn manifests(dir: &Path) -> io::Result<Vec<Manifest>> {
    let mut manifests = Vec::new();
    for name in names(dir)? {
        if name.starts_with("checkpoint-") {
            let text = fs::read(dir.join(name))?;
            manifests.push(serde_json::from_slice(&text)?);
        }
    }
    Ok(manifests)
}

/// What is wrong with the checkpoints that a job has left: what is there and should not be, and the other way round.
pub(crate) fn faults(dir: &Path, retained: usize) -> io::Result<Vec<String>> {
    let manifests = manifests(dir)?;
    let mut faults = Vec::new();
    if manifests.is_empty() || manifests.len() > retained {
        let numbers: Vec<_> = manifests.iter().map(|manifest| manifest.number).collect();
        faults.push(format!(
            "checkpoints {numbers:?} are there, not 1 to {retained}"
        ));
    }
    let mut needed = BTreeSet::new();
    for file in manifests.iter().flat_map(|manifest| &manifest.files) {
        let path = dir.join(&file.name);
        match fs::metadata(&path) {
            Ok(found) if found.len() == file.bytes => {}
            Ok(found) => faults.push(format!("{} has {} bytes", path.display(), found.len())),
            Err(error) => faults.push(format!("{}: {error}", path.display())),
        }
        needed.insert(file.name.as_str());
    }
    for name in names(dir)? {
        let is_ours = name.starts_with("checkpoint-") || name == ".lock";
        if !is_ours && !needed.contains(name.as_str()) {
            faults.push(format!("{} is left behind", dir.join(name).display()));
        }
    }
    Ok(faults)
}

/// A part of the output.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Part {
    pub(crate) run: String,
    pub(crate) subtask: u64,
    pub(crate) epoch: u64,
}

impl Part {
    fn parse(name: &str) -> Option<Self> {
        let mut words = name.strip_prefix("part-")?.split('-');
        let part = Self {
            run: words.next()?.to_owned(),
            subtask: words.next()?.parse().ok()?,
            epoch: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(part)
    }
}

/// What has been written.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Output {
    pub(crate) committed: BTreeMap<Part, String>,
    /// The parts that are not committed.
    pub(crate) hidden: BTreeSet<Part>,
    /// Names that are no parts.
    pub(crate) foreign: Vec<String>,
}

/// Reads the output in a directory, which may not be there yet.
pub(crate) fn output(dir: &Path) -> io::Result<Output> {
    let mut output = Output::default();
    for name in names(dir)? {
        if let Some(part) = name.strip_prefix('.').and_then(Part::parse) {
            output.hidden.insert(part);
        } else if let Some(part) = Part::parse(&name) {
            let bytes = fs::read(dir.join(&name))?;
            // What is no text is no row.
            let text = String::from_utf8_lossy(&bytes).into_owned();
            output.committed.insert(part, text);
        } else if name != ".levada-lock" {
            output.foreign.push(name);
        }
    }
    Ok(output)
}

/// The runs that have written something, committed or not.
pub(crate) fn runs(dir: &Path) -> io::Result<BTreeSet<String>> {
    let names = names(dir)?.into_iter();
    let parts = names.filter_map(|name| Part::parse(name.trim_start_matches('.')));
    Ok(parts.map(|part| part.run).collect())
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}
