//! The command `levada`.
//!
//! Ends with 0, with 1 if something failed or is damaged, and with 2 if the command line is wrong.

mod checkpoint;
mod error;
mod table;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Error;

/// Looks at what jobs of Levada have left.
#[derive(Parser)]
#[command(name = "levada", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists, inspects, verifies, exports and compares checkpoints and savepoints.
    #[command(subcommand)]
    Checkpoint(checkpoint::Command),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut out = io::stdout().lock();
    let done = match args.command {
        Command::Checkpoint(command) => checkpoint::run(command, &mut out),
    };
    let done = done.and_then(|()| Ok(out.flush()?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read has seen enough.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {error:?}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to standard error. If nobody reads that there is nobody to tell.
fn say(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
