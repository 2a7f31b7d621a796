//! `levada checkpoint inspect`.

use std::io::{self, Write};
use std::path::Path;

use levada_checkpoint::{Archive, Contents, Manifest, OperatorKind};
use serde::Serialize;

use crate::checkpoint::{files, kind_name, list, locate, size, time};
use crate::error::{Error, sentence};
use crate::table::{Table, plain};

#[derive(Serialize)]
struct Inspected<'a> {
    #[serde(flatten)]
    manifest: &'a Manifest,
    chain: Vec<u64>,
    bytes: u64,
    own_bytes: u64,
    contents: &'a [Contents],
}

pub(super) fn run(path: &Path, json: bool, out: &mut dyn Write) -> Result<(), Error> {
    let (archive, number) = locate(path)?;
    let manifest = match number {
        Some(number) => archive.manifest(number)?,
        None => newest(&archive)?,
    };
    let contents = archive.contents(&manifest)?;
    if json {
        let inspected = Inspected {
            manifest: &manifest,
            chain: manifest.chain(),
            bytes: manifest.bytes(),
            own_bytes: manifest.own_bytes(),
            contents: &contents,
        };
        let text = serde_json::to_string_pretty(&inspected).expect("text and numbers can be JSON");
        return Ok(writeln!(out, "{text}")?);
    }
    Ok(write(&manifest, &contents, out)?)
}

/// The newest checkpoint that is complete. That others are newer and damaged is said.
fn newest(archive: &Archive) -> Result<Manifest, Error> {
    let latest = archive.latest_complete()?;
    for skipped in &latest.skipped {
        crate::say(format_args!("skipped: {}", sentence(skipped)));
    }
    latest.manifest.ok_or_else(|| Error::NoCheckpoint {
        dir: archive.dir().to_owned(),
    })
}

fn write(manifest: &Manifest, contents: &[Contents], out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{} {} of {} (fingerprint {})\n\
         made {} by run {}, attempt {}\n\
         {} in {}, {} of it written for this one; {} key groups; chain {}",
        kind_name(manifest.kind),
        manifest.number,
        plain(&manifest.job.name),
        plain(&manifest.job.fingerprint),
        time(manifest.created),
        plain(&manifest.run),
        manifest.attempt,
        size(manifest.bytes()),
        files(manifest.files.len()),
        size(manifest.own_bytes()),
        manifest.key_groups,
        list::chain(&manifest.chain()),
    )?;
    for table in [
        Some(operators(manifest)),
        types(manifest),
        Some(edges(manifest)),
        Some(file_table(manifest)),
        Some(blocks(contents)),
    ]
    .into_iter()
    .flatten()
    {
        writeln!(out)?;
        table.write(out)?;
    }
    Ok(())
}

fn operators(manifest: &Manifest) -> Table {
    let mut table = Table::new(&[
        "OPERATOR",
        "KIND",
        ">PARALLELISM",
        ">FINISHED",
        ">ROWS",
        ">SIZE",
        "WATERMARK",
    ]);
    for operator in &manifest.operators {
        let kind = match operator.kind {
            OperatorKind::Source => "source",
            OperatorKind::Operator => "operator",
            OperatorKind::Sink => "sink",
        };
        table.row([
            operator.name.clone(),
            kind.to_owned(),
            operator.parallelism.to_string(),
            operator.finished.len().to_string(),
            operator.keyed_rows.to_string(),
            size(operator.keyed_bytes),
            operator.watermark.map_or_else(String::new, time),
        ]);
    }
    table
}

/// What state and records look like; none if nothing is said of any.
fn types(manifest: &Manifest) -> Option<Table> {
    let mut rows = Vec::new();
    for operator in &manifest.operators {
        let Some(state) = &operator.state else {
            continue;
        };
        for (role, of) in &state.types {
            let version = state.version.to_string();
            rows.push((&operator.name, version, role.as_str(), of));
        }
    }
    for edge in &manifest.edges {
        if let Some(of) = &edge.record {
            rows.push((&edge.name, String::new(), "record", of));
        }
    }
    let mut table = Table::new(&["TYPES OF", ">VERSION", "ROLE", "FIELDS", "TYPE"]);
    for (name, version, role, of) in &rows {
        table.row([
            (*name).clone(),
            version.clone(),
            (*role).to_owned(),
            of.fields.clone(),
            of.name.clone(),
        ]);
    }
    (!rows.is_empty()).then_some(table)
}

fn edges(manifest: &Manifest) -> Table {
    let mut table = Table::new(&["EDGE", ">PRODUCERS", ">CONSUMERS", ">IN FLIGHT", ">SIZE"]);
    for edge in &manifest.edges {
        table.row([
            edge.name.clone(),
            edge.producers.to_string(),
            edge.consumers.to_string(),
            edge.records.to_string(),
            size(edge.bytes),
        ]);
    }
    table
}

fn file_table(manifest: &Manifest) -> Table {
    let mut table = Table::new(&["FILE", ">BLOCKS", ">SIZE", "CHECKSUM"]);
    for file in &manifest.files {
        table.row([
            file.name.clone(),
            file.blocks.to_string(),
            size(file.bytes),
            format!("{:08x}", file.checksum),
        ]);
    }
    table
}

fn blocks(contents: &[Contents]) -> Table {
    let mut table = Table::new(&["BLOCKS OF", "KIND", ">BLOCKS", ">SIZE", ">ROWS WRITTEN"]);
    for contents in contents {
        table.row([
            contents.name.clone(),
            contents.kind.to_string(),
            contents.blocks.to_string(),
            size(contents.bytes),
            contents
                .rows
                .map_or_else(String::new, |rows| rows.to_string()),
        ]);
    }
    table
}
