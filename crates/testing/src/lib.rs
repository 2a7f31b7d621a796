//! Testing of jobs and operators: a simulator that owns time, randomness, disk, network and scheduling, a harness for operators
//! with state, a sink that collects and one that stops.
//!
//! A [`Simulation`] runs a whole job on the calling thread. Everything that differs from one run to the next in
//! production (which task runs, for how long, how many credits there are, when a timer fires) is drawn from a seed, so
//! that a seed that fails, fails again. The tasks, their polls and the code of the credits are those of production.
//!
//! ```
//! use levada::prelude::*;
//! use levada_testing::{Simulation, collect};
//!
//! for seed in 0..10 {
//!     let (sink, collected) = collect();
//!     let run = Simulation::new(seed).run(move |job: &Job| {
//!         job.source("words", iterator(["to", "be", "or", "not", "to", "be"]))
//!             .map(|word| word.len() as u64)
//!             .key_by(|length| *length)
//!             .count("counts")
//!             .at_end()
//!             .sink("out", sink.clone());
//!     })?;
//!     run.outcome?;
//!     let mut counts = collected.take();
//!     counts.sort_unstable();
//!     assert_eq!(counts, [(2, 5), (3, 1)]);
//! }
//! # Ok::<(), levada::Error>(())
//! ```
//!
//! What it does not do: threads. Races between two threads are the model checkers' (see `docs/architecture.md`).

mod campaign;
mod collect;
mod harness;
mod ledger;
mod replay;
mod scheduler;
mod simulation;
mod valve;
mod world;

pub use campaign::{Campaign, campaign};
pub use collect::{Collected, Collecting, collect};
pub use harness::Harness;
pub use ledger::{Epoch, Ledger, LedgerSink, LedgerWriter, ledger};
pub use replay::replay;
pub use simulation::{Run, Simulated, Simulation};
pub use valve::{Valve, Valved, valve};
pub use world::{MemoryDisk, MemoryNet, MemoryOutput, Peer, SeededRandom, VirtualClock};
