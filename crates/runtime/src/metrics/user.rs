//! Metrics that programs and operators name themselves.
//!
//! A metric belongs to the job, or to one subtask of an operator. Its handle is made once, before the first record, and
//! is cheap to use: a counter and a gauge are one relaxed atomic, a histogram is a lock that threads hardly ever share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use levada_core::sync::Mutex;
use levada_core::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use serde::Serialize;

/// The most metrics that the job, or one subtask of an operator, can have: a name made of what is in a record would
/// otherwise fill the memory.
pub const NAMES_MAX: usize = 100;

/// The most bytes of a name, as in OpenTelemetry.
pub const NAME_BYTES_MAX: usize = 255;

/// Parts of a histogram that many threads fill.
const SHARDS: usize = 8;

/// All metrics that a program names. Clones are the same.
#[derive(Clone, Default)]
pub struct UserMetrics(Arc<Mutex<Scopes>>);

/// By scope, in the order in which they were made.
type Scopes = BTreeMap<Scope, Vec<(Arc<str>, Instrument)>>;

/// An operator's name and the number of its subtask; none for the job.
type Scope = Option<(Arc<str>, usize)>;

/// The metrics of one subtask of an operator. Clones are the same.
#[derive(Clone)]
pub struct SubtaskMetrics {
    metrics: UserMetrics,
    operator: Arc<str>,
    subtask: usize,
}

/// Counts. Clones count the same.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

/// A value that rises and falls. Clones are the same value.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

/// A distribution of values, kept to two significant digits in at most some 60 KiB for each thread that fills it. Clones
/// fill the same.
#[derive(Clone)]
pub struct Histogram(Arc<[Mutex<Option<Distribution>>]>);

type Distribution = hdrhistogram::Histogram<u64>;

#[derive(Clone)]
enum Instrument {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// A metric, read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UserMetric {
    /// The operator; none if it is the job's.
    pub operator: Option<String>,
    /// The number of the subtask; none if it is the job's.
    pub subtask: Option<usize>,
    /// Its name.
    pub name: String,
    /// What it shows.
    #[serde(flatten)]
    pub value: UserValue,
}

/// What a metric shows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum UserValue {
    /// A count.
    Counter {
        /// How many.
        value: u64,
    },
    /// A value that rises and falls.
    Gauge {
        /// The value.
        value: i64,
    },
    /// A distribution; all values are zero if the count is.
    Histogram {
        /// How many values were recorded.
        count: u64,
        /// The least.
        min: u64,
        /// Their mean.
        mean: f64,
        /// The median.
        p50: u64,
        /// 9 of 10 are below.
        p90: u64,
        /// 99 of 100 are below.
        p99: u64,
        /// 999 of 1,000 are below.
        p999: u64,
        /// The largest.
        max: u64,
    },
}

/// Why there is no such metric.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MetricError {
    /// The name is another kind of metric already.
    OtherKind {
        /// The name.
        name: String,
        /// What it is.
        is: &'static str,
        /// What was asked for.
        wanted: &'static str,
    },
    /// There are [`NAMES_MAX`] names already.
    TooMany {
        /// The one that is too many.
        name: String,
    },
    /// It cannot be a name.
    BadName {
        /// What was given, cut.
        name: String,
    },
}

impl UserMetrics {
    /// A counter of the job's.
    ///
    /// # Errors
    /// If the name is no name, is another kind of metric, or is one too many.
    pub fn counter(&self, name: &str) -> Result<Counter, MetricError> {
        self.counter_in(None, name)
    }

    /// A gauge of the job's.
    ///
    /// # Errors
    /// As [`counter`](UserMetrics::counter).
    pub fn gauge(&self, name: &str) -> Result<Gauge, MetricError> {
        self.gauge_in(None, name)
    }

    /// A histogram of the job's.
    ///
    /// # Errors
    /// As [`counter`](UserMetrics::counter).
    pub fn histogram(&self, name: &str) -> Result<Histogram, MetricError> {
        self.histogram_in(None, name, SHARDS)
    }

    /// The metrics of one subtask of an operator.
    #[must_use]
    pub fn of_subtask(&self, operator: &str, subtask: usize) -> SubtaskMetrics {
        SubtaskMetrics {
            metrics: self.clone(),
            operator: operator.into(),
            subtask,
        }
    }

    /// What they show now: first the job's, then by operator and subtask.
    #[must_use]
    pub fn read(&self) -> Vec<UserMetric> {
        let scopes = self.0.lock().clone();
        let mut read = Vec::new();
        for (scope, instruments) in &scopes {
            for (name, instrument) in instruments {
                read.push(UserMetric {
                    operator: scope.as_ref().map(|(operator, _)| operator.to_string()),
                    subtask: scope.as_ref().map(|(_, subtask)| *subtask),
                    name: name.to_string(),
                    value: instrument.read(),
                });
            }
        }
        read
    }

    fn counter_in(&self, scope: Scope, name: &str) -> Result<Counter, MetricError> {
        match self.instrument(scope, name, || Instrument::Counter(Counter::default()))? {
            Instrument::Counter(counter) => Ok(counter),
            other => Err(other.is_not("a counter", name)),
        }
    }

    fn gauge_in(&self, scope: Scope, name: &str) -> Result<Gauge, MetricError> {
        match self.instrument(scope, name, || Instrument::Gauge(Gauge::default()))? {
            Instrument::Gauge(gauge) => Ok(gauge),
            other => Err(other.is_not("a gauge", name)),
        }
    }

    fn histogram_in(
        &self,
        scope: Scope,
        name: &str,
        shards: usize,
    ) -> Result<Histogram, MetricError> {
        match self.instrument(scope, name, || {
            Instrument::Histogram(Histogram::new(shards))
        })? {
            Instrument::Histogram(histogram) => Ok(histogram),
            other => Err(other.is_not("a histogram", name)),
        }
    }

    /// The metric of that name, which is made if there is none.
    fn instrument(
        &self,
        scope: Scope,
        name: &str,
        make: impl FnOnce() -> Instrument,
    ) -> Result<Instrument, MetricError> {
        if !is_name(name) {
            return Err(MetricError::BadName {
                name: name.chars().take(40).collect(),
            });
        }
        let mut scopes = self.0.lock();
        let instruments = scopes.entry(scope).or_default();
        if let Some((_, instrument)) = instruments.iter().find(|(known, _)| **known == *name) {
            return Ok(instrument.clone());
        }
        if instruments.len() == NAMES_MAX {
            return Err(MetricError::TooMany {
                name: name.to_owned(),
            });
        }
        let instrument = make();
        instruments.push((name.into(), instrument.clone()));
        Ok(instrument)
    }
}

impl SubtaskMetrics {
    /// A counter of this subtask's.
    ///
    /// # Errors
    /// If the name is no name, is another kind of metric of this operator, or is one too many.
    pub fn counter(&self, name: &str) -> Result<Counter, MetricError> {
        self.metrics.counter_in(self.scope(), name)
    }

    /// A gauge of this subtask's.
    ///
    /// # Errors
    /// As [`counter`](SubtaskMetrics::counter).
    pub fn gauge(&self, name: &str) -> Result<Gauge, MetricError> {
        self.metrics.gauge_in(self.scope(), name)
    }

    /// A histogram of this subtask's.
    ///
    /// # Errors
    /// As [`counter`](SubtaskMetrics::counter).
    pub fn histogram(&self, name: &str) -> Result<Histogram, MetricError> {
        // A subtask runs on one thread at a time.
        self.metrics.histogram_in(self.scope(), name, 1)
    }

    fn scope(&self) -> Scope {
        Some((Arc::clone(&self.operator), self.subtask))
    }
}

impl Counter {
    /// Counts one.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// What has been counted.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauge {
    /// Sets the value.
    #[inline]
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Raises the value, or lowers it by a negative number.
    #[inline]
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Histogram {
    fn new(shards: usize) -> Self {
        Self((0..shards).map(|_| Mutex::new(None)).collect())
    }

    /// Records a value.
    pub fn record(&self, value: u64) {
        let mut shard = self.0[thread_number() % self.0.len()].lock();
        shard
            .get_or_insert_with(distribution)
            .record(value)
            .expect("a histogram that grows takes every value");
    }

    fn read(&self) -> UserValue {
        let mut sum = distribution();
        for shard in &*self.0 {
            if let Some(shard) = &*shard.lock() {
                sum.add(shard)
                    .expect("a histogram that grows takes every value");
            }
        }
        UserValue::Histogram {
            count: sum.len(),
            min: sum.min(),
            mean: sum.mean(),
            p50: sum.value_at_quantile(0.5),
            p90: sum.value_at_quantile(0.9),
            p99: sum.value_at_quantile(0.99),
            p999: sum.value_at_quantile(0.999),
            max: sum.max(),
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new(1)
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Histogram").field(&self.read()).finish()
    }
}

impl Instrument {
    fn read(&self) -> UserValue {
        match self {
            Self::Counter(counter) => UserValue::Counter {
                value: counter.get(),
            },
            Self::Gauge(gauge) => UserValue::Gauge { value: gauge.get() },
            Self::Histogram(histogram) => histogram.read(),
        }
    }

    fn is_not(&self, wanted: &'static str, name: &str) -> MetricError {
        MetricError::OtherKind {
            name: name.to_owned(),
            is: match self {
                Self::Counter(_) => "a counter",
                Self::Gauge(_) => "a gauge",
                Self::Histogram(_) => "a histogram",
            },
            wanted,
        }
    }
}

impl fmt::Display for MetricError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherKind { name, is, wanted } => {
                write!(f, "the metric `{name}` is {is} and cannot be {wanted} too")
            }
            Self::TooMany { name } => write!(
                f,
                "`{name}` is one metric too many: there are {NAMES_MAX} already, so make no names of what is in the \
                 records"
            ),
            Self::BadName { name } => write!(
                f,
                "`{name}` is no name of a metric: it begins with a letter, goes on with letters, digits, `_`, `.`, `-` \
                 and `/`, and has at most {NAME_BYTES_MAX} bytes"
            ),
        }
    }
}

impl std::error::Error for MetricError {}

/// The rule of OpenTelemetry's instruments.
fn is_name(name: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte);
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(rest)
}

fn distribution() -> Distribution {
    Distribution::new(2).expect("two digits are allowed")
}

/// A number that few threads share.
fn thread_number() -> usize {
    // The atomics of the standard library: those of the model checkers cannot be static, and nothing is decided by them.
    use std::sync::atomic::{AtomicUsize, Ordering};
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    std::thread_local! {
        static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_metric_of_one_kind() {
        let metrics = UserMetrics::default();
        metrics.counter("seen").unwrap().add(2);
        metrics.counter("seen").unwrap().increment();
        metrics.gauge("depth").unwrap().set(7);
        metrics.gauge("depth").unwrap().add(-9);
        let error = metrics.gauge("seen").unwrap_err().to_string();
        assert_eq!(
            error,
            "the metric `seen` is a counter and cannot be a gauge too"
        );
        // The same name in another scope is another metric.
        let subtask = metrics.of_subtask("map", 3);
        subtask.histogram("seen").unwrap().record(0);
        let read = metrics.read();
        assert_eq!(read.len(), 3);
        assert_eq!(
            (read[0].name.as_str(), read[0].value),
            ("seen", UserValue::Counter { value: 3 })
        );
        assert_eq!(read[1].value, UserValue::Gauge { value: -2 });
        assert_eq!(
            (read[2].operator.as_deref(), read[2].subtask),
            (Some("map"), Some(3))
        );
    }

    #[test]
    fn names_are_bounded_per_subtask() {
        let metrics = UserMetrics::default();
        for n in 0..NAMES_MAX {
            metrics
                .of_subtask("map", 0)
                .counter(&format!("n{n}"))
                .unwrap();
        }
        let error = metrics.of_subtask("map", 0).counter("more").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("`more` is one metric too many: there are 100")
        );
        metrics.of_subtask("map", 0).counter("n0").unwrap();
        metrics.of_subtask("map", 1).counter("more").unwrap();
        metrics.counter("more").unwrap();
    }

    #[test]
    fn what_a_name_can_be() {
        let check = |name: &str, expect: bool| {
            let metrics = UserMetrics::default();
            assert_eq!(metrics.counter(name).is_ok(), expect, "{name:?}");
        };
        check("records.late-by/key_7", true);
        check("", false);
        check("7up", false);
        check("two words", false);
        check("größe", false);
        check(&"x".repeat(255), true);
        check(&"x".repeat(256), false);
    }

    #[test]
    fn a_histogram_is_the_sum_of_its_threads() {
        let metrics = UserMetrics::default();
        let histogram = metrics.histogram("sizes").unwrap();
        std::thread::scope(|scope| {
            for part in 0..4u64 {
                let histogram = histogram.clone();
                scope.spawn(move || (0..250).for_each(|n| histogram.record(part * 250 + n)));
            }
        });
        let UserValue::Histogram {
            count,
            min,
            mean,
            p50,
            p99,
            max,
            ..
        } = metrics.read()[0].value
        else {
            panic!("it is a histogram")
        };
        assert_eq!((count, min), (1_000, 0));
        let near = |value: f64, expect: f64| (value - expect).abs() <= expect / 100.0;
        assert!(near(mean, 499.5), "{mean}");
        assert!(near(p50 as f64, 500.0), "{p50}");
        assert!(near(p99 as f64, 990.0), "{p99}");
        assert!(near(max as f64, 999.0), "{max}");
        // The largest value that there is does not break it.
        histogram.record(u64::MAX);
    }
}
