//! Triggers: when windows fire.

mod basic;
mod continuous;
mod purging;

use levada_core::{Clock, Span, State, Timestamp};

use crate::process::Timer;

pub use basic::{AtProcessingTime, AtWatermark, Every, at_processing_time, at_watermark, every};
pub use continuous::{Continuous, ContinuousProcessing, continuous, continuous_processing};
pub use purging::Purging;

/// Says when the windows of a key fire, and when they forget their records.
///
/// It is asked for each record, and when a timer of its comes. What it has to remember of a window is its state, which is
/// saved with the window.
///
/// Timers belong to a key and window, and are as those of processes ([`Timer`](crate::Timer)). One that lies after the time
/// at which the window is forgotten is not set. When a window is forgotten its timers are too.
///
/// ```
/// use levada::prelude::*;
/// use levada::window::{Decision, Trigger, TriggerContext};
///
/// /// Fires at the end of the window, and at once when an order is large.
/// #[derive(Clone)]
/// struct LargeAtOnce(u64);
///
/// impl Trigger<(String, u64)> for LargeAtOnce {
///     type State = ();
///
///     fn record(
///         &self,
///         (_, total): &(String, u64),
///         _: Timestamp,
///         span: Span,
///         (): &mut (),
///         context: &mut TriggerContext<'_>,
///     ) -> Decision {
///         context.set_timer(span.last());
///         if *total >= self.0 { Decision::Fire } else { Decision::Continue }
///     }
///
///     fn event_time(&self, _: Timestamp, _: Span, (): &mut (), _: &mut TriggerContext<'_>) -> Decision {
///         Decision::Fire
///     }
/// }
///
/// fn orders(orders: Stream<(String, u64)>) -> Stream<(String, Span, u64)> {
///     orders
///         .key_by(|(customer, _)| customer.clone())
///         .window(tumbling(hours(1)))
///         .trigger(LargeAtOnce(1_000))
///         .aggregate("orders", |orders| orders.sum(|(_, total)| *total))
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no trigger of windows of `{T}`",
    note = "triggers are `at_watermark`, `every`, `continuous`, `continuous_processing`, `at_processing_time`, or a `Trigger` of your own"
)]
pub trait Trigger<T>: Clone + Send + Sync + 'static {
    /// What is kept for each window. A window that has been purged is forgotten if this has its default value, except a
    /// session.
    type State: State + Clone + PartialEq;

    /// A record has been added to a window. `at` is its event time, or [`Timestamp::MIN`] if it has none.
    fn record(
        &self,
        record: &T,
        at: Timestamp,
        span: Span,
        state: &mut Self::State,
        context: &mut TriggerContext<'_>,
    ) -> Decision;

    /// A timer of event time has come.
    fn event_time(
        &self,
        at: Timestamp,
        span: Span,
        state: &mut Self::State,
        context: &mut TriggerContext<'_>,
    ) -> Decision {
        let _ = (at, span, state, context);
        Decision::Continue
    }

    /// A timer of processing time has come.
    fn processing_time(
        &self,
        at: Timestamp,
        span: Span,
        state: &mut Self::State,
        context: &mut TriggerContext<'_>,
    ) -> Decision {
        let _ = (at, span, state, context);
        Decision::Continue
    }

    /// Whether [`merge`](Self::merge) does what it should. A trigger that cannot is refused for sessions.
    fn can_merge(&self) -> bool {
        false
    }

    /// A window has become `span`, because a record has extended it or made one of it and another window. The timers of both
    /// are gone. Called for each other window, and for the record's own, whose state is the default one.
    fn merge(
        &self,
        state: &mut Self::State,
        other: Self::State,
        span: Span,
        context: &mut TriggerContext<'_>,
    ) {
        let _ = (state, other, span, context);
    }
}

/// What becomes of a window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Nothing.
    Continue,
    /// Its result is emitted, unless it has no records.
    Fire,
    /// Its records are forgotten.
    Purge,
    /// Both.
    FireAndPurge,
}

impl Decision {
    pub(crate) fn fires(self) -> bool {
        matches!(self, Self::Fire | Self::FireAndPurge)
    }

    pub(crate) fn purges(self) -> bool {
        matches!(self, Self::Purge | Self::FireAndPurge)
    }
}

/// What a [`Trigger`] sees of its key and window.
pub struct TriggerContext<'a> {
    pub(crate) watermark: Timestamp,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) changes: &'a mut Vec<TimerChange>,
}

/// What a trigger wants of its timers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TimerChange {
    Set(Timer),
    Delete(Timer),
}

impl TriggerContext<'_> {
    /// The watermark. While one fires timers it is already that one.
    #[must_use]
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// The time of day.
    #[must_use]
    pub fn processing_time(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Sets a timer of event time. If the watermark has reached it already it fires before the next record.
    pub fn set_timer(&mut self, at: Timestamp) {
        self.changes.push(TimerChange::Set(Timer::Event(at)));
    }

    /// Deletes a timer of event time.
    pub fn delete_timer(&mut self, at: Timestamp) {
        self.changes.push(TimerChange::Delete(Timer::Event(at)));
    }

    /// Sets a timer of processing time.
    pub fn set_processing_timer(&mut self, at: Timestamp) {
        self.changes.push(TimerChange::Set(Timer::Processing(at)));
    }

    /// Deletes a timer of processing time.
    pub fn delete_processing_timer(&mut self, at: Timestamp) {
        self.changes
            .push(TimerChange::Delete(Timer::Processing(at)));
    }

    /// When a window fires that is complete at `last`: then, or with the next watermark if it is complete already, so that
    /// late records do not make it fire one by one.
    pub(crate) fn next_step(&self, last: Timestamp) -> Timestamp {
        last.max(Timestamp(self.watermark.0.saturating_add(1)))
    }
}
