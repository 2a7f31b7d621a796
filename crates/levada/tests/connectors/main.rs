//! Connectors in whole jobs: against files, peers and tables of the simulator, and through real sockets.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

mod files;
mod futures;
#[cfg(feature = "http")]
mod http;
mod log;
mod log_crash;
mod log_retention;
mod partitions;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_epochs;
#[cfg(feature = "postgres")]
#[path = "../common/postgres_model.rs"]
mod postgres_model;
mod reopening;
mod restore;
mod tcp;
#[path = "../common/log.rs"]
mod world;
