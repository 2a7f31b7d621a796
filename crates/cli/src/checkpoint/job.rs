//! What only the program of the job can do: its types are in it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::error::Error;

/// Becomes `JOB checkpoint ACT ARGS..`: signals, output and exit code are the job's.
pub(super) fn run(job: OsString, act: &str, args: &[OsString]) -> Result<(), Error> {
    let source = Command::new(&job)
        .arg("checkpoint")
        .arg(act)
        .args(args)
        .exec();
    Err(Error::Job { job, source })
}
