//! Running a query, as often as is asked for.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use levada::{CommonFlags, Job, PlanFormat, Prepared, Report, ReportTo, Runner};
use tracing_subscriber::EnvFilter;

use crate::digest::Totals;
use crate::engine;
use crate::event::Event;
use crate::file;
use crate::flags::{Engine, Run};
use crate::hand::{self, Lending};
use crate::report::{Line, Taken, Watch};
use crate::sink::Rows;

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
        say(line(flags, 1, events, watch.stop(), totals))?;
    }
    Ok(())
}

fn by_jobs(flags: &Run, args: Vec<OsString>, events: &Arc<Vec<Event>>) -> levada::Result {
    let runner = Runner::new().program("course").args(args);
    for _ in 0..flags.repeat {
        let rows = Rows::new(flags.digest);
        let prepared = prepare(&runner, events, &rows)?;
        if let Some(format) = prepared.flags().plan {
            return print_plan(&prepared, format);
        }
        let report_to = prepared.flags().report.clone();
        let parallelism = prepared.plan().options().parallelism;
        let watch = Watch::start();
        let report = prepared.start()?.wait()?;
        let taken = watch.stop();
        say(line(flags, parallelism, events, taken, rows.totals()))?;
        write_report(&report, report_to)?;
    }
    Ok(())
}

/// The job of a query, by a command line with the flags of [`Run`] and those of every job.
pub(crate) fn prepare(
    runner: &Runner,
    events: &Arc<Vec<Event>>,
    rows: &Rows,
) -> levada::Result<Prepared> {
    runner.prepare(|job: &Job| {
        let flags: Run = job.args()?;
        engine::build(job, &flags, events, rows);
        levada::Result::Ok(())
    })
}

fn line(flags: &Run, parallelism: usize, events: &[Event], taken: Taken, totals: Totals) -> Line {
    Line {
        engine: flags.engine.name(),
        query: flags.query,
        parallelism,
        events: events.len(),
        taken,
        totals,
    }
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
