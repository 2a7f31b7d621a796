//! The main function of a job program.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::args::{PlanFormat, ReportTo};
use crate::error::{Error, JobResult, Result};
use crate::job::Job;
use crate::logs;
use crate::progress::Progress;
use crate::report::{Outcome, Report};
use crate::runner::{Handle, Prepared, Runner};
use crate::state_tool;

/// Runs a job as a program: parses the command line, runs the job or prints its plan, shows progress and a report on
/// standard error, and ends the process with 0 (finished), 1 (failed), 2 (wrong command line) or 130 (cancelled).
///
/// `JOB checkpoint export PATH` and `JOB checkpoint diff BEFORE AFTER` show the state in checkpoints instead of running the job,
/// whose own flags follow behind `--` then.
///
/// Standard output belongs to the job. SIGINT and SIGTERM cancel the job; a second one ends the process at once. What the
/// program does before and after this call runs in every process of the job.
///
/// ```no_run
/// use levada::prelude::*;
///
/// fn shout(job: &Job) {
///     job.source("lines", text_files("input.txt")).map(|line| line.to_uppercase()).sink("out", stdout());
/// }
///
/// fn main() -> levada::Result {
///     levada::main(shout)
/// }
/// ```
///
/// # Errors
/// None: a job that does not finish ends the process. The result is there so that `main` can return it.
pub fn main<R: JobResult>(job: impl Fn(&Job) -> R) -> Result {
    let mut args = std::env::args_os();
    let program = args.next().map(PathBuf::from);
    let name = program
        .as_deref()
        .and_then(|path| path.file_name())
        .map_or_else(
            || "job".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
    let args: Vec<_> = args.collect();
    match state_tool::run(&name, &args, &job) {
        None => {}
        Some(Ok(differs)) => std::process::exit(i32::from(differs)),
        Some(Err(error)) => end(&error),
    }
    let runner = Runner::new().program(name).args(args);
    match runner.prepare(job).and_then(run) {
        Ok(()) => Ok(()),
        Err(error) => end(&error),
    }
}

fn run(prepared: Prepared) -> Result {
    let flags = prepared.flags().clone();
    if let Some(format) = flags.plan {
        print_plan(&prepared, format);
        return Ok(());
    }
    logs::start(flags.log.as_deref())?;
    let cancel = catch_signals()?;
    let handle = prepared.start()?;
    let (report, result) = watch(handle, &cancel);
    let written = write_report(&report, flags.report.as_ref());
    // That the job has failed matters more than that its report could not be written.
    result.and(written)
}

/// The first signal sets the flag, the second one ends the process.
fn catch_signals() -> Result<Arc<AtomicBool>> {
    let cancel = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag unset, and then sets it.
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&cancel))?;
        flag::register(signal, Arc::clone(&cancel))?;
    }
    Ok(cancel)
}

/// Waits for the job, shows its progress, and cancels it when a signal asks for it.
fn watch(handle: Handle, cancel: &AtomicBool) -> (Report, Result) {
    let mut progress = Progress::start();
    let mut cancelled = false;
    let mut age = Duration::ZERO;
    const LOOK: Duration = Duration::from_millis(50);
    while !handle.wait_for(LOOK) {
        age += LOOK;
        progress.show(|| handle.metrics(), age);
        while let Ok(event) = handle.events().try_recv() {
            progress.tell(&event);
        }
        if !cancelled && cancel.load(Ordering::Relaxed) {
            cancelled = true;
            // Without checkpoints, or if the last one fails, the job is given up where it is.
            if handle.stop().is_err() {
                handle.cancel();
            }
        }
    }
    while let Ok(event) = handle.events().try_recv() {
        progress.tell(&event);
    }
    progress.end();
    let (report, result) = handle.end();
    // It has stopped before its end, because it was asked to.
    if cancelled && report.outcome == Outcome::Stopped {
        return (report, Err(Error::Run(levada_runtime::Error::Cancelled)));
    }
    (report, result)
}

fn write_report(report: &Report, to: Option<&ReportTo>) -> Result {
    match to {
        Some(ReportTo::Stderr) => say(format_args!("{}\n", report.to_json())),
        Some(ReportTo::File(path)) => {
            std::fs::write(path, report.to_json() + "\n").map_err(|source| Error::Report {
                path: path.clone(),
                source,
            })?;
            say(report);
        }
        None => say(report),
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the plan is what was asked for")]
fn print_plan(prepared: &Prepared, format: PlanFormat) {
    match format {
        PlanFormat::Text => print!("{}", prepared.plan().to_text()),
        PlanFormat::Dot => print!("{}", prepared.plan().to_dot()),
        PlanFormat::Json => println!("{:#}", prepared.plan().to_json()),
    }
}

/// Writes to standard error. If nobody reads that any more there is nobody to tell, and the exit code says how it ended.
fn say(text: impl fmt::Display) {
    let _ = write!(io::stderr(), "{text}");
}

/// Says what went wrong and ends the process. All threads of the job have been joined.
fn end(error: &Error) -> ! {
    match error {
        // Clap knows where its text goes and how it looks.
        Error::Usage(error) => error.exit(),
        error => say(format_args!("error: {error:?}\n")),
    }
    std::process::exit(i32::from(error.exit_code()))
}
