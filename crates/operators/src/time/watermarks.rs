//! How watermarks are made, as the program says it.

use std::sync::Arc;
use std::time::Duration;

use crate::time::generator::{Bounded, Custom};

/// How watermarks are made: the second argument of `timestamps`, for which a duration can stand too.
///
/// ```
/// use levada::prelude::*;
///
/// fn timed(readings: Stream<(String, i64)>) -> impl Flow<Item = (String, i64)> {
///     readings.timestamps(
///         |(_, at)| *at,
///         Watermarks::bounded(seconds(5)).idle_after(minutes(1)),
///     )
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Watermarks<M> {
    pub(crate) make: M,
    pub(crate) idle_after: Option<Duration>,
    pub(crate) max_drift: Option<Duration>,
}

impl Watermarks<Bounded> {
    /// For records that come at most `bound` out of order within their split: the watermark is the latest event time, less
    /// the bound, less one millisecond, so that a record exactly `bound` behind the latest one is not late.
    #[must_use]
    pub fn bounded(bound: Duration) -> Self {
        Self::new(Bounded(bound))
    }

    /// For records that come in the order of their event time.
    #[must_use]
    pub fn ascending() -> Self {
        Self::bounded(Duration::ZERO)
    }
}

impl<F> Watermarks<Custom<F>> {
    /// Watermarks of one's own: `make` is called for each split, and its generator sees the records of that split.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// /// Some records are marks: nothing older than the last one follows.
    /// #[derive(Default)]
    /// struct Marks(Option<Timestamp>);
    ///
    /// impl WatermarkGenerator<(bool, i64)> for Marks {
    ///     fn record(&mut self, (mark, _): &(bool, i64), time: Timestamp) {
    ///         if *mark {
    ///             self.0 = Some(time);
    ///         }
    ///     }
    ///
    ///     fn watermark(&self) -> Timestamp {
    ///         self.0.unwrap_or(Timestamp::MIN)
    ///     }
    /// }
    ///
    /// fn timed(records: Stream<(bool, i64)>) -> impl Flow<Item = (bool, i64)> {
    ///     records.timestamps(|(_, at)| *at, Watermarks::custom(Marks::default))
    /// }
    /// ```
    #[must_use]
    pub fn custom<G>(make: F) -> Self
    where
        F: Fn() -> G + Send + Sync + 'static,
    {
        Self::new(Custom(Arc::new(make)))
    }
}

impl<M> Watermarks<M> {
    fn new(make: M) -> Self {
        Self {
            make,
            idle_after: None,
            max_drift: None,
        }
    }

    /// A split in which there has been nothing to read for so long does not hold back the watermark, until it has a record
    /// again. Time in which nobody could read it, because there was no room for its records, does not count.
    #[must_use]
    pub fn idle_after(self, silence: Duration) -> Self {
        Self {
            idle_after: Some(silence),
            ..self
        }
    }

    /// A split whose watermark is ahead of that of the slowest one of the source by more than `drift` is not read until
    /// the slowest one has caught up: what waits for a common watermark stays bounded. Idle splits hold nobody up. Behind an
    /// exchange, a call or an operator with state, where records are of no split, nothing is held back.
    #[must_use]
    pub fn max_drift(self, drift: Duration) -> Self {
        Self {
            max_drift: Some(drift),
            ..self
        }
    }
}

/// A duration, as the bound of out-of-orderness, or [`Watermarks`].
pub trait IntoWatermarks: sealed::Sealed {
    /// What makes the generators.
    type Make: Send + Sync + 'static;

    #[doc(hidden)]
    fn into_watermarks(self) -> Watermarks<Self::Make>;
}

impl IntoWatermarks for Duration {
    type Make = Bounded;

    fn into_watermarks(self) -> Watermarks<Bounded> {
        Watermarks::bounded(self)
    }
}

impl<M: Send + Sync + 'static> IntoWatermarks for Watermarks<M> {
    type Make = M;

    fn into_watermarks(self) -> Self {
        self
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for std::time::Duration {}
    impl<M> Sealed for super::Watermarks<M> {}
}
