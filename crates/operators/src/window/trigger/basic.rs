//! Triggers that fire at the end of a window, or by the number of its records.

use levada_core::{Span, Timestamp};

use crate::window::trigger::{Decision, Trigger, TriggerContext};

/// Fires when the watermark has reached the end of the window. Made by [`at_watermark`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AtWatermark;

/// Windows fire when the watermark reaches their last millisecond, and again with the next watermark when records have come
/// late: what they do without a trigger. A global window fires at the end of the input.
#[must_use]
pub fn at_watermark() -> AtWatermark {
    AtWatermark
}

impl<T> Trigger<T> for AtWatermark {
    type State = ();

    fn record(
        &self,
        _: &T,
        _: Timestamp,
        span: Span,
        (): &mut (),
        context: &mut TriggerContext<'_>,
    ) -> Decision {
        context.set_timer(context.next_step(span.last()));
        Decision::Continue
    }

    fn event_time(
        &self,
        _: Timestamp,
        _: Span,
        (): &mut (),
        _: &mut TriggerContext<'_>,
    ) -> Decision {
        Decision::Fire
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn merge(&self, (): &mut (), (): (), span: Span, context: &mut TriggerContext<'_>) {
        context.set_timer(context.next_step(span.last()));
    }
}

/// Fires when the time of day has reached the end of the window. Made by [`at_processing_time`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AtProcessingTime;

/// Windows fire when the time of day reaches their last millisecond: what windows of processing time do without a trigger.
/// Records that come after that make a window fire again at once; those that come together, once.
#[must_use]
pub fn at_processing_time() -> AtProcessingTime {
    AtProcessingTime
}

impl<T> Trigger<T> for AtProcessingTime {
    type State = ();

    fn record(
        &self,
        _: &T,
        _: Timestamp,
        span: Span,
        (): &mut (),
        context: &mut TriggerContext<'_>,
    ) -> Decision {
        context.set_processing_timer(span.last());
        Decision::Continue
    }

    fn processing_time(
        &self,
        _: Timestamp,
        _: Span,
        (): &mut (),
        _: &mut TriggerContext<'_>,
    ) -> Decision {
        Decision::Fire
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn merge(&self, (): &mut (), (): (), span: Span, context: &mut TriggerContext<'_>) {
        context.set_processing_timer(span.last());
    }
}

/// Fires with every so many records. Made by [`every`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Every {
    count: u64,
}

/// Windows fire with every `count` records of a key, with all records that they have. They do not fire at their end: what has
/// come since the last time is dropped with the window. A `count` of 0 is as 1.
#[must_use]
pub fn every(count: u64) -> Every {
    Every { count }
}

impl<T> Trigger<T> for Every {
    /// The records since the window has fired.
    type State = u64;

    fn record(
        &self,
        _: &T,
        _: Timestamp,
        _: Span,
        records: &mut u64,
        _: &mut TriggerContext<'_>,
    ) -> Decision {
        *records += 1;
        if *records < self.count {
            return Decision::Continue;
        }
        *records = 0;
        Decision::Fire
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn merge(&self, records: &mut u64, other: u64, _: Span, _: &mut TriggerContext<'_>) {
        *records += other;
    }
}
