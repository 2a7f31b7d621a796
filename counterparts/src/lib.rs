//! The programs of others that Levada's connectors are tested against, started and stopped by the tests.
//!
//! A program that is missing fails its tests with what to install: a test that is skipped proves nothing. This package is
//! outside of the workspace's default members: `cargo test -p levada-counterparts --all-features`.

mod await_until;
mod port;
mod postgres;
mod tool;

pub use await_until::await_until;
pub use port::{await_listener, free_port};
pub use postgres::Postgres;
pub use tool::tool;
