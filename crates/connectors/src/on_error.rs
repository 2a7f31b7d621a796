//! What becomes of bad records: one policy for all sources that decode, one for sinks that format.

use std::fmt;
use std::sync::Arc;

use levada_core::{BoxError, OnError, Origin};
use levada_runtime::metrics::OperatorCounters;
use levada_runtime::{ReaderContext, SinkContext};

use crate::bad_record::BadRecord;

/// What a source that decodes records of type `T` makes of a bad one.
///
/// It has two implementations. [`Plain`], the default, yields `T`; a bad record fails the job, or is skipped
/// (`.on_error(OnError::Skip)`). [`Results`] yields `Result<T, BadRecord>` (`.results()`), to be divided by
/// `Flow::split_results`.
///
/// A source that decodes keeps a policy as its type parameter, and its readers a [`Skipped`]:
///
/// ```
/// use levada_connectors::{BadRecord, ErrorPolicy, Plain, Results, Skipped};
/// use levada_runtime::{BoxError, Intake};
///
/// fn take<P: ErrorPolicy<u64>>(
///     text: &str,
///     policy: &P,
///     skipped: &Skipped,
///     intake: &mut impl Intake<P::Out>,
/// ) -> Result<(), BoxError> {
///     let record = match text.parse() {
///         Ok(number) => Some(P::good(number)),
///         Err(error) => policy.bad(skipped, || Ok(BadRecord::new("peer", format!("{error}"))))?,
///     };
///     if let Some(record) = record {
///         intake.push(record);
///     }
///     Ok(())
/// }
/// ```
pub trait ErrorPolicy<T>: Clone + Send + Sync + 'static {
    /// What the source yields.
    type Out: Send + 'static;

    /// A record that could be decoded.
    fn good(record: T) -> Self::Out;

    /// One that could not. It is described only if the description is used: finding its line may cost something.
    ///
    /// # Errors
    /// If a bad record fails the job, or cannot be described.
    fn bad(
        &self,
        skipped: &Skipped,
        describe: impl FnOnce() -> Result<BadRecord, BoxError>,
    ) -> Result<Option<Self::Out>, BoxError>;
}

/// Yields records as they are. A bad one fails the job, or is skipped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain {
    /// What becomes of a bad record.
    pub on_error: OnError,
}

impl<T: Send + 'static> ErrorPolicy<T> for Plain {
    type Out = T;

    #[inline(always)]
    fn good(record: T) -> T {
        record
    }

    #[cold]
    fn bad(
        &self,
        skipped: &Skipped,
        describe: impl FnOnce() -> Result<BadRecord, BoxError>,
    ) -> Result<Option<T>, BoxError> {
        match self.on_error {
            OnError::Fail => Err(describe()?.into()),
            OnError::Skip => {
                skipped.skip(describe)?;
                Ok(None)
            }
        }
    }
}

/// Yields bad records too, each as an `Err`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Results;

impl<T: Send + 'static> ErrorPolicy<T> for Results {
    type Out = Result<T, BadRecord>;

    #[inline(always)]
    fn good(record: T) -> Result<T, BadRecord> {
        Ok(record)
    }

    #[cold]
    fn bad(
        &self,
        _: &Skipped,
        describe: impl FnOnce() -> Result<BadRecord, BoxError>,
    ) -> Result<Option<Self::Out>, BoxError> {
        Ok(Some(Err(describe()?)))
    }
}

/// Counts the records that a subtask leaves out, and logs the first.
#[derive(Clone)]
pub struct Skipped {
    operator: Origin,
    subtask: usize,
    counters: Arc<OperatorCounters>,
}

impl Skipped {
    /// Of a source.
    #[must_use]
    pub fn by_reader(context: &ReaderContext) -> Self {
        Self {
            operator: context.operator.clone(),
            subtask: context.subtask,
            counters: Arc::clone(&context.counters),
        }
    }

    /// Of a sink.
    #[must_use]
    pub fn by_writer(context: &SinkContext) -> Self {
        Self {
            operator: context.operator.clone(),
            subtask: context.subtask,
            counters: Arc::clone(&context.counters),
        }
    }

    /// Of nobody, for tests of readers.
    #[cfg(test)]
    pub(crate) fn unseen() -> Self {
        struct Nobody;

        impl levada_core::Wake for Nobody {
            fn wake(&self) {}
        }

        let operator = Origin::new("unseen", std::panic::Location::caller());
        let environment = levada_runtime::Environment::system();
        let nobody = Arc::new(Nobody);
        Self::by_reader(&ReaderContext::without_job(
            operator,
            1,
            environment,
            nobody,
        ))
    }

    /// How many have been left out.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counters.records_skipped.get()
    }

    /// Leaves out a record. Only the first one is described, and logged.
    ///
    /// # Errors
    /// If it cannot be described.
    pub fn skip<D: fmt::Display>(
        &self,
        describe: impl FnOnce() -> Result<D, BoxError>,
    ) -> Result<(), BoxError> {
        if self.counters.records_skipped.get() == 0 {
            let subtask = self.subtask;
            tracing::warn!(operator = %self.operator, subtask, "skips a bad record, the first one here: {}", describe()?);
        }
        self.counters.records_skipped.add(1);
        Ok(())
    }
}
