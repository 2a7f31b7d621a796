//! Every query with checkpoints: what they cost the result (nothing), and going on from them at another parallelism.

use std::sync::Arc;

use clap::ValueEnum;
use levada::{CheckpointSummary, Event as Happened, Handle, Outcome, Runner};
use tempfile::TempDir;

use super::{EXPECTED, events};
use crate::digest::Totals;
use crate::event::Event;
use crate::generate::BASE_TIME;
use crate::query::Query;
use crate::run::{prepare, stop_after};
use crate::sink::Rows;
use crate::source::Preloaded;
use crate::stop::Limit;

/// How long barriers wait: until they are aligned, or not at all.
const PATIENCE: [&str; 2] = ["never", "0"];

/// So slow that ten checkpoints and more complete within a run.
const SLOW: &str = "--throttle 250000 --checkpoint-every 5ms";

/// A job whose checkpoints go to a directory of its own.
struct Case {
    events: Arc<Vec<Event>>,
    query: Query,
    patience: &'static str,
    dir: TempDir,
}

impl Case {
    fn new(events: &Arc<Vec<Event>>, query: Query, patience: &'static str) -> Self {
        Self {
            events: Arc::clone(events),
            query,
            patience,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn start(&self, flags: &str, limit: Option<Limit>) -> (Handle, Rows) {
        let (query, patience) = (self.query, self.patience);
        let line = format!(
            "{query} --events none --digest --threads 2 --alignment-timeout {patience} {flags} --checkpoint-dir"
        );
        let dir = self.dir.path().join("checkpoints");
        let args = line.split_whitespace().map(Into::into);
        let runner = Runner::new().args(args.chain([dir.into_os_string()]));
        let rows = Rows::new(true);
        let prepared = prepare(&runner, Preloaded::new(&self.events, limit), &rows).unwrap();
        (prepared.start().unwrap(), rows)
    }

    /// Goes on to the end, in another process as far as the job can tell. Returns how many events were left.
    fn go_on(&self, p: usize, from: &str) -> (Totals, u64) {
        let (handle, rows) = self.start(&format!("-p {p} --from {from}"), None);
        let report = handle.wait().unwrap();
        assert_eq!(report.outcome, Outcome::Finished);
        (rows.totals(), report.metrics.records_read())
    }

    fn check(&self, totals: Totals, how: &str) {
        let (query, patience) = (self.query, self.patience);
        let expected = EXPECTED.iter().find(|(of, ..)| *of == query).unwrap();
        assert_eq!(
            (query, totals.rows, totals.digest),
            (query, expected.1, Some(expected.2)),
            "{query}, alignment timeout {patience}, {how}"
        );
    }
}

/// The checkpoints that have been completed.
fn completed(happened: impl Iterator<Item = Happened>) -> impl Iterator<Item = CheckpointSummary> {
    happened.filter_map(|event| match event {
        Happened::CheckpointCompleted(summary) => Some(*summary),
        _ => None,
    })
}

/// Runs the check for every query, aligned and unaligned, and returns the sum of what it counts in either case.
fn of_every_query(check: impl Fn(&Case) -> usize) -> [usize; 2] {
    let events = Arc::new(events(200_000, BASE_TIME));
    PATIENCE.map(|patience| {
        let queries = Query::value_variants().iter();
        queries
            .map(|query| check(&Case::new(&events, *query, patience)))
            .sum()
    })
}

#[test]
fn checkpoints_change_no_result() {
    let overtaken = of_every_query(|case| {
        let (handle, rows) = case.start(&format!("-p 2 {SLOW}"), None);
        let happened = handle.events().clone();
        let report = handle.wait().unwrap();
        case.check(rows.totals(), "with checkpoints");
        let counted = report.metrics.checkpoints.unwrap();
        let query = case.query;
        assert!(counted.completed >= 10, "{query}: {counted:?}");
        let summaries = completed(happened.try_iter());
        summaries.map(|summary| summary.overtaken).sum()
    });
    assert_eq!(overtaken[0], 0, "aligned");
    assert_ne!(overtaken[1], 0, "unaligned");
}

#[test]
fn a_job_that_is_stopped_goes_on_at_another_parallelism() {
    of_every_query(|case| {
        let name = |p: usize, then: usize| format!("from parallelism {p} to {then}");
        for (p, then) in [(1, 2), (2, 1), (2, 3)] {
            let case = Case::new(&case.events, case.query, case.patience);
            let (limit, reached) = Limit::new(100_000);
            let flags = format!("-p {p} --checkpoint-every 20ms");
            let (handle, _) = case.start(&flags, Some(limit));
            let dir = case.dir.path().join("savepoint");
            let (report, savepoint) = stop_after(&reached, handle, &dir).unwrap();
            assert_eq!(savepoint.as_deref(), Some(&*dir));
            assert_eq!(report.outcome, Outcome::Stopped);
            assert_eq!(report.metrics.records_read(), 100_000);
            let (totals, left) = case.go_on(then, dir.to_str().unwrap());
            assert_eq!(left, 100_000, "{}, {}", case.query, name(p, then));
            case.check(totals, &name(p, then));
        }
        0
    });
}

#[test]
fn a_job_that_is_killed_goes_on_from_its_latest_checkpoint() {
    let in_flight = of_every_query(|case| {
        let (handle, _) = case.start(&format!("-p 2 {SLOW}"), None);
        let happened = handle.events().clone();
        completed(happened.iter()).nth(4).unwrap();
        handle.cancel();
        let (report, _) = handle.end();
        assert_eq!(report.outcome, Outcome::Cancelled);
        let last = report.metrics.checkpoints.unwrap().last.unwrap();
        let (totals, left) = case.go_on(3, "latest");
        assert!(0 < left && left < 200_000, "{left} events were left");
        case.check(totals, "after a crash");
        last.in_flight_records as usize
    });
    assert_eq!(in_flight[0], 0, "aligned");
    assert_ne!(in_flight[1], 0, "unaligned");
}

#[test]
fn a_job_with_fewer_events_is_not_stopped() {
    let events = Arc::new(events(1_000, BASE_TIME));
    let case = Case::new(&events, Query::Q0, "never");
    for (events_max, is_stopped) in [(999, true), (1_000, true), (1_001, false)] {
        let (limit, reached) = Limit::new(events_max);
        let (handle, rows) = case.start("-p 3", Some(limit));
        let dir = case.dir.path().join(format!("savepoint-{events_max}"));
        let (report, savepoint) = stop_after(&reached, handle, &dir).unwrap();
        assert_eq!(savepoint.is_some(), is_stopped);
        assert_eq!(report.outcome == Outcome::Stopped, is_stopped);
        assert_eq!(rows.totals().rows, report.metrics.records_read());
    }
}
