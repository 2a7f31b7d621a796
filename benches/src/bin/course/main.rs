//! The course: the same ten queries over the same events for every engine, here as jobs of Levada and as loops written by
//! hand, so that speed is a ratio in one run and results agree to the digest.

mod digest;
mod engine;
mod event;
mod file;
mod flags;
mod generate;
mod hand;
mod map;
mod query;
mod report;
mod row;
mod run;
mod shuffle;
mod sink;
mod source;
mod stop;
#[cfg(test)]
mod tests;

use std::env;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use flags::{CommandLine, Make};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let line = CommandLine::parse();
    if let Err(error) = line.check() {
        error.exit();
    }
    let done = match (line.make, line.run) {
        (Some(make), _) => make_file(make),
        (None, Some(flags)) => run::run(&flags, &line.common, env::args_os().skip(1).collect()),
        (None, None) => unreachable!("clap asks for one of them"),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Clap knows where its text goes and how it looks.
        Err(levada::Error::Usage(error)) => error.exit(),
        Err(error) => {
            // If nobody reads it there is nobody to tell, and the exit code says how it ended.
            let _ = writeln!(io::stderr(), "error: {error:?}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn make_file(make: Make) -> levada::Result {
    match make {
        Make::Generate {
            file,
            count,
            base_time,
        } => write(&file, generate::events(count, base_time)),
        Make::Shuffle {
            file,
            out,
            seed,
            max_delay,
        } => {
            let events = file::read(&file).map_err(levada::Error::new)?;
            write(&out, shuffle::shuffle(events, seed, max_delay))
        }
    }
}

fn write(path: &Path, events: impl IntoIterator<Item = event::Event>) -> levada::Result {
    file::write(path, events).map_err(levada::Error::new)
}
