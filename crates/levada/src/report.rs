//! What a job has done, for people and for programs.

use std::fmt;
use std::fmt::Write;
use std::time::Duration;

use levada_graph::{Bytes, NodeKind};
use levada_runtime::metrics::user::{UserMetric, UserValue};
use levada_runtime::metrics::{Bottleneck, JobMetrics, OperatorMetrics, TaskMetrics};
use serde::Serialize;

use crate::error::{Error, Result};

/// What a job has done. `Display` is the table that a job program prints at its end.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// Everything that was counted.
    pub metrics: JobMetrics,
}

/// How a job has ended.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
#[non_exhaustive]
pub enum Outcome {
    /// All input was read, and all output committed.
    Finished,
    /// It has stopped at a checkpoint, as it was asked to, and can go on from there.
    Stopped,
    /// It was cancelled.
    Cancelled,
    /// It failed.
    Failed {
        /// What went wrong.
        error: String,
    },
}

impl Outcome {
    pub(crate) fn of(result: &Result, metrics: &JobMetrics) -> Self {
        let checkpoints = metrics.checkpoints.as_ref();
        match result {
            Ok(()) if checkpoints.is_some_and(|of| of.stopped) => Self::Stopped,
            Ok(()) => Self::Finished,
            Err(Error::Run(levada_runtime::Error::Cancelled)) => Self::Cancelled,
            Err(error) => Self::Failed {
                error: format!("{error:?}"),
            },
        }
    }
}

impl Report {
    /// How long the job ran.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.metrics.age_nanos)
    }

    /// The report as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has nothing that JSON cannot say")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.duration().as_secs_f64();
        let read = self.metrics.records_read();
        let outcome = match self.outcome {
            Outcome::Finished => "finished in",
            Outcome::Stopped => "stopped at a checkpoint after",
            Outcome::Cancelled => "cancelled after",
            Outcome::Failed { .. } => "failed after",
        };
        writeln!(
            f,
            "{outcome} {seconds:.3} s: {} records read ({}/s), {} written",
            Count(read),
            Count(per_second(read, seconds)),
            Count(self.metrics.records_written()),
        )?;
        let mut table = Table::new(&[
            "operator",
            "kind",
            "tasks",
            "in",
            "out",
            "busy",
            "idle",
            "backpressured",
            "waiting",
        ]);
        for operator in &self.metrics.operators {
            table.add(self.row(operator));
        }
        table.fmt(f)?;
        for edge in &self.metrics.edges {
            writeln!(
                f,
                "exchange {}: {} records in {} batches, at most {} of {} held",
                edge.name,
                Count(edge.records),
                Count(edge.batches),
                Bytes(edge.held_max),
                Bytes(edge.bound),
            )?;
        }
        for operator in &self.metrics.operators {
            let skipped = operator.sum_skipped();
            if skipped > 0 {
                writeln!(f, "{} skipped {} records", operator.name, Count(skipped))?;
            }
            let state = operator.sum_state_bytes_max();
            if state > 0 {
                writeln!(f, "state of {}: at most {}", operator.name, Bytes(state))?;
            }
            fmt_event_time(f, operator)?;
        }
        for operator in &self.metrics.operators {
            if let Some(latency) = operator.latency.filter(|latency| latency.count > 0) {
                writeln!(
                    f,
                    "latency at {}: p50 {:?}, p99 {:?}, p99.9 {:?}, max {:?}",
                    operator.name,
                    Duration::from_nanos(latency.p50),
                    Duration::from_nanos(latency.p99),
                    Duration::from_nanos(latency.p999),
                    Duration::from_nanos(latency.max),
                )?;
            }
        }
        self.fmt_checkpoints(f)?;
        self.fmt_user(f)?;
        match self.metrics.bottleneck() {
            Some(bottleneck) if self.is_worth_telling(&bottleneck) => writeln!(f, "{bottleneck}"),
            _ => Ok(()),
        }
    }
}

impl Report {
    /// A wait of less than a hundredth of the time is no bottleneck, but a queue doing its work.
    fn is_worth_telling(&self, bottleneck: &Bottleneck) -> bool {
        bottleneck.waited_nanos > self.metrics.age_nanos / 100
    }

    /// What became of checkpoints, if there were any.
    fn fmt_checkpoints(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(checkpoints) = &self.metrics.checkpoints else {
            return Ok(());
        };
        write!(
            f,
            "checkpoints: {} complete, {} failed",
            Count(checkpoints.completed),
            Count(checkpoints.failed)
        )?;
        if let Some(last) = &checkpoints.last {
            write!(
                f,
                "; at most {:?} to the last task and {:?} to durable; the last one, {}, has {}",
                Duration::from_nanos(checkpoints.saved_nanos_max),
                Duration::from_nanos(checkpoints.durable_nanos_max),
                last.number,
                Bytes(last.bytes),
            )?;
        }
        writeln!(f)
    }

    /// The metrics that the program names, a line each; counters and gauges of an operator's subtasks share one.
    fn fmt_user(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let same = |a: &UserMetric, b: &UserMetric| a.operator == b.operator && a.name == b.name;
        let user = &self.metrics.user;
        for (i, metric) in user.iter().enumerate() {
            if user[..i].iter().any(|earlier| same(earlier, metric)) {
                continue;
            }
            let of = match &metric.operator {
                Some(operator) => format!("{} of {operator}", metric.name),
                None => metric.name.clone(),
            };
            let all: Vec<_> = user.iter().filter(|other| same(other, metric)).collect();
            let counters = all.iter().map(|metric| match metric.value {
                UserValue::Counter { value } => value,
                _ => 0,
            });
            match metric.value {
                UserValue::Counter { .. } => {
                    writeln!(f, "counter {of}: {}", Count(counters.sum()))?;
                }
                UserValue::Gauge { .. } => {
                    let values = all.iter().filter_map(|metric| match metric.value {
                        UserValue::Gauge { value } => Some(value.to_string()),
                        _ => None,
                    });
                    let values: Vec<_> = values.collect();
                    writeln!(f, "gauge {of}: {}", values.join(", "))?;
                }
                UserValue::Histogram { .. } => {
                    for metric in all {
                        fmt_histogram(f, &of, metric)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn row(&self, operator: &OperatorMetrics) -> Vec<String> {
        let count = |shown: bool, n: u64| {
            if shown {
                Count(n).to_string()
            } else {
                String::new()
            }
        };
        let (kind, has_in, has_out) = match operator.kind {
            NodeKind::Source => ("source", false, true),
            NodeKind::Sink => ("sink", true, false),
            _ => ("operator", true, true),
        };
        let tasks: Vec<_> = self
            .metrics
            .tasks
            .iter()
            .filter(|task| task.stage == operator.stage)
            .collect();
        vec![
            operator.name.clone(),
            kind.to_owned(),
            operator.parallelism.to_string(),
            count(has_in, operator.sum_in()),
            count(has_out, operator.sum_out()),
            share(&tasks, |task| task.times.busy),
            share(&tasks, |task| task.times.idle),
            share(&tasks, |task| task.times.backpressured),
            share(&tasks, |task| task.times.waiting),
        ]
    }
}

/// What there is to say of event time: nothing, unless the program uses it.
fn fmt_event_time(f: &mut fmt::Formatter<'_>, operator: &OperatorMetrics) -> fmt::Result {
    let name = &operator.name;
    if operator.sum_late() > 0 {
        writeln!(
            f,
            "{name} dropped {} late records",
            Count(operator.sum_late())
        )?;
    }
    if operator.sum_splits_held() > 0 {
        let times = Count(operator.sum_splits_held());
        writeln!(f, "{name} held back splits {times} times")?;
    }
    if let Some(lag) = operator.watermark_lag_millis {
        let span = Duration::from_millis(lag.unsigned_abs());
        let side = if lag < 0 { "ahead of" } else { "behind" };
        writeln!(f, "watermark at {name}: {span:?} {side} the time of day")?;
    }
    Ok(())
}

fn fmt_histogram(f: &mut fmt::Formatter<'_>, of: &str, metric: &UserMetric) -> fmt::Result {
    let UserValue::Histogram {
        count,
        p50,
        p90,
        p99,
        max,
        ..
    } = metric.value
    else {
        return Ok(());
    };
    write!(f, "histogram {of}")?;
    if let Some(subtask) = metric.subtask {
        write!(f, "[{subtask}]")?;
    }
    writeln!(
        f,
        ": {} values, p50 {}, p90 {}, p99 {}, max {}",
        Count(count),
        Count(p50),
        Count(p90),
        Count(p99),
        Count(max)
    )
}

/// The part of the tasks' time that was spent in one way.
fn share(tasks: &[&TaskMetrics], time: impl Fn(&TaskMetrics) -> u64) -> String {
    let spent: u64 = tasks.iter().map(|task| time(task)).sum();
    let total: u64 = tasks.iter().map(|task| task.times.total()).sum();
    match (100 * spent).checked_div(total) {
        Some(percent) => format!("{percent} %"),
        None => String::new(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a rate is read by people"
)]
pub(crate) fn per_second(count: u64, seconds: f64) -> u64 {
    if seconds > 0.0 {
        (count as f64 / seconds) as u64
    } else {
        0
    }
}

/// A number with its digits in groups of three.
pub(crate) struct Count(pub(crate) u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut grouped = String::new();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        f.pad(&grouped)
    }
}

/// Rows in columns as wide as their widest cell; numbers to the right.
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(head: &[&str]) -> Self {
        Self {
            rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()],
        }
    }

    fn add(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }
}

/// Columns of text before the columns of numbers.
const TEXT_COLUMNS: usize = 2;

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                if column < TEXT_COLUMNS {
                    write!(line, "  {cell:<width$}")?;
                } else {
                    write!(line, "  {cell:>width$}")?;
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_in_threes() {
        let check = |n, text| assert_eq!(Count(n).to_string(), text);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(1_234_567, "1,234,567");
    }

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let mut table = Table::new(&["a", "b", "n"]);
        table.add(vec!["long".into(), "x".into(), "1,000".into()]);
        assert_eq!(table.to_string(), "  a     b      n\n  long  x  1,000\n");
    }
}
