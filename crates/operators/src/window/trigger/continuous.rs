//! Triggers that fire again and again before the end of a window.

use std::time::Duration;

use levada_core::event_time::millis_of;
use levada_core::{Span, Timestamp};

use crate::window::trigger::{Decision, Trigger, TriggerContext};

/// The first multiple of an interval after a time; none beyond the end of time.
fn next_multiple(after: Timestamp, interval: i64) -> Option<Timestamp> {
    let next = after.0.div_euclid(interval).checked_add(1)?;
    next.checked_mul(interval).map(Timestamp)
}

/// Fires at intervals of event time. Made by [`continuous`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Continuous {
    interval: i64,
}

/// Windows fire whenever the watermark has reached a multiple of `interval`, with what they have by then, and at their end. A
/// watermark that reaches several of them makes a window fire once. Records that come late make it fire with the next
/// watermark. A global window, which has no end, fires at each multiple for ever, for each of its keys. An interval of less than
/// a millisecond is one.
#[must_use]
pub fn continuous(interval: Duration) -> Continuous {
    Continuous {
        interval: millis_of(interval).max(1),
    }
}

impl Continuous {
    /// Sets the timer of the end, and that of the next early result unless there is one that is not later.
    fn set(
        self,
        from: Timestamp,
        span: Span,
        next: &mut Option<Timestamp>,
        context: &mut TriggerContext<'_>,
    ) {
        let last = context.next_step(span.last());
        context.set_timer(last);
        if next.is_some_and(|at| at <= from) {
            return;
        }
        let from = from.max(context.watermark());
        let Some(at) = next_multiple(from, self.interval).filter(|at| *at < last) else {
            return;
        };
        if next.is_none_or(|before| at < before) {
            if let Some(before) = next.replace(at) {
                context.delete_timer(before);
            }
            context.set_timer(at);
        }
    }
}

impl<T> Trigger<T> for Continuous {
    /// When the next early result is due.
    type State = Option<Timestamp>;

    fn record(
        &self,
        _: &T,
        at: Timestamp,
        span: Span,
        next: &mut Option<Timestamp>,
        context: &mut TriggerContext<'_>,
    ) -> Decision {
        self.set(at, span, next, context);
        Decision::Continue
    }

    fn event_time(
        &self,
        at: Timestamp,
        span: Span,
        next: &mut Option<Timestamp>,
        context: &mut TriggerContext<'_>,
    ) -> Decision {
        if *next != Some(at) {
            // The end has come, or a watermark has reached both; the end comes later then.
            return Decision::Fire;
        }
        *next = None;
        if context.watermark() >= span.last() {
            return Decision::Continue;
        }
        self.set(at, span, next, context);
        Decision::Fire
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn merge(
        &self,
        next: &mut Option<Timestamp>,
        other: Option<Timestamp>,
        span: Span,
        context: &mut TriggerContext<'_>,
    ) {
        *next = (*next).into_iter().chain(other).min();
        context.set_timer(context.next_step(span.last()));
        if let Some(at) = *next {
            context.set_timer(at);
        }
    }
}

/// Fires at intervals of processing time. Made by [`continuous_processing`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ContinuousProcessing {
    interval: i64,
}

/// Windows fire whenever the time of day has reached a multiple of `interval`, with what they have by then, and when the
/// watermark has reached their end. (Flink's trigger of this name does not fire at the end.) An interval of less than a
/// millisecond is one.
#[must_use]
pub fn continuous_processing(interval: Duration) -> ContinuousProcessing {
    ContinuousProcessing {
        interval: millis_of(interval).max(1),
    }
}

impl ContinuousProcessing {
    fn set(self, next: &mut Option<Timestamp>, context: &mut TriggerContext<'_>) {
        if next.is_none() {
            *next = next_multiple(context.processing_time(), self.interval);
        }
        if let Some(at) = *next {
            context.set_processing_timer(at);
        }
    }
}

impl<T> Trigger<T> for ContinuousProcessing {
    /// When the next early result is due.
    type State = Option<Timestamp>;

    fn record(
        &self,
        _: &T,
        _: Timestamp,
        span: Span,
        next: &mut Option<Timestamp>,
        context: &mut TriggerContext<'_>,
    ) -> Decision {
        context.set_timer(context.next_step(span.last()));
        if next.is_none() {
            self.set(next, context);
        }
        Decision::Continue
    }

    fn event_time(
        &self,
        _: Timestamp,
        _: Span,
        _: &mut Option<Timestamp>,
        _: &mut TriggerContext<'_>,
    ) -> Decision {
        Decision::Fire
    }

    fn processing_time(
        &self,
        _: Timestamp,
        _: Span,
        next: &mut Option<Timestamp>,
        context: &mut TriggerContext<'_>,
    ) -> Decision {
        *next = None;
        self.set(next, context);
        Decision::Fire
    }

    fn can_merge(&self) -> bool {
        true
    }

    fn merge(
        &self,
        next: &mut Option<Timestamp>,
        other: Option<Timestamp>,
        span: Span,
        context: &mut TriggerContext<'_>,
    ) {
        *next = (*next).into_iter().chain(other).min();
        context.set_timer(context.next_step(span.last()));
        self.set(next, context);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiples_are_found_up_to_the_ends_of_time() {
        for (after, interval, next) in [
            (0, 10, Some(10)),
            (-1, 10, Some(0)),
            (-10, 10, Some(0)),
            (i64::MIN, 10, Some(i64::MIN + 8)),
            (i64::MIN, i64::MAX, Some(-i64::MAX)),
            (-1, i64::MAX, Some(0)),
            (0, i64::MAX, Some(i64::MAX)),
            (i64::MAX - 1, 10, None),
            (i64::MAX, 1, None),
        ] {
            let found = next_multiple(Timestamp(after), interval);
            assert_eq!(found.map(|at| at.0), next, "after {after} by {interval}");
        }
    }
}
