//! Logs of a job program, to standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::error::{Error, Result};

/// What is logged if neither `--log` nor `RUST_LOG` says so.
const DEFAULT: &str = "warn";

/// Starts logging. A program that has its own subscriber keeps it.
pub(crate) fn start(level: Option<&str>) -> Result {
    let from_environment = || std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let filter = level
        .map(str::to_owned)
        .or_else(from_environment)
        .unwrap_or_else(|| DEFAULT.to_owned());
    let filter = EnvFilter::try_new(&filter)
        .map_err(|error| Error::new(format!("the log filter `{filter}` is wrong: {error}")))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .finish();
    // An error means that the program has set its own before.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}
