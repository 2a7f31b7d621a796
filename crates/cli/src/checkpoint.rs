//! `levada checkpoint`: what can be done to checkpoints without the job, and, through its program, with it.

mod inspect;
mod job;
mod list;
mod verify;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use clap::{Args, Subcommand};
use levada::Environment;
use levada_checkpoint::{Archive, CheckpointKind};

use crate::error::Error;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Lists the checkpoints in a directory, newest first.
    List {
        /// The directory of the checkpoints.
        dir: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Shows what is in a checkpoint: operators, edges, files, and what it is based on.
    Inspect {
        /// The manifest of the checkpoint, or its directory for the newest that is complete.
        #[arg(value_name = "DIR|MANIFEST")]
        path: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Looks at every byte of every checkpoint; fails if any cannot be used.
    Verify {
        /// The directory of the checkpoints, or the manifest of one.
        #[arg(value_name = "DIR|MANIFEST")]
        path: PathBuf,
    },
    /// Writes state as text: runs `JOB checkpoint export ...`, since only the program knows its types.
    Export(ForJob),
    /// Compares the state of two checkpoints: runs `JOB checkpoint diff ...`, since only the program knows its types.
    Diff(ForJob),
}

#[derive(Args)]
pub(crate) struct ForJob {
    /// The program of the job.
    #[arg(long, value_name = "PROGRAM")]
    job: OsString,
    /// What is handed on to the program.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

pub(crate) fn run(command: Command, out: &mut dyn Write) -> Result<(), Error> {
    match command {
        Command::List { dir, json } => list::run(&dir, json, out),
        Command::Inspect { path, json } => inspect::run(&path, json, out),
        Command::Verify { path } => verify::run(&path, out),
        Command::Export(ForJob { job, args }) => job::run(job, "export", &args),
        Command::Diff(ForJob { job, args }) => job::run(job, "diff", &args),
    }
}

/// The checkpoints at a path that is there, and the number of the one if it is a manifest.
fn locate(path: &Path) -> Result<(Archive, Option<u64>), Error> {
    Ok(Archive::locate(Environment::system().disk, path)?)
}

fn kind_name(kind: CheckpointKind) -> &'static str {
    match kind {
        CheckpointKind::Checkpoint => "checkpoint",
        CheckpointKind::Savepoint => "savepoint",
        CheckpointKind::Final => "final",
    }
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

fn files(count: usize) -> String {
    match count {
        1 => "1 file".to_owned(),
        _ => format!("{count} files"),
    }
}

/// A time in milliseconds since the epoch, as people write it; as a number if it is none of theirs.
fn time(millis: i64) -> String {
    // Up to the year 9999.
    const MILLIS_MAX: u64 = 253_402_300_799_999;
    match u64::try_from(millis) {
        Ok(since) if since <= MILLIS_MAX => {
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(since);
            humantime::format_rfc3339_millis(at).to_string()
        }
        _ => format!("{millis} ms"),
    }
}
