//! Levada's workloads against hand-written loops.
//!
//! Each comparison runs both sides in turn within one process and reports medians and their ratio: machines are noisy, and
//! a ratio within one run is what can be trusted. `RESULTS.md` keeps the figures.

mod backpressure;
mod calls;
mod chain;
mod checkpoints;
mod exchange;
mod firing;
mod formats;
mod measure;
mod record;
mod snapshot;
mod start;
mod table;
mod timeout;
mod words;

use clap::Parser;

use measure::Plan;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Compares Levada with hand-written loops.
#[derive(Parser)]
struct Flags {
    /// A hundredth of the records and three runs: to see that everything works
    #[arg(long)]
    quick: bool,

    /// How long the stopped job is watched, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    stopped_for: u64,

    /// Only the comparisons whose name contains this
    only: Option<String>,
}

/// The name of a comparison, and what runs it.
type Comparison = (&'static str, fn(&Plan));

const COMPARISONS: &[Comparison] = &[
    // First: it looks at the memory of this process, which the others leave in the allocator.
    ("backpressure", backpressure::run),
    ("chain", chain::run),
    ("exchange", exchange::run),
    ("timeout", timeout::run),
    ("start", start::run),
    ("firing", firing::run),
    ("table", table::run),
    ("snapshot", snapshot::run),
    ("checkpoints", checkpoints::run),
    ("restarts", checkpoints::run_restarts),
    ("latency", checkpoints::run_latency),
    ("words", words::run),
    ("formats", formats::run),
    ("calls", calls::run),
];

fn main() {
    let flags = Flags::parse();
    let plan = Plan {
        runs: if flags.quick { 3 } else { 9 },
        share: if flags.quick { 100 } else { 1 },
        stopped_for: if flags.quick { 2 } else { flags.stopped_for },
    };
    for (name, run) in COMPARISONS {
        if flags.only.as_ref().is_none_or(|only| name.contains(only)) {
            run(&plan);
        }
    }
}
