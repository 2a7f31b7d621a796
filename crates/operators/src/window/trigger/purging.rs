//! A trigger around another one: what has fired is forgotten.

use levada_core::{Span, Timestamp};

use crate::window::trigger::{
    AtProcessingTime, AtWatermark, Continuous, ContinuousProcessing, Decision, Every, Trigger,
    TriggerContext,
};

/// Forgets the records of a window whenever another trigger makes it fire. Made by `purging` of the triggers, or
/// [`Purging::new`] for one of your own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Purging<R>(pub(crate) R);

impl<R> Purging<R> {
    /// What this trigger does, and the records are forgotten when it fires.
    #[must_use]
    pub fn new(trigger: R) -> Self {
        Self(trigger)
    }
}

macro_rules! can_purge {
    ($($trigger:ident)*) => {$(
        impl $trigger {
            /// Forgets the records of a window whenever it fires.
            #[must_use]
            pub fn purging(self) -> Purging<Self> {
                Purging::new(self)
            }
        }
    )*};
}

can_purge!(AtWatermark AtProcessingTime Every Continuous ContinuousProcessing);

fn purging(decision: Decision) -> Decision {
    match decision {
        Decision::Fire => Decision::FireAndPurge,
        other => other,
    }
}

impl<T, R: Trigger<T>> Trigger<T> for Purging<R> {
    type State = R::State;

    fn record(
        &self,
        record: &T,
        at: Timestamp,
        span: Span,
        state: &mut R::State,
        context: &mut TriggerContext<'_>,
    ) -> Decision {
        purging(self.0.record(record, at, span, state, context))
    }

    fn event_time(
        &self,
        at: Timestamp,
        span: Span,
        state: &mut R::State,
        context: &mut TriggerContext<'_>,
    ) -> Decision {
        purging(self.0.event_time(at, span, state, context))
    }

    fn processing_time(
        &self,
        at: Timestamp,
        span: Span,
        state: &mut R::State,
        context: &mut TriggerContext<'_>,
    ) -> Decision {
        purging(self.0.processing_time(at, span, state, context))
    }

    fn can_merge(&self) -> bool {
        self.0.can_merge()
    }

    fn merge(
        &self,
        state: &mut R::State,
        other: R::State,
        span: Span,
        context: &mut TriggerContext<'_>,
    ) {
        self.0.merge(state, other, span, context);
    }
}
