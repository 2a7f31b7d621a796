//! Turns CSV files into JSON lines. Rows that are not as they should be go their own way, each with its place.
//!
//! Without `--output DIR` the orders go to standard output, and so does what was rejected, as lines that begin with `#`.

use std::fmt::Write;
use std::path::PathBuf;

use levada::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(clap::Args)]
struct Flags {
    /// A file to read, or a pattern of files; may be given several times [default: a week of orders]
    #[arg(long, value_name = "FILE")]
    input: Vec<String>,

    /// A directory for the orders as JSON lines
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Row {
    id: u64,
    customer: String,
    item: String,
    pieces: u32,
    price: f64,
}

#[derive(Deserialize, Serialize)]
struct Order {
    id: u64,
    customer: String,
    item: String,
    total: f64,
}

fn csv_to_jsonl(job: &Job) -> levada::Result {
    let mut flags: Flags = job.args()?;
    if flags.input.is_empty() {
        flags.input = vec![concat!(env!("CARGO_MANIFEST_DIR"), "/data/orders.csv").to_owned()];
    }

    let rows = csv::<Row>(flags.input)
        .delimiter(b';')
        .comment(b'#')
        .results();
    let (rows, rejected) = job.source("rows", rows).split_results();
    let orders = rows.map(|row| Order {
        id: row.id,
        customer: row.customer,
        item: row.item,
        total: f64::from(row.pieces) * row.price,
    });

    match flags.output {
        Some(dir) => orders.sink("orders", files(dir)),
        None => orders.sink("orders", stdout()),
    };
    rejected.sink(
        "rejected",
        stdout().format(|bad: &BadRecord, line| {
            let _ = write!(line, "# {bad}");
        }),
    );
    Ok(())
}

fn main() -> levada::Result {
    levada::main(csv_to_jsonl)
}
