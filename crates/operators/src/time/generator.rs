//! What makes watermarks.

use std::sync::Arc;
use std::time::Duration;

use levada_core::Timestamp;
use levada_core::event_time::millis_of;

/// Makes watermarks from the records of one split.
///
/// There is one for each split that is being read, made when its first record comes. It is no state: after a restore it
/// begins anew, and the operators behind it remember how far time had come.
pub trait WatermarkGenerator<T>: Send + 'static {
    /// Called for each record, with its event time.
    fn record(&mut self, record: &T, time: Timestamp);

    /// The watermark after what has been seen: no record with this timestamp or an earlier one should follow. One that
    /// does is late. [`Timestamp::MIN`] if nothing can be said yet. It is asked for often; a value below an earlier one
    /// changes nothing, and one of [`Timestamp::MAX`] is taken for the millisecond before it: time ends with the input.
    fn watermark(&self) -> Timestamp;
}

/// Makes the generator of a split.
pub trait Generates<T>: Send + Sync + 'static {
    /// The generator.
    type Generator: WatermarkGenerator<T>;

    /// A generator that has seen nothing.
    fn generator(&self) -> Self::Generator;
}

/// Watermarks for records that come at most so much out of order: the latest event time, less that, less one.
#[derive(Clone, Copy, Debug)]
pub struct Bounded(pub(crate) Duration);

impl<T> Generates<T> for Bounded {
    type Generator = Latest;

    fn generator(&self) -> Latest {
        Latest {
            latest: Timestamp::MIN,
            bound: millis_of(self.0).saturating_add(1),
        }
    }
}

/// Remembers the latest event time.
#[derive(Debug)]
pub struct Latest {
    latest: Timestamp,
    /// By how much the watermark is behind.
    bound: i64,
}

impl<T> WatermarkGenerator<T> for Latest {
    #[inline(always)]
    fn record(&mut self, _: &T, time: Timestamp) {
        self.latest = self.latest.max(time);
    }

    #[inline]
    fn watermark(&self) -> Timestamp {
        Timestamp(self.latest.0.saturating_sub(self.bound))
    }
}

/// Watermarks of the program's own.
pub struct Custom<F>(pub(crate) Arc<F>);

impl<F> Clone for Custom<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T, F, G> Generates<T> for Custom<F>
where
    F: Fn() -> G + Send + Sync + 'static,
    G: WatermarkGenerator<T>,
{
    type Generator = G;

    fn generator(&self) -> G {
        (self.0)()
    }
}
