//! Running a query, as often as is asked for.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::Receiver;
use levada::{
    CheckpointOptions, CommonFlags, Handle, Job, Outcome, PlanFormat, Prepared, Report, ReportTo,
    Runner,
};
use tracing_subscriber::EnvFilter;

use crate::engine;
use crate::event::Event;
use crate::file;
use crate::flags::{Engine, Run};
use crate::hand::{self, Lending};
use crate::report::{Checkpoints, Line, Watch};
use crate::sink::Rows;
use crate::source::Preloaded;
use crate::stop::Limit;

/// Loads the events, runs the query, and prints a line for each run. `args` is the command line that `flags` and `common`
/// come from.
pub(crate) fn run(flags: &Run, common: &CommonFlags, args: Vec<OsString>) -> levada::Result {
    let events = file::read(&flags.events).map_err(levada::Error::new)?;
    match flags.engine {
        Engine::Levada => {
            start_logs(common)?;
            by_jobs(flags, args, &Arc::new(events))
        }
        Engine::Hand => by_hand(flags, Lending::Borrowed, &events),
        Engine::HandClone => by_hand(flags, Lending::Cloned, &events),
    }
}

fn by_hand(flags: &Run, lending: Lending, events: &[Event]) -> levada::Result {
    if flags.query.needs_order() && !events.is_sorted_by_key(Event::date_time) {
        return Err(levada::Error::new(format!(
            "a loop needs the events in the order of their time, and those of {} are not",
            flags.events.display()
        )));
    }
    for _ in 0..flags.repeat {
        let watch = Watch::start();
        let totals = hand::run(flags.query, events, lending, flags.digest);
        say(Line {
            engine: flags.engine.name(),
            query: flags.query,
            parallelism: 1,
            events: events.len() as u64,
            taken: watch.stop(),
            totals,
            checkpoints: None,
            savepoint: None,
        })?;
    }
    Ok(())
}

fn by_jobs(flags: &Run, args: Vec<OsString>, events: &Arc<Vec<Event>>) -> levada::Result {
    let runner = Runner::new().program("course").args(args);
    for _ in 0..flags.repeat {
        let rows = Rows::new(flags.digest);
        let (limit, reached) = flags.stop_after.map(Limit::new).unzip();
        let prepared = prepare(&runner, Preloaded::new(events, limit), &rows)?;
        let common = prepared.flags().clone();
        if let Some(format) = common.plan {
            return print_plan(&prepared, format);
        }
        let parallelism = prepared.plan().options().parallelism;
        let watch = Watch::start();
        let handle = prepared.start()?;
        let (report, savepoint) = match (reached, savepoint_dir(flags, &common)) {
            (Some(reached), Some(dir)) => stop_after(&reached, handle, &dir)?,
            _ => (handle.wait()?, None),
        };
        let taken = watch.stop();
        say(Line {
            engine: flags.engine.name(),
            query: flags.query,
            parallelism,
            events: report.metrics.records_read(),
            taken,
            totals: rows.totals(),
            checkpoints: checkpoints(&common, &report),
            savepoint,
        })?;
        write_report(&report, common.report)?;
    }
    Ok(())
}

/// The job of a query, by a command line with the flags of [`Run`] and those of every job.
pub(crate) fn prepare(runner: &Runner, source: Preloaded, rows: &Rows) -> levada::Result<Prepared> {
    // The source is moved, so that none is left when the job has ended, and whoever waits for its limit learns of that.
    runner.prepare(move |job: &Job| {
        let flags: Run = job.args()?;
        engine::build(job, &flags, &source, rows);
        levada::Result::Ok(())
    })
}

/// Stops the job with a savepoint once its source has reached its limit, and waits for it. There is no savepoint if the job
/// has ended before.
pub(crate) fn stop_after(
    reached: &Receiver<()>,
    handle: Handle,
    dir: &Path,
) -> levada::Result<(Report, Option<PathBuf>)> {
    if reached.recv().is_err() {
        return Ok((handle.wait()?, None));
    }
    let taken = handle.stop_with_savepoint(dir);
    if taken.is_err() {
        // The source would wait for ever.
        handle.cancel();
    }
    let (report, ended) = handle.end();
    if let Outcome::Failed { .. } = report.outcome {
        ended?;
    }
    taken?;
    Ok((report, Some(dir.to_owned())))
}

fn savepoint_dir(flags: &Run, common: &CommonFlags) -> Option<PathBuf> {
    let given = flags.savepoint.clone();
    given.or_else(|| {
        Some(
            common
                .checkpoints
                .checkpoint_dir
                .as_ref()?
                .join("savepoint"),
        )
    })
}

fn checkpoints(common: &CommonFlags, report: &Report) -> Option<Checkpoints> {
    let flags = &common.checkpoints;
    let every = flags
        .checkpoint_every
        .or_else(|| CheckpointOptions::new(flags.checkpoint_dir.as_ref()?).every)?;
    Some(Checkpoints {
        every,
        completed: report.metrics.checkpoints.as_ref()?.completed,
    })
}

fn start_logs(common: &CommonFlags) -> levada::Result {
    let filter = match &common.log {
        Some(level) => {
            EnvFilter::try_new(level).map_err(|error| levada::Error::new(error.to_string()))?
        }
        None => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    Ok(())
}

fn print_plan(prepared: &Prepared, format: PlanFormat) -> levada::Result {
    let plan = prepared.plan();
    say(match format {
        PlanFormat::Text => plan.to_text(),
        PlanFormat::Dot => plan.to_dot(),
        PlanFormat::Json => format!("{:#}", plan.to_json()),
    })
}

fn write_report(report: &Report, to: Option<ReportTo>) -> levada::Result {
    match to {
        None => {}
        Some(ReportTo::Stderr) => writeln!(io::stderr(), "{}", report.to_json())?,
        Some(ReportTo::File(path)) => fs::write(&path, report.to_json() + "\n")
            .map_err(|source| levada::Error::Report { path, source })?,
    }
    Ok(())
}

fn say(text: impl fmt::Display) -> levada::Result {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
