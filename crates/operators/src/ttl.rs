//! How long state is kept that nobody uses.

use std::time::Duration;

use levada_core::Timestamp;
use levada_core::event_time::millis_of;

/// The time-to-live of the state of each key: how long it is kept after it was last used.
///
/// A state that was last used at `t` is gone when time has come to `t` plus the time-to-live: the key has none then, and
/// begins anew. State that is gone is never seen; its memory is freed a little later, some keys at a time. A use is a call
/// of `state()`, or with [`refreshed_on_read`](Self::refreshed_on_read) of `existing_state()` too.
///
/// **Event time.** What counts as time is the watermark, for each key. A use by a record is at the record's time, one in a
/// timer of event time at the timer's, one in a timer of processing time at the watermark; the latest of them counts. So
/// the state that a late record makes may be gone with the next one. A record without event time fails the job when it
/// uses state. A timer sees state as it is at the timer's own time, however far the watermark that fires it has gone; one
/// that is set too late, as it is at the watermark. The end of the input ends no state.
///
/// **Processing time.** What counts is the time of day, which is read for each batch of records, not for each record. State
/// that is restored has been used when it was before the save, so it may be gone by then.
///
/// Timers know nothing of it: one fires although the state is gone.
///
/// ```
/// use levada::prelude::*;
///
/// /// Orders come several times; none is repeated after an hour.
/// fn once(orders: Stream<(u64, String)>) -> Stream<(u64, String)> {
///     orders
///         .key_by(|(id, _)| *id)
///         .ttl(Ttl::event_time(hours(1)))
///         .deduplicate("once")
/// }
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ttl {
    after: Duration,
    kind: TimeKind,
    on_read: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum TimeKind {
    Event,
    Processing,
}

impl Ttl {
    /// State is kept for so long in event time.
    ///
    /// # Panics
    /// If it is less than a millisecond.
    #[must_use]
    pub fn event_time(after: Duration) -> Self {
        Self::new(after, TimeKind::Event)
    }

    /// State is kept for so long in processing time.
    ///
    /// # Panics
    /// If it is less than a millisecond.
    #[must_use]
    pub fn processing_time(after: Duration) -> Self {
        Self::new(after, TimeKind::Processing)
    }

    fn new(after: Duration, kind: TimeKind) -> Self {
        assert!(
            millis_of(after) > 0,
            "state is kept for a millisecond at least"
        );
        Self {
            after,
            kind,
            on_read: false,
        }
    }

    /// Looking at state keeps it too.
    #[must_use]
    pub fn refreshed_on_read(self) -> Self {
        Self {
            on_read: true,
            ..self
        }
    }

    /// Whether it is counted in event time.
    pub(crate) fn is_event_time(self) -> bool {
        self.kind == TimeKind::Event
    }

    pub(crate) fn is_refreshed_on_read(self) -> bool {
        self.on_read
    }

    /// When state that was last used at `used` is gone; [`Timestamp::MAX`] is never.
    pub(crate) fn end_of(self, used: Timestamp) -> Timestamp {
        used + self.after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_gone_its_time_to_live_after_its_last_use() {
        let ttl = Ttl::event_time(Duration::from_millis(10));
        assert_eq!(ttl.end_of(Timestamp(-3)), Timestamp(7));
        assert_eq!(ttl.end_of(Timestamp(i64::MAX - 5)), Timestamp::MAX);
        let long = Ttl::processing_time(Duration::MAX);
        assert_eq!(long.end_of(Timestamp(0)), Timestamp::MAX);
    }

    #[test]
    #[should_panic(expected = "a millisecond at least")]
    fn no_time_to_live_is_refused() {
        let _ = Ttl::event_time(Duration::from_micros(999));
    }
}
