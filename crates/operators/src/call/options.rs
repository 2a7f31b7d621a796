//! How calls are made.

use std::time::Duration;

use levada_core::retry::Retry;

/// How asynchronous calls are made: how many at a time, in which order their results come, how long they may take and how
/// often they are repeated.
///
/// ```
/// use std::time::Duration;
/// use levada_core::retry::Retry;
/// use levada_operators::Calls;
///
/// let calls = Calls::unordered(100)
///     .timeout(Duration::from_secs(30))
///     .attempt_timeout(Duration::from_secs(2))
///     .retry(Retry::exponential(Duration::from_millis(100), Duration::from_secs(5)).attempts(4));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    pub(crate) in_flight: usize,
    pub(crate) ordered: bool,
    pub(crate) timeout: Duration,
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) retry: Retry,
}

/// How long a call may take, with all of its attempts, unless the program says otherwise.
const TIMEOUT: Duration = Duration::from_secs(60);

impl Calls {
    /// At most `in_flight` calls at a time in each subtask, whose results come in the order of their records.
    ///
    /// # Panics
    /// If it is zero.
    #[must_use]
    pub fn ordered(in_flight: usize) -> Self {
        assert!(in_flight > 0, "at least one call is made at a time");
        Self {
            in_flight,
            ordered: true,
            timeout: TIMEOUT,
            attempt_timeout: None,
            retry: Retry::never(),
        }
    }

    /// At most `in_flight` calls at a time in each subtask, whose results come as soon as they are there. They overtake each
    /// other, those of one key too; none overtakes a watermark.
    ///
    /// # Panics
    /// If it is zero.
    #[must_use]
    pub fn unordered(in_flight: usize) -> Self {
        Self {
            ordered: false,
            ..Self::ordered(in_flight)
        }
    }

    /// How long a call may take, from its first attempt to its result: 60 s unless it is set. What is not there by then has
    /// failed.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// How long one attempt may take, so that one without an answer leaves time for another.
    #[must_use]
    pub fn attempt_timeout(self, timeout: Duration) -> Self {
        Self {
            attempt_timeout: Some(timeout),
            ..self
        }
    }

    /// When a failed attempt is repeated; never unless it is set. An error in a [`Permanent`](crate::Permanent) is not.
    #[must_use]
    pub fn retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }
}
