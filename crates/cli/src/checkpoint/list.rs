//! `levada checkpoint list`.

use std::io::Write;
use std::path::{Path, PathBuf};

use levada_checkpoint::{CheckpointKind, Found};
use serde::Serialize;

use crate::checkpoint::{kind_name, locate, size, time};
use crate::error::{Error, sentence};
use crate::table::Table;

#[derive(Serialize)]
struct Line {
    number: u64,
    manifest: PathBuf,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    about: Option<About>,
}

#[derive(Serialize)]
struct About {
    kind: CheckpointKind,
    job: String,
    created: i64,
    bytes: u64,
    own_bytes: u64,
    chain: Vec<u64>,
}

pub(super) fn run(dir: &Path, json: bool, out: &mut dyn Write) -> Result<(), Error> {
    let (archive, number) = locate(dir)?;
    let found = archive.list()?.into_iter();
    let lines: Vec<_> = found
        .filter(|found| number.is_none_or(|number| number == found.number))
        .map(line)
        .collect();
    if json {
        let text = serde_json::to_string_pretty(&lines).expect("text and numbers can be JSON");
        return Ok(writeln!(out, "{text}")?);
    }
    if lines.is_empty() {
        crate::say(format_args!("there is no checkpoint in {}", dir.display()));
        return Ok(());
    }
    let mut table = Table::new(&[
        ">NUMBER", "KIND", "CREATED", ">SIZE", ">OWN", "CHAIN", "JOB",
    ]);
    let empty = String::new;
    for line in &lines {
        let number = line.number.to_string();
        table.row(match &line.about {
            Some(about) => [
                number,
                kind_name(about.kind).to_owned(),
                time(about.created),
                size(about.bytes),
                size(about.own_bytes),
                chain(&about.chain),
                about.job.clone(),
            ],
            None => [
                number,
                "DAMAGED".to_owned(),
                empty(),
                empty(),
                empty(),
                empty(),
                empty(),
            ],
        });
    }
    table.write(out)?;
    let errors = lines.iter().filter_map(|line| line.error.as_ref());
    errors.for_each(crate::say);
    Ok(())
}

/// The numbers on which a checkpoint is based, and its own.
pub(super) fn chain(numbers: &[u64]) -> String {
    let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
    numbers.join(" + ")
}

fn line(found: Found) -> Line {
    let (about, error) = match &found.manifest {
        Ok(manifest) => {
            let about = About {
                kind: manifest.kind,
                job: manifest.job.name.clone(),
                created: manifest.created,
                bytes: manifest.bytes(),
                own_bytes: manifest.own_bytes(),
                chain: manifest.chain(),
            };
            (Some(about), None)
        }
        Err(error) => (None, Some(sentence(error))),
    };
    Line {
        number: found.number,
        manifest: found.path,
        error,
        about,
    }
}
