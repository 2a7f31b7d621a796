//! `levada checkpoint verify`.

use std::io::Write;
use std::path::Path;

use crate::checkpoint::{files, locate, size};
use crate::error::{Error, sentence};

pub(super) fn run(path: &Path, out: &mut dyn Write) -> Result<(), Error> {
    let (archive, number) = locate(path)?;
    let numbers = match number {
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
