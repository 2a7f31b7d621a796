//! What is said of a record without event time.

use std::fmt;

/// A record came to an operator of event time without one.
#[derive(Debug)]
pub(crate) struct NoTimestamp;

impl fmt::Display for NoTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a record has no event time: give it one by `timestamps` before this operator, or read from a source that does",
        )
    }
}

impl std::error::Error for NoTimestamp {}
