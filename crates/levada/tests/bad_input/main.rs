//! What goes wrong in programs, records, files, disks and peers, and what the user is told. `docs/bad-input` lists it.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

mod checkpoints;
#[cfg(feature = "postgres")]
mod databases;
#[path = "../common/dense.rs"]
mod dense;
mod files;
mod log;
mod network;
mod operators;
#[cfg(feature = "postgres")]
#[expect(dead_code, reason = "other tests look at more of the model")]
#[path = "../common/postgres_model.rs"]
mod postgres_model;
#[path = "../common/log.rs"]
mod world;

/// Each table has its rows in a module above, and what runs them here.
mod checks {
    pub(crate) mod checkpoints;
    mod files;
    pub(crate) mod log;
    mod network;
    pub(crate) mod operators;
}
