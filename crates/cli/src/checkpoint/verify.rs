//! `levada checkpoint verify`.

use std::io::Write;
use std::path::Path;

use levada_checkpoint::{Archive, CheckpointError};

use crate::checkpoint::{files, locate, size};
use crate::error::{Error, sentence};

pub(super) fn run(path: &Path, out: &mut dyn Write) -> Result<(), Error> {
    let (archive, number_given) = locate(path)?;
    let numbers = match number_given {
        Some(number) => vec![number],
        None => archive.list()?.iter().map(|found| found.number).collect(),
    };
    // Nothing is not undamaged.
    if numbers.is_empty() {
        return Err(Error::NoCheckpoint {
            dir: path.to_owned(),
        });
    }
    let mut damaged = 0;
    for number in &numbers {
        match archive.verify(*number) {
            Ok(manifest) => writeln!(
                out,
                "checkpoint {number}: {} in {}, undamaged",
                size(manifest.bytes()),
                files(manifest.files.len())
            )?,
            // A job has removed it since it was listed.
            Err(_) if number_given.is_none() && is_gone(&archive, *number) => {
                writeln!(out, "checkpoint {number}: removed meanwhile")?;
            }
            Err(error) => {
                damaged += 1;
                writeln!(out, "checkpoint {number}: {}", sentence(&error))?;
            }
        }
    }
    match damaged {
        0 => Ok(()),
        _ => Err(Error::Damaged {
            damaged,
            all: numbers.len(),
        }),
    }
}

fn is_gone(archive: &Archive, number: u64) -> bool {
    matches!(
        archive.manifest(number),
        Err(CheckpointError::NoCheckpoint { .. })
    )
}
