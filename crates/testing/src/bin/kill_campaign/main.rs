//! Kills jobs and judges what they have committed.
//!
//! ```sh
//! cargo run --release -p levada-testing --bin kill_campaign -- --kills 300 --seed 1
//! ```
//!
//! The campaign starts itself as another process that runs a job with checkpoints, kills it by SIGKILL (at a random time, or at
//! a named point of the protocol), and starts it again at another parallelism, until it has been killed often enough and comes
//! to its end. Then it reads what has been committed and compares it with what must be there, which it computes by itself: the
//! judge uses nothing of the engine. A kill loses no page of the operating system; losing those is the simulations' part
//! (`levada/tests/checkpoints/files.rs`).
//!
//! ```text
//!  campaign ── story ──▶ attempt ──▶ child: jobs, ids, pace on a killing disk
//!     │                     │ SIGKILL            │ out/part-*, checkpoints/, log
//!     └───── tally ◀────────┴──── judge ◀────────┘ against the oracle
//! ```

#![expect(
    clippy::print_stdout,
    reason = "what the campaign has seen is what it was started for"
)]

mod campaign;
mod child;
mod ids;
mod jobs;
mod judge;
mod killing;
mod left;
mod log;
mod oracle;
mod pace;
mod point;
mod processes;
mod row;
mod story;
mod tally;

use std::process::ExitCode;

use clap::Parser;
use levada::BoxError;

/// Kills jobs and judges what they have committed.
#[derive(Parser)]
struct Flags {
    #[command(subcommand)]
    child: Option<Role>,

    /// How often jobs are killed
    #[arg(long, value_name = "N", default_value_t = 300)]
    kills: u64,

    /// What decides about jobs, parallelism and kills
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,

    /// Only the story of this number, killed as often as that
    #[arg(long, value_name = "N")]
    story: Option<u64>,
}

#[derive(clap::Subcommand)]
enum Role {
    /// Runs a job, until it ends or is killed
    #[command(hide = true)]
    Child(child::Attempt),
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let done = match &flags.child {
        Some(Role::Child(attempt)) => child::run(attempt).map(|()| true),
        None => campaign::run(flags.kills, flags.seed, flags.story),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(&error),
    }
}

#[expect(clippy::print_stderr, reason = "this is where errors go")]
fn fail(error: &BoxError) -> ExitCode {
    eprintln!("error: {error:?}");
    ExitCode::FAILURE
}
