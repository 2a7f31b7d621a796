//! What a process is called for besides records.

use levada_core::Timestamp;

/// A timer that has come to its time.
///
/// Timers belong to a key, are kept with its state, and are there once: setting one that is set changes nothing. A process
/// sets them through its context, and is called for each ([`Process::timer`](crate::Process::timer) and its like).
///
/// **Event time.** A timer fires when the watermark reaches it: at `at <= watermark`. Those that are due fire in the order of
/// their times, before the watermark goes on; while they do, the operator's watermark is already the new one, and no record
/// comes in between. One that is set at or before the watermark is due at once: it fires after the call that sets it, before
/// the next record. What is emitted carries the timer's time. The end of the input is the watermark [`Timestamp::MAX`]: it
/// fires all timers, those at `MAX` last. A timer that always sets the next one has to stop then (look at
/// [`KeyedContext::watermark`](crate::KeyedContext::watermark)), or the job goes on until the end of time. One that sets
/// itself again at or before the watermark holds up the data for ever, though not what controls the job.
///
/// **Processing time.** A timer fires when the time of day has reached it, between two batches of records, whether or not any
/// come; never before its time, and later when there is no room for what it may emit. What is emitted has no event time
/// ([`Timestamp::MIN`]). Those that are left when the input has ended do not fire, as in Flink. After a restore those whose
/// time has passed meanwhile fire at once.
///
/// Timers fire in slices: however many are due, a task does not go on for long with them, and state that is saved in
/// between holds those that have not fired.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Timer {
    /// The watermark has reached this time.
    Event(Timestamp),
    /// The time of day has reached this time.
    Processing(Timestamp),
}

impl Timer {
    /// The time that it was set to.
    #[must_use]
    pub fn at(self) -> Timestamp {
        match self {
            Self::Event(at) | Self::Processing(at) => at,
        }
    }

    /// The event time of what is done because of it.
    pub(crate) fn timestamp(self) -> Timestamp {
        match self {
            Self::Event(at) => at,
            Self::Processing(_) => Timestamp::MIN,
        }
    }
}
