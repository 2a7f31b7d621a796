//! How far a job is: a line that changes on a terminal, now and then a plain line elsewhere.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use levada_runtime::Event;
use levada_runtime::metrics::JobMetrics;

use crate::report::{Count, per_second};

/// How often the line on a terminal changes.
const REDRAW_NANOS: u64 = 250_000_000;

/// How often a plain line is printed.
const LINE_NANOS: u64 = 10_000_000_000;

/// Shows how far a job is.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    shown: u64,
    read: u64,
}

impl Progress {
    /// On standard error, in the way that fits it.
    pub(crate) fn start() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(
                ProgressStyle::with_template("{spinner} {msg}")
                    .expect("the template is a constant that parses"),
            );
            bar
        });
        Self {
            bar,
            shown: 0,
            read: 0,
        }
    }

    /// Shows the metrics if it is time to.
    pub(crate) fn show(&mut self, metrics: impl FnOnce() -> JobMetrics, age: Duration) {
        let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        let every = if self.bar.is_some() {
            REDRAW_NANOS
        } else {
            LINE_NANOS
        };
        let passed = age.saturating_sub(self.shown);
        if passed < every {
            return;
        }
        let metrics = metrics();
        let read = metrics.records_read();
        let text = format!(
            "{:.0} s: {} records read ({}/s), {} written",
            Duration::from_nanos(age).as_secs_f64(),
            Count(read),
            Count(per_second(
                read - self.read,
                Duration::from_nanos(passed).as_secs_f64()
            )),
            Count(metrics.records_written()),
        );
        self.shown = age;
        self.read = read;
        match &self.bar {
            Some(bar) => {
                bar.set_message(text);
                bar.tick();
            }
            None => print(&text),
        }
    }

    /// Says what has happened, if whoever watches should know.
    pub(crate) fn tell(&self, event: &Event) {
        let is_worth_it = matches!(
            event,
            Event::Beginning { .. }
                | Event::CheckpointLate { .. }
                | Event::CheckpointFailed { .. }
                | Event::Restarting { .. }
        );
        if !is_worth_it {
            return;
        }
        match &self.bar {
            Some(bar) => bar.println(event.to_string()),
            None => print(&event.to_string()),
        }
    }

    /// Takes the changing line away.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[expect(clippy::print_stderr, reason = "progress belongs on standard error")]
fn print(text: &str) {
    eprintln!("{text}");
}
