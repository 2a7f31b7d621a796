//! Counts the words of text files and prints the ten most frequent.
//!
//! A word is a run of ASCII letters, lower-cased. With `--output DIR` all words and their counts are written there too.

use std::cmp::Reverse;
use std::fmt::Write;
use std::path::PathBuf;

use levada::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(clap::Args)]
struct Flags {
    /// A file to read, or a pattern of files; may be given several times [default: the King James Bible]
    #[arg(long, value_name = "FILE")]
    input: Vec<String>,

    /// A directory for all words and their counts, as word<TAB>count
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

fn word_count(job: &Job) -> levada::Result {
    let mut flags: Flags = job.args()?;
    if flags.input.is_empty() {
        flags.input = vec![concat!(env!("CARGO_MANIFEST_DIR"), "/data/kjv.txt").to_owned()];
    }

    let counts = job
        .source("lines", text_files(flags.input))
        .expand(|line, out| {
            let words = line.split(|c: char| !c.is_ascii_alphabetic());
            for word in words.filter(|word| !word.is_empty()) {
                out.emit((word.to_ascii_lowercase(), ()));
            }
        })
        .keyed()
        .count("counts")
        .at_end();

    if let Some(dir) = flags.output {
        counts.clone().sink("all-words", files(dir).tsv());
    }
    counts
        .top("most-frequent", 10, |(word, count)| {
            (*count, Reverse(word.clone()))
        })
        .sink(
            "table",
            stdout().format(|(word, count): &(String, u64), row| {
                let _ = write!(row, "{word:<10}{count:>8}");
            }),
        );
    Ok(())
}

fn main() -> levada::Result {
    levada::main(word_count)
}
